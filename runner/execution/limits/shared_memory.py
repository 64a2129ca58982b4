"""Removes the shared memory of one run together with its processes.

That is files of /dev/shm that only its processes were seen to use, and segments of System V. Leaves
alone any that existed before the run, or belong to somebody else by now.
"""

import contextlib
import ctypes
import logging
import os
import select
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from runner.system.processes.process_tree import MANY, children, end_descendants

log = logging.getLogger(__name__)

FOLDER = Path("/dev/shm")  # noqa: S108 - where the system keeps POSIX shared memory (shm_overview(7))
SEGMENTS = Path("/proc/sysvipc/shm")
TRACKER_SECONDS = 2.0
"""Time for Python's resource trackers to clean up after their process."""
_TRACKER = b"resource_tracker"
_IPC_RMID = 0


class _Entry(NamedTuple):
    path: str
    inode: int


class SharedMemory:
    """Tracks the shared memory of the processes below this one, from now on."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder
        self._before = frozenset(_entries(folder))
        self._changed_at = _change_of(folder)
        self._segments_before = frozenset(_segments())
        self._used: set[_Entry] = set()
        self._pids: set[int] = set()

    @property
    def is_used(self) -> bool:
        """Whether the run was seen to use any."""
        return bool(self._used)

    def look(self, *, is_last: bool = False) -> None:
        """Note the files in use; costs next to nothing while none is made or removed."""
        changed_at = _change_of(self._folder)
        is_same = changed_at == self._changed_at and self._segments_before.issuperset(_segments())
        if is_same and not is_last:
            return
        self._changed_at = changed_at
        pids = list(_below(os.getpid()))
        self._pids.update(pids)
        new = set(_entries(self._folder)) - self._before
        if new:
            used = set().union(*(_used_by(pid, self._folder) for pid in pids))
            self._used |= {one for one in new if one.path in used}

    def remove(self) -> None:
        """Remove the rest, after the run's processes have ended."""
        self._remove_segments()
        left = self._used & set(_entries(self._folder)) if self._used else set()
        if not left:
            return
        elsewhere = set().union(*(_used_by(pid, self._folder) for pid in _all_pids()))
        for one in left:
            if one.path in elsewhere:
                continue
            log.info("removing %d bytes of shared memory: %s", _size_of(one.path), one.path)
            with contextlib.suppress(OSError):
                Path(one.path).unlink()
            with contextlib.suppress(OSError):
                if Path(one.path).parent != self._folder:
                    Path(one.path).parent.rmdir()

    def _remove_segments(self) -> None:
        """Remove segments that a process of the run made and nobody has attached."""
        for identity, creator, users in set(_segments()) - self._segments_before:
            if creator in self._pids and not users:
                ctypes.CDLL(None).shmctl(identity, _IPC_RMID, None)


def end_run(keep: Collection[int] = (), patience_seconds: float = 5.0) -> bool:
    """Kill all descendants of this process except `keep`, and let resource trackers do their work.

    A tracker of Python or joblib ends by itself when its processes are gone, and first removes
    their shared memory and temporary folders. False if some could not be ended in time.
    """
    trackers = _trackers()
    if trackers:
        end_descendants(keep=keep, spare=trackers, patience_seconds=patience_seconds)
        _wait_for(trackers)
    return end_descendants(keep=keep, patience_seconds=patience_seconds)


def _wait_for(pids: Collection[int]) -> None:
    deadline = time.monotonic() + TRACKER_SECONDS
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            fd = os.pidfd_open(pid)
            try:
                select.select([fd], [], [], max(deadline - time.monotonic(), 0))
            finally:
                os.close(fd)


def _trackers() -> list[int]:
    trackers = []
    for number, pid in enumerate(_below(os.getpid())):
        if number >= MANY:
            return []
        with contextlib.suppress(OSError):
            if _TRACKER in Path(f"/proc/{pid}/cmdline").read_bytes():
                trackers.append(pid)
    return trackers


def _below(pid: int) -> Iterator[int]:
    pending = children(pid)
    while pending:
        one = pending.pop()
        yield one
        pending.extend(children(one))


def _all_pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _used_by(pid: int, folder: Path) -> set[str]:
    """List the paths below `folder` that a process has mapped or open, as far as it may be read."""
    start = f"{folder}/"
    paths = set()
    with contextlib.suppress(OSError), open(f"/proc/{pid}/maps", "rb") as file:
        for line in file:
            _, mark, rest = line.partition(start.encode())
            if mark:
                paths.add(start + os.fsdecode(rest.rstrip(b"\n")))
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                path = str(Path(f"/proc/{pid}/fd/{name}").readlink())
                if path.startswith(start):
                    paths.add(path)
    return paths


def _entries(folder: Path, *, is_inner: bool = False) -> Iterator[_Entry]:
    """List the files of a folder, and of the folders in it."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if entry.is_dir(follow_symlinks=False) and not is_inner:
                    yield from _entries(Path(entry.path), is_inner=True)
                elif entry.is_file(follow_symlinks=False):
                    yield _Entry(entry.path, entry.inode())


def _segments() -> Iterator[tuple[int, int, int]]:
    """List System V shared memory (proc(5), `sysvipc/shm`): id, creator, number of users."""
    with contextlib.suppress(OSError):
        for line in SEGMENTS.read_text().splitlines()[1:]:
            words = line.split()
            yield int(words[1]), int(words[4]), int(words[6])


def _change_of(folder: Path) -> int:
    with contextlib.suppress(OSError):
        return folder.stat().st_mtime_ns
    return 0


def _size_of(path: str | Path) -> int:
    with contextlib.suppress(OSError):
        return Path(path).stat().st_size
    return 0
