"""What a kernel is held to by the system itself: its memory, its open files, its processes.

Sets limits of a process from outside (prlimit(2)), which its children inherit. Measures nothing.
"""

import contextlib
import os
import sys
from pathlib import Path

from runner.outcome import Value
from runner.request import Resources

KERNEL_MB = 64
"""What a kernel holds before its first cell and is not counted: an upper bound."""
STACK_MB = 8
NPROC_ROOM = 1024
"""For what else the user may start meanwhile."""
SPARE_FILES = 32
"""Between what a notebook may have open and what its kernel may: see `spare_files`."""
OOM_SCORE = 500
"""Of -1000 to 1000: with no memory left, the system ends a notebook before anything else."""
MEGABYTE = 1024 * 1024


class RunLimits(Value):
    """What one run may take; None is no limit."""

    memory_mb: int | None = None
    """All its processes together."""
    memory_key: str = "limits.memory_mb"
    """Where that was said."""
    processes: int | None = None
    """Threads are counted too."""
    open_files: int | None = None
    """Of each process."""
    message_bytes: int | None = None
    """The largest single message that is taken from its kernel."""


UNLIMITED = RunLimits()


def limits_of(limits: RunLimits, resources: Resources) -> RunLimits:
    """Those of one run: what it asks for itself, where it does, instead of what others have."""
    if resources.memory_mb is None:
        return limits
    asked = {"memory_mb": resources.memory_mb, "memory_key": "resources.memory_mb"}
    return limits.model_copy(update=asked)


def asks_for_more(limits: RunLimits, resources: Resources) -> bool:
    """Whether a run asks for more memory than kernels may have that wait: that can only sink."""
    held, asked = limits.memory_mb, resources.memory_mb
    return held is not None and asked is not None and asked > held


def hold(pid: int, limits: RunLimits, user_tasks: int | None) -> None:
    """Limit a kernel that has run nothing yet; Linux only, and no matter if it is gone.

    Its memory by what it may map in addition to what it has (RLIMIT_DATA), so that Python raises
    MemoryError. That counts the whole stack of each thread: those that numpy and pyarrow start for
    each core are allowed for. `user_tasks` is from `count_user_tasks`.
    """
    if not sys.platform.startswith("linux"):
        return
    import resource

    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        if limits.memory_mb is not None:
            hold_memory(pid, limits.memory_mb)
        if limits.open_files is not None:
            _limit(pid, resource.RLIMIT_NOFILE, limits.open_files, SPARE_FILES)
        if limits.processes is not None and user_tasks is not None:
            _limit(pid, resource.RLIMIT_NPROC, user_tasks + limits.processes + NPROC_ROOM)
        Path(f"/proc/{pid}/oom_score_adj").write_text(str(OOM_SCORE))


def hold_memory(pid: int, memory_mb: int) -> None:
    """Limit its memory alone, as `hold` does; a limit that it has already can only become lower."""
    if not sys.platform.startswith("linux"):
        return
    import resource

    size = memory_mb + 2 * STACK_MB * (os.cpu_count() or 1)
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        _limit(pid, resource.RLIMIT_DATA, _writable_bytes(pid) + size * MEGABYTE)


def count_user_tasks() -> int | None:
    """All processes and threads of this user, which RLIMIT_NPROC counts; None for root.

    The limit of one run can only be far above: it is there to let a fork bomb come to a stand
    while it is ended. The system does not hold root to it.
    """
    if os.getuid() == 0 or not sys.platform.startswith("linux"):
        return None
    count = 0
    for entry in os.scandir("/proc"):
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and entry.stat().st_uid == os.getuid():
                count += len(os.listdir(f"/proc/{entry.name}/task"))
    return count


def is_out_of_files(pid: int) -> bool:
    """Whether a process has as many files open as it may, but for the few that a failure closes."""
    if not sys.platform.startswith("linux"):
        return False
    import resource

    with contextlib.suppress(OSError):
        most, _ = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        return most != resource.RLIM_INFINITY and len(os.listdir(f"/proc/{pid}/fd")) >= most - 16
    return False


def _limit(pid: int, which: int, size: int, spare: int = 0) -> None:
    """Nothing beyond `size`; the process itself may raise it by `spare`."""
    import resource

    _, hard = resource.prlimit(pid, which)
    if hard != resource.RLIM_INFINITY:
        size = min(size, hard - spare)
    resource.prlimit(pid, which, (size, size + spare))


def _writable_bytes(pid: int) -> int:
    """What RLIMIT_DATA counts of it so far (proc(5), `statm`: data and stack)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[5])
    return pages * os.sysconf("SC_PAGE_SIZE")
