"""Ends a run before its time: at its deadline, on request, at a limit, or with its daemon.

Gives the reason, and leaves the outcome to others.
"""

import os
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait

from runner.execution import order as wire
from runner.execution.job.guard import LOOK_SHARE, MEMORY, Guard
from runner.execution.job.run import Run
from runner.system.processes.process_tree import come_before_others

INTERRUPT_SECONDS = 2.0
"""Time between SIGINT, which lets a cell end with a traceback, and SIGKILL."""
TOLD = frozenset({"timeout", "cancelled", "interrupted"})
"""Reasons that give a cell time for a traceback."""


@dataclass
class Lease:
    """How long a run may continue without hearing from its daemon; None: for ever."""

    seconds: float | None
    heard_at: float

    @property
    def is_over(self) -> bool:
        """Whether the silence has lasted too long."""
        return self.seconds is not None and wire.lease_clock() - self.heard_at > self.seconds


class EarlyEnd(threading.Thread):
    """Waits beside a run for anything that ends it early."""

    def __init__(
        self, connection: Connection, run: Run, seconds: float, guard: Guard, lease: Lease
    ) -> None:
        super().__init__(name="early-end", daemon=True)
        self._lease = lease
        self._connection = connection
        self._run = run
        self._kernel = run.kernel
        self._end_at = time.monotonic() + seconds
        self._guard = guard
        self._reason: str | None = None
        self._ending = threading.Lock()
        self._finished = False
        self._done, self._finish = os.pipe()

    def run(self) -> None:
        come_before_others()
        try:
            reason = self._wait()
        except (EOFError, OSError):
            self._guard.kill()
            os._exit(1)
        with self._ending:
            if reason is None or self._finished:
                return
            self._reason = reason
        self._run.is_stopped = True
        if reason in TOLD:
            self._kernel.interrupt()
            if wait([self._done], timeout=INTERRUPT_SECONDS):
                return
        self._guard.kill()

    def _wait(self) -> str | None:
        """Wait for a reason to end the run early; None if the run ends by itself.

        Raises:
            EOFError, OSError: the daemon is gone.
        """
        pause = self._guard.pause()
        while (left := self._end_at - time.monotonic()) > 0:
            ready = wait([self._connection, self._done], timeout=min(left, pause))
            if self._done in ready:
                return None
            if ready:
                message = wire.receive(self._connection)
                if "reason" in message:
                    return str(message["reason"])
                self._lease.heard_at = message["heard_at"]
            if self._lease.is_over:
                return "interrupted"
            began = time.thread_time()
            reason = self._guard.look()
            if reason is not None:
                return reason
            pause = max(self._guard.pause(), (time.thread_time() - began) / LOOK_SHARE)
        return "timeout"

    def finish(self) -> str | None:
        """End the watch, because execution is over; return the reason if there was an early end.

        One reason is memory: the system may have killed the kernel for it, or the run holds too
        much only after the last look.
        """
        with self._ending:
            self._finished = True
        os.write(self._finish, b"x")
        self.join()
        os.close(self._done)
        os.close(self._finish)
        if self._reason is not None:
            return self._reason
        if not self._kernel.is_alive():
            return self._guard.why_killed()
        return MEMORY if self._guard.holds_too_much() else None
