"""Backup and restore of the runner's own record."""
