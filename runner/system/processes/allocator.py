"""Makes the C library return free memory of this process to the system.

For long-lived processes that sometimes hold something large. Leaves Python's own memory alone.
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
    """Returns free memory whenever this process has grown since its start.

    Memory in use at that moment may be free later. So the remembered size shrinks with each look,
    and after some looks it tries again.
    """

    def __init__(self) -> None:
        _keep_little()
        self._held = 0
        self._least = sys.maxsize

    def look(self) -> None:
        """Return memory if due. Call it every few seconds; usually it costs nothing."""
        resident = _resident()
        if resident > self._held + GROWN_BYTES:
            _give_back()
            resident = self._held = _resident()
        else:
            self._held = max(self._least, min(resident, self._held - _AGAIN_BYTES))
        self._least = min(self._least, resident)


def _resident() -> int:
    """Return the resident bytes without pages of files; 0 if unknown."""
    try:
        words = Path("/proc/self/statm").read_bytes().split()
    except OSError:
        return 0
    return (int(words[1]) - int(words[2])) * os.sysconf("SC_PAGE_SIZE")


def _keep_little() -> None:
    """Have the C library return large free blocks, however many threads there are.

    glibc keeps an arena for every few threads, and raises its threshold with each large block that
    was free once. Other C libraries have no such calls, and are left alone.
    """
    libc = _glibc()
    if libc is not None:
        libc.mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, _MMAP_BYTES)
        libc.mallopt(_M_ARENA_MAX, _ARENAS)


def _give_back() -> None:
    """Return all free memory now (malloc_trim(3)); takes milliseconds for each 100 MB."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "malloc_trim") and hasattr(libc, "mallopt") else None
