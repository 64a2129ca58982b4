"""Turns an order into an outcome: job processes, their kernels, papermill. Knows no folders."""
