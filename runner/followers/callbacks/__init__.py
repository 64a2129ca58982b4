"""Callbacks: outcomes of jobs, told by HTTP to those who asked, until they have them."""
