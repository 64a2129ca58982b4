"""The kernel of one run: forked from a template or started cold, and its messages."""
