"""Tools on the runner: jobs, its library and its results."""
