"""Scans the inbox: lists its files, finds the whole ones, and groups them into drops."""
