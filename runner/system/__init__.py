"""What the operating system gives: files, processes, doors to the network."""
