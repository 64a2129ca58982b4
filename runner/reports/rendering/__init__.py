"""Executed notebooks as pages and as reports, rendered in a process of their own."""
