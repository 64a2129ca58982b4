"""Executed notebooks as pages and reports, in processes of their own; knows nothing of HTTP."""
