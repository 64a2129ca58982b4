"""The kernel of one run: forked from a template or started cold, and what it says."""
