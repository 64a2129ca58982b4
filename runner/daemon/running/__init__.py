"""From the ledger to the outbox."""
