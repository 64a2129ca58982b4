"""Turns files that appear in the inbox into requests that belong to the runner."""
