"""The page of a name: what became of its jobs over time."""
