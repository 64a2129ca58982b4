"""From the inbox to the ledger."""
