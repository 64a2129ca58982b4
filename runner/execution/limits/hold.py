"""What a kernel is held to by the system itself: its open files and its processes.

Sets limits of a process from outside (prlimit(2)), which its children inherit. Measures nothing.
"""

import contextlib
import os
import sys
from pathlib import Path

from runner.contract.outcome import Value
from runner.contract.request import Resources

KERNEL_MB = 64
"""What a kernel holds before its first cell and may have besides: an upper bound."""
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


def hold(pid: int, limits: RunLimits, user_tasks: int | None) -> None:
    """Limit a kernel that has run nothing yet; Linux only, and no matter if it is gone.

    Not its memory: all that the system limits for one process is address space (RLIMIT_DATA,
    RLIMIT_AS), and that is reserved by the gigabyte and never used (pyarrow, polars, a JVM, the
    stack of each thread). `guard` counts what is held. `user_tasks` is from `count_user_tasks`.
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
