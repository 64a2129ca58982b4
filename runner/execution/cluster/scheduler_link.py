"""Keeps the connection to a Dask scheduler and exchanges words with its workers.

Reconnects when the scheduler returns. Sends no order, and judges none.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from distributed import Client
from distributed.comm.core import CommClosedError
from distributed.security import Security

from runner import __version__
from runner.execution.cluster.messages import Answer, Word
from runner.execution.cluster.placement import WorkerCapacity
from runner.execution.cluster.worker import exchange, topic_of, version_here

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
TELL_SECONDS = 5.0
CONNECT_SECONDS = 5.0
AGAIN_SECONDS = 1.0
CLOSE_SECONDS = 10.0
FOREIGN_SECONDS = 60.0
"""A worker without inbox-runner logs a traceback for each question, so ask it rarely."""


@dataclass
class WorkerState:
    """The last known state of a worker that can run notebooks."""

    seat: WorkerCapacity
    process: str
    warm: int
    heard_at: float


class OtherVersion(Exception):
    """The scheduler cannot pass on our messages: `what it has`."""

    def __str__(self) -> str:
        return (
            f"it needs inbox-runner {__version__} and {self.args[0]}; "
            "install the same one where the scheduler runs"
        )


class Listener(Protocol):
    """Provides the words for workers and receives their answers; all in the loop."""

    session: str

    def word_for(self, worker: str, *, denied: str | None, is_last: bool) -> Word:
        """Return the word for a worker now."""
        ...

    def may_begin(self, token: str, worker: str, process: str) -> bool:
        """Return whether a worker's process may begin the sending with that token."""
        ...

    def heard(self, answer: Answer) -> None:
        """Take a worker's report on its runs."""
        ...

    def looked(self, present: Collection[str], known: Mapping[str, WorkerState]) -> None:
        """Take the result of a look: workers in the cluster, and those that can run notebooks."""
        ...

    def is_alone(self) -> None:
        """Note that the scheduler is gone, and everything sent with it."""
        ...


@dataclass(frozen=True)
class Scheduler:
    """Address of a scheduler, such as `tcp://scheduler:8786`, and the certificates for it."""

    address: str
    security: Security | None = None


class SchedulerLink:
    """The workers of one scheduler. `serve` runs in a loop; its findings may be read anywhere."""

    def __init__(
        self,
        scheduler: Scheduler,
        lease_seconds: float,
        listener: Listener,
        on_change: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._scheduler = scheduler
        self._lease_seconds = lease_seconds
        self._tell_seconds = min(TELL_SECONDS, lease_seconds / 4)
        """Shorter than a lease: other workers wait for their word while one does not answer."""
        self._listener = listener
        self._on_change = on_change
        self._clock = clock
        self._client: Client | None = None
        self._connection: object = None
        self._looked_at = 0.0
        self.known: dict[str, WorkerState] = {}
        self.unable: dict[str, str] = {}
        """Workers that are present but unusable, with the reason."""
        self._foreign_until: dict[str, float] = {}
        self.trouble: str | None = f"not connected to the scheduler at {scheduler.address} yet"
        self._reported: object = None
        self._is_closing = False
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def client(self) -> Client | None:
        """The client while the scheduler is there."""
        client = self._client
        return client if client is not None and self._is_connected(client) else None

    def _is_connected(self, client: Client) -> bool:
        """Return whether this is still the first connection: a later one has lost its tasks."""
        return client.status == "running" and client.scheduler_comm is self._connection

    async def serve(self) -> None:
        """Connect, reconnect, and look after the workers until `close`."""
        while not self._is_closing:
            try:
                async with self._connected() as client:
                    await self._attend(client)
            except (OSError, TimeoutError) as error:
                said = str(error) or type(error).__name__
                self._is_away(
                    f"the scheduler at {self._scheduler.address} cannot be reached: {said}"
                )
            except OtherVersion as error:
                self._is_away(f"the scheduler at {self._scheduler.address} is of no use: {error}")
            except Exception as error:
                log.debug("the cluster cannot be used", exc_info=True)
                self._is_away(f"the cluster at {self._scheduler.address} cannot be used: {error!r}")
            if not self._is_closing:
                await asyncio.sleep(AGAIN_SECONDS)

    def close(self) -> None:
        """Say goodbye to all workers, and end `serve`."""
        self._is_closing = True

    def tell(self, worker: str, *, denied: str | None = None) -> None:
        """Send a worker its word at once. The next look repeats a lost one."""
        self.begin(self._tell(worker, denied))

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Start a background task."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[Client]:
        """Open a client of the scheduler.

        Raises:
            OSError, TimeoutError: it cannot be reached.
            TypeError, ValueError, RuntimeError: not with this address and these certificates.
        """
        client = Client(
            self._scheduler.address,
            asynchronous=True,
            timeout=CONNECT_SECONDS,
            security=self._scheduler.security,
            set_as_default=False,
            name="inbox-runner",
        )
        try:
            yield await client
        finally:
            with contextlib.suppress(OSError, TimeoutError):
                await asyncio.wait_for(client.close(), CLOSE_SECONDS)

    def _is_away(self, why: str) -> None:
        """Note that the cluster cannot be reached."""
        if self.trouble != why:
            log.warning("%s", why)
        self._client, self.trouble = None, why
        self.known.clear()
        self.unable.clear()
        self._foreign_until.clear()
        self._listener.is_alone()
        self._say_if_changed()

    async def _attend(self, client: Client) -> None:
        """Look after the workers while the scheduler is there.

        Raises:
            OSError, TimeoutError: it is not there any more.
        """
        client.subscribe_topic(topic_of(self._listener.session), self._on_question)
        self._connection = client.scheduler_comm
        self._looked_at = self._clock()
        await self._make_sure_of_the_scheduler(client)
        while not self._is_closing:
            if not self._is_connected(client):
                raise CommClosedError("the connection has ended")
            await self._look(client)
            if self._client is None:
                log.info("connected to the scheduler at %s", self._scheduler.address)
                self._client, self.trouble = client, None
            self._say_if_changed()
            await self._pause(client)
        await self._take_leave(client)

    async def _make_sure_of_the_scheduler(self, client: Client) -> None:
        """Check its version: it unpacks our messages, so it needs the same inbox-runner.

        Raises:
            OtherVersion: it has not.
            OSError, TimeoutError: it does not answer.
        """
        try:
            version = await asyncio.wait_for(client.run_on_scheduler(version_here), CONNECT_SECONDS)
        except ImportError as error:
            raise OtherVersion(f"has none ({error})") from error
        if version != __version__:
            raise OtherVersion(f"has {version}")

    async def _pause(self, client: Client) -> None:
        until = self._clock() + LOOK_SECONDS
        while not self._is_closing and self._is_connected(client) and self._clock() < until:
            await asyncio.sleep(0.1)

    async def _look(self, client: Client) -> None:
        """Exchange words with all workers.

        Raises:
            OSError, TimeoutError: the scheduler has not answered for as long as a lease.
        """
        try:
            reply = await asyncio.wait_for(client.scheduler.identity(n_workers=-1), CONNECT_SECONDS)
        except TimeoutError:
            if self._clock() - self._looked_at < self._lease_seconds and self._is_connected(client):
                return
            raise
        self._looked_at = self._clock()
        workers: Mapping[str, Any] = reply["workers"]
        for address in (set(self.known) | set(self.unable)) - set(workers):
            self.known.pop(address, None)
            self.unable.pop(address, None)
            self._foreign_until.pop(address, None)
        now = self._clock()
        due = [item for item in workers.items() if self._foreign_until.get(item[0], now) <= now]
        await asyncio.gather(*(self._meet(client, *item) for item in due))
        self._listener.looked(workers.keys(), self.known)

    async def _meet(self, client: Client, address: str, info: Mapping[str, Any]) -> None:
        """Exchange words with one worker, and keep its answer."""
        try:
            answer = await self._exchange(client, address)
        except Exception as error:  # noqa: BLE001 - whatever it is, this worker is of no use now
            self._is_unable(address, error)
            return
        if answer.version != __version__:
            self.known.pop(address, None)
            self.unable[address] = f"runs inbox-runner {answer.version}, not {__version__}"
            return
        slots = int(info["nthreads"])
        if answer.trouble is None:
            self.unable.pop(address, None)
        else:
            slots, self.unable[address] = 0, f"cannot run notebooks: {answer.trouble}"
        has = {str(name): float(amount) for name, amount in info["resources"].items()}
        seat = WorkerCapacity(address, answer.host, slots, has)
        self.known[address] = WorkerState(seat, answer.process, answer.warm, self._clock())
        self._listener.heard(answer)

    def _is_unable(self, address: str, error: Exception) -> None:
        """Note an unusable worker; a silent one keeps its runs until its lease ends."""
        known = self.known.get(address)
        since = float("-inf") if known is None else known.heard_at
        is_silent = isinstance(error, TimeoutError | OSError)
        if is_silent and self._clock() - since < self._lease_seconds:
            return
        self.known.pop(address, None)
        said = str(error) or type(error).__name__
        remedy = ""
        if _is_foreign(error):
            remedy = "; install inbox-runner there"
            self._foreign_until[address] = self._clock() + FOREIGN_SECONDS
        self.unable[address] = f"cannot run notebooks: {said}{remedy}"

    async def _on_question(self, event: tuple[float, Mapping[str, str]]) -> None:
        """Answer a worker that asks whether it may begin."""
        token, worker, process = (event[1][key] for key in ("token", "worker", "process"))
        is_allowed = self._listener.may_begin(token, worker, process)
        self.tell(worker, denied=None if is_allowed else token)

    async def _tell(self, worker: str, denied: str | None) -> None:
        client = self.client
        if client is None:
            return
        try:
            await self._exchange(client, worker, denied=denied)
        except Exception as error:  # noqa: BLE001 - the next look finds out
            log.debug("no word reached the worker %s: %r", worker, error)

    async def _exchange(
        self, client: Client, worker: str, *, denied: str | None = None, is_last: bool = False
    ) -> Answer:
        """Send a worker its word, and return its answer.

        Raises:
            OSError, TimeoutError: it says nothing.
            Exception: whatever it says instead of an answer.
        """
        word = self._listener.word_for(worker, denied=denied, is_last=is_last).model_dump_json()
        said = client.run(exchange, word, workers=[worker], on_error="return")
        answers = await asyncio.wait_for(said, self._tell_seconds)
        if worker not in answers:
            raise CommClosedError("it is gone")
        if isinstance(answers[worker], Exception):
            raise answers[worker]
        return Answer.model_validate_json(answers[worker])

    async def _take_leave(self, client: Client) -> None:
        """Have workers end our runs now, instead of when our lease ends."""
        said = (self._exchange(client, address, is_last=True) for address in list(self.known))
        await asyncio.gather(*said, return_exceptions=True)

    def _say_if_changed(self) -> None:
        slots = sum(known.seat.slots for known in self.known.values())
        now = (slots, self.trouble, tuple(self.unable))
        if now != self._reported:
            self._reported = now
            self._on_change()


def _is_foreign(error: Exception) -> bool:
    """Return whether a worker cannot import inbox-runner.

    Its scheduler, which does not unpack the exception, makes a plain one of its text.
    """
    return str(error).startswith(("ImportError(", "ModuleNotFoundError("))
