"""`python -m runner`: the command line. Nothing else."""

from runner.cli import main

main(prog_name="runner")
