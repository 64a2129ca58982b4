"""The job process: lives for one notebook, from its preparation to its outcome."""
