"""Executes orders on the workers of a Dask cluster: the `Execution` of many machines.

Knows nothing of ledger or outbox.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import dask

from runner.contract.outcome import ErrorType, Failure, Outcome, failed
from runner.contract.request import Resources
from runner.execution.cluster import placement
from runner.execution.cluster.messages import (
    FolderTooLarge,
    Luggage,
    Terms,
    pack,
    pack_inputs,
    unpack,
)
from runner.execution.cluster.placement import Patience, WorkerCapacity
from runner.execution.cluster.remote_runs import Bounds, RemoteRuns
from runner.execution.cluster.scheduler_link import Scheduler, SchedulerLink
from runner.execution.cluster.sender import Sender
from runner.execution.interface import Incarnation, OnProgress, Worker
from runner.execution.order import Order

log = logging.getLogger(__name__)

CLOSE_SECONDS = 20.0
MEGABYTE = 1024 * 1024

T = TypeVar("T")

dask.config.set({"distributed.admin.large-graph-warning-threshold": "2GB"})


class Cluster:
    """The workers of one scheduler that can run notebooks."""

    def __init__(
        self,
        scheduler: Scheduler,
        terms: Terms,
        bounds: Bounds,
        own: Incarnation,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """Connect in the background, and try again after a failure.

        A later start of `own` ends the runs that an earlier one left on workers. Another thread
        calls `on_change` when the workers or the troubles change.
        """
        self.pids: set[int] = set()
        self._address = scheduler.address
        self._bounds = bounds
        self._sendings = RemoteRuns(
            own,
            terms=terms,
            bounds=bounds,
            tell=lambda worker: self._contact.tell(worker),
            clock=time.monotonic,
        )
        self._contact = SchedulerLink(
            scheduler,
            lease_seconds=bounds.lease_seconds,
            listener=self._sendings,
            on_change=on_change,
        )
        self._patience = Patience(bounds.patience_seconds, time.monotonic)
        self._sender = Sender(self._sendings, self._contact, bounds, self.why_never)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._live, name="cluster", daemon=True)
        self._thread.start()

    @property
    def slots(self) -> int:
        """Threads of all workers that can run notebooks, up to `execution.concurrency`."""
        total = sum(seat.slots for seat in self._seats())
        most = self._bounds.most
        return total if most is None else min(total, most)

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
        """Reasons of the cluster why jobs wait."""
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
        """Workers that are present but unusable, each with its reason."""
        unable = sorted(self._contact.unable.items())
        return [f"the worker {address} {why}" for address, why in unable]

    def fits(self, wanted: Resources, taken: Sequence[Resources]) -> bool:
        """Return whether some worker can start this now."""
        does = placement.fits(self._seats(), taken, wanted)
        if does:
            self._patience.served(wanted)
        return does

    def why_never(self, wanted: Resources) -> str | None:
        """Name the need that no worker has served for `patience_seconds`; None if one may."""
        why = placement.why_never(self._seats(), wanted)
        if why is None:
            self._patience.served(wanted)
            return None
        return why if self._patience.is_over(wanted) else None

    def keep(self, room: int) -> None:
        """Do nothing: workers keep their own kernels warm."""

    def renew(self) -> None:
        """Have the workers import everything anew; they do so at the next word."""
        self._sendings.renew()

    def execute(
        self, order: Order, notebook: bytes, on_progress: OnProgress
    ) -> tuple[Outcome, bytes | None]:
        """Send an order, and return its outcome and executed notebook. Blocks.

        Raises:
            OSError: its folder cannot be read, or the worker that has it cannot write.
        """
        output, folder, warnings = Path(order.output_folder), None, list[str]()
        try:
            if order.folder is not None:
                folder, warnings = pack(Path(order.folder), self._bounds.folder_bytes)
        except FolderTooLarge:
            return _too_large(self._bounds.folder_bytes), None
        luggage = Luggage(folder, pack_inputs(output, order.inputs))
        delivery = self._in_loop(self._sender.send(order, notebook, luggage, on_progress))
        try:
            changed = {one.path for one in delivery.files} & {one.path for one in order.inputs}
            for path in changed:
                (output / path).unlink(missing_ok=True)
            unpack(delivery.files, output)
        except OSError as error:
            warnings.append(f"The files that came back could not be kept: {error}.")
        warned = [*delivery.outcome.warnings, *warnings]
        return delivery.outcome.model_copy(update={"warnings": warned}), delivery.executed

    def stop(self, job_id: str, reason: ErrorType) -> None:
        """End a run, wherever it is."""
        self._loop.call_soon_threadsafe(self._sender.stop, job_id, reason)

    def close(self) -> None:
        """End the runs in flight, and tell the workers that nobody will ask for them."""

        def close() -> None:
            self._sender.close()
            self._contact.close()

        self._loop.call_soon_threadsafe(close)
        self._thread.join(CLOSE_SECONDS)

    def _seats(self) -> list[WorkerCapacity]:
        return [known.seat for known in list(self._contact.known.values())]

    def _in_loop(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _live(self) -> None:
        """Run the event loop: the body of the cluster's thread."""
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._contact.serve())
            self._loop.run_until_complete(self._sender.until_nobody_waits())
        finally:
            self._loop.close()


def _too_large(max_bytes: int) -> Outcome:
    message = (
        f"The notebook's folder has more than {max_bytes / MEGABYTE:g} MB, and with a cluster it "
        "travels along (execution.dask.folder_mb). Keep large data where workers can reach it, or "
        "move the notebook into a folder of its own."
    )
    return failed(Failure(error_type=ErrorType.INVALID_REQUEST, message=message))
