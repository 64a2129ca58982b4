"""`python -m runner`: the command line. Nothing else."""

import sys

if not sys.flags.safe_path:
    # `-m` looks in the current folder first, and a `queue.py` there is no module of ours.
    del sys.path[0]

from runner.cli import main

main(prog_name="runner")
