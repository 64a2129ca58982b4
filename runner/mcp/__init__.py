"""The interface for agents: tools over JupyterLab's live notebooks, and over inbox and outbox."""
