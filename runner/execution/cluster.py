"""Executes orders on the workers of a Dask cluster; the far side of the executor seam.

Allows each order to begin at most once, whatever Dask does again, and tells workers every second
that it is still there. Knows nothing of ledger or outbox.
"""

import asyncio
import contextlib
import logging
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import dask
from distributed import Client, Future
from distributed.client import FutureCancelledError
from distributed.comm.core import CommClosedError
from distributed.scheduler import KilledWorker
from distributed.security import Security

from runner import __version__
from runner.execution import placement
from runner.execution.face import OnProgress, Worker
from runner.execution.order import Order
from runner.execution.parcel import (
    Answer,
    Delivery,
    FolderTooLarge,
    NotGranted,
    Packed,
    Parcel,
    Terms,
    Word,
    pack,
    unpack,
)
from runner.execution.placement import Seat
from runner.execution.worker import exchange, run_parcel, topic_of
from runner.outcome import ErrorType, Failure, KernelUsed, Outcome, failed, interrupted
from runner.output import FileCaps
from runner.request import Resources

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
TELL_SECONDS = 5.0
CONNECT_SECONDS = 5.0
AGAIN_SECONDS = 1.0
CLOSE_SECONDS = 10.0
GRACE_SECONDS = 60.0
"""Beside the times of a run, and beside its travels."""
STOP_SECONDS = 30.0
"""For a worker to end a run."""
SLOW_BYTES = 1_000_000
"""What travels in a second at the least: for how long a delivery is waited for."""
MEGABYTE = 1024 * 1024

T = TypeVar("T")
LOST = (NotGranted, FutureCancelledError, KilledWorker, CommClosedError)
"""What becomes of a task when its worker or the scheduler is gone."""

dask.config.set({"distributed.admin.large-graph-warning-threshold": "2GB"})


class NotBegun(Exception):
    """A sending that no worker has begun, and none will: `reason`."""


@dataclass(frozen=True)
class Limits:
    """What a cluster is used within; seconds and bytes."""

    folder_bytes: int
    caps: FileCaps
    lease_seconds: float
    patience_seconds: float
    most: int | None = None
    """Orders in flight; None for as many as there are slots."""

    @property
    def tell_seconds(self) -> float:
        """How long a worker may take to answer: others are waiting for their word meanwhile."""
        return min(TELL_SECONDS, self.lease_seconds / 4)

    @property
    def travel_seconds(self) -> float:
        """How long what belongs to an order may be on its way, at the most."""
        return (self.folder_bytes + self.caps.bytes) / SLOW_BYTES


@dataclass(eq=False)
class _Sending:
    """An order that was sent, once; what is known of it belongs to the loop."""

    order: Order
    on_progress: OnProgress
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    worker: str | None = None
    """Where it was allowed to begin, and in which process."""
    process: str | None = None
    over_by: float = float("inf")
    stop: ErrorType | None = None
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    why: str = ""


@dataclass
class _Known:
    """A worker as it was last seen."""

    seat: Seat
    process: str
    warm: int
    heard_at: float


class Cluster:
    """The workers of one scheduler, as far as they can run notebooks."""

    def __init__(
        self,
        *,
        address: str,
        security: Security | None,
        terms: Terms,
        limits: Limits,
        instance: str,
        start: int = 0,
        on_change: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connect in the background, again and again where that fails.

        `instance` marks the folders whose jobs these are, `start` counts the starts of their
        daemon: a later one ends what an earlier one has left on workers. `on_change` is called
        from another thread when there are other workers, or other troubles.
        """
        self.runtime_folder: str | None = None
        self.pids: set[int] = set()
        self._address = address
        self._security = security
        self._terms = terms
        self._limits = limits
        self._instance = instance
        self._start = start
        self._words = 0
        self._on_change = on_change
        self._clock = clock
        self._session = secrets.token_hex(8)
        self._began = clock()
        self._client: Client | None = None
        self._known: dict[str, _Known] = {}
        self._unable: dict[str, str] = {}
        self._trouble: str | None = f"not connected to the scheduler at {address} yet"
        self._sent: dict[str, _Sending] = {}
        self._early: dict[str, ErrorType] = {}
        self._orders = 0
        self._fences: dict[str, float] = {}
        self._unserved: dict[str, float] = {}
        self._told: object = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        self._loop = asyncio.new_event_loop()
        self._changed = asyncio.Event()
        self._thread = threading.Thread(target=self._live, name="cluster", daemon=True)
        self._thread.start()

    @property
    def slots(self) -> int:
        """All threads of workers that can run notebooks, up to `execution.concurrency`."""
        found = sum(known.seat.slots for known in list(self._known.values()))
        most = self._limits.most
        return found if most is None else min(found, most)

    @property
    def warm(self) -> int:
        """Kernels that wait on all workers together."""
        return sum(known.warm for known in list(self._known.values()))

    @property
    def workers(self) -> Sequence[Worker]:
        """The workers that can run notebooks."""
        sent = list(self._sent.values())
        return [
            Worker(
                host=known.seat.host,
                slots=known.seat.slots,
                running=sum(sending.worker == address for sending in sent),
                warm=known.warm,
                address=address,
            )
            for address, known in sorted(self._known.items())
        ]

    @property
    def troubles(self) -> Sequence[str]:
        """Why jobs wait, if the cluster is to blame."""
        if self._trouble is not None:
            return [self._trouble]
        if not self._known:
            return [f"no worker of the scheduler at {self._address} can run notebooks"]
        return []

    @property
    def notes(self) -> Sequence[str]:
        """Workers that are there and of no use."""
        return [f"the worker {address} {why}" for address, why in sorted(self._unable.items())]

    def fits(self, wanted: Resources, taken: Sequence[Resources]) -> bool:
        """Whether some worker has what is wanted to spare."""
        return placement.fits(self._seats(), taken, wanted)

    def why_never(self, wanted: Resources) -> str | None:
        """What no worker has, once none has had it for `patience_seconds`."""
        why = placement.why_never(self._seats(), wanted)
        key = wanted.model_dump_json()
        if why is None:
            self._unserved.pop(key, None)
            return None
        since = self._unserved.setdefault(key, self._clock())
        return why if self._clock() - since >= self._limits.patience_seconds else None

    def keep(self, room: int) -> None:
        """Nothing: workers keep their own kernels warm."""

    def renew(self) -> None:
        """Nothing: workers follow what is installed on their machines."""

    def execute(
        self, order: Order, notebook: bytes, on_progress: OnProgress
    ) -> tuple[Outcome, bytes | None]:
        """Send an order, and bring back what came of it. Blocks.

        Raises:
            OSError: its folder cannot be read, or its files cannot be written here.
        """
        folder = None
        try:
            if order.folder is not None:
                folder = pack(Path(order.folder), self._limits.folder_bytes)
        except FolderTooLarge:
            return _too_large(self._limits.folder_bytes), None
        delivery = self._in_loop(self._send(order, notebook, folder, on_progress))
        unpack(delivery.files, Path(order.output_folder))
        return delivery.outcome, delivery.executed

    def stop(self, job_id: str, reason: ErrorType) -> None:
        """End a run, wherever it is."""

        def stop() -> None:
            self._early.setdefault(job_id, reason)
            for sending in self._sent.values():
                if sending.order.job_id == job_id:
                    self._stop(sending, reason)
            self._changed.set()

        self._loop.call_soon_threadsafe(stop)

    def close(self) -> None:
        """End what is in flight, and let workers know that nobody will ask for it."""

        def close() -> None:
            self._closing = True
            self._changed.set()

        self._loop.call_soon_threadsafe(close)
        self._thread.join(CLOSE_SECONDS * 2)

    def _seats(self) -> list[Seat]:
        return [known.seat for known in list(self._known.values())]

    def _in_loop(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    # An order's way, in the loop

    async def _send(
        self,
        order: Order,
        notebook: bytes,
        folder: tuple[Packed, ...] | None,
        on_progress: OnProgress,
    ) -> Delivery:
        """Send it until a worker has begun it; from then on, never again."""
        self._orders += 1
        try:
            while True:
                ended = await self._until_it_may_begin(order)
                if ended is not None:
                    return Delivery(ended, None, ())
                sending = _Sending(order, on_progress)
                parcel = Parcel(
                    self._session,
                    sending.token,
                    self._terms,
                    order,
                    notebook,
                    folder,
                    self._limits.caps,
                )
                try:
                    return await self._send_once(sending, parcel)
                except NotBegun as why:
                    log.info("job %s: sent again: %s", order.job_id, why)
        finally:
            self._early.pop(order.job_id, None)
            self._orders -= 1

    async def _until_it_may_begin(self, order: Order) -> Outcome | None:
        """Wait for a worker, and until an earlier attempt is dead for certain.

        The outcome, if it is stopped before.
        """
        fence = self._fences.pop(order.job_id, None)
        if fence is None and order.attempt > 1:
            fence = self._began + self._limits.lease_seconds
        while True:
            reason = self._early.get(order.job_id)
            if reason is not None or self._closing:
                return _ended(order, reason or ErrorType.INTERRUPTED)
            is_fenced = fence is not None and self._clock() < fence
            if self._client is not None and self._able(order) and not is_fenced:
                return None
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), AGAIN_SECONDS)

    def _able(self, order: Order) -> list[str]:
        """Addresses of workers that have what an order needs."""
        needs = placement.as_dask(order.resources)
        return [
            address
            for address, known in self._known.items()
            if all(known.seat.has.get(name, 0.0) >= amount for name, amount in needs.items())
        ]

    async def _send_once(self, sending: _Sending, parcel: Parcel) -> Delivery:
        """One sending, to its end.

        Raises:
            NotBegun: see there.
        """
        client = self._client
        assert client is not None
        able = self._able(sending.order)
        needs = placement.as_dask(sending.order.resources)
        # Not by `get_executor`: from within the loop, cancelling its futures does nothing.
        future = client.submit(
            run_parcel,
            parcel,
            key=f"inbox-runner-{sending.token}",
            pure=False,
            workers=able,
            allow_other_workers=False,
            resources=needs or None,
        )
        self._sent[sending.token] = sending
        delivery: asyncio.Future[Delivery] = asyncio.ensure_future(future.result())
        lost = asyncio.ensure_future(sending.lost.wait())
        try:
            both: set[asyncio.Future[Any]] = {delivery, lost}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if delivery.done():
                return delivery.result()
            delivery.cancel()
            self._begin(_cancel(client, future))
            return self._without(sending, sending.why)
        except LOST as error:
            return self._without(sending, f"its task is gone ({type(error).__name__})")
        finally:
            lost.cancel()
            del self._sent[sending.token]

    def _without(self, sending: _Sending, why: str) -> Delivery:
        """What becomes of a sending that brings nothing back.

        Raises:
            NotBegun: it may be sent again.
        """
        order = sending.order
        if sending.stop is None and sending.worker is None:
            raise NotBegun(why)
        if sending.worker is not None:
            self._fences[order.job_id] = self._clock() + self._limits.lease_seconds
        if sending.stop is not None:
            return Delivery(_ended(order, sending.stop), None, ())
        log.warning("job %s: lost on %s: %s", order.job_id, sending.worker, why)
        message = f"The worker {sending.worker} was lost while the notebook ran: {why}."
        return Delivery(interrupted(message), None, ())

    def _stop(self, sending: _Sending, reason: ErrorType) -> None:
        """Where nobody has begun it, nobody will; else the worker is told, and has its time."""
        if sending.stop is not None:
            return
        sending.stop = reason
        if sending.worker is None:
            _lose(sending, "it was stopped before it began")
        else:
            seconds = STOP_SECONDS + self._limits.travel_seconds
            sending.over_by = min(sending.over_by, self._clock() + seconds)
            self._begin(self._tell(sending.worker))

    # The loop itself

    def _live(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._connect_and_serve())
        finally:
            self._loop.close()

    async def _connect_and_serve(self) -> None:
        while not self._closing:
            try:
                async with self._connected() as client:
                    await self._serve(client)
            except (OSError, TimeoutError) as error:
                said = str(error) or type(error).__name__
                self._is_away(f"the scheduler at {self._address} cannot be reached: {said}")
            except Exception as error:
                log.debug("the cluster cannot be used", exc_info=True)
                self._is_away(f"the cluster at {self._address} cannot be used: {error!r}")
            if not self._closing:
                await asyncio.sleep(AGAIN_SECONDS)
        while self._orders:
            self._changed.set()
            await asyncio.sleep(0.01)

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[Client]:
        """A client of the scheduler.

        Raises:
            OSError, TimeoutError: it cannot be reached.
            TypeError, ValueError, RuntimeError: not with this address and these certificates.
        """
        client = Client(
            self._address,
            asynchronous=True,
            timeout=CONNECT_SECONDS,
            security=self._security,
            set_as_default=False,
            name="inbox-runner",
        )
        try:
            yield await client
        finally:
            with contextlib.suppress(OSError, TimeoutError):
                await asyncio.wait_for(client.close(), CLOSE_SECONDS)

    def _is_away(self, why: str) -> None:
        """There is nobody to talk to; what was begun is lost, and nothing can begin."""
        if self._trouble != why:
            log.warning("%s", why)
        self._client, self._trouble = None, why
        self._known.clear()
        self._unable.clear()
        for sending in self._sent.values():
            _lose(sending, "the scheduler is gone")
        self._say_if_changed()

    async def _serve(self, client: Client) -> None:
        """Look after workers and runs for as long as the scheduler is there.

        Raises:
            OSError, CommClosedError: it is not there any more.
        """
        client.subscribe_topic(topic_of(self._session), self._asked)
        while not self._closing:
            if client.status != "running":
                raise CommClosedError("the connection has ended")
            await self._look(client)
            if self._client is None:
                log.info("connected to the scheduler at %s", self._address)
                self._client, self._trouble = client, None
            self._say_if_changed()
            await self._pause(client)
        await self._take_leave(client)

    async def _pause(self, client: Client) -> None:
        until = self._clock() + LOOK_SECONDS
        while not self._closing and client.status == "running" and self._clock() < until:
            await asyncio.sleep(0.05)

    async def _look(self, client: Client) -> None:
        """Ask all workers how they are, and all runs with them.

        Raises:
            OSError, CommClosedError: the scheduler does not answer.
        """
        found = await asyncio.wait_for(
            client.scheduler.identity(n_workers=-1), self._limits.tell_seconds
        )
        workers: Mapping[str, Any] = found["workers"]
        for address in set(self._known) | set(self._unable):
            if address not in workers:
                self._known.pop(address, None)
                self._unable.pop(address, None)
        await asyncio.gather(*(self._meet(client, *item) for item in workers.items()))
        for sending in list(self._sent.values()):
            self._look_after(sending, workers)
        now = self._clock()
        self._fences = {job_id: at for job_id, at in self._fences.items() if at > now}

    async def _meet(self, client: Client, address: str, info: Mapping[str, Any]) -> None:
        """Exchange words with one worker, and keep what it says."""
        try:
            answer = await self._exchange(client, address)
        except Exception as error:  # noqa: BLE001 - whatever it is, this worker is of no use now
            self._is_unable(address, error)
            return
        if answer.version != __version__:
            self._known.pop(address, None)
            self._unable[address] = f"runs inbox-runner {answer.version}, not {__version__}"
            return
        self._unable.pop(address, None)
        has = {str(name): float(amount) for name, amount in info["resources"].items()}
        seat = Seat(address, answer.host, int(info["nthreads"]), has)
        self._known[address] = _Known(seat, answer.process, answer.warm, self._clock())
        for run in answer.runs:
            sending = self._sent.get(run.token)
            if sending is not None and run.progress is not None:
                sending.on_progress(sending.order.job_id, run.progress)

    def _is_unable(self, address: str, error: Exception) -> None:
        """One that is silent for a moment keeps its runs until its lease is over."""
        known = self._known.get(address)
        since = float("-inf") if known is None else known.heard_at
        is_silent = isinstance(error, TimeoutError | OSError)
        if is_silent and self._clock() - since < self._limits.lease_seconds:
            return
        self._known.pop(address, None)
        text = str(error) or type(error).__name__
        self._unable[address] = f"cannot run notebooks: {text}"

    def _look_after(self, sending: _Sending, workers: Mapping[str, Any]) -> None:
        if sending.worker is None:
            if not any(address in self._known for address in self._able(sending.order)):
                _lose(sending, "there is no worker for it any more")
        elif sending.worker not in workers:
            _lose(sending, "it has left the cluster")
        elif sending.worker not in self._known:
            _lose(sending, "it is silent")
        elif self._known[sending.worker].process != sending.process:
            _lose(sending, "it was started anew")
        elif self._clock() > sending.over_by:
            _lose(sending, "it did not deliver in time")

    async def _asked(self, event: tuple[float, Mapping[str, str]]) -> None:
        """A worker asks whether it may begin. Told yes once, it may ask again."""
        question = event[1]
        token, worker, process = question["token"], question["worker"], question["process"]
        sending = self._sent.get(token)
        if sending is not None and sending.worker is None and not sending.lost.is_set():
            order = sending.order
            sending.worker, sending.process = worker, process
            seconds = order.timeout_seconds + order.kernel_start_seconds + GRACE_SECONDS
            sending.over_by = self._clock() + seconds + self._limits.travel_seconds
        is_allowed = sending is not None and (sending.worker, sending.process) == (worker, process)
        self._begin(self._tell(worker, () if is_allowed else (token,)))

    async def _tell(self, worker: str, denied: tuple[str, ...] = ()) -> None:
        """Say something at once. What gets lost is asked for again, or said at the next look."""
        if self._client is None:
            return
        try:
            await self._exchange(self._client, worker, denied=denied)
        except Exception as error:  # noqa: BLE001 - the next look finds out
            log.debug("the worker %s was not told: %r", worker, error)

    async def _exchange(self, client: Client, worker: str, **more: Any) -> Answer:
        there = [sending for sending in self._sent.values() if sending.worker == worker]
        self._words += 1
        word = Word(
            version=__version__,
            instance=self._instance,
            start=self._start,
            session=self._session,
            number=self._words,
            lease_seconds=self._limits.lease_seconds,
            terms=self._terms,
            allowed=tuple(sending.token for sending in there),
            stops={s.token: str(s.stop) for s in there if s.stop is not None},
            **more,
        )
        said = client.run(exchange, word.model_dump_json(), workers=[worker], on_error="return")
        answers = await asyncio.wait_for(said, self._limits.tell_seconds)
        if worker not in answers:
            raise CommClosedError("it is gone")
        if isinstance(answers[worker], Exception):
            raise answers[worker]
        return Answer.model_validate_json(answers[worker])

    async def _take_leave(self, client: Client) -> None:
        """Workers end what they run for us now, instead of when our lease is over."""
        for sending in self._sent.values():
            _lose(sending, "the runner stops")
        known = list(self._known)
        said = (self._exchange(client, address, is_last=True) for address in known)
        await asyncio.gather(*said, return_exceptions=True)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _say_if_changed(self) -> None:
        self._changed.set()
        now = (self.slots, self._trouble, tuple(self._unable))
        if now != self._told:
            self._told = now
            self._on_change()


async def _cancel(client: Client, future: Future) -> None:
    """Let the scheduler forget a task; no matter if there is no scheduler."""
    with contextlib.suppress(OSError, CommClosedError, TimeoutError):
        await asyncio.wait_for(client.cancel([future], force=True), TELL_SECONDS)


def _lose(sending: _Sending, why: str) -> None:
    sending.why = sending.why or why
    sending.lost.set()


def _ended(order: Order, reason: ErrorType) -> Outcome:
    messages = {
        ErrorType.CANCELLED: "The job was cancelled.",
        ErrorType.INTERRUPTED: "The runner was stopped before the notebook had ended.",
    }
    kernel = KernelUsed(name=None, requested=order.kernel)
    return failed(Failure(error_type=reason, message=messages[reason]), kernel=kernel)


def _too_large(max_bytes: int) -> Outcome:
    message = (
        f"The notebook's folder has more than {max_bytes / MEGABYTE:g} MB, and with a cluster it "
        "travels along (execution.dask.folder_mb). Keep large data where workers can reach it, or "
        "move the notebook into a folder of its own."
    )
    return failed(Failure(error_type=ErrorType.INVALID_REQUEST, message=message))
