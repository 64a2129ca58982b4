"""Opens standard input, output and error if the program was started without one (`>&-`).

Imports nothing of ours, so it can come first.
"""

import os
import sys


def open_missing() -> None:
    """Open closed standard streams onto nothing.

    Otherwise Python has None in their place, and the next opened file gets their number.
    """
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)  # children get them too
    os.close(fd)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
