"""Counts a run's processes, and the memory that they hold of their own.

Reads the system's figures (proc(5)), or psutil's if there are none. Ends nothing.
"""

import contextlib
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import psutil

from runner.system.processes.process_tree import children

_Number = TypeVar("_Number", int, float)
_KILOBYTE = 1024
_HAS_PROC = Path("/proc/self/status").exists()
_HELD = (b"RssAnon", b"RssShmem", b"VmSwap", b"HugetlbPages")
"""Lines that add up to held memory: resident pages except those of files (proc(5), `status`)."""


@dataclass(frozen=True)
class Footprint:
    """Memory and tasks of a run's processes at one moment."""

    pids: tuple[int, ...]
    tasks: int
    """Processes and threads: the system counts both against its own limits."""
    most: int
    """Upper bound of their memory in bytes: a page that several share counts several times.

    Pages of files on a disk do not count: the system takes them back when it needs them.
    """


def count(enough: int, leave: Collection[int] = ()) -> Footprint:
    """Count all descendants of this process, without those in `leave` themselves.

    Counting ends at `enough` tasks, because a fork bomb grows faster than it is walked through.
    """
    pids: list[int] = []
    tasks = most = 0
    for pid in _descendants():
        if pid in leave:
            continue
        status = _status(pid)
        pids.append(pid)
        tasks += status.threads
        most += status.memory
        if tasks >= enough:
            break
    return Footprint(tuple(pids), tasks, most)


@dataclass(frozen=True)
class Spent:
    """What processes have used up to now: CPU seconds, and bytes written to disks."""

    cpu_seconds: float | None
    written_bytes: int | None

    def since(self, before: "Spent") -> "Spent":
        """Return what was used since an earlier look."""
        return Spent(
            _difference(self.cpu_seconds, before.cpu_seconds),
            _difference(self.written_bytes, before.written_bytes),
        )


def spent(most: int = 1_000) -> Spent:
    """Sum up what all descendants of this process have used, with what they have waited for.

    Sources: proc(5), `stat` and `io`. A figure is None where the system does not tell; `most`
    processes are looked at.
    """
    if not _HAS_PROC:
        return Spent(None, None)
    seconds, written = 0.0, 0
    for pid in islice(_descendants(), most):
        try:
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
            seconds += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
            lines = Path(f"/proc/{pid}/io").read_bytes().splitlines()
            written += sum(int(line[12:]) for line in lines if line.startswith(b"write_bytes:"))
        except (OSError, ValueError, IndexError):  # it has just ended, or is not to be read
            continue
    return Spent(seconds, written)


def own_memory(pids: Collection[int], template: int | None) -> int:
    """Return the bytes that would be free without these processes; takes milliseconds for each.

    This is the sum of all pages, each divided by the number of processes that hold it. `template`
    is a process that has the pages with which they were forked, if they were: each has the same
    part of these.
    """
    if not _HAS_PROC:
        return sum(_unique_by_psutil(pid) for pid in pids)
    total = sum(_pages(pid).part for pid in pids)
    if template is None:
        return total
    shared = _pages(template)
    return max(total - min(shared.inherited_part * len(pids), shared.inherited), 0)


def held_memory(pid: int) -> int:
    """Return the bytes that one process holds, with everything that it shares; 0 if it is gone."""
    return _status(pid).memory


def inherited_memory(template: int) -> int:
    """Return the bytes that this process shares with those that were forked as it was."""
    return _pages(template).inherited if _HAS_PROC else 0


def most_memory(pid: int) -> int:
    """Estimate the most bytes that a process has ever held, shared ones too; 0 if it is gone.

    The system's figure (VmHWM) includes pages of files, so the present ones are subtracted.
    """
    if not _HAS_PROC:
        return 0
    fields = _fields(f"/proc/{pid}/status")
    return max(fields.get(b"VmHWM", 0) - fields.get(b"RssFile", 0), 0)


@dataclass(frozen=True)
class _Status:
    threads: int
    memory: int


@dataclass(frozen=True)
class _Pages:
    """A process's memory in bytes, each page divided by the number of processes that hold it."""

    part: int
    own: int
    whole: int

    @property
    def inherited(self) -> int:
        """Anonymous pages that it shares: of one that has just been forked, all of them."""
        return max(self.whole - self.own, 0)

    @property
    def inherited_part(self) -> int:
        """The same, divided."""
        return max(self.part - self.own, 0)


def _descendants() -> Iterator[int]:
    pending = children(os.getpid())
    while pending:
        pid = pending.pop()
        yield pid
        pending.extend(children(pid))


def _status(pid: int) -> _Status:
    if not _HAS_PROC:
        return _Status(1, _unique_by_psutil(pid))
    fields = _fields(f"/proc/{pid}/status")
    memory = sum(fields.get(name, 0) for name in _HELD)
    return _Status(fields.get(b"Threads", _KILOBYTE) // _KILOBYTE, memory)


def _pages(pid: int) -> _Pages:
    """Sum over a process's mappings; one that may not be read counts as a whole."""
    fields = _fields(f"/proc/{pid}/smaps_rollup")
    if not fields:
        whole = _status(pid).memory
        return _Pages(whole, whole, whole)
    part = fields.get(b"Pss_Anon", fields.get(b"Pss", 0)) + fields.get(b"Pss_Shmem", 0)
    huge = fields.get(b"Private_Hugetlb", 0) + fields.get(b"Shared_Hugetlb", 0)
    return _Pages(
        part=part + huge + fields.get(b"SwapPss", 0),
        own=fields.get(b"Private_Dirty", 0),
        whole=fields.get(b"Anonymous", 0),
    )


def _fields(path: str) -> dict[bytes, int]:
    """Read a file of lines like `VmRSS:  1234 kB`, times 1024; empty if it is gone."""
    numbers: dict[bytes, int] = {}
    with contextlib.suppress(OSError), open(path, "rb") as file:
        for line in file.read().splitlines():
            name, _, rest = line.partition(b":")
            words = rest.split()
            if words and words[0].isdigit():
                numbers[name] = int(words[0]) * _KILOBYTE
    return numbers


def _difference(now: _Number | None, before: _Number | None) -> _Number | None:
    return None if now is None or before is None else max(now - before, type(now)(0))


def _unique_by_psutil(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_full_info().uss)
    except psutil.Error:
        return 0
