"""What became of a name's jobs over time."""
