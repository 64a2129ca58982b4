"""Manages the process tree under this process: adopts orphans, and ends everything.

Linux calls with a fallback by psutil. Knows nothing of jobs.
"""

import contextlib
import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Collection, Iterator
from pathlib import Path

import psutil

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
ROUND_SECONDS = 0.02
"""Longest wait before the tree is looked at again: what dies may have started something."""
MANY = 64
"""From so many processes on, they are not ended one by one."""
INSTANCE = "RUNNER_INSTANCE"
"""Environment variable that marks every process started for a runner's state folder."""


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends (prctl(2), Linux only)."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def hear_signals_again() -> None:
    """Undo in a new process what a server ignores or handles: end, hang-up, interrupt, child.

    What is ignored stays so in every program that is started, and then no `Pool.terminate` ends.
    """
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def die_with_parent(parent: int) -> None:
    """Be killed when the parent's main thread ends; for children of a single-threaded parent."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if sys.platform.startswith("linux") and os.getppid() != parent:
        os._exit(1)


def end_descendants(
    keep: Collection[int] = (), spare: Collection[int] = (), patience_seconds: float = 5.0
) -> bool:
    """Kill all descendants of this process but `keep`, and reap those that are its children.

    The descendants of those in `spare` live on too. Goes round until none is left, because a dying
    process hands its children up. False if some could not be ended in time.
    """
    deadline = time.monotonic() + patience_seconds
    left = _signal_descendants(signal.SIGKILL, keep, spare)
    if len(left) > MANY:
        _freeze(keep, spare, deadline)
    while left:
        _await_ends(left)
        for pid in left:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        if time.monotonic() > deadline:
            return False
        left = _signal_descendants(signal.SIGKILL, keep, spare)
    return True


def _await_ends(pids: Collection[int]) -> None:
    """Wait a little until the first of these processes have ended; some may be gone already."""
    deadline = time.monotonic() + ROUND_SECONDS
    for pid in pids:
        with contextlib.suppress(OSError), _opened(pid) as fd:
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            poll.poll(max(deadline - time.monotonic(), 0.0) * 1000)
    time.sleep(0.0005)  # for who collects them, if that is not this process


@contextlib.contextmanager
def _opened(pid: int) -> Iterator[int]:
    fd = os.pidfd_open(pid)
    try:
        yield fd
    finally:
        os.close(fd)


def _signal_descendants(number: int, keep: Collection[int], spare: Collection[int]) -> list[int]:
    """Signal each process before looking for its children: so it starts no more meanwhile."""
    signalled: list[int] = []
    pending = children(os.getpid())
    while pending:
        pid = pending.pop()
        if pid in spare:
            continue
        if pid not in keep:
            signalled.append(pid)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        pending.extend(children(pid))
    return signalled


def _freeze(keep: Collection[int], spare: Collection[int], deadline: float) -> None:
    """Stop a tree that may grow as fast as it is killed.

    A killed process leaves its place to a new one. A stopped one keeps its place, until a limit on
    their number prevents new ones.
    """
    known: set[int] = set()
    while time.monotonic() < deadline:
        stopped = set(_signal_descendants(signal.SIGSTOP, keep, spare))
        if stopped <= known:
            break
        known |= stopped


def come_before_others() -> None:
    """Let this thread run before all ordinary ones, if it may (sched(7), CAP_SYS_NICE).

    For a thread that rarely runs, and must when others leave no time. Its children are ordinary.
    """
    with contextlib.suppress(AttributeError, OSError):
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))


def end_marked(instance: str) -> list[int]:
    """Kill the processes of an earlier owner of this state folder, and wait for their end.

    The one owner calls it before it starts anything itself.
    """
    marked = [p for p in psutil.process_iter() if p.pid != os.getpid() and _mark(p) == instance]
    for process in marked:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(marked, timeout=5)
    return [process.pid for process in marked]


def _mark(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(INSTANCE)
    except (psutil.Error, OSError):
        return None


def children(pid: int) -> list[int]:
    """List the children of a process; empty if it is gone.

    Reads the system's own lists (proc(5), `children`) if it keeps them: psutil reads every process
    of the machine.
    """
    if not _HAS_LISTS:
        try:
            return [child.pid for child in psutil.Process(pid).children()]
        except psutil.Error:
            return []
    pids: list[int] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with (
                contextlib.suppress(FileNotFoundError, ProcessLookupError),
                open(f"/proc/{pid}/task/{thread}/children", "rb", buffering=0) as lines,
            ):
                pids.extend(map(int, lines.readall().split()))
    return pids


def is_stopped(pid: int) -> bool:
    """Return whether a process is held up by a signal or a debugger (proc(5), `stat`)."""
    try:
        states = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return False
    return states[0] in (b"T", b"t")


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process, its descendants, and those that it has reaped."""
    total, pending = 0.0, [pid]
    while pending:
        one = pending.pop()
        with contextlib.suppress(psutil.Error):
            total += sum(psutil.Process(one).cpu_times()[:4])
            pending.extend(children(one))
    return total


_HAS_LISTS = Path("/proc/thread-self/children").exists()


def _prctl(option: int, value: int) -> None:
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")
