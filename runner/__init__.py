"""Inbox Runner: drop a Jupyter notebook into a folder, get its result out of another."""

__version__ = "0.1.0"
