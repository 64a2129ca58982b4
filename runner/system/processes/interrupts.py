"""Handles Ctrl-C while nothing is open yet. Imports nothing of ours, so it can come first."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_interrupts() -> Iterator[None]:
    """Let Ctrl-C end this process silently during imports, instead of with a traceback.

    If SIGINT is ignored or has a listener, nothing changes.
    """
    heard = signal.getsignal(signal.SIGINT)
    if heard is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, heard)
