"""From an order to an outcome: job processes, their kernels, papermill. Knows no folders."""
