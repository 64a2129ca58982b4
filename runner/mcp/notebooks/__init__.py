"""Tools on the live notebooks of JupyterLab."""
