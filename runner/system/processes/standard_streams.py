"""Standard input, output and error: one that is closed at the start, or whose reader is gone.

Imports nothing of ours, so it can come first.
"""

import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

CUT_OFF = 128 + signal.SIGPIPE
"""Exit code of a program whose reader is gone."""


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


def is_stdout_closed() -> bool:
    """Return whether nobody reads standard output any more, such as `head` that has enough."""
    poll = select.poll()
    try:
        poll.register(sys.stdout.fileno(), 0)
    except (ValueError, OSError):  # none, or no real file
        return False
    return any(events & select.POLLERR for _, events in poll.poll(0))


@contextmanager
def quiet_without_reader() -> Iterator[None]:
    """End the program as Unix tools do where nobody reads its output any more: 141, no word."""
    try:
        yield
    except BrokenPipeError:
        if not is_stdout_closed():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at the end
        raise SystemExit(CUT_OFF) from None
