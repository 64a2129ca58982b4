"""What wants to know how jobs ended: a companion of the daemon tells it, in its own time."""
