"""Records beside the ledger: what is still to be told, and what came of it."""
