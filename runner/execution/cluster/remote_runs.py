"""Tracks the orders on their way to workers of a cluster, and decides which worker may begin each.

Only one worker may, once: so no order runs twice, even if Dask repeats its task. Holds no
connection.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from runner import __version__
from runner.contract.outcome import ErrorType
from runner.execution.cluster.messages import Answer, Terms, Word
from runner.execution.cluster.placement import as_dask, serves
from runner.execution.cluster.scheduler_link import WorkerState
from runner.execution.interface import Incarnation, OnProgress
from runner.execution.local.preload_server import ImportLimits
from runner.execution.order import Order, Progress
from runner.system.files.output_folder import FileCaps

log = logging.getLogger(__name__)

GRACE_SECONDS = 60.0
"""Added to the times of a run and of its travels."""
STOP_SECONDS = 30.0
"""Time for a worker to end a run."""
ENDING_SECONDS = 5.0
"""Time for a run to be dead after its lease: a look, SIGINT, two seconds, SIGKILL."""
SLOW_BYTES = 1_000_000
"""The slowest travel that a delivery may have, in bytes a second."""


@dataclass(frozen=True)
class Bounds:
    """Limits of the use of a cluster, in seconds and bytes."""

    folder_bytes: int
    caps: FileCaps
    lease_seconds: float
    patience_seconds: float
    most: int | None = None
    """Most orders in flight; None for as many as there are slots."""

    @property
    def fence_seconds(self) -> float:
        """Time without a word after which a run is certainly dead."""
        return self.lease_seconds + ENDING_SECONDS

    @property
    def travel_seconds(self) -> float:
        """Longest time that an order and its results may be on their way."""
        return (self.folder_bytes + self.caps.bytes) / SLOW_BYTES


@dataclass(eq=False)
class RemoteRun:
    """One sending of an order."""

    order: Order
    on_progress: OnProgress
    addresses: tuple[str, ...]
    """Addresses of the workers that may get it from Dask."""
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    worker: str | None = None
    """Address of the worker that was allowed to begin it."""
    process: str | None = None
    host: str | None = None
    over_by: float = float("inf")
    stop: ErrorType | None = None
    progress: Progress | None = None
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    why: str = ""

    def lose(self, why: str) -> None:
        """Give it up: no result of it will come any more."""
        self.why = self.why or why
        self.lost.set()


class RemoteRuns:
    """All runs of one session. Use it in the loop only, except `on`."""

    def __init__(
        self,
        own: Incarnation,
        terms: Terms,
        bounds: Bounds,
        tell: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        """Begin a session. `tell` sends a word to a worker at once."""
        self.session = secrets.token_hex(8)
        self._own = own
        self.terms = terms
        self._bounds = bounds
        self._tell = tell
        self._clock = clock
        self._began = clock()
        self._words = 0
        self._sent: dict[str, RemoteRun] = {}
        self._fences: dict[str, float] = {}

    def renew(self) -> None:
        """Have workers import everything anew for later sendings."""
        self.terms = self.terms.model_copy(update={"renewed": self.terms.renewed + 1})

    def on(self, worker: str) -> int:
        """Count the runs that have begun on a worker."""
        return sum(sending.worker == worker for sending in list(self._sent.values()))

    def add(self, sending: RemoteRun) -> None:
        """Track a sending."""
        self._sent[sending.token] = sending

    def remove(self, sending: RemoteRun) -> None:
        """Forget a sending that returned or was given up; a worker that has it ends it."""
        del self._sent[sending.token]

    def stop(self, job_id: str, reason: ErrorType) -> None:
        """Stop a job: lose it if no worker has begun it, else tell its worker and wait."""
        for sending in self._sent.values():
            if sending.order.job_id != job_id or sending.stop is not None:
                continue
            sending.stop = reason
            if sending.worker is None:
                sending.lose("it was stopped before it began")
            else:
                seconds = STOP_SECONDS + self._bounds.travel_seconds
                sending.over_by = min(sending.over_by, self._clock() + seconds)
                self._tell(sending.worker)

    def lose_all(self, why: str) -> None:
        """Give up all runs."""
        for sending in self._sent.values():
            sending.lose(why)

    def fence(self, job_id: str) -> None:
        """Block a job's next attempt until the lost run is certainly dead."""
        self._fences[job_id] = self._clock() + self._bounds.fence_seconds

    def is_fenced(self, order: Order) -> bool:
        """Return whether an earlier attempt may still be alive, also of an earlier session."""
        until = self._fences.get(order.job_id)
        if until is None and order.attempt > 1:
            until = self._began + self._bounds.fence_seconds
        return until is not None and self._clock() < until

    # Called by the scheduler link

    def word_for(self, worker: str, *, denied: str | None, is_last: bool) -> Word:
        """Build the word that tells a worker which runs it may have now."""
        there = [sending for sending in self._sent.values() if sending.worker == worker]
        self._words += 1
        return Word(
            version=__version__,
            instance=self._own.instance,
            start=self._own.start,
            session=self.session,
            number=self._words,
            lease_seconds=self._bounds.lease_seconds,
            terms=self.terms,
            allowed=tuple(sending.token for sending in there),
            denied=() if denied is None else (denied,),
            stops={s.token: str(s.stop) for s in there if s.stop is not None},
            is_last=is_last,
        )

    def may_begin(self, token: str, worker: str, process: str) -> bool:
        """Grant the token to the first process that asks, also when it asks again."""
        sending = self._sent.get(token)
        if sending is None:
            return False
        if sending.worker is None and not sending.lost.is_set():
            order = sending.order
            sending.worker, sending.process = worker, process
            seconds = order.timeout_seconds + order.kernel_start_seconds + GRACE_SECONDS
            seconds += ImportLimits.beside(order.kernel_start_seconds).seconds
            sending.over_by = self._clock() + seconds + self._bounds.travel_seconds
        return (sending.worker, sending.process) == (worker, process)

    def heard(self, answer: Answer) -> None:
        """Pass on the progress of runs."""
        for run in answer.runs:
            sending = self._sent.get(run.token)
            if sending is None or run.progress is None or run.progress == sending.progress:
                continue
            sending.progress = run.progress
            sending.on_progress(sending.order.job_id, run.progress)

    def looked(self, present: Collection[str], known: Mapping[str, WorkerState]) -> None:
        """Give up the runs that cannot return."""
        for sending in self._sent.values():
            if sending.worker is not None and sending.worker in known:
                sending.host = known[sending.worker].seat.host
            why = self._why_lost(sending, present, known)
            if why is not None:
                sending.lose(why)
        now = self._clock()
        self._fences = {job_id: at for job_id, at in self._fences.items() if at > now}

    def is_alone(self) -> None:
        """Give up all runs, because the scheduler is gone."""
        self.lose_all("the scheduler is gone")

    def _why_lost(
        self, sending: RemoteRun, present: Collection[str], known: Mapping[str, WorkerState]
    ) -> str | None:
        worker = sending.worker
        if worker is None:
            is_possible = any(address in known for address in sending.addresses)
            return None if is_possible else "the workers that might have run it are gone"
        if worker not in present:
            return "it has left the cluster"
        if worker not in known:
            return "it is silent"
        if known[worker].process != sending.process:
            return "it was started anew"
        return "it did not deliver in time" if self._clock() > sending.over_by else None


def able(known: Mapping[str, WorkerState], order: Order) -> list[str]:
    """Return the addresses of workers that have what an order needs."""
    needs = as_dask(order.resources)
    return [
        address
        for address, worker in known.items()
        if worker.seat.slots > 0 and serves(worker.seat.has, needs)
    ]
