"""A fresh Jupyter kernel as its job process sees it: forked, or started cold.

Both ways give a `RunningKernel`, reached over ipc with a key of its own. Executes nothing.
"""

import asyncio
import contextlib
import os
import secrets
import select
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty
from typing import Any

import zmq
import zmq.asyncio
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.channels import AsyncZMQSocketChannel
from jupyter_client.connect import KernelConnectionInfo, write_connection_file
from jupyter_client.kernelspec import NATIVE_KERNEL_NAME
from jupyter_client.manager import AsyncKernelManager

from runner.execution.kernel import forked
from runner.execution.kernel.forked import KernelSetting
from runner.execution.limits.cgroup import Cgroup
from runner.system.processes.process_tree import hear_signals_again

SHUTDOWN_SECONDS = 5.0
"""Time for a kernel to flush its files and end by itself."""
FLUSHED_SECONDS, ENDED_SECONDS = 1.0, 0.05
"""Time for its last messages after it has said that there are no more, and after its end."""
WAITING_MESSAGES = 100
"""How many messages may wait in this process for each channel; the others wait in the kernel."""


LOOK_AGAIN_SECONDS = 1.0
ODD = (LookupError, TypeError, ValueError, AttributeError, AssertionError, RecursionError)
"""Exceptions of nbclient, jupyter_client and others over malformed messages."""
ABORTED_SECONDS = 0.01
"""Pause after a request that a kernel aborted, since it came with the error of another."""


class ShellChannel(AsyncZMQSocketChannel):
    """Looks again each second for a reply that was not announced.

    jupyter_client sends past the asynchronous socket (nbclient does it amid a cell, for an Output
    widget). Such a send swallows the socket's only signal that a reply has come.
    """

    async def get_msg(  # type: ignore[override]  # as in jupyter_client
        self, timeout: float | None = None
    ) -> dict[str, Any]:
        """Wait for a message.

        Raises:
            Empty: there was none in time.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = LOOK_AGAIN_SECONDS if deadline is None else deadline - time.monotonic()
            try:
                return await super().get_msg(max(min(left, LOOK_AGAIN_SECONDS), 0.0))
            except Empty:
                if deadline is not None and time.monotonic() >= deadline:
                    raise


class KernelNotReady(Exception):
    """No kernel came up in time, or it died on the way: `reason`."""


@dataclass(frozen=True)
class Origin:
    """A kernel that was forked, and the process that forked it."""

    pid: int
    zygote: int | None
    """The process that kernels are forked from, if it is not this one."""
    ended_by: Callable[[], int | None]
    """Gives the signal that ended the kernel, if one did."""


@dataclass
class RunningKernel:
    """A kernel process, and the client connected to it."""

    pid: int
    client: AsyncKernelClient
    language_info: dict[str, Any]
    pidfd: int
    channel: socket.socket | None = None
    """Socket to a forked kernel, which reports there that its files are flushed."""
    monitors: Sequence[zmq.asyncio.Socket] = ()
    """They report when zmq refuses a message that is too large: it hangs up then."""
    zygote: int | None = None
    """The process beside it that kernels are forked from, if there is one: no part of its run."""
    ended_by: Callable[[], int | None] = lambda: None
    """Gives the signal that ended it, if one did and it is not collected yet."""
    unseen: set[str] = field(default_factory=set)
    """Ids of requests beside the notebook: what the kernel publishes for them is no output."""

    @property
    def last_word(self) -> str:
        """Type of the kernel's last published message."""
        return "shutdown_reply" if self.channel is None else forked.LAST_WORD

    def is_alive(self) -> bool:
        """Return whether the process lives; its descriptor is readable at its end."""
        return not select.select([self.pidfd], [], [], 0)[0]

    def interrupt(self) -> None:
        """Send SIGINT to the kernel and to its process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGINT)

    def kill(self) -> None:
        """Send SIGKILL to the kernel alone: `end_run` ends its children."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    async def ended(self) -> None:
        """Wait until the process has ended."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        loop.add_reader(self.pidfd, _resolve, done)
        try:
            await done
        finally:
            loop.remove_reader(self.pidfd)

    async def evaluate(self, expression: str, seconds: float) -> str | None:
        """Evaluate an expression beside the notebook, which shows and counts nothing of it.

        Return the text of its value; None if the kernel does not give one in time.
        """
        answer = asyncio.ensure_future(_evaluated(self.client, expression, self.unseen))
        death = asyncio.ensure_future(self.ended())
        waiting = {answer, death}
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        is_there = answer.done()
        for one in waiting:
            one.cancel()
        try:
            return answer.result() if is_there else None
        except ODD:  # the notebook can make its kernel say anything
            return None

    def ask_to_end(self) -> None:
        """Have it run its exit functions and flush its files."""
        if self.is_alive():
            self.client.shutdown()

    async def end(self, drain: Callable[[], Awaitable[bool]] | None) -> tuple[bool, bool]:
        """Wait after `ask_to_end` until it has written everything; kill it if that takes too long.

        Return whether it reported this itself, so that it is as good as ended, and the value of
        `drain`, which takes its last messages meanwhile.
        """
        taking = None if drain is None else asyncio.ensure_future(drain())
        has_flushed = False
        try:
            has_flushed = await asyncio.wait_for(self._ended_or_flushed(), SHUTDOWN_SECONDS)
        except TimeoutError:
            pass
        finally:
            if taking is not None:
                wait = FLUSHED_SECONDS if has_flushed else ENDED_SECONDS
                await asyncio.wait({taking}, timeout=wait)
                taking.cancel()
            self.kill()
        return has_flushed, taking is not None and await taking

    async def _ended_or_flushed(self) -> bool:
        if self.channel is not None and await forked.has_flushed(self.channel):
            return True
        await self.ended()
        return False

    def close(self) -> None:
        """Release its channels, their threads, and the process descriptor."""
        for monitor in self.monitors:
            monitor.close(linger=0)
        self.client.stop_channels()
        self.client.context.destroy(linger=0)
        if self.channel is not None:
            self.channel.close()
        os.close(self.pidfd)


def _resolve(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


@dataclass(frozen=True)
class Connections:
    """The connection file of a future kernel, and its content."""

    file: str
    info: KernelConnectionInfo


def make_connections(runtime_folder: str) -> Connections:
    """Choose sockets below `runtime_folder` and write the connection file.

    The file names the ports, so that the kernel does not race for names. A socket's path has 107
    bytes (unix(7)).
    """
    file, info = write_connection_file(
        str(Path(runtime_folder) / "kernel.json"),
        shell_port=1,
        iopub_port=2,
        stdin_port=3,
        hb_port=4,
        control_port=5,
        ip=str(Path(runtime_folder) / "k"),
        key=secrets.token_hex(16).encode(),
        transport="ipc",
        kernel_name=NATIVE_KERNEL_NAME,
    )
    return Connections(file, info)


async def connect(
    origin: Origin,
    channel: socket.socket,
    connections: Connections,
    seconds: float,
    message_bytes: int | None,
) -> RunningKernel:
    """Connect to a forked kernel, and wait until it has run an empty cell.

    That cell makes its first real one quick. The client connects once the kernel's sockets exist:
    zmq tries a missing one again only after 0.1 s.

    Raises:
        KernelNotReady: it died, or did not answer in time.
    """
    client = AsyncKernelClient()
    client.load_connection_info(connections.info)
    kernel = RunningKernel(
        origin.pid,
        client,
        {},
        os.pidfd_open(origin.pid),
        channel,
        zygote=origin.zygote,
        ended_by=origin.ended_by,
    )

    async def greeted(client: AsyncKernelClient) -> dict[str, Any]:
        if not await forked.is_up(channel):
            raise KernelNotReady("it died while starting")
        kernel.monitors = _start_channels(client, message_bytes)
        await _greeting(client)
        info = await _kernel_info(client)
        await _run_nothing(client)
        return info

    return await _wait_until_ready(kernel, greeted, seconds)


@dataclass(frozen=True)
class ColdStart:
    """A kernel that is to be started by its kernelspec `name`, in `cgroup` if there is one.

    Its connection file lies in `runtime_folder`; a message has at most `message_bytes`.
    """

    name: str
    setting: KernelSetting
    runtime_folder: Path
    message_bytes: int | None = None
    cgroup: Cgroup | None = None


async def start_cold(start: ColdStart, seconds: float) -> RunningKernel:
    """Start a kernel as jupyter_client does.

    Raises:
        KernelNotReady: it could not be started, died, or did not answer within `seconds`.
    """
    km = AsyncKernelManager(
        kernel_name=start.name,
        transport="ipc",
        ip=str(start.runtime_folder / "k"),
        connection_file=str(start.runtime_folder / "kernel.json"),
    )
    # Otherwise every kernel writes into one file of the user's.
    history = ["--HistoryManager.hist_file=:memory:"] if km.ipykernel else []
    try:
        await km.start_kernel(
            cwd=start.setting.folder,
            env=start.setting.environment,
            stdin=None,
            extra_arguments=history,
            preexec_fn=lambda: _as_by_hand(start.cgroup),
        )
    except Exception as error:
        km.context.destroy(linger=0)
        raise KernelNotReady(f"{start.name!r} could not be started: {error}") from error
    assert km.provisioner is not None
    pid = int(km.provisioner.pid)  # type: ignore[attr-defined]
    client = km.client(context=km.context)  # the manager has a socket in it, and closes none
    pidfd = os.pidfd_open(pid)
    kernel = RunningKernel(pid, client, {}, pidfd, ended_by=lambda: signal_of_child(pidfd))
    kernel.monitors = _start_channels(client, start.message_bytes)
    kernel.manager = km  # type: ignore[attr-defined]
    return await _wait_until_ready(kernel, _answered, seconds)


def signal_of_child(pidfd: int) -> int | None:
    """Return the signal that ended a child, and leave the child to be waited for."""
    try:
        status = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    if status is None or status.si_code not in (os.CLD_KILLED, os.CLD_DUMPED):
        return None
    return status.si_status


def _as_by_hand(cgroup: Cgroup | None) -> None:
    """Make this new process as one that a person starts, but for its control group."""
    hear_signals_again()
    if cgroup is not None:
        cgroup.enter()


def _start_channels(
    client: AsyncKernelClient, message_bytes: int | None
) -> Sequence[zmq.asyncio.Socket]:
    """Connect, with bounds on waiting messages; return monitors of the connections."""
    client.context.setsockopt(zmq.RCVHWM, WAITING_MESSAGES)
    if message_bytes is not None:
        client.context.setsockopt(zmq.MAXMSGSIZE, message_bytes)
    client.shell_channel_class = ShellChannel
    client.start_channels(hb=False)
    client.allow_stdin = False
    sockets = (client.iopub_channel.socket, client.shell_channel.socket)
    return [one.get_monitor_socket(zmq.EVENT_DISCONNECTED) for one in sockets]


async def _wait_until_ready(
    kernel: RunningKernel,
    ready: Callable[[AsyncKernelClient], Awaitable[dict[str, Any]]],
    seconds: float,
) -> RunningKernel:
    """Return the kernel once it has answered; one that does not is ended and released.

    Raises:
        KernelNotReady: it died, or did not answer in time.
    """
    answer = asyncio.ensure_future(ready(kernel.client))
    death = asyncio.ensure_future(kernel.ended())
    waiting = {answer, death}
    try:
        done, _ = await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if answer not in done:
            died = "it died while starting"
            raise KernelNotReady(died if done else f"it did not answer within {seconds:g} s")
        kernel.language_info = answer.result()
    except BaseException:
        # The next run of this process would wait for ever when its garbage is collected, for zmq
        # waits for each socket that is still open.
        for one in waiting:
            one.cancel()
        await asyncio.wait(waiting)
        kernel.kill()
        kernel.close()
        raise
    death.cancel()
    return kernel


async def _greeting(client: AsyncKernelClient) -> None:
    """Wait for ipykernel 7's greeting on iopub (JEP 65): no output can be missed after it."""
    while (await client.get_iopub_msg(timeout=None))["msg_type"] != "iopub_welcome":
        pass


async def _run_nothing(client: AsyncKernelClient) -> None:
    """Run an empty cell, not counted and not in the history, and take all its messages."""
    msg_id = client.execute("None", silent=True, store_history=False)
    await _reply(client, msg_id)
    while True:
        message = await client.get_iopub_msg(timeout=None)
        ours = message["parent_header"].get("msg_id") == msg_id
        if ours and message["content"].get("execution_state") == "idle":
            return


async def _evaluated(client: AsyncKernelClient, expression: str, unseen: set[str]) -> str | None:
    """Have a kernel evaluate an expression; again, if it aborts that because of an error before."""
    while True:
        msg_id = client.execute(
            "", silent=True, store_history=False, user_expressions={"it": expression}
        )
        unseen.add(msg_id)
        content = (await _reply(client, msg_id))["content"]
        if content.get("status") == "aborted":
            await asyncio.sleep(ABORTED_SECONDS)
            continue
        value = (content.get("user_expressions") or {}).get("it") or {}
        text = (value.get("data") or {}).get("text/plain")
        return text if isinstance(text, str) else None


async def _answered(client: AsyncKernelClient) -> dict[str, Any]:
    """Wait for any other kernel as jupyter_client does, until iopub is quiet."""
    await client.wait_for_ready(timeout=None)
    return await _kernel_info(client)


async def _kernel_info(client: AsyncKernelClient) -> dict[str, Any]:
    reply = await _reply(client, client.kernel_info())
    return dict(reply["content"].get("language_info", {}))


async def _reply(client: AsyncKernelClient, msg_id: str) -> dict[str, Any]:
    while True:
        reply: dict[str, Any] = await client.get_shell_msg(timeout=None)
        if reply["parent_header"].get("msg_id") == msg_id:
            return reply
