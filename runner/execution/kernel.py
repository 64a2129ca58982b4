"""A Jupyter kernel that nobody used before: forked out of this process, or started cold.

Both ways give a `RunningKernel` that is reached over ipc with a key of its own. Executes nothing.
"""

import asyncio
import atexit
import contextlib
import gc
import importlib.util
import io
import os
import random
import secrets
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.connect import KernelConnectionInfo, write_connection_file
from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
from jupyter_client.manager import AsyncKernelManager

from runner.config import MEGABYTE
from runner.execution.tree import die_with_parent

SHUTDOWN_SECONDS = 5.0
"""How long a kernel may take to flush its files and end by itself."""


class KernelNotReady(Exception):
    """No kernel came up within its time, or it died on the way: `reason`."""


@dataclass(frozen=True)
class KernelSetting:
    """Where and how a kernel runs."""

    name: str
    folder: str
    environment: Mapping[str, str]
    memory_mb: int | None


@dataclass
class RunningKernel:
    """A kernel process, and the client that is connected to it."""

    pid: int
    client: AsyncKernelClient
    language_info: dict[str, Any]
    pidfd: int
    owned: bool
    """Whether it is this process's own child, to be reaped here."""

    def is_alive(self) -> bool:
        """Whether the kernel's process has not ended; a process descriptor is readable then."""
        return not select.select([self.pidfd], [], [], 0)[0]

    def interrupt(self) -> None:
        """SIGINT to the kernel and what it started in its process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGINT)

    def kill(self) -> None:
        """SIGKILL to the same."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    async def ended(self) -> None:
        """Wait until the process has ended."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        loop.add_reader(self.pidfd, _resolve, done)
        try:
            await done
        finally:
            loop.remove_reader(self.pidfd)

    async def shut_down(self) -> None:
        """Ask the kernel to end, so that open files are flushed; kill it if it takes too long."""
        if self.is_alive():
            self.client.shutdown()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.ended(), SHUTDOWN_SECONDS)
        self.client.stop_channels()
        self.kill()


def _resolve(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


def installed_kernels() -> dict[str, str]:
    """Language in lower case by the name of every kernelspec that is installed."""
    specs = KernelSpecManager().get_all_specs()
    return {name: str(spec["spec"].get("language", "")).lower() for name, spec in specs.items()}


def kernel_python(name: str) -> str | None:
    """The interpreter of a Python kernelspec; None if it is this very one.

    Raises:
        KernelNotReady: there is no such kernelspec.
    """
    try:
        argv = KernelSpecManager().get_kernel_spec(name).argv
    except NoSuchKernel as error:
        raise KernelNotReady(f"no kernelspec {name!r}") from error
    first = argv[0] if argv else ""
    if first in ("python", "python3", f"python3.{sys.version_info[1]}", sys.executable):
        return None
    return first


def can_fork(name: str) -> bool:
    """Whether that kernel is just ipykernel in this interpreter, so that a fork of us is one."""
    if not hasattr(os, "fork") or not hasattr(os, "pidfd_open"):
        return False
    spec = KernelSpecManager().get_kernel_spec(name)
    plain = spec.argv[1:] == ["-Xfrozen_modules=off", *_LAUNCH] or spec.argv[1:] == _LAUNCH
    return plain and not spec.env and kernel_python(name) is None


_LAUNCH = ["-m", "ipykernel_launcher", "-f", "{connection_file}"]


@dataclass(frozen=True)
class Connections:
    """The connection file of a kernel to be, and what it says."""

    file: str
    info: KernelConnectionInfo


def make_connections(runtime_folder: str) -> Connections:
    """Choose sockets below `runtime_folder` and write the connection file.

    The ports are given, so that the kernel does not race for names. A socket's path has 107
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
    )
    return Connections(file, info)


def become_kernel(setting: KernelSetting, connections: Connections, parent: int) -> None:
    """Turn this freshly forked process into the kernel; never returns."""
    os.setsid()
    die_with_parent(parent)
    for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.closerange(3, os.sysconf("SC_OPEN_MAX") if null < 3 else max(null + 1, 1024))
    _close_all_above(2)
    os.umask(0o022)
    os.environ.clear()
    os.environ.update(setting.environment, JPY_PARENT_PID=str(parent))
    os.chdir(setting.folder)
    time.tzset()
    _limit_memory(setting.memory_mb)
    _reseed()
    launcher = importlib.util.find_spec("ipykernel_launcher")
    sys.argv = [str(launcher and launcher.origin), "-f", connections.file]
    sys.path[:] = [entry for entry in sys.path if entry]

    from ipykernel.kernelapp import IPKernelApp

    app = IPKernelApp.instance()
    app.initialize(["-f", connections.file, "--HistoryManager.enabled=False"])
    app.start()
    # ipykernel 7.4 closes its output thread while the control thread still flushes through it,
    # and waits 10 s. The threads are daemons.
    atexit.unregister(app.close)
    _let_go(app.shell)


def _let_go(shell: Any) -> None:
    """End as an interpreter ends, as far as a notebook can tell, and at once.

    Its threads are waited for, its exit functions run, its objects go and close their files; what
    is left is flushed. Taking down every imported module as well would take 0.3 s.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    shell.user_ns_hidden.clear()
    shell.user_ns.clear()
    shell.displayhook.flush()
    gc.collect()
    for found in gc.get_objects():
        if isinstance(found, io.IOBase):
            with contextlib.suppress(Exception):
                found.flush()
    os._exit(0)


def _close_all_above(last: int) -> None:
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc/self/fd"):
            if int(name) > last:
                with contextlib.suppress(OSError):
                    os.close(int(name))


def _limit_memory(memory_mb: int | None) -> None:
    """Private writable memory (setrlimit(2), RLIMIT_DATA): beyond it Python raises MemoryError."""
    if memory_mb is None or not sys.platform.startswith("linux"):
        return
    import resource

    size = memory_mb * MEGABYTE
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        size = min(size, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))


def _reseed() -> None:
    """Forked processes would share the random state of what was imported before."""
    random.seed()
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


async def connect(pid: int, connections: Connections, seconds: float) -> RunningKernel:
    """Connect to the kernel that was forked as `pid`, and wait until it answers.

    Raises:
        KernelNotReady: it died, or did not answer in time.
    """
    client = AsyncKernelClient()
    client.load_connection_info(connections.info)
    client.start_channels(hb=False)
    client.allow_stdin = False
    kernel = RunningKernel(pid, client, {}, os.pidfd_open(pid), owned=True)
    return await _wait_until_ready(kernel, _greeted, seconds)


async def start_cold(setting: KernelSetting, runtime_folder: str, seconds: float) -> RunningKernel:
    """Start a kernel by its kernelspec, the way jupyter_client does it.

    Raises:
        KernelNotReady: it could not be started, died, or did not answer in time.
    """
    km = AsyncKernelManager(
        kernel_name=setting.name,
        transport="ipc",
        ip=str(Path(runtime_folder) / "k"),
        connection_file=str(Path(runtime_folder) / "kernel.json"),
    )
    try:
        await km.start_kernel(
            cwd=setting.folder,
            env=dict(setting.environment),
            stdin=None,
            preexec_fn=lambda: _limit_memory(setting.memory_mb),
        )
    except Exception as error:
        raise KernelNotReady(f"{setting.name!r} could not be started: {error}") from error
    assert km.provisioner is not None
    pid = int(km.provisioner.pid)  # type: ignore[attr-defined]
    client = km.client()
    client.start_channels(hb=False)
    client.allow_stdin = False
    kernel = RunningKernel(pid, client, {}, os.pidfd_open(pid), owned=False)
    kernel.manager = km  # type: ignore[attr-defined]
    return await _wait_until_ready(kernel, _answered, seconds)


async def _wait_until_ready(
    kernel: RunningKernel, ready: Callable[[AsyncKernelClient], Any], seconds: float
) -> RunningKernel:
    answer = asyncio.ensure_future(ready(kernel.client))
    death = asyncio.ensure_future(kernel.ended())
    done, _ = await asyncio.wait(
        {answer, death}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
    )
    death.cancel()
    if answer in done:
        kernel.language_info = answer.result()
        return kernel
    answer.cancel()
    kernel.kill()
    why = "it died while starting" if death in done else f"it did not answer within {seconds:g} s"
    raise KernelNotReady(why)


async def _greeted(client: AsyncKernelClient) -> dict[str, Any]:
    """ipykernel 7 greets a new subscriber on iopub (JEP 65): no output can be missed after it."""
    while True:
        message = await client.get_iopub_msg(timeout=None)
        if message["msg_type"] == "iopub_welcome":
            break
    return await _kernel_info(client)


async def _answered(client: AsyncKernelClient) -> dict[str, Any]:
    """Any other kernel: jupyter_client's own way, which waits until iopub is quiet."""
    await client.wait_for_ready(timeout=None)
    return await _kernel_info(client)


async def _kernel_info(client: AsyncKernelClient) -> dict[str, Any]:
    msg_id = client.kernel_info()
    while True:
        reply = await client.get_shell_msg(timeout=None)
        if reply["parent_header"].get("msg_id") == msg_id:
            return dict(reply["content"].get("language_info", {}))
