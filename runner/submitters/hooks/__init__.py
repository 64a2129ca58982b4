"""Web hooks: files that say who may call the gateway, and what runs then."""
