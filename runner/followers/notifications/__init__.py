"""Notifications: outcomes of jobs, told to people by Apprise, until they have them."""
