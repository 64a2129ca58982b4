"""Says when the processes of one run have taken more than they may, all together.

By the run's control group, or by looking at its processes: the nearer they are to their limit, the
more often. Ends nothing but what it is asked to end.
"""

import os
import signal
import time
from abc import ABC, abstractmethod
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
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
"""Why a run was ended: more memory or processes than it may have, or none left in the machine."""
LOOK_SECONDS = 0.25
"""The longest time between two looks; a run that is over before the first is not looked at."""
LEAST_SECONDS = 0.01
LOOK_SHARE = 0.05
"""How much of a core may be spent on looking."""
GROWTH = 4 << 30
"""Bytes that a run may take in a second, about: what decides when to look again."""
KILL_SECONDS = 30.0
"""A tree of hundreds of processes that all want to run leaves little time for its end."""


class Guard(ABC):
    """Over one run, from its kernel's first cell to its end."""

    def __init__(self, kernel: RunningKernel, limits: RunLimits) -> None:
        self._kernel = kernel
        self._limits = limits
        self.shared = SharedMemory()

    def look(self) -> str | None:
        """Which limit is passed, if one is; to be asked now and then."""
        self.shared.look()
        return self._passed()

    def holds_too_much(self) -> bool:
        """Whether it holds more memory at its end than it may; waits for the answer."""
        return self.look() == MEMORY

    @abstractmethod
    def _passed(self) -> str | None:
        """Which limit is passed, if one is."""

    def pause(self) -> float:
        """Seconds until it should look again."""
        return LOOK_SECONDS

    @abstractmethod
    def why_killed(self) -> str | None:
        """Whether it was for memory that the system has ended the kernel."""

    @abstractmethod
    def peak(self) -> int:
        """The most memory that the run was seen to hold, in bytes; 0 if it was not seen."""

    def ended_by(self) -> int | None:
        """The signal that has ended the kernel, if it was one and is not collected yet."""
        return _signal_of(self._kernel.pidfd)

    def _limit_bytes(self) -> int:
        """What its processes may hold, with what a kernel has before its first cell."""
        memory_mb = self._limits.memory_mb
        return _NEVER if memory_mb is None else (memory_mb + KERNEL_MB) * MEGABYTE

    def kill(self) -> None:
        """End every process of the run."""
        self._kernel.kill()
        end_run(patience_seconds=KILL_SECONDS)


class _ByCgroup(Guard):
    """The system holds the run to its limits."""

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
        """A fork bomb may have left no time to look, and its end comes first."""
        return self._passed()

    def peak(self) -> int:
        """Before Linux 5.19 a group does not keep its peak; one that was full had its limit."""
        full = self._limit_bytes() if self._cgroup.was_full else 0
        return max(self._peak, self._cgroup.peak, full)

    def kill(self) -> None:
        """At once where it forks, which the system alone is quick enough for."""
        if self._cgroup.was_refused_a_task:
            self._cgroup.kill()
        super().kill()
        self._cgroup.kill()


@dataclass(frozen=True)
class _Measured:
    """What a run held, when its processes showed `most`; and what it cost to find that out."""

    own: int
    most: int
    at: float
    seconds: float


class _ByLooking(Guard):
    """The runner counts by itself, and is late by as much as a run takes between two looks.

    A cheap look gives what the processes hold at most. Only where that is too much it is measured
    what they really do: that walks through all their pages.
    """

    def __init__(self, kernel: RunningKernel, limits: RunLimits) -> None:
        super().__init__(kernel, limits)
        self._is_forked = kernel.channel is not None
        self._inherited: int | None = None
        self._kills = _system_kills()
        self._peak = 0
        self._left = self._limit_bytes()
        self._asker = ThreadPoolExecutor(1, thread_name_prefix="memory")
        self._asked: Future[_Measured] | None = None
        self._measured: _Measured | None = None

    def _passed(self) -> str | None:
        tasks, limit = self._limits.processes or _NEVER, self._limit_bytes()
        found = count(tasks + 1)
        if found.tasks > tasks:
            return PROCESSES
        self._seen(found.most - self._template() * len(found.pids))
        self._left = limit - found.most
        if self._left >= 0:
            return None
        if self._asked is None and self._is_due(found, limit):
            self._asked = self._asker.submit(_measure, found, is_forked=self._is_forked)
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
        """Measured anew: it may have taken most of it since the last look."""
        if count(self._limits.processes or _NEVER).most <= self._limit_bytes():
            return False
        self._answered(LAST_SECONDS)
        self._measured = None
        self.look()
        measured = self._answered(LAST_SECONDS)
        return measured is not None and measured.own > self._limit_bytes()

    def pause(self) -> float:
        """As long as the run needs to take what is left, if it hurries."""
        return min(max(self._left / GROWTH, LEAST_SECONDS), LOOK_SECONDS)

    def _is_due(self, found: Footprint, limit: int) -> bool:
        """Whether more may be held by now than was measured last, or that is long ago."""
        last = self._measured
        if last is None or found.most - last.most > limit - last.own:
            return True
        return time.monotonic() - last.at > last.seconds / LOOK_SHARE

    def _answered(self, seconds: float) -> _Measured | None:
        """What was measured last; None before the first answer."""
        if self._asked is not None:
            with suppress(TimeoutError):
                self._measured = self._asked.result(seconds)
                self._asked = None
        return self._measured

    def _template(self) -> int:
        """What each process has in common with the one that it was forked from."""
        if self._inherited is None:
            self._inherited = inherited_memory() if self._is_forked else 0
        return self._inherited

    def _seen(self, held: int) -> None:
        self._peak = max(self._peak, held)

    def why_killed(self) -> str | None:
        killed = _signal_of(self._kernel.pidfd) == signal.SIGKILL
        return MACHINE_MEMORY if killed and _system_kills() > self._kills else None

    def peak(self) -> int:
        self._seen(most_memory(self._kernel.pid) - self._template())
        return self._peak


def _measure(found: Footprint, *, is_forked: bool) -> _Measured:
    began = time.thread_time()
    own = own_memory(found.pids, is_forked=is_forked)
    return _Measured(own, found.most, time.monotonic(), time.thread_time() - began)


_NEVER = 1 << 40
LAST_SECONDS = 5.0
"""For the answer after a run's end, which nothing else waits for."""
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
