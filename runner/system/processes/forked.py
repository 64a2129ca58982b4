"""Forks a process while this one has no threads, so that both share the memory of the imports.

Owns the pipe by which it waits for its work, and learns that this process has ended.
"""

import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

NAME_CHARACTERS = 15
"""Longest name of a process that Linux keeps."""
END_SECONDS = 8.0


class Forked:
    """A process that was forked, with what is used of a `subprocess.Popen`.

    Call it before there are threads: what another thread has locked at that moment stays locked in
    the child.
    """

    def __init__(self, name: str, work: Callable[[int], None]) -> None:
        """Fork. `work` gets the end of a pipe that reads to its end once this process is gone."""
        read, self._write = os.pipe2(os.O_CLOEXEC)
        self._process = get_context("fork").Process(
            target=_become, args=(name, work, (read, self._write)), name=name
        )
        heard = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, heard)
            os.close(read)
        assert self._process.pid is not None
        self.pid = self._process.pid
        self._is_taken = False

    def take_pipe(self) -> int:
        """Return the other end of its pipe, which is the caller's to close from now on."""
        self._is_taken = True
        return self._write

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

    def close(self) -> None:
        """End it if nobody has taken it."""
        if self._is_taken:
            return
        os.close(self.take_pipe())
        try:
            self.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            self.wait()


def _become(name: str, work: Callable[[int], None], pipe: tuple[int, int]) -> None:
    """Be that process. Ctrl-C in a terminal is for the one that forked it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    read, write = pipe
    os.close(write)
    with suppress(OSError):  # only Linux has it
        Path("/proc/self/comm").write_text(name[:NAME_CHARACTERS])
    work(read)
