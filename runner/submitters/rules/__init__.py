"""Rules: files of the inbox that start notebooks."""
