"""Executes orders in job processes of this machine."""
