"""Backup and restore of what the runner itself keeps."""
