"""Watches the processes of a runner from inside, since most of them live a tenth of a second.

Python imports it at the start of each, because its folder is on PYTHONPATH. It notes what a child
has spent when that is reaped, and with BENCH_SAMPLES where a process spends its time.
"""

import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from types import FrameType
from typing import Any

_HERE = str(Path(__file__).parent)
_REAPED = os.environ.get("BENCH_REAPED")
"""File that gets a line for each child that is reaped."""
_SAMPLES = os.environ.get("BENCH_SAMPLES")
"""Folder that gets a file of stacks for each process."""
_SAMPLE_SECONDS, _SWITCH_SECONDS, _LEAST_SECONDS = 0.004, 0.0005, 0.0001
"""Of CPU between two samples, the system's own tick on most machines; until a thread gives way; of
CPU that is worth a line."""

_waitid, _wait4, _waitpid = os.waitid, os.wait4, os.waitpid
_bootstrap = threading.Thread._bootstrap_inner  # type: ignore[attr-defined]
_seen: dict[int, float] = {}
"""The CPU of each thread when it was looked at last."""


def _append(path: str, text: str) -> None:
    """Add to a file that is opened each time: kernels close what is not theirs."""
    out = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.write(out, text.encode(errors="replace"))
    os.close(out)


def _note(pid: int) -> tuple[int, int]:
    """Reap a child that has ended, and note what it and those that it reaped have spent."""
    try:
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        name = "?"
    got, status, usage = _wait4(pid, 0)
    line = f"{os.getpid()} {got} {usage.ru_utime:.6f} {usage.ru_stime:.6f} {name}\n"
    _append(str(_REAPED), line)
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


def _on_sample(number: int, frame: FrameType | None) -> None:
    """Write where each thread is that has used CPU since the last time, and how much."""
    del number
    lines = []
    main = threading.main_thread().ident
    for thread, top in sys._current_frames().items():
        try:
            used = time.clock_gettime(time.pthread_getcpuclockid(thread))
        except OSError:  # it has just ended
            continue
        took = used - _seen.get(thread, 0.0)
        _seen[thread] = used
        if took >= _LEAST_SECONDS:
            stack = _stack(frame if thread == main else top)
            lines.append(f"{1000 * took:.3f}\t{stack}\n")
    with contextlib.suppress(OSError):
        _append(f"{_SAMPLES}/{os.getpid()}", "".join(lines))


def _stack(frame: FrameType | None) -> str:
    names = []
    while frame is not None:
        names.append(f"{frame.f_code.co_filename}:{frame.f_code.co_name}")
        frame = frame.f_back
    return "\t".join(reversed(names))


def _start_sampling() -> None:
    """Have this process write where it is after each few milliseconds of CPU.

    The main thread does it for all, at the next moment that Python lets it: so others do not hear
    the signal. A fork needs this anew.
    """
    _seen.clear()
    signal.signal(signal.SIGPROF, _on_sample)
    signal.setitimer(signal.ITIMER_PROF, _SAMPLE_SECONDS, _SAMPLE_SECONDS)
    sys.setswitchinterval(_SWITCH_SECONDS)


def _deaf_bootstrap(thread: Any) -> None:
    """Begin a thread that does not hear the signal."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGPROF])
    _bootstrap(thread)


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
    threading.Thread._bootstrap_inner = _deaf_bootstrap  # type: ignore[attr-defined]
    _start_sampling()
    atexit.register(signal.setitimer, signal.ITIMER_PROF, 0.0)  # Python forgets the handler then
    os.register_at_fork(after_in_child=_start_sampling)
