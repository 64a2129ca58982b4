"""Standard input, output and error, where the program was started without one of them (`>&-`).

Imports nothing of ours, so that it can come first.
"""

import os
import sys


def open_missing() -> None:
    """Open those that are closed onto nothing.

    Else Python has None in their place, and the next file that is opened gets their number.
    """
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)  # what is started has them too
    os.close(fd)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
