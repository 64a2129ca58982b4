"""Requests that bring files: `NAME.zip` and `NAME.job/`, and where their files are kept."""
