"""Scans the inbox: what lies there, which of it is whole, and which files make a drop."""
