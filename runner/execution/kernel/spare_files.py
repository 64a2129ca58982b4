"""Descriptors withheld from a notebook, so that its kernel can report that all are used up.

Lends them to the whole process while somebody in it needs them. Opens nothing itself.
"""

import contextlib
import resource
import threading
from collections.abc import Iterator

from runner.execution.limits.hold import SPARE_FILES

_lock = threading.Lock()
_borrowers = 0
_soft = 0


@contextlib.contextmanager
def spare_files() -> Iterator[None]:
    """Let this process open `SPARE_FILES` more within the block, up to its hard limit.

    Threads borrow together: the first raises the limit, and the last puts it back.
    """
    global _borrowers, _soft
    with _lock:
        _borrowers += 1
        if _borrowers == 1:
            _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            if _soft != resource.RLIM_INFINITY:
                more = _soft + SPARE_FILES
                more = more if hard == resource.RLIM_INFINITY else min(more, hard)
                resource.setrlimit(resource.RLIMIT_NOFILE, (more, hard))
    try:
        yield
    finally:
        with _lock:
            _borrowers -= 1
            if _borrowers == 0:
                _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
                resource.setrlimit(resource.RLIMIT_NOFILE, (_soft, hard))
