"""Schedules: files that say when a notebook runs, and the record of what came of it."""
