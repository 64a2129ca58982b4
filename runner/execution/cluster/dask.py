"""Executes orders on the workers of a Dask cluster; the far side of the executor seam.

Sends each order until a worker has begun it, and never afterwards. Knows nothing of ledger or
outbox.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import dask
from distributed import Client, Future
from distributed.client import FutureCancelledError
from distributed.comm.core import CommClosedError
from distributed.scheduler import KilledWorker
from distributed.security import Security

from runner.contract.outcome import ErrorType, Failure, KernelUsed, Outcome, failed, interrupted
from runner.contract.request import Resources
from runner.execution.cluster import placement
from runner.execution.cluster.messages import (
    Delivery,
    FolderTooLarge,
    NotGranted,
    Packed,
    Parcel,
    Terms,
    pack,
    unpack,
)
from runner.execution.cluster.placement import Patience, Seat
from runner.execution.cluster.remote_runs import Bounds, Sending, Sendings, able
from runner.execution.cluster.scheduler_link import Contact
from runner.execution.cluster.worker import KEY, run_parcel
from runner.execution.interface import OnProgress, Worker
from runner.execution.order import Order

log = logging.getLogger(__name__)

WAIT_SECONDS = 0.25
CLOSE_SECONDS = 20.0
CANCEL_SECONDS = 5.0
MOST_DEATHS = 3
"""How often several workers may die one after the other while an order is with them."""
MEGABYTE = 1024 * 1024

T = TypeVar("T")
LOST = (NotGranted, FutureCancelledError, KilledWorker, CommClosedError)
"""What becomes of a task when its worker or the scheduler is gone."""

dask.config.set({"distributed.admin.large-graph-warning-threshold": "2GB"})


class NotBegun(Exception):
    """A sending that no worker has begun, and none will: `reason`."""


class Cluster:
    """The workers of one scheduler, as far as they can run notebooks."""

    def __init__(
        self,
        *,
        address: str,
        security: Security | None,
        terms: Terms,
        bounds: Bounds,
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
        self._bounds = bounds
        self._sendings = Sendings(
            instance=instance,
            start=start,
            terms=terms,
            bounds=bounds,
            tell=lambda worker: self._contact.tell(worker),
            clock=clock,
        )
        self._contact = Contact(
            address=address,
            security=security,
            lease_seconds=bounds.lease_seconds,
            listener=self._sendings,
            on_change=on_change,
            clock=clock,
        )
        self._stopped: dict[str, ErrorType] = {}
        """Reasons by job id, of orders that may not be sent yet."""
        self._patience = Patience(bounds.patience_seconds, clock)
        self._orders = 0
        self._is_closing = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._live, name="cluster", daemon=True)
        self._thread.start()

    @property
    def slots(self) -> int:
        """All threads of workers that can run notebooks, up to `execution.concurrency`."""
        found = sum(seat.slots for seat in self._seats())
        most = self._bounds.most
        return found if most is None else min(found, most)

    @property
    def workers(self) -> Sequence[Worker]:
        """The workers that can run notebooks."""
        return [
            Worker(
                host=known.seat.host,
                slots=known.seat.slots,
                running=self._sendings.on(address),
                warm=known.warm,
                address=address,
            )
            for address, known in sorted(self._contact.known.items())
        ]

    @property
    def troubles(self) -> Sequence[str]:
        """Why jobs wait, if the cluster is to blame."""
        if self._contact.trouble is not None:
            return [self._contact.trouble]
        if not any(seat.slots for seat in self._seats()):
            return [
                f"no worker of the scheduler at {self._address} can run notebooks; start one with "
                f"`runner worker --scheduler {self._address}`"
            ]
        return []

    @property
    def notes(self) -> Sequence[str]:
        """Workers that are there and of no use."""
        unable = sorted(self._contact.unable.items())
        return [f"the worker {address} {why}" for address, why in unable]

    def fits(self, wanted: Resources, taken: Sequence[Resources]) -> bool:
        """Whether some worker has what is wanted to spare."""
        does = placement.fits(self._seats(), taken, wanted)
        if does:
            self._patience.served(wanted)
        return does

    def why_never(self, wanted: Resources) -> str | None:
        """What no worker has, once none has had it for `patience_seconds`."""
        why = placement.why_never(self._seats(), wanted)
        if why is None:
            self._patience.served(wanted)
            return None
        return why if self._patience.is_over(wanted) else None

    def keep(self, room: int) -> None:
        """Nothing: workers keep their own kernels warm."""

    def renew(self) -> None:
        """Workers do so when they hear of it."""
        self._sendings.renew()

    def execute(
        self, order: Order, notebook: bytes, on_progress: OnProgress
    ) -> tuple[Outcome, bytes | None]:
        """Send an order, and bring back what came of it. Blocks.

        Raises:
            OSError: its folder cannot be read, or the worker that has it cannot write.
        """
        folder, warnings = None, list[str]()
        try:
            if order.folder is not None:
                folder, warnings = pack(Path(order.folder), self._bounds.folder_bytes)
        except FolderTooLarge:
            return _too_large(self._bounds.folder_bytes), None
        delivery = self._in_loop(self._send(order, notebook, folder, on_progress))
        try:
            unpack(delivery.files, Path(order.output_folder))
        except OSError as error:
            warnings.append(f"The files that came back could not be kept: {error}.")
        warned = [*delivery.outcome.warnings, *warnings]
        return delivery.outcome.model_copy(update={"warnings": warned}), delivery.executed

    def stop(self, job_id: str, reason: ErrorType) -> None:
        """End a run, wherever it is."""

        def stop() -> None:
            self._stopped.setdefault(job_id, reason)
            self._sendings.stop(job_id, reason)

        self._loop.call_soon_threadsafe(stop)

    def close(self) -> None:
        """End what is in flight, and let workers know that nobody will ask for it."""

        def close() -> None:
            self._is_closing = True
            self._sendings.lose_all("the runner stops")
            self._contact.close()

        self._loop.call_soon_threadsafe(close)
        self._thread.join(CLOSE_SECONDS)

    def _seats(self) -> list[Seat]:
        return [known.seat for known in list(self._contact.known.values())]

    def _in_loop(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _live(self) -> None:
        """The thread in which all of it happens but waiting."""
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._contact.serve())
            self._loop.run_until_complete(self._until_nobody_waits())
        finally:
            self._loop.close()

    async def _until_nobody_waits(self) -> None:
        while self._orders:
            await asyncio.sleep(0.01)

    async def _send(
        self,
        order: Order,
        notebook: bytes,
        folder: tuple[Packed, ...] | None,
        on_progress: OnProgress,
    ) -> Delivery:
        """Send it until a worker has begun it; from then on, never again."""
        self._orders += 1
        deaths = 0
        try:
            while True:
                ended = await self._until_it_may_begin(order)
                if ended is not None:
                    return Delivery(ended, None, ())
                addresses = tuple(able(self._contact.known, order))
                sending = Sending(order, on_progress, addresses)
                parcel = Parcel(
                    self._sendings.session,
                    sending.token,
                    self._sendings.terms,
                    order,
                    notebook,
                    folder,
                    self._bounds.caps,
                    self._bounds.lease_seconds,
                )
                try:
                    return await self._send_once(sending, parcel)
                except NotBegun as why:
                    deaths += isinstance(why.__cause__, KilledWorker)
                    if deaths >= MOST_DEATHS:
                        return Delivery(
                            interrupted(f"No worker lived to begin it: {why}."), None, ()
                        )
                    log.info("job %s: to be sent again: %s", order.job_id, why)
                    await asyncio.sleep(WAIT_SECONDS)
        finally:
            self._stopped.pop(order.job_id, None)
            self._orders -= 1

    async def _until_it_may_begin(self, order: Order) -> Outcome | None:
        """Wait for a worker, and until an earlier attempt is dead for certain.

        The outcome, if it is stopped before, or no worker can serve it any more.
        """
        while True:
            reason = self._stopped.get(order.job_id)
            if reason is not None or self._is_closing:
                return _ended(order, reason or ErrorType.INTERRUPTED)
            is_there = self._contact.client is not None and able(self._contact.known, order)
            if is_there and not self._sendings.is_fenced(order):
                return None
            why = None if is_there else self.why_never(order.resources)
            if why is not None:
                message = f"`resources` cannot be served any more: {why}."
                return failed(Failure(error_type=ErrorType.INVALID_REQUEST, message=message))
            await asyncio.sleep(WAIT_SECONDS)

    async def _send_once(self, sending: Sending, parcel: Parcel) -> Delivery:
        """One sending, to its end.

        Raises:
            NotBegun: see there.
        """
        client = self._contact.client
        assert client is not None
        # Not by `get_executor`: from within the loop, cancelling its futures does nothing.
        future = client.submit(
            run_parcel,
            parcel,
            key=KEY + sending.token,
            pure=False,
            workers=list(sending.addresses),
            allow_other_workers=False,
            resources=placement.as_dask(sending.order.resources) or None,
        )
        self._sendings.add(sending)
        lost = asyncio.ensure_future(sending.lost.wait())
        try:
            found = await _delivered(future, lost)
            if found is not None:
                return found
            self._contact.begin(_cancel(client, future))
            return self._without(sending, sending.why)
        except LOST as error:
            is_there = self._contact.client is not None
            why = f"its task is gone ({type(error).__name__})"
            return self._without(sending, why if is_there else "the scheduler is gone", error)
        finally:
            lost.cancel()
            self._sendings.remove(sending)

    def _without(self, sending: Sending, why: str, error: Exception | None = None) -> Delivery:
        """What becomes of a sending that brings nothing back.

        Raises:
            NotBegun: it may be sent again.
        """
        order = sending.order
        if sending.stop is None and sending.worker is None:
            raise NotBegun(why) from error
        if sending.worker is not None:
            self._sendings.fence(order.job_id)
        if sending.stop is not None:
            return Delivery(_ended(order, sending.stop, sending.host), None, ())
        log.warning("job %s: lost on %s: %s", order.job_id, sending.worker, why)
        message = f"The run on the worker {sending.worker} was lost: {why}."
        outcome = interrupted(message).model_copy(update={"host": sending.host})
        return Delivery(outcome, None, ())


async def _cancel(client: Client, future: Future) -> None:
    """Let the scheduler forget a task; no matter if there is no scheduler."""
    with contextlib.suppress(OSError, TimeoutError):
        await asyncio.wait_for(client.cancel([future], force=True), CANCEL_SECONDS)


async def _delivered(future: Future, lost: "asyncio.Future[Any]") -> Delivery | None:
    """What comes back; None once it is lost.

    Dask fetches several results at a time: who gives one up cancels the others' waiting too.
    """
    while True:
        delivery: asyncio.Future[Delivery] = asyncio.ensure_future(future.result())
        both: set[asyncio.Future[Any]] = {delivery, lost}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if delivery.done() and not delivery.cancelled():
            return delivery.result()
        delivery.cancel()
        if lost.done():
            return None
        await asyncio.sleep(WAIT_SECONDS)


def _ended(order: Order, reason: ErrorType, host: str | None = None) -> Outcome:
    messages = {
        ErrorType.CANCELLED: "The job was cancelled.",
        ErrorType.INTERRUPTED: "The runner was stopped before the notebook had ended.",
    }
    kernel = KernelUsed(name=None, requested=order.kernel)
    return failed(Failure(error_type=reason, message=messages[reason]), kernel=kernel, host=host)


def _too_large(max_bytes: int) -> Outcome:
    message = (
        f"The notebook's folder has more than {max_bytes / MEGABYTE:g} MB, and with a cluster it "
        "travels along (execution.dask.folder_mb). Keep large data where workers can reach it, or "
        "move the notebook into a folder of its own."
    )
    return failed(Failure(error_type=ErrorType.INVALID_REQUEST, message=message))
