"""Enters the server of tools for agents into the settings of their clients."""
