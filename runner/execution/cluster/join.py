"""Joins a Dask cluster: runs worker processes on this machine until told to stop.

They return when the scheduler does. Knows nothing of inbox and outbox.
"""

import asyncio
import logging
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import dask
from distributed import Nanny
from distributed.comm.core import CommClosedError
from distributed.protocol.pickle import dumps

from runner.execution.cluster import worker
from runner.execution.cluster.placement import GPUS, LABEL, MEMORY
from runner.execution.cluster.scheduler_link import Scheduler

log = logging.getLogger(__name__)

AGAIN_SECONDS = 2.0
LOOK_SECONDS = 0.2
ANSWER_SECONDS = 5.0
HOME_SECONDS = 10.0
"""Time for a runner to fetch the results of interrupted runs."""
CLOSE_SECONDS = 10.0


@dataclass(frozen=True)
class Offer:
    """The resources of one worker process: slots, memory, GPUs and labels."""

    slots: int
    memory_mb: int
    gpus: int = 0
    labels: tuple[str, ...] = ()

    @property
    def resources(self) -> dict[str, float]:
        """The same as Dask resources; a label serves as many runs as there are slots."""
        amounts = {MEMORY: float(self.memory_mb), GPUS: float(self.gpus)}
        amounts |= {LABEL + label: float(self.slots) for label in self.labels}
        return {name: amount for name, amount in amounts.items() if amount}


@dataclass(frozen=True)
class Place:
    """Number and name of the worker processes, and where the scheduler reaches them.

    `host` is the address of this machine; None finds it out. Workers listen on `port`, or on one of
    a range such as `9000:9003`; None takes any.
    """

    processes: int = 1
    name: str | None = None
    host: str | None = None
    port: str | None = None

    @property
    def names(self) -> Sequence[str | None]:
        """Name of each process."""
        if self.name is None or self.processes == 1:
            return [self.name] * self.processes
        return [f"{self.name}-{number}" for number in range(self.processes)]


def work(scheduler: Scheduler, offer: Offer, place: Place, shutdown_seconds: float = 0) -> None:
    """Serve a scheduler until told to stop (SIGTERM, SIGINT).

    Then no run begins any more, and present runs have `shutdown_seconds` to end. A second signal,
    or the end of that time, interrupts them.
    """
    # Dask limits numpy and the like to one thread, and notebooks would inherit that. Its profiler
    # looks at every thread a hundred times a second, and ours only wait. That, fifty ticks a
    # second and figures for a dashboard are two thirds of what an idle worker computes.
    dask.config.set(
        {
            # A worker must not import modules of the current folder.
            "distributed.nanny.pre-spawn-environ": {"PYTHONSAFEPATH": "1"},
            "distributed.worker.profile.enabled": False,
            "distributed.admin.tick.interval": "1s",
            "distributed.admin.system-monitor.interval": "5s",
        }
    )
    asyncio.run(_work(scheduler, offer, place, shutdown_seconds))


class _Stop:
    """Whether to stop, and how long runs may go on."""

    def __init__(self, shutdown_seconds: float) -> None:
        self.requested = asyncio.Event()
        self.at_once = asyncio.Event()
        self._seconds = shutdown_seconds

    def tell(self) -> None:
        """Start draining at the first call; interrupt the remaining runs at the second."""
        if self.requested.is_set():
            self.at_once.set()
            return
        log.info("stopping; present runs have %g s, or until the next signal", self._seconds)
        self.requested.set()
        asyncio.get_running_loop().call_later(self._seconds, self.at_once.set)


async def _work(scheduler: Scheduler, offer: Offer, place: Place, shutdown_seconds: float) -> None:
    address, names = scheduler.address, place.names
    stop = _Stop(shutdown_seconds)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.tell)

    def make(name: str | None) -> Nanny:
        return Nanny(
            address,
            nthreads=offer.slots,
            resources=offer.resources,
            memory_limit=0,
            preload=[worker.__name__],
            security=scheduler.security,
            host=place.host,
            worker_port=place.port or 0,
            name=name,
            dashboard=False,
            dashboard_address="127.0.0.1:0",  # it would be open to all, whatever `security` is
        )

    slots = offer.slots * len(names)
    notebooks = "notebook" if slots == 1 else "notebooks"
    log.info("joining the cluster at %s, %d %s at a time", address, slots, notebooks)
    await asyncio.gather(*(_keep(partial(make, name), address, stop) for name in names))
    log.info("stopped")


async def _keep(make: Callable[[], Nanny], address: str, stop: _Stop) -> None:
    """Run one worker process, and a new one whenever it has left the cluster."""
    ends = asyncio.ensure_future(stop.requested.wait())
    said = False
    while not stop.requested.is_set():
        nanny = make()
        serving = asyncio.ensure_future(_serve(nanny))
        await asyncio.wait({serving, ends}, return_when=asyncio.FIRST_COMPLETED)
        if stop.requested.is_set() and not serving.done():
            drained = asyncio.ensure_future(_drain(nanny, stop.at_once))
            await asyncio.wait({serving, drained}, return_when=asyncio.FIRST_COMPLETED)
            drained.cancel()
        why = await _close(nanny, serving)
        if not stop.requested.is_set():
            log.log(
                logging.DEBUG if said else logging.WARNING,
                "%s; trying again every %g s",
                why or f"a worker has left the scheduler at {address}",
                AGAIN_SECONDS,
            )
            said = why is not None
            await asyncio.wait({ends}, timeout=AGAIN_SECONDS)


async def _drain(nanny: Nanny, at_once: asyncio.Event) -> None:
    """Wait until its runs have ended and their results are fetched, or its time is over."""
    while await _left_on(nanny, end=False) and not at_once.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(at_once.wait(), LOOK_SECONDS)
    with suppress(TimeoutError):
        async with asyncio.timeout(HOME_SECONDS):
            while await _left_on(nanny, end=True):
                await asyncio.sleep(LOOK_SECONDS)


async def _left_on(nanny: Nanny, *, end: bool) -> int:
    """Count the runs and unfetched results on a worker; 0 if it does not answer."""
    if nanny.worker_address is None:
        return 0
    try:
        said = await asyncio.wait_for(
            nanny.rpc(nanny.worker_address).run(function=dumps(worker.drain), args=dumps((end,))),
            ANSWER_SECONDS,
        )
        return int(said["result"])
    except (OSError, CommClosedError, TimeoutError) as error:
        log.warning("a worker does not say what it runs: %s", error)
        return 0


async def _serve(nanny: Nanny) -> None:
    """Start a worker, and wait until it has ended.

    Raises:
        OSError, CommClosedError, RuntimeError: the worker could not be started, or not join.
    """
    await nanny
    log.info("a worker is at work for %s", nanny.scheduler.addr)
    await nanny.finished()


async def _close(nanny: Nanny, serving: "asyncio.Future[None]") -> str | None:
    """End the rest of a worker; return the error if there was one."""
    why = None
    if serving.done():
        with suppress(asyncio.CancelledError):
            error = serving.exception()
            why = None if error is None else f"no worker: {error}"
    else:
        serving.cancel()
    try:
        await nanny.close(timeout=CLOSE_SECONDS, reason="stopped")
    except (OSError, CommClosedError) as error:
        log.debug("a worker did not take leave: %s", error)
    except Exception:
        log.exception("a worker did not close")
    return why
