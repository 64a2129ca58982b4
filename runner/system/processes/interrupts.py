"""Ctrl-C while nothing is open yet. Imports nothing of ours, so that it is there first."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_interrupts() -> Iterator[None]:
    """Around imports: Ctrl-C ends this process as it does any other, not by a traceback.

    Where SIGINT is ignored, or somebody listens already, it stays so.
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
