"""The time of imports, while nothing is open yet. Imports nothing of ours, so it can come first."""

import gc
import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Let Ctrl-C end this process silently during imports, and the collector leave modules alone.

    Modules stay until the end: the collector would look at them again and again, and once more
    when the process ends, which takes a quarter of a short command's time. If SIGINT is ignored or
    has a listener, that does not change.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        with _quiet_interrupts():
            yield
        gc.freeze()
    finally:
        if collects:
            gc.enable()


@contextmanager
def _quiet_interrupts() -> Iterator[None]:
    heard = signal.getsignal(signal.SIGINT)
    if heard is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, heard)
