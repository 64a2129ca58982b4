"""Runs one cell's code in a Jupyter kernel and passes on its messages one by one.

The library's client is for threads, so one of them talks to the kernel. Starts and ends no kernel.
"""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from jupyter_kernel_client.wsclient import KernelWebSocketClient

Message = Mapping[str, Any]

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.2
CONNECT_SECONDS = 30
REPLY_SECONDS = 10
ASK_SECONDS = 5.0
"""Pause before asking again whether the kernel is free: a question to its predecessor is lost."""
HEAR_SECONDS = 0.5
_GONE = frozenset({"restarting", "autorestarting", "dead"})


class KernelGone(Exception):
    """The kernel or the connection ended in the middle; the message says which."""


@dataclass(frozen=True)
class Reply:
    """How a cell ended, as the kernel says."""

    status: str
    """`ok`, `error` or `aborted`."""
    execution_count: int | None
    ends_kernel: bool = False
    """Whether the code has asked its kernel to end, as `exit()` does."""


@dataclass(frozen=True)
class Code:
    """What a kernel is to run."""

    source: str
    is_cell: bool = True
    """Whether it counts as a cell, in the kernel's history too."""


class Execution:
    """One piece of code in one kernel."""

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        code: Code,
        connect_seconds: float = CONNECT_SECONDS,
    ) -> None:
        """Set it up. `url` is the socket of the kernel's channels."""
        self._url = url
        self._headers = dict(headers)
        self._code = code
        self._connect_seconds = connect_seconds
        self._given_up = threading.Event()
        self._sending = threading.Lock()
        self.is_free = asyncio.Event()
        """Set once the kernel is free and gets the code."""
        self.sent_at: float | None = None
        self.has_begun = False
        """Set once the kernel has come to this cell; before, it runs somebody else's."""
        self._ended: asyncio.Future[Reply] | None = None

    async def run(self, tell: Callable[[Message], None]) -> Reply:
        """Run it to its end, once the kernel is free. Calls `tell` in the loop, in order.

        If cancelled, it stops listening; the kernel finishes the code it has.

        Raises:
            KernelGone
        """
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[Reply] = loop.create_future()
        self._ended = ended

        def settle(reply: Reply | None, error: BaseException | None) -> None:
            if ended.done():
                return
            if error is not None:
                ended.set_exception(error)
            else:
                assert reply is not None
                ended.set_result(reply)

        def in_loop(call: Callable[..., None], *arguments: object) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody listens any more
                loop.call_soon_threadsafe(call, *arguments)

        def work() -> None:
            client = KernelWebSocketClient(
                endpoint=self._url, headers=self._headers, timeout=self._connect_seconds
            )
            try:
                self._connect(client)
                self._wait_until_free(client)
                message_id = self._send(client)
                in_loop(self.is_free.set)
                self._listen(client, message_id, lambda message: in_loop(tell, message))
                reply = self._reply(client, message_id)
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

    def give_up(self) -> bool:
        """Keep back the code; False if the kernel has it already."""
        with self._sending:
            if self.sent_at is None:
                self._given_up.set()
            return self.sent_at is None

    def lose(self, reason: str) -> None:
        """End it at once: its kernel is gone, and will not say how it ended."""
        if self._ended is not None and not self._ended.done():
            self._ended.set_exception(KernelGone(reason))

    def rewrite(self, source: str) -> bool:
        """Run this in place of the code; False if the kernel has it already."""
        with self._sending:
            if self.sent_at is None:
                self._code = replace(self._code, source=source)
            return self.sent_at is None

    def _connect(self, client: KernelWebSocketClient) -> None:
        client.start_channels()
        if not client.channels_running:
            raise KernelGone("the kernel's channels cannot be reached")

    def _wait_until_free(self, client: KernelWebSocketClient) -> None:
        """Wait until the kernel answers, and its messages arrive here.

        Jupyter's own state does not help: it is `busy` for ever when a kernel has died in a cell
        and its successor had nothing to do yet. And messages of a new kernel may be lost until
        Jupyter is connected to it.
        """
        while not self._given_up.is_set():
            if self._answers(client, client.kernel_info()):
                return

    def _answers(self, client: KernelWebSocketClient, message_id: str) -> bool:
        """Wait for both; False when it is time to ask again."""
        until = time.monotonic() + ASK_SECONDS
        answered = heard = False

        def goes_on() -> bool:
            return not self._given_up.is_set() and time.monotonic() < until

        while goes_on():
            with suppress(queue.Empty):
                reply = client.get_shell_msg(timeout=0 if answered else LOOK_SECONDS)
                if not answered and reply["parent_header"].get("msg_id") == message_id:
                    answered, until = True, time.monotonic() + HEAR_SECONDS
            with suppress(queue.Empty):
                while not heard and goes_on():
                    message = client.get_iopub_msg(timeout=LOOK_SECONDS if answered else 0)
                    if message["content"].get("execution_state") == "dead":
                        raise KernelGone("the kernel died, and could not be started again")
                    heard = message["parent_header"].get("msg_id") == message_id
            if answered and heard:
                return True
            if not client.channels_running:
                raise KernelGone("the connection to the kernel was lost")
        return False

    def _send(self, client: KernelWebSocketClient) -> str:
        """Send the code, unless nobody waits for it any more."""
        with self._sending:
            if self._given_up.is_set():
                raise KernelGone("nobody waits for this cell any more")
            self.sent_at = time.monotonic()
            message_id: str = client.execute(
                self._code.source,
                store_history=self._code.is_cell,
                allow_stdin=False,
                stop_on_error=False,
            )
            return message_id

    def _listen(
        self, client: KernelWebSocketClient, message_id: str, tell: Callable[[Message], None]
    ) -> None:
        """Listen until the kernel is idle again after this cell."""
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
            if message["parent_header"].get("msg_id") != message_id:
                continue
            self.has_begun = True
            if state == "idle":
                return
            tell(message)

    def _reply(self, client: KernelWebSocketClient, message_id: str) -> Reply:
        try:
            while not self._given_up.is_set():
                message = client.get_shell_msg(timeout=REPLY_SECONDS)
                if message["parent_header"].get("msg_id") == message_id:
                    content = message["content"]
                    payload = content.get("payload") or ()
                    is_end = any(
                        one.get("source") == "ask_exit" and not one.get("keepkernel")
                        for one in payload
                    )
                    return Reply(content["status"], content.get("execution_count"), is_end)
        except queue.Empty:
            raise KernelGone("the kernel does not say how the cell ended") from None
        raise KernelGone("nobody waits for this cell any more")
