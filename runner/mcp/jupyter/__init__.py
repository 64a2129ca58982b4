"""JupyterLab as its clients see it: its REST API, and the rooms of its notebooks."""
