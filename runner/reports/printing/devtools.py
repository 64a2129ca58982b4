"""Talks with a Chromium by the two pipes of `--remote-debugging-pipe`.

Messages of the DevTools protocol are JSON that ends with a zero byte, in both directions.
"""

import json
import os
import select
import time
from collections.abc import Callable
from typing import IO, Any

TICK_SECONDS = 0.25
_CHUNK = 1 << 18
Json = dict[str, Any]


class Ended(Exception):
    """The browser is gone, or the page in it."""


class Refusal(Exception):
    """The browser refuses a call; the message is its own."""


class Devtools:
    """One conversation. `guard` is called again and again meanwhile, and may raise."""

    def __init__(
        self, write: IO[bytes], read: IO[bytes], guard: Callable[[], None], ends_at: float
    ) -> None:
        """Talk by two pipes, which stay open as long as this, until `ends_at` (monotonic)."""
        self._pipes = write, read
        self._write_to, self._read_from = write.fileno(), read.fileno()
        self._guard = guard
        self._ends_at = ends_at
        self._number = 0
        self._unread = bytearray()
        self._looked_through = 0
        self._answers: dict[str, Callable[[Json, str | None], None]] = {}
        self._seen: set[str] = set()
        for one in (self._write_to, self._read_from):
            os.set_blocking(one, False)

    def on(self, event: str, answer: Callable[[Json, str | None], None]) -> None:
        """Call `answer` with the parameters and the session of each event of that name."""
        self._answers[event] = answer

    def send(self, method: str, session: str | None = None, **parameters: Any) -> int:
        """Send a message and wait for nothing; return its number.

        Raises:
            Ended, TimeoutError
        """
        self._number += 1
        message: Json = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        rest = memoryview(json.dumps(message).encode() + b"\0")
        while rest:
            if self._is_ready(self._write_to, select.POLLOUT):
                try:
                    rest = rest[os.write(self._write_to, rest[:_CHUNK]) :]
                except BrokenPipeError as error:
                    raise Ended from error
        return self._number

    def call(self, method: str, session: str | None = None, **parameters: Any) -> Json:
        """Send a message and return its result.

        Raises:
            Ended, Refusal, TimeoutError, and what the guard raises.
        """
        number = self.send(method, session, **parameters)
        while (message := self._next()).get("id") != number:
            pass
        if "error" in message:
            raise Refusal(f"{method}: {message['error'].get('message')}")
        result: Json = message["result"]
        return result

    def await_event(self, event: str) -> None:
        """Return once an event of this name has come, also before this call.

        Raises:
            Ended, TimeoutError, and what the guard raises.
        """
        while event not in self._seen:
            self._next()

    def _next(self) -> Json:
        """Read one message; events go to who answers them."""
        message: Json = json.loads(self._line())
        event = message.get("method")
        if event in ("Inspector.targetCrashed", "Target.targetCrashed"):
            raise Ended
        if event is not None:
            self._seen.add(event)
            if event in self._answers:
                self._answers[event](message.get("params", {}), message.get("sessionId"))
        return message

    def _line(self) -> bytes:
        while (end := self._unread.find(b"\0", self._looked_through)) < 0:
            self._looked_through = len(self._unread)
            if not self._is_ready(self._read_from, select.POLLIN):
                continue
            part = os.read(self._read_from, _CHUNK)
            if not part:
                raise Ended
            self._unread += part
        line = bytes(self._unread[:end])
        del self._unread[: end + 1]
        self._looked_through = 0
        return line

    def _is_ready(self, descriptor: int, event: int) -> bool:
        self._guard()
        left = self._ends_at - time.monotonic()
        if left <= 0:
            raise TimeoutError
        poll = select.poll()
        poll.register(descriptor, event)
        return bool(poll.poll(min(left, TICK_SECONDS) * 1000))
