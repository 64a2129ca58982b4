"""Asks a kernel to run cells and hears its messages, in one thread and without an event loop.

An event loop costs as much for each message as everything else that is done with it. Keeps no
output, and reads no content.
"""

import time
from collections.abc import Callable, Collection
from enum import IntEnum
from hmac import compare_digest
from typing import Any

import zmq
from jupyter_client.adapter import adapt
from jupyter_client.client import KernelClient
from jupyter_client.session import Session
from zmq.backend import zmq_poll

from runner.execution.kernel.running import RunningKernel

HANG_UP_SECONDS = 1.0
"""Wait for a dying kernel, which hangs up first."""
DRAIN_SECONDS = 0.2
"""Time for the messages of a kernel that has ended."""
_LEAST_PARTS = 5
_SIGNED = slice(1, _LEAST_PARTS)

Message = dict[str, Any]


class KernelGone(Exception):
    """The kernel has ended, and its messages are taken."""


class Channel(IntEnum):
    """Where a kernel answers, and where it publishes."""

    SHELL = 0
    IOPUB = 1


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
        self._sockets = {
            Channel.SHELL: _plain(client.shell_channel.socket),
            Channel.IOPUB: _plain(client.iopub_channel.socket),
        }
        self._channels = {socket: channel for channel, socket in self._sockets.items()}
        self._monitors = [_plain(monitor) for monitor in kernel.monitors]
        self._watched: list[tuple[Any, int]] = [
            (one, zmq.POLLIN) for one in (kernel.pidfd, *self._monitors)
        ]
        self._on_too_large = on_too_large
        self._clock = clock
        self._hung_up_by: float | None = None
        self._over_at: float | None = None

    def ask(self, source: str, *, stops: bool) -> str:
        """Ask the kernel to run a cell; return the request's id. `stops`: at an error."""
        return str(KernelClient.execute(self._kernel.client, source, stop_on_error=stops))

    def hear(self, channels: Collection[Channel], until: float | None) -> list[Channel]:
        """Wait for messages; return the channels that have any, and none when it is `until`.

        Raises:
            KernelGone: there will be none.
        """
        waiting: list[tuple[Any, int]] = [(self._sockets[one], zmq.POLLIN) for one in channels]
        ends = [one for one in (until, self._hung_up_by, self._over_at) if one is not None]
        left = -1 if not ends else max(round((min(ends) - self._clock()) * 1000) + 1, 0)
        ready = {one for one, _ in zmq_poll(waiting + self._watched, left)}
        heard = [one for one in channels if self._sockets[one] in ready]
        if len(heard) < len(ready) or self._hung_up_by is not None or self._over_at is not None:
            self._look(ready)
        return heard

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

    def take(self, channel: Channel) -> Message:
        """Take a message that is there.

        Raises:
            LookupError, TypeError, ValueError: it is none.
        """
        return understood(self._session, self._sockets[channel].recv_multipart())


def _plain(socket: Any) -> zmq.Socket[bytes]:
    """Return a socket of an event loop as one that waits."""
    return zmq.Socket.shadow(socket.underlying)


def understood(session: Session, parts: list[bytes]) -> Message:
    """Read a message as jupyter_client does, but leave its dates as they are written.

    Dates are for nobody, and turning them into values takes a third of the time.

    Raises:
        LookupError, TypeError, ValueError: it is malformed, or not signed by this kernel.
    """
    signed: list[Any] = session.feed_identities(parts)[1]
    if session.auth is not None:
        signature = signed[0]
        if not signature or signature in session.digest_history:
            raise ValueError(f"it is not signed, or came before: {signature!r}")
        session._add_digest(signature)
        if not compare_digest(signature, session.sign(signed[_SIGNED])):
            raise ValueError(f"its signature is wrong: {signature!r}")
    if len(signed) < _LEAST_PARTS:
        raise TypeError(f"it has {len(signed)} parts")
    header, parent, metadata, content = map(session.unpack, signed[_SIGNED])
    message = {
        "header": header,
        "msg_id": header["msg_id"],
        "msg_type": header["msg_type"],
        "parent_header": parent,
        "metadata": metadata,
        "content": content,
        "buffers": [memoryview(part) for part in signed[_LEAST_PARTS:]],
    }
    is_today = "date" in header and str(header.get("version")).startswith("5.")
    return message if is_today else adapt(message)
