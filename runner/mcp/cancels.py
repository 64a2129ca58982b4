"""Lets clients of the protocol with a handshake (that of 2025) cancel their calls over HTTP.

Such a client posts `notifications/cancelled` with the number of its call, apart from the call.
Nothing is kept between two requests, so each client gets a session id, which only tells whose
number it is: any is accepted, also one from before a restart, and a client may leave it out.
"""

import json
import uuid
from collections.abc import Hashable
from contextlib import suppress

from anyio import CancelScope
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SESSION = "mcp-session-id"
PARSED_BYTES = 256 * 1024
"""Calls with a larger body carry whole notebooks; what they start is a job."""
_INITIALIZE, _CALL, _CANCEL = "initialize", "tools/call", "notifications/cancelled"


class Cancels:
    """Passes requests on, and ends the calls that their clients cancel."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._calls: dict[Hashable, CancelScope] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, in ASGI's form."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        first = await receive()
        again = _Again(first, receive)
        method, number = _read(first)
        session = Headers(scope=scope).get(SESSION)
        key = (session, number)
        if method == _CANCEL and key in self._calls:
            self._calls[key].cancel()
        if method == _INITIALIZE and session is None:
            await self._app(scope, again, _with_session(send))
        elif method == _CALL and session is not None and key not in self._calls:
            await self._call(key, scope, again, send)
        else:
            await self._app(scope, again, send)

    async def _call(self, key: Hashable, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def watched(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        with CancelScope() as call:
            self._calls[key] = call
            try:
                await self._app(scope, receive, watched)
            finally:
                del self._calls[key]
        if not call.cancelled_caught:
            return
        if not has_begun:
            await send({"type": "http.response.start", "status": 202, "headers": []})
        with suppress(OSError):  # the client has left
            await send({"type": "http.response.body", "body": b"", "more_body": False})


class _Again:
    """Receives a message again that was read before, and then the others."""

    def __init__(self, first: Message, receive: Receive) -> None:
        self._first: Message | None = first
        self._receive = receive

    async def __call__(self) -> Message:
        first, self._first = self._first, None
        return await self._receive() if first is None else first


def _with_session(send: Send) -> Send:
    async def named(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == 200:
            MutableHeaders(scope=message)[SESSION] = uuid.uuid4().hex
        await send(message)

    return named


def _read(message: Message) -> tuple[str | None, object]:
    """Return the method of a request that is whole in a message, and the number of its call."""
    body: bytes = message.get("body", b"")
    if message.get("more_body") or len(body) > PARSED_BYTES:
        return None, None
    try:
        content = json.loads(body)
        method, number = content["method"], content.get("id")
        if method == _CANCEL:
            number = content["params"]["requestId"]
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return None, None
    is_known = isinstance(method, str) and isinstance(number, str | int)
    return (method, number) if is_known else (None, None)
