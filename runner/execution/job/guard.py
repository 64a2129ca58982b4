"""Watches the memory and the processes of one run, and says when it passes a limit.

Uses the run's control group, or looks at its processes: the nearer they are to their limit, the
more often. Ends nothing unless asked.
"""

import os
import signal
import time
from abc import ABC, abstractmethod
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from runner.execution.kernel.running import RunningKernel
from runner.execution.limits.cgroup import Cgroup
from runner.execution.limits.footprint import (
    Footprint,
    count,
    inherited_memory,
    most_memory,
    own_memory,
)
from runner.execution.limits.hold import KERNEL_MB, MEGABYTE, RunLimits
from runner.execution.limits.shared_memory import SharedMemory, end_run

MEMORY, MACHINE_MEMORY, PROCESSES = "memory", "machine memory", "processes"
"""Reasons to end a run: too much memory, none left in the machine, too many processes."""
LOOK_SECONDS = 0.25
"""Longest time between two looks; a run that ends before the first is never looked at."""
LEAST_SECONDS = 0.01
LOOK_SHARE = 0.05
"""Share of a core that looking may use."""
GROWTH = 4 << 30
"""Bytes that a run may take in a second, about: sets the time of the next look."""
KILL_SECONDS = 30.0
"""Time to end a tree: hundreds of processes that all want to run leave little time for it."""


class Guard(ABC):
    """Watches one run, from its kernel's first cell to its end."""

    def __init__(self, kernel: RunningKernel, limits: RunLimits) -> None:
        self._kernel = kernel
        self._limits = limits
        self._spared = frozenset(() if kernel.zygote is None else (kernel.zygote,))
        self.shared = SharedMemory()

    def look(self) -> str | None:
        """Return the limit that is passed, if one is. Call it now and then."""
        self.shared.look()
        return self._passed()

    def holds_too_much(self) -> bool:
        """Return whether the run holds too much memory at its end; waits for the answer."""
        return self.look() == MEMORY

    @abstractmethod
    def _passed(self) -> str | None:
        """Return the limit that is passed, if one is."""

    def pause(self) -> float:
        """Return the seconds until the next look."""
        return LOOK_SECONDS

    @abstractmethod
    def why_killed(self) -> str | None:
        """Return the memory reason if the system killed the kernel for memory."""

    @abstractmethod
    def peak(self) -> int:
        """Return the most memory seen, in bytes; 0 if none was."""

    def ended_by(self) -> int | None:
        """Return the signal that ended the kernel, if one did and it is not collected yet."""
        return None if self._kernel.is_alive() else self._kernel.ended_by()

    def _limit_bytes(self) -> int:
        """Bytes that the processes may hold, including the kernel's own before its first cell."""
        memory_mb = self._limits.memory_mb
        return _NEVER if memory_mb is None else (memory_mb + KERNEL_MB) * MEGABYTE

    def kill(self) -> None:
        """End every process of the run."""
        self._kernel.kill()
        end_run(keep=self._spared, patience_seconds=KILL_SECONDS)


class _ByCgroup(Guard):
    """Guards by a control group: the system enforces the limits."""

    def __init__(self, kernel: RunningKernel, limits: RunLimits, cgroup: Cgroup) -> None:
        super().__init__(kernel, limits)
        self._cgroup = cgroup
        self._peak = 0

    def _passed(self) -> str | None:
        self._peak = max(self._peak, self._cgroup.peak)
        if self._cgroup.was_refused_a_task:
            return PROCESSES
        return MEMORY if self._cgroup.ran_out_of_memory else None

    def why_killed(self) -> str | None:
        """Return the limit that is passed: a fork bomb may have left no time to look before."""
        return self._passed()

    def peak(self) -> int:
        """Return the peak; before Linux 5.19 none is kept, and a full group had its limit."""
        full = self._limit_bytes() if self._cgroup.was_full else 0
        return max(self._peak, self._cgroup.peak, full)

    def kill(self) -> None:
        """Kill the group at once if it forks: only the system is quick enough for that."""
        if self._cgroup.was_refused_a_task:
            self._cgroup.kill()
        super().kill()
        self._cgroup.kill()


@dataclass(frozen=True)
class _Measured:
    """One measurement: the memory held when the processes showed `most`, and its cost."""

    own: int
    most: int
    at: float
    seconds: float


class _ByLooking(Guard):
    """Guards by looking at the processes, late by the growth between two looks.

    A cheap look gives an upper bound. Only if that is too high, the exact figure is measured, which
    walks through all pages.
    """

    def __init__(self, kernel: RunningKernel, limits: RunLimits) -> None:
        super().__init__(kernel, limits)
        self._template_pid = _template_of(kernel)
        self._kills = _system_kills()
        self._peak = 0
        self._left = self._limit_bytes()
        self._asker = ThreadPoolExecutor(1, thread_name_prefix="memory")
        self._pending: Future[_Measured] | None = None
        self._measured: _Measured | None = None

    def _passed(self) -> str | None:
        tasks, limit = self._limits.processes or _NEVER, self._limit_bytes()
        footprint = count(tasks + 1, leave=self._spared)
        if footprint.tasks > tasks:
            return PROCESSES
        self._seen(footprint.most - self._template() * len(footprint.pids))
        self._left = limit - footprint.most
        if self._left >= 0:
            return None
        if self._pending is None and self._is_due(footprint, limit):
            self._pending = self._asker.submit(_measure, footprint, self._template_pid)
        measured = self._answered(ANSWER_SECONDS)
        if measured is None:
            return None
        self._left = max(limit - measured.own, 0)
        if measured.own <= limit:
            return None
        self._seen(measured.own)
        self._seen(most_memory(self._kernel.pid) - self._template())
        return MEMORY

    def holds_too_much(self) -> bool:
        """Measure anew: the run may have taken most of it since the last look."""
        if count(self._limits.processes or _NEVER, leave=self._spared).most <= self._limit_bytes():
            return False
        self._answered(LAST_SECONDS)
        self._measured = None
        self.look()
        measured = self._answered(LAST_SECONDS)
        return measured is not None and measured.own > self._limit_bytes()

    def pause(self) -> float:
        """Return the time in which a fast run could take the rest."""
        return min(max(self._left / GROWTH, LEAST_SECONDS), LOOK_SECONDS)

    def _is_due(self, footprint: Footprint, limit: int) -> bool:
        """Return whether the last measurement is too old or too low."""
        last = self._measured
        if last is None or footprint.most - last.most > limit - last.own:
            return True
        return time.monotonic() - last.at > last.seconds / LOOK_SHARE

    def _answered(self, seconds: float) -> _Measured | None:
        """Return the last measurement; None before the first."""
        if self._pending is not None:
            with suppress(TimeoutError):
                self._measured = self._pending.result(seconds)
                self._pending = None
        return self._measured

    def _template(self) -> int:
        """Return the memory that each process shares with the one that it was forked from."""
        return 0 if self._template_pid is None else _inherited(self._template_pid)

    def _seen(self, held: int) -> None:
        self._peak = max(self._peak, held)

    def why_killed(self) -> str | None:
        killed = self._kernel.ended_by() == signal.SIGKILL
        return MACHINE_MEMORY if killed and _system_kills() > self._kills else None

    def peak(self) -> int:
        self._seen(most_memory(self._kernel.pid) - self._template())
        return self._peak


@cache
def _inherited(template: int) -> int:
    """Return the memory that a process shares with those that were forked as it was.

    Measured once: it takes milliseconds, and the kernels of later runs are forked from the same.
    """
    return inherited_memory(template)


def _template_of(kernel: RunningKernel) -> int | None:
    """Return a process with the pages that the kernel was forked with; None if it was started."""
    if kernel.channel is None:
        return None
    return kernel.zygote or os.getpid()


def _measure(footprint: Footprint, template: int | None) -> _Measured:
    began = time.thread_time()
    own = own_memory(footprint.pids, template)
    return _Measured(own, footprint.most, time.monotonic(), time.thread_time() - began)


_NEVER = 1 << 40
LAST_SECONDS = 5.0
"""Time to wait for the answer after a run's end; nothing else waits for it."""
ANSWER_SECONDS = 0.1
"""Time for one answer: reading the memory of a forking process is slow, of a bomb a minute."""


def guard_of(kernel: RunningKernel, limits: RunLimits, cgroup: Cgroup | None) -> Guard:
    """Create the guard over a kernel; `cgroup` is the kernel's group."""
    if cgroup is not None:
        return _ByCgroup(kernel, limits, cgroup)
    return _ByLooking(kernel, limits)


def _system_kills() -> int:
    """Count the processes that this machine has killed for lack of memory (proc(5), `vmstat`)."""
    try:
        lines = Path("/proc/vmstat").read_bytes().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(b"oom_kill ")), 0)
