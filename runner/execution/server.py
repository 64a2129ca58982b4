"""The daemon's side of the preload server: starts it, and again when it is gone.

Asks it for job processes. Imports nothing of what the server has loaded.
"""

import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection

from runner.execution.tree import INSTANCE

log = logging.getLogger(__name__)

FORK = b"fork"
SERVER_MODULE = "runner.execution.preload"


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
        socket.send_fds(self._socket, [FORK], [theirs.fileno()])

    def _start(self) -> None:
        self._stop()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-Xfrozen_modules=off",
                    "-m",
                    SERVER_MODULE,
                    str(theirs.fileno()),
                    *self._arguments,
                ],
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
