"""Joins a Dask cluster: worker processes of this machine that run notebooks, until told to stop.

They come again when the scheduler does. Knows nothing of inbox and outbox.
"""

import asyncio
import logging
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

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
    # Dask limits numpy and the like to one thread, and notebooks would inherit that.
    dask.config.set({"distributed.nanny.pre-spawn-environ": {}})
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
    ends = asyncio.ensure_future(stop.wait())
    said = False
    log.info("joining the cluster at %s, %d notebooks at a time", address, offer.slots * len(names))
    while not stop.is_set():
        nannies = [
            Nanny(
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
            for name in names
        ]
        serving = asyncio.ensure_future(_serve(nannies))
        await asyncio.wait({serving, ends}, return_when=asyncio.FIRST_COMPLETED)
        why = await _close(nannies, serving)
        if not stop.is_set():
            log.log(
                logging.DEBUG if said else logging.WARNING,
                "%s; trying again every %g s",
                why or f"the scheduler at {address} is gone",
                AGAIN_SECONDS,
            )
            said = why is not None
            await asyncio.wait({ends}, timeout=AGAIN_SECONDS)
    log.info("stopped")


async def _serve(nannies: Sequence[Nanny]) -> None:
    """Start them, and wait until they have ended.

    Raises:
        OSError, CommClosedError, RuntimeError: a worker could not be started, or not join.
    """
    await asyncio.gather(*nannies)
    log.info("at work for %s", nannies[0].scheduler.addr)
    await asyncio.gather(*(nanny.finished() for nanny in nannies))


async def _close(nannies: Sequence[Nanny], serving: "asyncio.Future[None]") -> str | None:
    """End what is left of them; gives what went wrong."""
    why = None
    if serving.done():
        with suppress(asyncio.CancelledError):
            error = serving.exception()
            why = None if error is None else f"no worker: {error}"
    else:
        serving.cancel()
    closing = [nanny.close(timeout=CLOSE_SECONDS, reason="stopped") for nanny in nannies]
    for result in await asyncio.gather(*closing, return_exceptions=True):
        if isinstance(result, Exception) and not isinstance(result, OSError | CommClosedError):
            log.warning("a worker did not close: %r", result)
    return why
