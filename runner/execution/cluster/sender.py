"""Sends one order to the workers of a cluster until one has begun it, and never again."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

from distributed import Client, Future
from distributed.client import FutureCancelledError
from distributed.comm.core import CommClosedError
from distributed.scheduler import KilledWorker

from runner.contract.outcome import ErrorType, Failure, KernelUsed, Outcome, failed, interrupted
from runner.contract.request import Resources
from runner.execution.cluster import placement
from runner.execution.cluster.messages import Delivery, Luggage, NotGranted, Parcel
from runner.execution.cluster.remote_runs import Bounds, RemoteRun, RemoteRuns, able
from runner.execution.cluster.scheduler_link import SchedulerLink
from runner.execution.cluster.worker import KEY, run_parcel
from runner.execution.interface import OnProgress
from runner.execution.order import Order

log = logging.getLogger(__name__)

WAIT_SECONDS = 0.25
CANCEL_SECONDS = 5.0
MOST_DEATHS = 3
"""How many workers in a row may die before one of them begins an order."""
LOST = (NotGranted, FutureCancelledError, KilledWorker, CommClosedError)
"""Exceptions of a task whose worker or scheduler is gone."""


class NotBegun(Exception):
    """No worker has begun a sending, and none will: `reason`."""


class Sender:
    """Holds the orders that have not returned. In the loop only."""

    def __init__(
        self,
        sendings: RemoteRuns,
        contact: SchedulerLink,
        bounds: Bounds,
        why_never: Callable[[Resources], str | None],
    ) -> None:
        """Send by `contact`. `why_never` says why no worker can ever serve some needs."""
        self._sendings = sendings
        self._contact = contact
        self._bounds = bounds
        self._why_never = why_never
        self._stopped: dict[str, ErrorType] = {}
        """Stop reasons by job id, of orders that are possibly not sent yet."""
        self._orders = 0
        self._is_closing = False

    def stop(self, job_id: str, reason: ErrorType) -> None:
        """End a run, wherever it is."""
        self._stopped.setdefault(job_id, reason)
        self._sendings.stop(job_id, reason)

    def close(self) -> None:
        """Send nothing more, and give up the orders in flight."""
        self._is_closing = True
        self._sendings.lose_all("the runner stops")

    async def until_nobody_waits(self) -> None:
        """Wait until every order has its outcome."""
        while self._orders:
            await asyncio.sleep(0.01)

    async def send(
        self,
        order: Order,
        notebook: bytes,
        luggage: Luggage,
        on_progress: OnProgress,
    ) -> Delivery:
        """Send an order until a worker has begun it, and never again after that."""
        self._orders += 1
        deaths = 0
        try:
            while True:
                ended = await self._until_it_may_begin(order)
                if ended is not None:
                    return Delivery(ended, None, ())
                addresses = tuple(able(self._contact.known, order))
                sending = RemoteRun(order, on_progress, addresses)
                parcel = Parcel(
                    self._sendings.session,
                    sending.token,
                    self._sendings.terms,
                    order,
                    notebook,
                    luggage,
                    self._bounds.caps.beside(order.inputs),
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
        """Wait for a worker, and until an earlier attempt is certainly dead.

        Return the outcome if the order is stopped before that, or no worker can serve it any more.
        """
        while True:
            reason = self._stopped.get(order.job_id)
            if reason is not None or self._is_closing:
                return _ended(order, reason or ErrorType.INTERRUPTED)
            is_there = self._contact.client is not None and able(self._contact.known, order)
            if is_there and not self._sendings.is_fenced(order):
                return None
            why = None if is_there else self._why_never(order.resources)
            if why is not None:
                message = f"`resources` cannot be served any more: {why}."
                return failed(Failure(error_type=ErrorType.INVALID_REQUEST, message=message))
            await asyncio.sleep(WAIT_SECONDS)

    async def _send_once(self, sending: RemoteRun, parcel: Parcel) -> Delivery:
        """Send it once, and wait for the end.

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
            delivery = await _delivered(future, lost)
            if delivery is not None:
                return delivery
            self._contact.begin(_cancel(client, future))
            return self._without(sending, sending.why)
        except LOST as error:
            is_there = self._contact.client is not None
            why = f"its task is gone ({type(error).__name__})"
            return self._without(sending, why if is_there else "the scheduler is gone", error)
        finally:
            lost.cancel()
            self._sendings.remove(sending)

    def _without(self, sending: RemoteRun, why: str, error: Exception | None = None) -> Delivery:
        """Return the outcome of a sending without a delivery.

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
    """Have the scheduler forget a task; ignore a missing scheduler."""
    with contextlib.suppress(OSError, TimeoutError):
        await asyncio.wait_for(client.cancel([future], force=True), CANCEL_SECONDS)


async def _delivered(future: Future, lost: "asyncio.Future[Any]") -> Delivery | None:
    """Wait for the delivery; None once it is lost.

    Dask fetches several results at a time, so cancelling one also cancels the wait for the others.
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
