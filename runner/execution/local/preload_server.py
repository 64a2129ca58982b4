"""The daemon's side of one preload server: starts it, asks it for job processes, and ends it.

Imports nothing of what the server has loaded, and starts no other one when it is gone.
"""

import contextlib
import socket
import subprocess
import sys
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path

from runner.contract.outcome import Value
from runner.execution.limits.cgroup import PREFIX, Cgroup
from runner.execution.limits.hold import UNLIMITED, RunLimits
from runner.system.processes.process_tree import INSTANCE

FORK = b"fork"
"""A job process that forks its kernel ahead of its order."""
FORK_BARE = b"fork bare"
"""One that starts its kernel when it has its order."""
END_SECONDS = 10.0
_MAIN = (
    "import sys; del sys.path[0]; from runner.execution.job.preload import main; main(sys.argv[1:])"
)
"""Without the current folder on its path, as `-P` would have it; but what a notebook starts would
inherit that flag from a kernel that is forked."""


class Preload(Value):
    """What a server is told at its start."""

    runtime_folder: str
    """Its own: job processes have a folder below it. It goes when the server goes."""
    modules: tuple[str, ...] = ()
    kernel_start_seconds: float = 60
    limits: RunLimits = UNLIMITED
    cgroup: str | None = None
    """The folder for control groups of runs; without one, runs are looked at now and then."""


class PreloadServer:
    """One server. It ends its whole tree when this end of its socket is closed."""

    def __init__(self, preload: Preload, environment: Mapping[str, str], instance: str) -> None:
        """Start it; what it imports takes a second or two, and requests wait for it meanwhile.

        Raises:
            OSError: it cannot be started.
        """
        self.runtime_folder = preload.runtime_folder
        self._cgroup = None if preload.cgroup is None else Path(preload.cgroup)
        self.is_proven = False
        """Whether a job process of it has said a word: then its imports did not end it."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-c", _MAIN),
                    *(str(theirs.fileno()), preload.model_dump_json()),
                ],
                env={**environment, INSTANCE: instance},
                cwd="/",
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._socket = ours

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether its process is gone. One that has hung up is waited for: it is about to be."""
        if self._process.poll() is None and self._has_hung_up():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_SECONDS)
        return self._process.poll() is not None

    def _has_hung_up(self) -> bool:
        """It never says anything on this connection but its end."""
        try:
            return not self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except OSError:
            return False

    def fork(self, what: bytes) -> Connection:
        """A connection to a new job process: `FORK` or `FORK_BARE`.

        Raises:
            OSError: the server is gone.
        """
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                socket.send_fds(self._socket, [what], [theirs.fileno()])
        except OSError:
            ours.close()
            raise
        return Connection(ours.detach())

    def remove_cgroup(self, pid: int) -> None:
        """The control group of a job process's kernel, and all that is left in it."""
        if self._cgroup is not None:
            Cgroup(self._cgroup / f"{PREFIX}{pid}").remove()

    def hang_up(self) -> None:
        """Let it see that it is not needed any more, also while it imports and does not look."""
        self._socket.close()
        self._process.terminate()

    def close(self) -> None:
        """End it and everything below it, and wait for that."""
        self.hang_up()
        try:
            self._process.wait(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
