"""Executes orders in job processes, each in a kernel of its own: the `Execution` of this machine.

Guards every run from outside with a time limit, and returns an outcome only when the process is
gone. Knows nothing of ledger or outbox.
"""

import contextlib
import logging
import math
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from runner.contract.notebook import kernel_of, parse
from runner.contract.outcome import (
    ERROR_RULES,
    ErrorType,
    Failure,
    KernelUsed,
    Outcome,
    failed,
    interrupted,
)
from runner.contract.request import Resources
from runner.execution import order as wire
from runner.execution.interface import OnProgress, Worker
from runner.execution.limits.hold import UNLIMITED, RunLimits
from runner.execution.local.installed import fingerprint
from runner.execution.local.job_process import JobProcess
from runner.execution.local.pool import Pool, PoolClosed
from runner.execution.local.preload_server import ImportLimits, Preload, PreloadServer
from runner.execution.order import Alive, Order, Progress, Stop
from runner.execution.runtime_folder import new_runtime_folder
from runner.system.files.disk import Disk

log = logging.getLogger(__name__)

PREPARE_SECONDS = 30.0
"""Added to the kernel's start: reading the notebook, asking for its modules."""
GRACE_SECONDS = 10.0
"""Time for the job process to end a run by itself after its limit."""
SLICE_SECONDS = 0.5
TRIES = 3
"""How many job processes may die before one of them begins an order."""
SERVERS = 2
"""How many preload servers may use up their time before a job gives up."""
TOLD_SECONDS = 5.0
"""Imports that take longer get a note."""


class NotBegun(Exception):
    """A job process ended before it touched its order: `reason`."""


@dataclass
class _Live:
    """An order and the job process that has it."""

    process: JobProcess
    clock: Callable[[], float]
    stopping: threading.Lock
    forked_by: float
    """Time at which it gives up waiting for its process; other limits begin afterwards."""
    limit: float = math.inf
    sending: threading.Lock = field(default_factory=threading.Lock)
    reason: ErrorType | None = None
    is_told: bool = False
    is_begun: bool = False
    is_executed: bool = False
    """Whether its last cell has ended."""
    is_over: bool = False
    """Whether the process has sent its outcome."""
    progress: Progress | None = None
    late: str = ""
    """Message if `limit` passes now."""

    def await_fork(self, order: Order, pool: Pool) -> bool:
        """Wait until the preload server has forked the process. False: it did not in time.

        The server may still import, which is not the run's fault: its limits begin afterwards.
        """
        process, server = self.process, self.process.server
        until: float | None = None
        while process.pid is None:
            if process.connection.poll(SLICE_SECONDS):
                process.understand(wire.receive(process.connection))
                continue
            pool.look_after(server)
            now = self.clock()
            if until is None and server.is_prepared:
                until = now + order.kernel_start_seconds + PREPARE_SECONDS
            if now > min(self.forked_by, self.limit, until or math.inf):
                self.late = (
                    "There was no process for the run in time: the one that processes are forked "
                    "from still imported the modules of kernels. Look at the machine's load."
                    if until is None
                    else "There was no process for the run in time: the one that processes are "
                    "forked from does not answer. Look at the machine's load."
                )
                return False
        return True

    def await_kernel(self, order: Order) -> bool:
        """Wait until a forked process reads an order. False: it does not in time.

        The process normally gives up on its kernel before that.
        """
        self._allow(order.kernel_start_seconds + GRACE_SECONDS, "answer")
        while not self.process.is_ready:
            if not self.wait():
                return False
            self.process.understand(wire.receive(self.process.connection))
        self._allow(order.kernel_start_seconds + PREPARE_SECONDS, "come up for its notebook")
        return True

    def allow_run(self, seconds: float) -> None:
        """Set the time limit of the cells."""
        late = f"The run passed its limit of {seconds:g} s and did not end when told to; its "
        self._set(seconds + GRACE_SECONDS, f"{late}work is lost.")

    def allow_rest(self, seconds: float, what: str) -> None:
        """Set the time limit of a step after the last cell."""
        seconds += GRACE_SECONDS
        self.is_executed = True
        late = f"All cells had run, but {what} within {seconds:g} s; the run's work is lost."
        self._set(seconds, late)

    def _allow(self, seconds: float, what: str) -> None:
        """Set the time limit of the next step before the first cell."""
        late = f"The kernel did not {what} within {seconds:g} s, which is a little more than "
        self._set(seconds, f"{late}limits.kernel_start_seconds. Look at the machine's load.")

    def _set(self, seconds: float, late: str) -> None:
        """Set the time limit and its message, unless the run is being stopped."""
        with self.stopping:
            self.late = late
            if self.reason is None:
                self.limit = self.clock() + seconds

    def wait(self) -> bool:
        """Wait for a message; False when the time limit is passed."""
        while True:
            left = self.limit - self.clock()
            if self.process.connection.poll(max(0.0, min(left, SLICE_SECONDS))):
                return True
            if left <= 0:
                return False


@dataclass(frozen=True)
class ProcessSettings:
    """The settings of job processes.

    Notebooks see `environment`; `instance` marks every process that is started. The caller keeps at
    most `slots` orders in flight. Up to `warm` processes wait with a ready kernel. `cgroup` is a
    group that may hold one for each run (`cgroup.take_over`); without it, a guard watches `limits`.
    """

    environment: Mapping[str, str]
    instance: str
    slots: int = 1
    preload: Sequence[str] = ()
    kernel_start_seconds: float = 60
    warm: int = 0
    limits: RunLimits = UNLIMITED
    cgroup: Path | None = None
    import_limits: ImportLimits | None = None
    runtime_folder: str | None = None
    """A folder for sockets that is still to be made; None for a new one."""


class JobProcesses:
    """The job processes of one runner."""

    def __init__(
        self, settings: ProcessSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Start the pool."""
        environment = settings.environment
        self._folder = settings.runtime_folder or new_runtime_folder()
        Path(self._folder).mkdir(mode=0o700)
        self.slots = settings.slots
        self.troubles: Sequence[str] = ()
        self._clock = clock
        self._live: dict[str, _Live] = {}
        self._early: dict[str, ErrorType] = {}
        self._stopping = threading.Lock()
        seconds = settings.kernel_start_seconds
        self._import_limits = settings.import_limits or ImportLimits.beside(seconds)
        self._pool = Pool(
            preload=Preload(
                runtime_folder=self._folder,
                modules=tuple(settings.preload),
                kernel_start_seconds=seconds,
                import_limits=self._import_limits,
                limits=settings.limits,
                cgroup=None if settings.cgroup is None else str(settings.cgroup),
            ),
            start_server=lambda config: PreloadServer(config, environment, settings.instance),
            installed=lambda: fingerprint(environment),
            size=settings.warm,
            clock=clock,
        )

    @property
    def workers(self) -> Sequence[Worker]:
        """This machine."""
        return [Worker(socket.gethostname(), self.slots, len(self._live), self.warm)]

    def fits(self, wanted: Resources, taken: Sequence[Resources]) -> bool:
        """Return whether a slot is free; other needs are checked before."""
        del wanted
        return len(taken) < self.slots

    def why_never(self, wanted: Resources) -> str | None:
        """Return None: accepted jobs never ask for more than this machine has."""
        del wanted
        return None

    @property
    def pids(self) -> set[int]:
        """The known preload servers, job processes and zygotes."""
        return self._pool.pids

    @property
    def warm(self) -> int:
        """How many kernels wait, ready."""
        return self._pool.warm

    @property
    def notes(self) -> Sequence[str]:
        """Say if jobs wait for imports unusually long, or if nothing is imported beforehand."""
        notes = []
        if self._pool.imports_for() > TOLD_SECONDS:
            notes.append(
                "the process that kernels are forked from still imports their modules; jobs wait "
                "for it, and it takes a minute or two on a busy machine or after an installation"
            )
        if self._pool.left_out:
            notes.append(
                f"kernels start slowly, without {', '.join(self._pool.left_out)} "
                "(kernels.preload): a process ended while it imported them. `runner doctor` looks "
                "at each; a SIGHUP to the daemon tries them again"
            )
        return notes

    def keep(self, room: int) -> None:
        """Do the chores between two jobs; `room` is how many processes may be made ready now."""
        self._pool.keep(room)

    def renew(self) -> None:
        """Import everything anew for the jobs to come."""
        self._pool.renew()

    def execute(
        self, order: Order, notebook: bytes, on_progress: OnProgress
    ) -> tuple[Outcome, bytes | None]:
        """Run one order to its end, and return its outcome whatever the notebook does.

        The second value is the executed notebook; None if nothing was executed. Blocks; call it
        from a thread of its own.

        Raises:
            OSError: no job process can be had.
            NotBegun: none of a few lived long enough to begin.
        """
        forked_by = self._clock() + SERVERS * self._import_limits.seconds
        try:
            for _ in range(TRIES - 1):
                try:
                    return self._try(order, notebook, on_progress, forked_by)
                except NotBegun as error:
                    log.warning("job %s: %s; trying once more", order.job_id, error)
            return self._try(order, notebook, on_progress, forked_by)
        except PoolClosed:
            return interrupted("The runner was stopped while the notebook ran."), None
        finally:
            self._early.pop(order.job_id, None)

    def _try(
        self, order: Order, notebook: bytes, on_progress: OnProgress, forked_by: float
    ) -> tuple[Outcome, bytes | None]:
        process = self._pool.take(bare=order.start == "cold")
        live = self._live[order.job_id] = _Live(process, self._clock, self._stopping, forked_by)
        try:
            return self._converse(live, order, notebook, on_progress)
        finally:
            with self._stopping:  # what is said to this run is never said to the next one
                del self._live[order.job_id]
            self._pool.give_back(process, is_over=live.is_over)

    def stop(self, job_id: str, reason: ErrorType) -> None:
        """End a run: `cancelled` or `interrupted`. Does nothing if it is over already.

        If its process has no order yet, the run ends as soon as it has one.
        """
        with self._stopping:
            self._early.setdefault(job_id, reason)
            live = self._live.get(job_id)
            if live is not None and live.reason is None:
                live.reason = reason
                live.limit = min(live.limit, self._clock() + GRACE_SECONDS)
                if live.is_told:
                    self._stop(live, reason)

    def keep_alive(self, job_id: str, heard_at: float) -> None:
        """Renew the lease of a run that has one; see `Order.lease_seconds`."""
        with self._stopping:
            live = self._live.get(job_id)
            if live is not None and live.is_told:
                self._say(live, Alive(heard_at=heard_at))

    def _stop(self, live: _Live, reason: ErrorType) -> None:
        self._say(live, Stop(reason=reason.value))

    def _say(self, live: _Live, what: Stop | Alive) -> None:
        with live.sending, contextlib.suppress(OSError):
            live.process.connection.send_bytes(what.model_dump_json().encode())

    def close(self) -> None:
        """End everything."""
        self._pool.close()
        Disk().discard_tree(Path(self._folder))

    def _converse(
        self, live: _Live, order: Order, notebook: bytes, on_progress: OnProgress
    ) -> tuple[Outcome, bytes | None]:
        """Send a process its order, and listen until its outcome comes.

        Raises:
            NotBegun: see there.
        """
        started = False
        try:
            if not live.await_fork(order, self._pool) or not live.await_kernel(order):
                return _lost(live, order, notebook, ErrorType.KERNEL_STARTUP), None
            self._tell(live, order, notebook)
            while live.wait():
                message = wire.receive(live.process.connection)
                match message["kind"]:
                    case "outcome":
                        received = wire.receive_outcome(live.process.connection, message)
                        live.is_over = True
                        return received
                    case "begun":
                        live.is_begun = True
                    case "ready":
                        started = True
                        live.allow_run(order.timeout_seconds)
                    case "executed":
                        live.allow_rest(wire.READ_SECONDS, "its results were not read")
                    case "read":
                        live.allow_rest(wire.WRITE_SECONDS, "its notebook was not written")
                    case "progress":
                        message.pop("kind")
                        live.progress = Progress.model_validate(message)
                        on_progress(order.job_id, live.progress)
        except (EOFError, OSError) as error:
            if not live.is_begun:
                raise NotBegun(f"its process ended before it began ({error!r})") from error
            log.warning("job %s: its process ended without an outcome (%r)", order.job_id, error)
            return _lost(live, order, notebook, ErrorType.KERNEL_DIED), None
        late = ErrorType.TIMEOUT if started else ErrorType.KERNEL_STARTUP
        return _lost(live, order, notebook, late), None

    def _tell(self, live: _Live, order: Order, notebook: bytes) -> None:
        connection = live.process.connection
        with live.sending:
            wire.send(connection, "order", order=order.model_dump(mode="json"))
            connection.send_bytes(notebook)
        with self._stopping:
            live.is_told = True
            live.reason = live.reason or self._early.get(order.job_id)
            if live.reason is not None:
                self._stop(live, live.reason)


def _kernel_named(order: Order, notebook: bytes) -> str | None:
    """Return the kernel that the request or its notebook names."""
    if order.kernel is not None:
        return order.kernel
    try:
        document = parse(notebook)
    except ValueError:
        return None
    return kernel_of(document) if isinstance(document, dict) else None


def _lost(live: _Live, order: Order, notebook: bytes, late: ErrorType) -> Outcome:
    """Return the outcome of a run whose process could send none."""
    messages = {
        ErrorType.TIMEOUT: live.late,
        ErrorType.KERNEL_STARTUP: live.late,
        ErrorType.KERNEL_DIED: "The process that ran the notebook was killed. The log of the "
        "system (`dmesg`) names what it ends for want of memory.",
        ErrorType.CANCELLED: "The job was cancelled and did not end when told to.",
        ErrorType.INTERRUPTED: "The runner was stopped while the notebook ran.",
    }
    error_type = live.reason or late
    assert error_type in ERROR_RULES
    far = live.progress
    is_running = far is not None and far.cell and not live.is_executed
    where = f" Code cell {far.cell} of {far.cells} was running." if far and is_running else ""
    return failed(
        Failure(error_type=error_type, message=f"{messages[error_type]}{where}"),
        kernel=KernelUsed(name=None, requested=_kernel_named(order, notebook)),
        host=socket.gethostname(),
    )
