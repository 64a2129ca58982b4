"""The start of the command line: `runner`, and `python -m runner`."""

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    # `-m` looks in the current folder first, and a `queue.py` there is no module of ours.
    del sys.path[0]

from runner.system.processes.imports import importing
from runner.system.processes.standard_streams import open_missing


def main() -> None:
    """Import the commands, then let one of them work."""
    open_missing()
    with importing():
        from runner.cli.main import main as command_line
    command_line(prog_name="runner")


if __name__ == "__main__":
    main()
