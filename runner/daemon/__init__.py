"""The daemon: one loop from the inbox over the ledger and the execution to the outbox."""
