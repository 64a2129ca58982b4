"""Runs one cell's code in a Jupyter kernel and tells what it says, message by message.

The library's client is for threads, so one of them talks to the kernel. Starts and ends no kernel.
"""

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from jupyter_kernel_client.wsclient import KernelWebSocketClient

Message = Mapping[str, Any]

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.2
CONNECT_SECONDS = 10
REPLY_SECONDS = 10
_GONE = frozenset({"restarting", "autorestarting", "dead"})


class KernelGone(Exception):
    """The kernel, or the way to it, ended in the middle; the message says which."""


@dataclass(frozen=True)
class Reply:
    """How a cell ended, by the kernel's word."""

    status: str
    """`ok`, `error` or `aborted`."""
    execution_count: int | None


class Execution:
    """One cell in one kernel."""

    def __init__(self, url: str, headers: Mapping[str, str], code: str) -> None:
        """`url` is the kernel's channels' socket."""
        self._url = url
        self._headers = dict(headers)
        self._code = code
        self._given_up = threading.Event()
        self.has_begun = False
        """Whether the kernel has come to this cell; before, it runs somebody else's."""

    async def run(self, tell: Callable[[Message], None]) -> Reply:
        """Run it to its end. `tell` is called in the event loop's thread, in order.

        Cancelled, it stops listening; the kernel goes on.

        Raises:
            KernelGone
        """
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[Reply] = loop.create_future()

        def settle(reply: Reply | None, error: BaseException | None) -> None:
            if ended.done():
                return
            if error is not None:
                ended.set_exception(error)
            else:
                assert reply is not None
                ended.set_result(reply)

        def in_loop(call: Callable[..., None], *given: object) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody listens any more
                loop.call_soon_threadsafe(call, *given)

        def work() -> None:
            client = KernelWebSocketClient(
                endpoint=self._url, headers=self._headers, timeout=CONNECT_SECONDS
            )
            try:
                reply = self._talk(client, lambda message: in_loop(tell, message))
            except KernelGone as gone:
                in_loop(settle, None, gone)
            except Exception as error:  # the library's sockets raise whatever they trip over
                log.warning("a cell's connection failed", exc_info=error)
                in_loop(settle, None, KernelGone(f"the connection to the kernel failed ({error})"))
            else:
                in_loop(settle, reply, None)
            client.stop_channels()  # its thread looks up every ten seconds only

        threading.Thread(target=work, name="kernel", daemon=True).start()
        try:
            return await ended
        finally:
            self._given_up.set()

    def _talk(self, client: KernelWebSocketClient, tell: Callable[[Message], None]) -> Reply:
        client.start_channels()
        if not client.channels_running:
            raise KernelGone("the kernel's channels cannot be reached")
        asked = client.execute(self._code, allow_stdin=False, stop_on_error=False)
        self._listen(client, asked, tell)
        return self._reply(client, asked)

    def _listen(
        self, client: KernelWebSocketClient, asked: str, tell: Callable[[Message], None]
    ) -> None:
        """Until the kernel is idle again after this cell."""
        while not self._given_up.is_set():
            try:
                message = client.get_iopub_msg(timeout=LOOK_SECONDS)
            except queue.Empty:
                if not client.channels_running:
                    raise KernelGone("the connection to the kernel was lost") from None
                continue
            kind, content = message["header"]["msg_type"], message["content"]
            state = content.get("execution_state") if kind == "status" else None
            if state in _GONE:
                raise KernelGone(
                    "the kernel died (it may have had too little memory); its variables are lost"
                )
            if message["parent_header"].get("msg_id") != asked:
                continue
            self.has_begun = True
            if state == "idle":
                return
            tell(message)

    def _reply(self, client: KernelWebSocketClient, asked: str) -> Reply:
        try:
            while not self._given_up.is_set():
                message = client.get_shell_msg(timeout=REPLY_SECONDS)
                if message["parent_header"].get("msg_id") == asked:
                    content = message["content"]
                    return Reply(content["status"], content.get("execution_count"))
        except queue.Empty:
            raise KernelGone("the kernel does not say how the cell ended") from None
        raise KernelGone("nobody waits for this cell any more")
