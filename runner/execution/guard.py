"""Says when the processes of one run have taken more than they may, all together.

By the run's control group, or by looking at its processes now and then. Ends nothing but what it
is asked to end.
"""

import os
import signal
from abc import ABC, abstractmethod
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from runner.execution.cgroup import Cgroup
from runner.execution.footprint import count, most_memory, own_memory
from runner.execution.kernel import RunningKernel
from runner.execution.limits import KERNEL_MB, MEGABYTE, RunLimits
from runner.execution.tree import end_descendants

MEMORY, MACHINE_MEMORY, PROCESSES = "memory", "machine memory", "processes"
"""Why a run was ended: more memory or processes than it may have, or none left in the machine."""
KILL_SECONDS = 30.0
"""A tree of hundreds of processes that all want to run leaves little time for its end."""


class Guard(ABC):
    """Over one run, from its kernel's first cell to its end."""

    def __init__(self, kernel: RunningKernel, limits: RunLimits) -> None:
        self._kernel = kernel
        self._limits = limits

    @abstractmethod
    def look(self) -> str | None:
        """Which limit is passed, if one is; to be asked now and then."""

    @abstractmethod
    def why_killed(self) -> str | None:
        """Whether it was for memory that the system has ended the kernel."""

    @abstractmethod
    def peak(self) -> int:
        """The most memory that the run was seen to hold, in bytes."""

    def kill(self) -> None:
        """End every process of the run."""
        self._kernel.kill()
        end_descendants(patience_seconds=KILL_SECONDS)


class _ByCgroup(Guard):
    """The system holds the run to its limits."""

    def __init__(self, kernel: RunningKernel, limits: RunLimits, cgroup: Cgroup) -> None:
        super().__init__(kernel, limits)
        self._cgroup = cgroup

    def look(self) -> str | None:
        if self._cgroup.was_refused_a_task:
            return PROCESSES
        return MEMORY if self._cgroup.ran_out_of_memory else None

    def why_killed(self) -> str | None:
        """A fork bomb may have left no time to look, and its end comes first."""
        return self.look()

    def peak(self) -> int:
        return max(self._cgroup.peak - KERNEL_MB * MEGABYTE, 0)

    def kill(self) -> None:
        self._cgroup.kill()
        super().kill()


class _ByLooking(Guard):
    """The runner counts by itself, and is late by as much as a run takes between two looks."""

    def __init__(self, kernel: RunningKernel, limits: RunLimits) -> None:
        super().__init__(kernel, limits)
        self._is_forked = kernel.channel is not None
        self._kills = _system_kills()
        self._peak = 0
        self._asker = ThreadPoolExecutor(1, thread_name_prefix="memory")
        self._asked: Future[int] | None = None

    def look(self) -> str | None:
        tasks, memory = self._limits.processes or _NEVER, self._limits.memory_mb or _NEVER
        found = count(tasks + 1)
        if found.tasks > tasks:
            return PROCESSES
        if self._asked is None and found.shown > memory * MEGABYTE:
            self._asked = self._asker.submit(own_memory, found.pids, is_forked=self._is_forked)
        own = self._answered()
        self._peak = max(self._peak, own)
        return MEMORY if own > memory * MEGABYTE else None

    def _answered(self) -> int:
        """What the run holds, as far as that is known already; 0 if it is not."""
        if self._asked is None:
            return 0
        try:
            found = self._asked.result(ANSWER_SECONDS)
        except TimeoutError:
            return 0
        self._asked = None
        return found - KERNEL_MB * MEGABYTE

    def why_killed(self) -> str | None:
        killed = _signal_of(self._kernel.pidfd) == signal.SIGKILL
        return MACHINE_MEMORY if killed and _system_kills() > self._kills else None

    def peak(self) -> int:
        most = most_memory(self._kernel.pid, is_forked=self._is_forked)
        return max(self._peak, most - KERNEL_MB * MEGABYTE, 0)


_NEVER = 1 << 40
ANSWER_SECONDS = 0.1
"""To ask for the memory of a process that forks is to wait for it; a bomb makes that a minute."""


def guard_of(kernel: RunningKernel, limits: RunLimits, cgroup: Cgroup | None) -> Guard:
    """The guard over a kernel; `cgroup` is the group that it is in."""
    if cgroup is not None:
        return _ByCgroup(kernel, limits, cgroup)
    return _ByLooking(kernel, limits)


def _system_kills() -> int:
    """How many processes this machine has ended for want of memory (proc(5), `vmstat`)."""
    try:
        lines = Path("/proc/vmstat").read_bytes().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(b"oom_kill ")), 0)


def _signal_of(pidfd: int) -> int | None:
    """The signal that has ended a child, which stays to be waited for."""
    try:
        found = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    if found is None or found.si_code not in (os.CLD_KILLED, os.CLD_DUMPED):
        return None
    return found.si_status
