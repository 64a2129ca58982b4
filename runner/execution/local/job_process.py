"""One job process, as the daemon sees it between two runs."""

import contextlib
import os
import select
import signal
from dataclasses import dataclass
from enum import Enum
from multiprocessing.connection import Connection
from pathlib import Path

from runner.execution import order as wire
from runner.execution.local.preload_server import PreloadServer
from runner.system.files.disk import Disk
from runner.system.processes.process_tree import is_stopped


class Phase(Enum):
    """What a job process does between two runs."""

    IDLE = "idle"
    """It has no kernel."""
    PREPARING = "preparing"
    """It brings one up."""
    WARM = "warm"
    """It has one that waits."""
    SERVING = "serving"
    """It has an order, or cleans up after one."""


@dataclass(eq=False)
class JobProcess:
    """One job process, from its fork to its end."""

    server: PreloadServer
    connection: Connection
    pid: int | None = None
    zygote: int | None = None
    """The process beside it that forks its kernels."""
    pidfd: int | None = None
    phase: Phase = Phase.IDLE
    trouble: str | None = None
    """Reason why its kernel did not come up."""
    since: float = 0.0
    """Time at which it was given back, or became free after that."""

    @property
    def is_warm(self) -> bool:
        """Whether its kernel is up."""
        return self.phase is Phase.WARM

    @property
    def is_ready(self) -> bool:
        """Whether it would read an order now."""
        return self.pid is not None and self.phase is not Phase.PREPARING

    def prepare(self) -> None:
        """Have it make a kernel ready; a process that is gone is noticed later."""
        self.phase = Phase.PREPARING
        with contextlib.suppress(OSError):
            wire.send(self.connection, "prepare")

    def hear(self) -> bool:
        """Take its messages about itself. False if it is gone, or stopped by a notebook."""
        try:
            while self.connection.poll():
                self.understand(wire.receive(self.connection))
        except (EOFError, OSError):
            return False
        return self.pid is None or not is_stopped(self.pid)

    def understand(self, message: wire.Message) -> None:
        """Take one message from outside of a run.

        Raises:
            ProcessLookupError: it is gone already.
        """
        match message["kind"]:
            case "hello":
                pid = int(message["pid"])
                self.pidfd, self.pid = os.pidfd_open(pid), pid
                self.zygote = int(message["zygote"])
            case "waiting":
                self.trouble = message["trouble"]
                self.phase = Phase.WARM if self.trouble is None else Phase.IDLE
            case "free":
                self.phase = Phase.IDLE

    def has_ended(self, seconds: float = 0.0) -> bool:
        """Return whether it is gone, or goes within that time."""
        return self.pidfd is None or bool(select.select([self.pidfd], [], [], seconds)[0])

    def kill(self) -> None:
        """Kill it; the preload server ends its children."""
        if self.pidfd is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def close(self) -> None:
        """Forget it, and the folder of its sockets."""
        self.connection.close()
        if self.pidfd is not None:
            os.close(self.pidfd)
            self.pidfd = None
        if self.pid is not None:
            Disk().discard_tree(Path(self.server.runtime_folder) / str(self.pid))
            self.server.remove_cgroups(self.pid)
