"""Joins a Dask cluster: worker processes of this machine that run notebooks, until told to stop.

They come again when the scheduler does. Knows nothing of inbox and outbox.
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
from distributed.security import Security

from runner.execution.placement import GPUS, LABEL, MEMORY

log = logging.getLogger(__name__)

AGAIN_SECONDS = 2.0
CLOSE_SECONDS = 10.0


@dataclass(frozen=True)
class Offer:
    """What one worker process offers: notebooks at a time, and what else requests may ask for."""

    slots: int
    memory_mb: int
    gpus: int = 0
    labels: tuple[str, ...] = ()

    @property
    def resources(self) -> dict[str, float]:
        """As Dask resources; a label serves as many runs as there are slots."""
        found = {MEMORY: float(self.memory_mb), GPUS: float(self.gpus)}
        found |= {LABEL + label: float(self.slots) for label in self.labels}
        return {name: amount for name, amount in found.items() if amount}


def work(
    address: str,
    offer: Offer,
    *,
    processes: int = 1,
    security: Security | None = None,
    host: str | None = None,
    port: str | None = None,
    name: str | None = None,
) -> None:
    """Serve the scheduler at `address` until told to stop (SIGTERM, SIGINT).

    `host` is the address under which the scheduler reaches this machine; found out if None.
    `port`, or a range such as `9000:9003`, is where workers listen; any if None.
    """
    # Dask limits numpy and the like to one thread, and notebooks would inherit that. Its profiler
    # looks at every thread a hundred times a second, and ours only wait.
    dask.config.set(
        {"distributed.nanny.pre-spawn-environ": {}, "distributed.worker.profile.enabled": False}
    )
    asyncio.run(_work(address, offer, _names(name, processes), security, host, port))


def _names(name: str | None, processes: int) -> Sequence[str | None]:
    if name is None or processes == 1:
        return [name] * processes
    return [f"{name}-{number}" for number in range(processes)]


async def _work(
    address: str,
    offer: Offer,
    names: Sequence[str | None],
    security: Security | None,
    host: str | None,
    port: str | None,
) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    def make(name: str | None) -> Nanny:
        return Nanny(
            address,
            nthreads=offer.slots,
            resources=offer.resources,
            memory_limit=0,
            security=security,
            host=host,
            worker_port=port or 0,
            name=name,
            dashboard=False,
            dashboard_address="127.0.0.1:0",  # it would be open to all, whatever `security` is
        )

    log.info("joining the cluster at %s, %d notebooks at a time", address, offer.slots * len(names))
    await asyncio.gather(*(_keep(partial(make, name), address, stop) for name in names))
    log.info("stopped")


async def _keep(make: Callable[[], Nanny], address: str, stop: asyncio.Event) -> None:
    """One worker process, and another one whenever it has left the cluster."""
    ends = asyncio.ensure_future(stop.wait())
    said = False
    while not stop.is_set():
        nanny = make()
        serving = asyncio.ensure_future(_serve(nanny))
        await asyncio.wait({serving, ends}, return_when=asyncio.FIRST_COMPLETED)
        why = await _close(nanny, serving)
        if not stop.is_set():
            log.log(
                logging.DEBUG if said else logging.WARNING,
                "%s; trying again every %g s",
                why or f"a worker has left the scheduler at {address}",
                AGAIN_SECONDS,
            )
            said = why is not None
            await asyncio.wait({ends}, timeout=AGAIN_SECONDS)


async def _serve(nanny: Nanny) -> None:
    """Start it, and wait until it has ended.

    Raises:
        OSError, CommClosedError, RuntimeError: the worker could not be started, or not join.
    """
    await nanny
    log.info("a worker is at work for %s", nanny.scheduler.addr)
    await nanny.finished()


async def _close(nanny: Nanny, serving: "asyncio.Future[None]") -> str | None:
    """End what is left of it; gives what went wrong."""
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
