"""The messages of other threads and of signals to the loop, and the wait for them."""

import os
import queue
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

from runner.daemon.running.publishing import Finished
from runner.execution.order import Progress
from runner.state.deliveries import Settlement


@dataclass(frozen=True)
class Woken:
    """Something may have changed in the inbox; `by_client` if a client of ours has made it."""

    by_client: bool = False


@dataclass(frozen=True)
class Changed:
    """The workers or the troubles may have changed."""


@dataclass(frozen=True)
class Progressed:
    """A job has made progress."""

    job_id: str
    progress: Progress


@dataclass(frozen=True)
class Signalled:
    """A signal came."""

    number: int


Message = Woken | Changed | Progressed | Signalled | Finished | Settlement


class Mailbox:
    """Takes messages from any thread; the loop reads them."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._in_terminal = os.isatty(2)

    @property
    def is_left_alone(self) -> bool:
        """Whether the starting terminal has closed, so that nobody can stop us later."""
        return self._in_terminal and not os.isatty(2)

    def put(self, message: Message) -> None:
        """Leave a message."""
        self._queue.put(message)

    def read(self, seconds: float) -> list[Message]:
        """Wait so long for a message, then return all of them."""
        messages: list[Message] = []
        with suppress(queue.Empty):
            first = self._queue.get(timeout=seconds) if seconds else self._queue.get_nowait()
            messages.append(first)
            while True:
                messages.append(self._queue.get_nowait())
        return messages

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Turn SIGTERM, SIGINT and SIGHUP into messages within this block."""

        def tell(number: int, _frame: FrameType | None) -> None:
            self.put(Signalled(number))

        heard = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        old = {number: signal.signal(number, tell) for number in heard}
        try:
            yield
        finally:
            for number, previous in old.items():
                signal.signal(number, previous)
