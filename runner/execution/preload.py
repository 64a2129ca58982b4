"""The preload server: a process that has everything imported, and forks job processes.

It ends its whole tree when the daemon's socket closes, and ends any child that it did not fork.
Reads no requests.
"""

import gc
import importlib
import logging
import os
import selectors
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection

import nbformat
import psutil

from runner.execution.job import serve_one
from runner.execution.run import register
from runner.execution.server import FORK
from runner.execution.tree import adopt_orphans, end_descendants

log = logging.getLogger(__name__)

_NEEDED = (
    "ipykernel.kernelapp",
    "ipykernel.zmqshell",
    "ipykernel.debugger",
    "IPython.core.completerlib",
    "IPython.extensions.storemagic",
    "IPython.terminal.pt_inputhooks",
    "matplotlib_inline.backend_inline",
    "tornado.platform.asyncio",
)
"""What a kernel imports while it starts, some of it late; seen in its `sys.modules`."""

Become = Callable[[], None]


class _Server:
    """The server's side: one thread, one loop."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._children: set[int] = set()
        self._wake, self._waker = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._waker, False)

    def serve(self) -> Become | None:
        """Fork until the daemon is gone. In a child, what it does next; None when it is over."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        with selectors.DefaultSelector() as selector:
            selector.register(self._requests, selectors.EVENT_READ)
            selector.register(self._wake, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._requests:
                        fd = self._receive()
                        if fd is None:
                            return None
                        pid = os.fork()
                        if pid == 0:
                            return self._become_job(fd)
                        self._children.add(pid)
                        os.close(fd)
                    else:
                        self._reap()

    def _receive(self) -> int | None:
        """The descriptor of a job's connection; None when the daemon is gone."""
        try:
            message, fds, _, _ = socket.recv_fds(self._requests, 64, 1)
        except OSError:
            return None
        return fds[0] if message == FORK and fds else None

    def _become_job(self, fd: int) -> Become:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._requests.close()
        os.close(self._wake)
        os.close(self._waker)
        return lambda: _run_job(fd)

    def _reap(self) -> None:
        """Collect the dead, and end what a dead job process has left to us."""
        while _drain(self._wake):
            pass
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            self._children.discard(pid)
        for orphan in psutil.Process().children():
            if orphan.pid not in self._children:
                log.info("ending a process that a job left behind: %d", orphan.pid)
                orphan.kill()


def _drain(fd: int) -> bool:
    try:
        return bool(os.read(fd, 512))
    except BlockingIOError:
        return False


def _run_job(fd: int) -> None:
    """The job process, and after a second fork the kernel. Both end here.

    A daemon that is gone while they talk to it needs no outcome any more.
    """
    try:
        with Connection(fd) as connection:
            become = serve_one(connection)
    except (EOFError, ConnectionError):
        end_descendants()
        os._exit(1)
    if become is not None:
        become()
    os._exit(0)


def _preload(modules: Sequence[str]) -> None:
    """Import what every job process and kernel needs, and what the settings name.

    What is absent or fails is skipped, and said once.
    """
    for module in (*_NEEDED, *modules):
        try:
            importlib.import_module(module)
        except Exception as error:  # noqa: BLE001 - somebody else's module
            log.warning("not preloaded: %s (%s)", module, error)
    register()
    nbformat.validate(nbformat.v4.new_notebook())
    gc.collect()
    gc.freeze()


def main(arguments: Sequence[str]) -> None:
    """`python -m runner.execution.preload SOCKET RUNTIME_FOLDER MODULES`, by the daemon only."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    for noisy in ("papermill", "nbclient", "traitlets", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    number, runtime_folder, modules = arguments
    sys.path[:] = [entry for entry in sys.path if entry not in ("", "/")]
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    adopt_orphans()
    _preload([name for name in modules.split(",") if name])
    become = _Server(socket.socket(fileno=int(number))).serve()
    if become is not None:
        become()
        return
    end_descendants()
    shutil.rmtree(runtime_folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1:])
