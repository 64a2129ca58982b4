"""The preload server: a process that has everything imported, and forks job processes.

It ends its whole tree when the daemon's socket closes, and ends any child that it did not fork.
Reads no requests.
"""

import importlib
import logging
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection

import psutil

from runner.execution.tree import INSTANCE, adopt_orphans, end_descendants

log = logging.getLogger(__name__)

_FORK = b"fork"
Become = Callable[[], None]


class PreloadServer:
    """The daemon's side: starts the server, and starts it again when it is gone."""

    def __init__(
        self,
        *,
        environment: Mapping[str, str],
        instance: str,
        runtime_folder: str,
        preload: Sequence[str],
    ) -> None:
        """Start it. `runtime_folder` goes when the server goes together with the daemon."""
        self._environment = {**environment, INSTANCE: instance}
        self._arguments = [runtime_folder, ",".join(preload)]
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._start()

    @property
    def pid(self) -> int | None:
        """The server's process id, while it is there."""
        return self._process.pid if self._process is not None else None

    def fork(self) -> Connection:
        """A connection to a new job process.

        Raises:
            OSError: the server could not be started again.
        """
        ours, theirs = socket.socketpair()
        with self._lock, theirs:
            try:
                self._send(theirs)
            except OSError as error:
                log.warning("the preload server is gone (%s); starting another", error)
                self._start()
                self._send(theirs)
        return Connection(ours.detach())

    def close(self) -> None:
        """End the server and everything below it."""
        with self._lock:
            self._stop()

    def _send(self, theirs: socket.socket) -> None:
        if self._socket is None:
            raise ConnectionResetError("not started")
        socket.send_fds(self._socket, [_FORK], [theirs.fileno()])

    def _start(self) -> None:
        self._stop()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, str(theirs.fileno()), *self._arguments],
                env=self._environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._socket = ours

    def _stop(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process is not None:
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None


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
        return fds[0] if message == _FORK and fds else None

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
    """The job process, and after a second fork the kernel: each ends by returning from here."""
    from runner.execution.job import serve_one

    with Connection(fd) as connection:
        become = serve_one(connection)
    if become is not None:
        become()


def _preload(modules: Sequence[str]) -> None:
    """Import what every job process and kernel needs, and what the settings name.

    What is absent or fails is skipped, and said once.
    """

    import runner.execution.job
    import runner.execution.run

    runner.execution.run.register()
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:  # noqa: BLE001 - somebody else's module
            log.warning("not preloaded: %s (%s)", module, error)


def main(arguments: Sequence[str]) -> None:
    """`python -m runner.execution.preload SOCKET RUNTIME_FOLDER MODULES`, by the daemon only."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    for noisy in ("papermill", "nbclient", "traitlets", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    number, runtime_folder, modules = arguments
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
