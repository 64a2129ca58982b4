"""Draws where the CPU of a burst goes, by part."""
