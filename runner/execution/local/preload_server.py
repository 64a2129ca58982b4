"""The daemon's side of one preload server: starts it, asks it for job processes, and ends it.

Imports none of the modules that the server loads. Does not replace a server that is gone.
"""

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path

from runner.contract.outcome import Value
from runner.execution.limits.cgroup import PREFIX, Cgroup
from runner.execution.limits.hold import UNLIMITED, RunLimits
from runner.system.processes.process_tree import INSTANCE, cpu_seconds, is_stopped

FORK = b"fork"
"""Asks for a job process."""
PREPARED = b"prepared"
"""A server's message, sent once, that everything is imported."""
DRIVER = "runner driver"
"""The name of a job process in `ps`, where its kernel has Python's own."""
END_SECONDS = 10.0
LOOK_SECONDS = 1.0
_MAIN = (
    "import sys; del sys.path[0]; "
    "from runner.execution.forking.preload import main; main(sys.argv[1:])"
)
"""Runs the server without the current folder on its path. The flag `-P` would do that too, but a
forked kernel would pass it on to the programs of its notebook.
"""


class ImportLimits(Value):
    """Time that a server may spend on imports. A run's own limits begin after it."""

    idle_seconds: float = 60
    """Time without any use of a processor."""
    seconds: float = 600

    @classmethod
    def beside(cls, kernel_start_seconds: float) -> "ImportLimits":
        """Allow ten times a kernel's start, and never less than the defaults."""
        least = cls()
        return cls(
            idle_seconds=max(least.idle_seconds, kernel_start_seconds),
            seconds=max(least.seconds, 10 * kernel_start_seconds),
        )


class Preload(Value):
    """The configuration of a server."""

    runtime_folder: str
    """Its own folder, with one below it for each job process. It goes with the server."""
    modules: tuple[str, ...] = ()
    kernel_start_seconds: float = 60
    import_limits: ImportLimits = ImportLimits()
    limits: RunLimits = UNLIMITED
    cgroup: str | None = None
    """Folder for control groups of runs; None: runs are looked at now and then."""


class PreloadServer:
    """One server. It ends its whole tree when this end of its socket is closed."""

    def __init__(self, preload: Preload, environment: Mapping[str, str], instance: str) -> None:
        """Start it. Its imports take a second or two, and requests wait for them.

        On a busy machine, or the first time after an installation, they take a minute or two.

        Raises:
            OSError: it cannot be started.
        """
        self.runtime_folder = preload.runtime_folder
        self._cgroup = None if preload.cgroup is None else Path(preload.cgroup)
        self._is_prepared = False
        self._import_limits = preload.import_limits
        self._begun_at = self._looked_at = self._moved_at = time.monotonic()
        self._cpu_seconds = -1.0
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
        """Whether its process is gone; waits for one that has hung up."""
        if self._process.poll() is None and self._has_hung_up():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_SECONDS)
        return self._process.poll() is not None

    def _has_hung_up(self) -> bool:
        """Return whether it has closed its connection; it only ever says that it is prepared."""
        try:
            while word := self._socket.recv(len(PREPARED), socket.MSG_DONTWAIT):
                self._is_prepared = word == PREPARED
        except OSError:
            return False
        return True

    @property
    def is_prepared(self) -> bool:
        """Whether it has imported everything, and forks at once."""
        if not self._is_prepared:
            self._has_hung_up()
        return self._is_prepared

    @property
    def imports_for(self) -> float:
        """Seconds of imports so far; 0 once they are done."""
        return 0.0 if self.is_prepared else time.monotonic() - self._begun_at

    def why_stuck(self) -> str | None:
        """Say why it will never fork; None while it may."""
        now, limits = time.monotonic(), self._import_limits
        if is_stopped(self.pid):
            return "it has been stopped, as by SIGSTOP"
        if now - self._looked_at < LOOK_SECONDS or self.is_prepared:
            return None
        self._looked_at = now
        used = cpu_seconds(self.pid)
        if used != self._cpu_seconds:
            self._cpu_seconds, self._moved_at = used, now
        if now - self._moved_at > limits.idle_seconds:
            return f"it has used no processor for {limits.idle_seconds:g} s"
        if now - self._begun_at > limits.seconds:
            return f"it has imported for {limits.seconds:g} s"
        return None

    def fork(self) -> Connection:
        """Connect to a new job process.

        Raises:
            OSError: the server is gone.
        """
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                socket.send_fds(self._socket, [FORK], [theirs.fileno()])
        except OSError:
            ours.close()
            raise
        return Connection(ours.detach())

    def remove_cgroups(self, pid: int) -> None:
        """Remove the control groups of a job process's kernels, with everything in them."""
        if self._cgroup is not None:
            for left in self._cgroup.glob(f"{PREFIX}{pid}-*"):
                Cgroup(left).remove()

    def kill(self) -> None:
        """Kill it, even if it hangs; those that wait for a fork see their connection end."""
        self._process.kill()

    def hang_up(self) -> None:
        """Tell it that nobody needs it any more, even while it imports."""
        self._socket.close()
        self._process.terminate()

    def close(self) -> None:
        """End it with everything below it, and wait for that."""
        self.hang_up()
        try:
            self._process.wait(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
