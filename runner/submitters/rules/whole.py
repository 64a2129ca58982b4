"""Tells which data files of the inbox are whole.

Data proves nothing by its content: a file is whole while nobody has it open for writing (a lease
says so), or once it has not changed for a while.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.inbox import write_lease
from runner.inbox.write_lease import Lease

LOCAL_SECONDS = 1.0
"""How long a file of a local disk must be unchanged if there is no right to a lease."""
YOUNG_NS = 8_000_000
CHUNK_BYTES = 1024 * 1024
"""Browsers upload large files in chunks, and close the file after each: JupyterLab by 1 MiB."""


@dataclass(frozen=True)
class DataFile:
    """A file of the inbox, as seen once; `path` is relative to the inbox."""

    path: str
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @property
    def may_be_cut(self) -> bool:
        """Whether more chunks may come: it has whole ones only, and was not renamed into place."""
        is_renamed = self.ctime_ns > self.mtime_ns
        return self.size > 0 and self.size % CHUNK_BYTES == 0 and not is_renamed

    def is_of(self, now: os.stat_result) -> bool:
        """Tell whether `now` describes the same file, unchanged."""
        return (now.st_ino, now.st_size, now.st_mtime_ns) == (
            self.inode,
            self.size,
            self.mtime_ns,
        )


class Wholeness:
    """Remembers the files of one inbox. `seconds` is monotonic, `wall_ns` the time of day."""

    def __init__(
        self, inbox: Path, seconds: Callable[[], float], wall_ns: Callable[[], int]
    ) -> None:
        self._inbox = inbox
        self._seconds = seconds
        self._wall_ns = wall_ns
        self._since: dict[str, float] = {}
        self._seen: dict[str, DataFile] = {}

    def keep(self, files: Sequence[DataFile]) -> None:
        """Remember these files, from when they have been as they are now; forget all others."""
        now, since, seen = self._seconds(), self._since, self._seen
        self._since = {
            file.path: since[file.path] if seen.get(file.path) == file else now for file in files
        }
        self._seen = {file.path: file for file in files}

    def is_whole(self, file: DataFile, data_seconds: float, *, has_leases: bool) -> bool:
        """Tell whether a remembered file is whole now."""
        unchanged = self._seconds() - self._since[file.path]
        if not has_leases:
            return unchanged >= data_seconds
        if 0 <= self._wall_ns() - file.ctime_ns < YOUNG_NS:
            return False
        try:
            fd = os.open(
                self._inbox / file.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            )
        except OSError:
            return False
        try:
            lease = write_lease.take(fd)
            if lease is Lease.UNAVAILABLE:
                return unchanged >= LOCAL_SECONDS
            if file.may_be_cut and unchanged < data_seconds:
                return False
            return lease is Lease.TAKEN and file.is_of(os.fstat(fd))
        finally:
            write_lease.close(fd)
