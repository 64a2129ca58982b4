"""Sets the limits that the system itself enforces on a kernel: open files and processes.

Sets them from outside (prlimit(2)), and children inherit them. Measures nothing.
"""

import contextlib
import os
import sys
from pathlib import Path

from runner.contract.outcome import Value
from runner.contract.request import Resources

KERNEL_MB = 64
"""Upper bound of a kernel's memory before its first cell, and besides its notebook's."""
NPROC_ROOM = 1024
"""Room for other processes that the user may start meanwhile."""
SPARE_FILES = 32
"""Descriptors that the kernel has beyond those of its notebook: see `spare_files`."""
OOM_SCORE = 500
"""From -1000 to 1000: with no memory left, the system ends a notebook before anything else."""
MEGABYTE = 1024 * 1024


class RunLimits(Value):
    """Limits of one run; None is no limit."""

    memory_mb: int | None = None
    """For all its processes together."""
    memory_key: str = "limits.memory_mb"
    """The key that set it, for messages."""
    most_memory_mb: int | None = None
    """The general limit, if `memory_mb` is the request's own."""
    processes: int | None = None
    """Including threads."""
    open_files: int | None = None
    """For each process."""
    message_bytes: int | None = None
    """The largest single message that its kernel may send."""


UNLIMITED = RunLimits()


def limits_of(limits: RunLimits, resources: Resources) -> RunLimits:
    """Return the limits of one run: its own request where it names one, else the general ones."""
    if resources.memory_mb is None:
        return limits
    own = {
        "memory_mb": resources.memory_mb,
        "memory_key": "resources.memory_mb",
        "most_memory_mb": limits.memory_mb,
    }
    return limits.model_copy(update=own)


def hold(pid: int, limits: RunLimits, user_tasks: int | None) -> None:
    """Limit a kernel that has run nothing yet; Linux only. A kernel that is gone is ignored.

    This leaves memory alone: the system can only limit address space (RLIMIT_DATA, RLIMIT_AS),
    which pyarrow, polars, a JVM and the stack of each thread reserve by the gigabyte and never use.
    `guard` counts held memory. `user_tasks` is from `count_user_tasks`.
    """
    if not sys.platform.startswith("linux"):
        return
    import resource

    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        if limits.open_files is not None:
            _limit(pid, resource.RLIMIT_NOFILE, limits.open_files, SPARE_FILES)
        if limits.processes is not None and user_tasks is not None:
            _limit(pid, resource.RLIMIT_NPROC, user_tasks + limits.processes + NPROC_ROOM)
        Path(f"/proc/{pid}/oom_score_adj").write_text(str(OOM_SCORE))


def count_user_tasks() -> int | None:
    """Count this user's processes and threads, as RLIMIT_NPROC does; None for root.

    The limit of one run can only be far above: it stops a fork bomb while the bomb is being ended.
    The system does not hold root to it.
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
    """Return whether a process has all its files open, less the few that a failure closes."""
    if not sys.platform.startswith("linux"):
        return False
    import resource

    with contextlib.suppress(OSError):
        most, _ = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        return most != resource.RLIM_INFINITY and len(os.listdir(f"/proc/{pid}/fd")) >= most - 16
    return False


def _limit(pid: int, which: int, size: int, spare: int = 0) -> None:
    """Limit a resource to `size`; the process itself may raise it by `spare`."""
    import resource

    _, hard = resource.prlimit(pid, which)
    if hard != resource.RLIM_INFINITY:
        size = min(size, hard - spare)
    resource.prlimit(pid, which, (size, size + spare))
