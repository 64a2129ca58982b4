"""Keeps a process beside the daemon: starts it again when it ends, and ends with it.

Holds one end of a pipe for that, through which the process reads the settings first. Knows nothing
of what the process does.
"""

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack

from runner.system.backoff import Backoff
from runner.system.processes.forked import Forked

log = logging.getLogger(__name__)

FIRST_DELAY_SECONDS = 1.0
LAST_DELAY_SECONDS = 60.0
STEADY_SECONDS = 60.0
END_SECONDS = 8.0
FITS_BYTES = 16 * 1024
"""What every system's pipe takes without a reader."""

OnLine = Callable[[bytes], None]
"""Receives a line that the process writes, from any thread."""


class Companion:
    """One `python -m runner COMMAND --owner FD`, with `--reports FD` if its lines are read.

    The first one may be `ahead`, forked before: it waits for its greeting.
    """

    def __init__(
        self,
        command: str,
        greeting: bytes,
        clock: Callable[[], float],
        on_line: OnLine | None = None,
        ahead: Forked | None = None,
    ) -> None:
        self._command = command
        self._greeting = greeting
        self._clock = clock
        self._on_line = on_line
        self._ahead = ahead
        self._process: subprocess.Popen[bytes] | Forked | None = None
        self._pipe: int | None = None
        self._started = 0.0
        self._delays = Backoff(clock, FIRST_DELAY_SECONDS, LAST_DELAY_SECONDS)

    @property
    def pids(self) -> set[int]:
        """The process, if it runs, or if it waits."""
        return {one.pid for one in (self._ahead, self._process) if one is not None}

    def keep(self) -> None:
        """Start it, or start it again after a while."""
        if self._process is not None:
            code = self._process.poll()
            if code is None:
                return
            self._drop()
            if self._clock() - self._started > STEADY_SECONDS:
                self._delays.release(self._command)
            self._put_off(f"ended ({code})")
        if self._delays.why_held(self._command) is None:
            self._start()
            self._greet()

    def dismiss(self) -> None:
        """Let the one that waits end, if it is not needed for now: it would hold memory."""
        if self._ahead is not None:
            self._ahead.dismiss()
            if self._ahead.poll() is not None:
                self._ahead = None

    def close(self) -> None:
        """Close its pipe, and wait until it is gone."""
        if self._ahead is not None:
            self._ahead.close()
        if self._process is None:
            return
        process = self._process
        self._drop()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _put_off(self, why: str) -> None:
        self._delays.hold(self._command, why)
        seconds = self._delays.next_due() or 0.0
        log.warning("the process `%s` %s; it starts again in %.0f s", self._command, why, seconds)

    def _start(self) -> None:
        started = self._from_ahead() or self._anew()
        if started is None:
            return
        self._process, self._pipe, lines = started
        self._started = self._clock()
        if self._on_line is not None:
            listening = threading.Thread(
                target=_listen, args=(lines, self._on_line), name=self._command, daemon=True
            )
            listening.start()
        else:
            os.close(lines)

    def _from_ahead(self) -> "tuple[Forked, int, int] | None":
        if self._ahead is None or not self._ahead.is_waiting:
            return None
        process, self._ahead = self._ahead, None
        return (process, *process.take_pipes())

    def _anew(self) -> "tuple[subprocess.Popen[bytes], int, int] | None":
        with ExitStack() as theirs, ExitStack() as ours:
            read, write = _pipe()
            theirs.callback(os.close, read)
            ours.callback(os.close, write)
            lines, said = _pipe()
            theirs.callback(os.close, said)
            ours.callback(os.close, lines)
            arguments, passed = ["--owner", str(read)], [read]
            if self._on_line is not None:
                arguments, passed = [*arguments, "--reports", str(said)], [read, said]
            try:
                process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "runner", self._command, *arguments],
                    stdin=subprocess.DEVNULL,
                    pass_fds=passed,
                )
            except OSError as error:
                self._put_off(f"cannot be started: {error}")
                return None
            ours.pop_all()
        return process, write, lines

    def _greet(self) -> None:
        """Write the greeting; a long one aside, as it waits in the pipe for its reader."""
        if self._pipe is None:
            return
        if len(self._greeting) <= FITS_BYTES:
            self._tell(self._pipe)
            return
        pipe = os.dup(self._pipe)
        threading.Thread(
            target=self._tell_aside, args=(pipe,), name="greeting", daemon=True
        ).start()

    def _tell_aside(self, pipe: int) -> None:
        try:
            self._tell(pipe)
        finally:
            os.close(pipe)

    def _tell(self, pipe: int) -> None:
        left = memoryview(self._greeting)
        try:
            while left:
                left = left[os.write(pipe, left) :]
        except OSError as error:
            log.warning("the process `%s` does not listen: %s", self._command, error)

    def _drop(self) -> None:
        if self._pipe is not None:
            os.close(self._pipe)
        self._pipe = self._process = None


def _pipe() -> tuple[int, int]:
    return os.pipe2(os.O_CLOEXEC)


def _listen(fd: int, on_line: OnLine) -> None:
    """Pass on each line until the process has ended."""
    with open(fd, "rb") as lines:
        for line in lines:
            on_line(line)
