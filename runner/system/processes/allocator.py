"""The C library's memory of this process: how much of what is free it keeps.

For processes that live long and hold something large now and then. Knows nothing of Python's own.
"""

import ctypes
import os
import sys
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
"""mallopt(3)."""
_MMAP_BYTES = 256 * 1024
_ARENAS = 2
GROWN_BYTES = 16 << 20
_AGAIN_BYTES = 4 << 20


class Allocator:
    """Of this process, from its start: gives back what is free whenever it has grown.

    What it held at that time may have been in use just then, and be free later. So that counts for
    less with each look, and after some of them it is tried again.
    """

    def __init__(self) -> None:
        _keep_little()
        self._held = 0
        self._least = sys.maxsize

    def look(self) -> None:
        """To be called every few seconds; costs nothing while nothing large has come."""
        resident = _resident()
        if resident > self._held + GROWN_BYTES:
            _give_back()
            resident = self._held = _resident()
        else:
            self._held = max(self._least, min(resident, self._held - _AGAIN_BYTES))
        self._least = min(self._least, resident)


def _resident() -> int:
    """Bytes of memory that are no pages of files; 0 where that is not known."""
    try:
        words = Path("/proc/self/statm").read_bytes().split()
    except OSError:
        return 0
    return (int(words[1]) - int(words[2])) * os.sysconf("SC_PAGE_SIZE")


def _keep_little() -> None:
    """Large blocks go back to the system when they are free, however many threads there are.

    glibc keeps an arena for every few threads, and raises its threshold with each large block that
    was free once. Other C libraries have no such calls, and are left alone.
    """
    libc = _glibc()
    if libc is not None:
        libc.mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, _MMAP_BYTES)
        libc.mallopt(_M_ARENA_MAX, _ARENAS)


def _give_back() -> None:
    """Give back all that is free now (malloc_trim(3)); takes milliseconds for each 100 MB."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "malloc_trim") and hasattr(libc, "mallopt") else None
