"""Executes orders on the workers of a Dask cluster."""
