"""JupyterLab over the same folders: the `runner lab` command starts it."""
