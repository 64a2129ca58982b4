"""What the runner remembers: the ledger of jobs, its locks, and its pulse."""
