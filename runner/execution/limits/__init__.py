"""The limits of a run: memory, processes and files, and how they are counted."""
