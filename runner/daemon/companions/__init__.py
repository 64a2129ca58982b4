"""The processes beside the daemon: the gateway, and those for followers and submitters."""
