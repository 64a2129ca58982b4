"""Parts of the ledger that are no jobs: counts, environments, free space."""
