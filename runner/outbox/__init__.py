"""Publishes outcomes, and reads them back."""
