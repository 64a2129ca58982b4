"""Processes and threads: started, bounded, and ended."""
