"""Tells followers how jobs ended: in a companion of the daemon, at its own pace."""
