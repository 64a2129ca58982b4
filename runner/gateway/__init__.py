"""The HTTP face: one more client of inbox and outbox. It executes nothing, and keeps nothing."""
