"""Asks a kernel to run cells and hears its messages, in one thread and without an event loop.

An event loop costs as much for each message as everything else that is done with it. Keeps no
output, and reads no content.
"""

import hmac
import time
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import zmq
from jupyter_client.adapter import adapt
from jupyter_client.session import Session
from zmq.backend import Socket, zmq_poll

from runner.execution.kernel.running import RunningKernel

HANG_UP_SECONDS = 1.0
"""Wait for a dying kernel, which hangs up first."""
DRAIN_SECONDS = 0.2
"""Time for the messages of a kernel that has ended."""
_PARTS = 5
"""Parts of each message: its signature, and four that are signed. Buffers may follow."""

Message = dict[str, Any]


class KernelGone(Exception):
    """The kernel has ended, and its messages are taken."""


class Heard(NamedTuple):
    """Whether there is a reply, and whether there is something published."""

    reply: bool
    output: bool


class Conversation:
    """The messages between this process and one kernel.

    If the connection ends while the kernel lives, a message was too large to be read: then
    `on_too_large` is called, and the kernel is killed.
    """

    def __init__(
        self,
        kernel: RunningKernel,
        on_too_large: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        client = kernel.client
        self._kernel = kernel
        self._session: Session = client.session
        self._read = _Reader(client.session)
        self._shell = _plain(client.shell_channel.socket)
        self._iopub = _plain(client.iopub_channel.socket)
        self._watched: list[tuple[Any, int]] = [
            (one, zmq.POLLIN) for one in (kernel.pidfd, *map(_plain, kernel.monitors))
        ]
        self._on_too_large = on_too_large
        self._clock = clock
        self._hung_up_by: float | None = None
        self._over_at: float | None = None

    def ask(self, source: str, *, stops: bool) -> str:
        """Ask the kernel to run a cell; return the request's id. `stops`: at an error."""
        content = {
            "code": source,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": stops,
        }
        request = self._session.send(self._shell, "execute_request", content)
        assert request is not None
        return str(request["header"]["msg_id"])

    def hear(self, waiting: Heard, until: float | None) -> Heard:
        """Wait for what is still `waiting`; neither is there when it is `until`.

        Raises:
            KernelGone: there will be none.
        """
        polled = list(self._watched)
        if waiting.reply:
            polled.append((self._shell, zmq.POLLIN))
        if waiting.output:
            polled.append((self._iopub, zmq.POLLIN))
        ready = [one for one, _ in zmq_poll(polled, self._left(until))]
        heard = Heard(self._shell in ready, self._iopub in ready)
        if self._is_ending or len(ready) > sum(heard):
            self._look(ready)
        return heard

    @property
    def _is_ending(self) -> bool:
        return self._hung_up_by is not None or self._over_at is not None

    def _left(self, until: float | None) -> int:
        """Return the milliseconds until something has to be done; -1 if nothing has."""
        if until is None and not self._is_ending:
            return -1
        ends = [one for one in (until, self._hung_up_by, self._over_at) if one is not None]
        return max(round((min(ends) - self._clock()) * 1000) + 1, 0)

    def _look(self, ready: Collection[Any]) -> None:
        """Learn of the kernel's end from the system at once."""
        now = self._clock()
        if self._over_at is not None:
            if now >= self._over_at:
                raise KernelGone
        elif self._kernel.pidfd in ready:
            self._end(now)
        elif self._hung_up_by is None:
            self._hung_up_by = now + HANG_UP_SECONDS
            self._watched = [(self._kernel.pidfd, zmq.POLLIN)]
        elif now >= self._hung_up_by:
            self._on_too_large()
            self._kernel.kill()
            self._end(now)

    def _end(self, now: float) -> None:
        self._over_at, self._hung_up_by, self._watched = now + DRAIN_SECONDS, None, []

    def take_reply(self) -> Message:
        """Take a reply that is there.

        Raises:
            LookupError, TypeError, ValueError: it is no message.
        """
        return self._read.message(_received(self._shell))

    def take_output(self) -> Message:
        """Take a published message that is there.

        Raises:
            LookupError, TypeError, ValueError: it is none.
        """
        return self._read.message(_received(self._iopub))

    async def next_output(self) -> Message:
        """Wait for a published message beside other things, once there are no cells any more.

        Raises:
            LookupError, TypeError, ValueError: it is none.
        """
        socket = self._kernel.client.iopub_channel.socket
        return self._read.message(await socket.recv_multipart())


def _plain(socket: Any) -> zmq.Socket[bytes]:
    """Return a socket of an event loop as one that waits."""
    return zmq.Socket.shadow(socket.underlying)


def _received(socket: zmq.Socket[bytes]) -> list[bytes]:
    """Take the parts of a message. pyzmq's own way looks up the option's name for each part."""
    parts = [socket.recv()]
    while Socket.get(socket, zmq.RCVMORE):
        parts.append(socket.recv())
    return parts


class _Reader:
    """Reads messages as jupyter_client does, but leaves dates as they are written.

    Dates are for nobody, and turning them into values takes a third of the time.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._unpack: Callable[[bytes], Any] = session.unpack
        self._key: bytes = session.key
        self._digest: Any = session.digest_mod
        self._parent: tuple[bytes, Any] = (b"{}", {})
        """The last header of a parent: all messages of a cell have the same."""

    def message(self, parts: list[bytes]) -> Message:
        """Read a message.

        Raises:
            LookupError, TypeError, ValueError: it is malformed, or not signed by this kernel.
        """
        found: list[Any] = self._session.feed_identities(parts)[1]
        signed = found[1:_PARTS]
        if self._key:
            self._check(found[0], signed)
        if len(found) < _PARTS:
            raise TypeError(f"it has {len(found)} parts")
        header = self._unpack(signed[0])
        if signed[1] != self._parent[0]:
            self._parent = signed[1], self._unpack(signed[1])
        message = {
            "header": header,
            "msg_id": header["msg_id"],
            "msg_type": header["msg_type"],
            "parent_header": self._parent[1],
            "metadata": {} if signed[2] == b"{}" else self._unpack(signed[2]),
            "content": self._unpack(signed[3]),
            "buffers": [memoryview(part) for part in found[_PARTS:]],
        }
        is_new = "date" in header and str(header.get("version")).startswith("5.")
        return message if is_new else adapt(message)

    def _check(self, signature: bytes, signed: list[bytes]) -> None:
        """Check a signature, and that it comes for the first time.

        Raises:
            ValueError: it is wrong.
        """
        if not signature or signature in self._session.digest_history:
            raise ValueError(f"it is not signed, or came before: {signature!r}")
        self._session._add_digest(signature)
        right = hmac.digest(self._key, b"".join(signed), self._digest).hex().encode()
        if not hmac.compare_digest(signature, right):
            raise ValueError(f"its signature is wrong: {signature!r}")
