"""The runner's memory: the ledger of jobs, its locks, and its pulse."""
