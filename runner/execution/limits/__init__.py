"""What a run may take: memory, processes and files, and how they are counted."""
