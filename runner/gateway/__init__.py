"""The HTTP interface: one more client of inbox and outbox. It executes and keeps nothing."""
