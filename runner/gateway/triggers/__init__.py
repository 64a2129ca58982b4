"""Schedules, rules and web hooks over HTTP."""
