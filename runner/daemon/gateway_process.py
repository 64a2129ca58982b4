"""Keeps the gateway's process beside the daemon: starts it again when it ends, ends with it.

It holds one end of a pipe for that. Knows nothing of what the process does.
"""

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence

log = logging.getLogger(__name__)

FIRST_DELAY_SECONDS = 1.0
LAST_DELAY_SECONDS = 60.0
STEADY_SECONDS = 60.0
END_SECONDS = 8.0


class GatewayProcess:
    """One `python -m runner ARGUMENTS --owner FD`, which reads `greeting` from the pipe first."""

    def __init__(
        self,
        arguments: Sequence[str],
        greeting: bytes,
        environment: Mapping[str, str],
        clock: Callable[[], float],
    ) -> None:
        self._arguments = list(arguments)
        self._greeting = greeting
        self._environment = dict(environment)
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: int | None = None
        self._started = 0.0
        self._start_at = 0.0
        self._delay = FIRST_DELAY_SECONDS

    @property
    def pids(self) -> set[int]:
        """The process, if it runs."""
        return set() if self._process is None else {self._process.pid}

    def keep(self) -> None:
        """Start it, or start it again after a while."""
        now = self._clock()
        if self._process is not None:
            code = self._process.poll()
            if code is None:
                return
            self._drop()
            steady = now - self._started > STEADY_SECONDS
            self._delay = FIRST_DELAY_SECONDS if steady else self._delay
            self._start_at = now + self._delay
            self._delay = min(self._delay * 2, LAST_DELAY_SECONDS)
            log.warning(
                "the %s ended (%d); it starts again in %.0f s",
                self._arguments[0],
                code,
                self._start_at - now,
            )
        if now >= self._start_at:
            self._start(now)

    def close(self) -> None:
        """Let it see that its owner goes, and wait until it is gone."""
        if self._process is None:
            return
        process = self._process
        self._drop()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _start(self, now: float) -> None:
        read, write = os.pipe2(os.O_CLOEXEC)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "runner", *self._arguments, "--owner", str(read)],
                stdin=subprocess.DEVNULL,
                env=self._environment,
                pass_fds=[read],
            )
        except OSError as error:
            os.close(write)
            log.warning("the %s cannot be started: %s", self._arguments[0], error)
            self._start_at = now + LAST_DELAY_SECONDS
            return
        finally:
            os.close(read)
        self._pipe, self._started = write, now
        try:
            os.write(write, self._greeting)
        except OSError as error:
            log.warning("the %s does not listen: %s", self._arguments[0], error)

    def _drop(self) -> None:
        if self._pipe is not None:
            os.close(self._pipe)
        self._pipe = self._process = None
