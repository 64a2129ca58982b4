"""The preload server and what it forks: job processes, their zygotes, and kernels of these."""
