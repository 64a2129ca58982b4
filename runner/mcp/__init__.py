"""The face for agents: tools over the live notebooks of JupyterLab, and over inbox and outbox."""
