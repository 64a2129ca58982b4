"""Forks a process while this one has no threads, so that both share the memory of the imports.

Owns its pipes: by one it waits for its work, and learns that this process has ended; by the other
it reports.
"""

import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import get_context

from runner.system.processes.shown_name import show_as

END_SECONDS = 8.0

Work = Callable[[int, int], None]
"""What it does: with a pipe that reads to its end once its owner is gone, and one for reports."""


class Forked:
    """A process that was forked, with what is used of a `subprocess.Popen`.

    Call it before there are threads: what another thread has locked at that moment stays locked in
    the child.
    """

    def __init__(self, name: str, work: Work, earlier: Sequence["Forked"] = ()) -> None:
        """Fork. `earlier` are those that were forked before, whose pipes it shall not hold."""
        owner, self._owner = os.pipe2(os.O_CLOEXEC)
        self._reports, reports = os.pipe2(os.O_CLOEXEC)
        ours = [fd for one in (self, *earlier) for fd in (one._owner, one._reports)]
        self._process = get_context("fork").Process(
            target=_become, args=(name, ours, lambda: work(owner, reports)), name=name
        )
        heard = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, heard)
            os.close(owner)
            os.close(reports)
        assert self._process.pid is not None
        self.pid = self._process.pid
        self._is_taken = False

    def take_pipes(self) -> tuple[int, int]:
        """Return the other ends of its pipes: to write to it, and to read its reports.

        They are the caller's to close from now on.
        """
        self._is_taken = True
        return self._owner, self._reports

    def poll(self) -> int | None:
        """Return how it ended, as a `Popen` does; None while it runs."""
        return self._process.exitcode

    def wait(self, seconds: float | None = None) -> int:
        """Wait until it has ended.

        Raises:
            TimeoutExpired
        """
        self._process.join(seconds)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired(self._process.name, seconds or 0.0)
        return code

    def kill(self) -> None:
        """End it by force."""
        self._process.kill()

    @property
    def is_waiting(self) -> bool:
        """Whether it can still be given its work."""
        return not self._is_taken and self.poll() is None

    def dismiss(self) -> None:
        """Tell it that there is no work for it, unless somebody has taken it; it ends by itself."""
        if not self._is_taken:
            for pipe in self.take_pipes():
                os.close(pipe)

    def close(self) -> None:
        """End it if nobody has taken it."""
        if self._is_taken:
            return
        self.dismiss()
        try:
            self.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            self.wait()


def _become(name: str, pipes: Sequence[int], work: Callable[[], None]) -> None:
    """Be that process. Ctrl-C in a terminal is for the one that forked it, and so are its pipes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    for pipe in pipes:
        with suppress(OSError):  # one that is taken may be closed by now
            os.close(pipe)
    show_as(name)
    work()
