"""Executes orders in single-use job processes; the local side of the executor seam.

Guards every run from outside with a time limit, and makes sure that the process is gone when the
outcome is given. Knows nothing of ledger or outbox.
"""

import contextlib
import logging
import os
import select
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from runner.execution import order as wire
from runner.execution.order import Order, Progress, Stop
from runner.execution.server import PreloadServer
from runner.outcome import ERROR_RULES, ErrorType, Failure, KernelUsed, Outcome, failed

log = logging.getLogger(__name__)

PREPARE_SECONDS = 30.0
"""Beside the kernel's own start: reading the notebook, asking for its modules."""
GRACE_SECONDS = 10.0
"""For the job process to end a run by itself after its limit."""
SLICE_SECONDS = 0.5

OnProgress = Callable[[str, Progress], None]


@dataclass
class _Live:
    """A job process that runs."""

    connection: Connection
    sending: threading.Lock = field(default_factory=threading.Lock)
    reason: ErrorType | None = None
    pid: int | None = None
    pidfd: int | None = None
    is_told: bool = False
    limit: float = 0.0


class JobProcesses:
    """The job processes of one runner, and the preload server that forks them."""

    def __init__(
        self,
        *,
        environment: Mapping[str, str],
        instance: str,
        preload: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`environment` is all that notebooks see; `instance` marks every process started."""
        self.runtime_folder = _make_runtime_folder()
        self._clock = clock
        self._live: dict[str, _Live] = {}
        self._early: dict[str, ErrorType] = {}
        self._stopping = threading.Lock()
        self._server = PreloadServer(
            environment=environment,
            instance=instance,
            runtime_folder=self.runtime_folder,
            preload=preload,
        )

    def pids(self) -> set[int]:
        """The preload server and the job processes that are known."""
        jobs = {live.pid for live in list(self._live.values()) if live.pid is not None}
        return jobs | ({self._server.pid} if self._server.pid is not None else set())

    def runtime_of(self, job_id: str) -> str:
        """The folder for a job's sockets; a socket's path has 107 bytes (unix(7))."""
        return str(Path(self.runtime_folder) / job_id[:12])

    def execute(
        self, order: Order, notebook: bytes, on_progress: OnProgress
    ) -> tuple[Outcome, bytes | None]:
        """Run one order to its end; whatever the notebook does, an outcome comes of it.

        Gives the outcome and the executed notebook; None where nothing was executed. Blocks;
        call it from a thread of its own.
        """
        runtime = Path(order.runtime_folder)
        runtime.mkdir(mode=0o700, exist_ok=True)
        live = self._begin()
        live.limit = self._clock() + order.kernel_start_seconds + PREPARE_SECONDS
        self._live[order.job_id] = live
        try:
            return self._converse(live, order, notebook, on_progress)
        finally:
            del self._live[order.job_id]
            self._early.pop(order.job_id, None)
            _end(live)
            live.connection.close()
            shutil.rmtree(runtime, ignore_errors=True)

    def stop(self, job_id: str, reason: ErrorType) -> None:
        """End a run: `cancelled` or `interrupted`. Nothing happens if it is over already.

        One whose process is not told yet what to run is ended as soon as it is.
        """
        with self._stopping:
            live = self._live.get(job_id)
            if live is None or not live.is_told:
                self._early[job_id] = reason
                return
            if live.reason is not None:
                return
            self._stop(live, reason)

    def _stop(self, live: _Live, reason: ErrorType) -> None:
        live.reason = reason
        live.limit = min(live.limit, self._clock() + GRACE_SECONDS)
        with live.sending, contextlib.suppress(OSError):
            live.connection.send_bytes(Stop(reason=reason.value).model_dump_json().encode())

    def close(self) -> None:
        """End everything."""
        self._server.close()
        shutil.rmtree(self.runtime_folder, ignore_errors=True)

    def _begin(self) -> _Live:
        """A job process that answers. A preload server that dies meanwhile costs a second try.

        Raises:
            OSError, EOFError: the server cannot be brought up.
        """
        for last in (False, True):
            live = _Live(self._server.fork())
            live.limit = self._clock() + PREPARE_SECONDS
            try:
                if self._wait(live):
                    live.pid = int(wire.receive(live.connection)["pid"])
                    live.pidfd = os.pidfd_open(live.pid)
                    return live
                raise TimeoutError("the preload server does not answer")
            except (EOFError, OSError) as error:
                live.connection.close()
                if last:
                    raise
                log.warning("no job process (%r); trying once more", error)
        raise AssertionError

    def _converse(
        self, live: _Live, order: Order, notebook: bytes, on_progress: OnProgress
    ) -> tuple[Outcome, bytes | None]:
        connection, started = live.connection, False
        try:
            with live.sending:
                wire.send(connection, "order", order=order.model_dump(mode="json"))
                connection.send_bytes(notebook)
            with self._stopping:
                live.is_told = True
                early = self._early.pop(order.job_id, None)
                if early is not None:
                    self._stop(live, early)
            while self._wait(live):
                message = wire.receive(connection)
                if message["kind"] == "outcome":
                    return wire.receive_outcome(connection, message)
                if message["kind"] == "ready":
                    started = True
                    if live.reason is None:
                        live.limit = self._clock() + order.timeout_seconds + GRACE_SECONDS
                elif message["kind"] == "progress":
                    message.pop("kind")
                    on_progress(order.job_id, Progress.model_validate(message))
        except (EOFError, OSError) as error:
            log.warning("job %s: its process ended without an outcome (%r)", order.job_id, error)
            return _lost(order, live.reason or ErrorType.KERNEL_DIED), None
        late = ErrorType.TIMEOUT if started else ErrorType.KERNEL_STARTUP
        return _lost(order, live.reason or late), None

    def _wait(self, live: _Live) -> bool:
        """Wait for a message; False when the time limit is passed."""
        while True:
            left = live.limit - self._clock()
            if live.connection.poll(max(0.0, min(left, SLICE_SECONDS))):
                return True
            if left <= 0:
                return False


def _end(live: _Live) -> None:
    """Make sure that the job process is gone; its orphans are the preload server's to end."""
    if live.pidfd is None:
        return
    try:
        if not select.select([live.pidfd], [], [], 1.0)[0]:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(live.pidfd, signal.SIGKILL)
            select.select([live.pidfd], [], [], 5.0)
    finally:
        os.close(live.pidfd)


def _lost(order: Order, error_type: ErrorType) -> Outcome:
    """The outcome of a run whose process could not say anything any more."""
    messages = {
        ErrorType.TIMEOUT: f"The run passed its limit of {order.timeout_seconds:g} s and did not "
        "end when told to; what it had done is lost.",
        ErrorType.KERNEL_STARTUP: "The notebook's kernel did not come up in time.",
        ErrorType.KERNEL_DIED: "The process that ran the notebook was killed.",
        ErrorType.CANCELLED: "The job was cancelled and did not end when told to.",
        ErrorType.INTERRUPTED: "The runner was stopped while the notebook ran.",
    }
    assert error_type in ERROR_RULES
    return failed(
        Failure(error_type=error_type, message=messages[error_type]),
        kernel=KernelUsed(name=None, requested=order.kernel),
    )


def _make_runtime_folder() -> str:
    """A private folder with a short path, for sockets."""
    base = tempfile.gettempdir()
    return tempfile.mkdtemp(prefix="ir-", dir=base if len(base) < 40 else "/tmp")  # noqa: S108
