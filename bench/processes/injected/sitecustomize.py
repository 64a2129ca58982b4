"""Watches the processes of a runner from inside, since most of them live a tenth of a second.

Python imports it at the start of each, because its folder is on PYTHONPATH. It notes what a child
has spent when that is reaped, and with BENCH_SAMPLES where a process spends its time.
"""

import contextlib
import faulthandler
import os
import signal
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from typing import Any

_HERE = str(Path(__file__).parent)
_REAPED = os.environ.get("BENCH_REAPED")
"""File that gets a line for each child that is reaped."""
_SAMPLES = os.environ.get("BENCH_SAMPLES")
"""Folder that gets a file of stacks for each process."""
_SAMPLES_FD = 1000
"""Kernels close the descriptors that are not theirs; this one stays."""
_SAMPLE_SECONDS = 0.004
"""Of CPU between two samples: the system's own tick, on most machines."""

_waitid, _wait4, _waitpid = os.waitid, os.wait4, os.waitpid
_close, _closerange = os.close, os.closerange


def _note(pid: int) -> tuple[int, int]:
    """Reap a child that has ended, and note what it and those that it reaped have spent."""
    try:
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        name = "?"
    got, status, usage = _wait4(pid, 0)
    line = f"{os.getpid()} {got} {usage.ru_utime:.6f} {usage.ru_stime:.6f} {name}\n"
    out = os.open(str(_REAPED), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.write(out, line.encode())
    _close(out)
    return got, status


def _noting_waitpid(pid: int, options: int, /) -> tuple[int, int]:
    """As os.waitpid."""
    if pid < -1 or pid == 0 or options & ~os.WNOHANG:
        return _waitpid(pid, options)
    kind = os.P_ALL if pid == -1 else os.P_PID
    ended = _waitid(kind, max(pid, 0), os.WEXITED | os.WNOWAIT | options)
    return (0, 0) if ended is None else _note(ended.si_pid)


def _noting_waitid(kind: Any, ident: int, options: int, /) -> Any:
    """As os.waitid."""
    if options & os.WNOWAIT or not options & os.WEXITED:
        return _waitid(kind, ident, options)
    ended = _waitid(kind, ident, options | os.WNOWAIT)
    if ended is not None and ended.si_code in (os.CLD_EXITED, os.CLD_KILLED, os.CLD_DUMPED):
        _note(ended.si_pid)
    return ended


def _keeping_close(fd: int) -> None:
    """As os.close, but for the file of samples."""
    if fd != _SAMPLES_FD:
        _close(fd)


def _keeping_closerange(low: int, high: int, /) -> None:
    """As os.closerange, but for the file of samples."""
    _closerange(low, min(high, _SAMPLES_FD))
    _closerange(max(low, _SAMPLES_FD + 1), high)


def _sample() -> None:
    """Write the stack of the thread that runs, after each few milliseconds of CPU.

    Python's own handler of faults does it, inside the signal: so the place is the true one, also
    in the midst of a system call.
    """
    path = f"{_SAMPLES}/{os.getpid()}"
    out = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.dup2(out, _SAMPLES_FD, inheritable=False)
    _close(out)
    faulthandler.register(signal.SIGPROF, file=_SAMPLES_FD, all_threads=False)
    signal.setitimer(signal.ITIMER_PROF, _SAMPLE_SECONDS, _SAMPLE_SECONDS)


def _import_the_other() -> None:
    """Import the module of this name that this one hides."""
    others = [entry for entry in sys.path if entry != _HERE]
    spec = PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(module_from_spec(spec))


with contextlib.suppress(ImportError):
    _import_the_other()
if _REAPED:
    os.waitpid, os.waitid = _noting_waitpid, _noting_waitid
if _SAMPLES:
    os.close, os.closerange = _keeping_close, _keeping_closerange
    _sample()
    os.register_at_fork(after_in_child=_sample)
