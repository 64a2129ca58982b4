"""The operating system: files, processes, doors to the network."""
