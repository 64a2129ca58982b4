"""The waiting job processes, and the preload servers that fork them.

Keeps as many warm as there is room for, and drops dead and outdated ones. Knows nothing of orders.
"""

import contextlib
import logging
import os
import select
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from runner.execution import order as wire
from runner.execution.local.installed import Fingerprint
from runner.execution.local.preload_server import FORK, FORK_BARE, Preload, PreloadServer
from runner.system.files.disk import Disk
from runner.system.files.folders import make_private

log = logging.getLogger(__name__)

SETTLED_SECONDS = 2.0
"""Pause after a change, because a working installer changes more."""
END_SECONDS = 5.0
FIRST_DELAY_SECONDS = 1.0
LAST_DELAY_SECONDS = 60.0


@dataclass(eq=False)
class JobProcess:
    """One job process, from its fork to its end."""

    server: PreloadServer
    connection: Connection
    is_bare: bool
    pid: int | None = None
    pidfd: int | None = None
    is_warm: bool = False
    trouble: str | None = None
    """Reason why its kernel did not come up."""
    end_by: float = float("inf")

    @property
    def is_ready(self) -> bool:
        """Whether it would read an order now."""
        return self.is_warm or self.trouble is not None or (self.is_bare and self.pid is not None)

    def hear(self) -> bool:
        """Take its messages about itself. False if it is gone."""
        try:
            while self.connection.poll():
                self.understand(wire.receive(self.connection))
        except (EOFError, OSError):
            return False
        return True

    def understand(self, message: wire.Message) -> None:
        """Take one message from before its order is begun.

        Raises:
            ProcessLookupError: it is gone already.
        """
        if message["kind"] == "hello":
            pid = int(message["pid"])
            self.pidfd, self.pid = os.pidfd_open(pid), pid
        elif message["kind"] == "waiting":
            self.trouble = message["trouble"]
            self.is_warm = self.trouble is None

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
            self.server.remove_cgroup(self.pid)


class PoolClosed(Exception):
    """The daemon is at its end: nothing is started any more."""


class Pool:
    """Hands out job processes, one for each order. Safe for many threads."""

    def __init__(
        self,
        *,
        preload: Preload,
        start_server: Callable[[Preload], PreloadServer],
        installed: Callable[[], Fingerprint],
        size: int,
        clock: Callable[[], float],
    ) -> None:
        """Start a server. `preload.runtime_folder` exists; each server has a folder below it.

        `size` is how many may wait. `installed` returns a value that changes with the installed
        packages.
        """
        self._preload = preload
        self._start_server = start_server
        self._installed = installed
        self._size = size
        self._clock = clock
        self._lock = threading.RLock()
        self._waiting: list[JobProcess] = []
        self._out: set[JobProcess] = set()
        self._ending: list[JobProcess] = []
        self._retired: list[PreloadServer] = []
        self._servers = 0
        self._changed_at: float | None = None
        self._last_seen: Fingerprint | None = None
        self._delay = FIRST_DELAY_SECONDS
        self._not_before = 0.0
        self._is_closed = False
        self._is_without = False
        """Whether servers import nothing, since one ended amid its imports."""
        self._server = self._start()

    @property
    def warm(self) -> int:
        """How many wait with a kernel that is ready."""
        with self._lock:
            return sum(process.is_warm for process in self._waiting)

    @property
    def pids(self) -> set[int]:
        """Every server and job process."""
        with self._lock:
            processes = {p.pid for p in (*self._waiting, *self._out, *self._ending)}
            servers = {server.pid for server in (self._server, *self._retired)}
            return servers | {pid for pid in processes if pid is not None}

    def take(self, *, bare: bool = False) -> JobProcess:
        """Take the warmest waiting process, or a new one; `bare`: one without a forked kernel.

        Raises:
            OSError: there is none, and no server can be started.
            PoolClosed
        """
        with self._lock:
            if self._is_closed:
                raise PoolClosed
            if self._server.has_ended:
                log.warning("the preload server is gone; starting another")
                self._renew()
            elif self._installed() != self._fingerprint:
                log.info("installed packages have changed; starting another preload server")
                self._import_again()
            self._drop_dead()
            usable = [process for process in self._waiting if process.trouble is None]
            if bare or not usable:
                process = self._fork(FORK_BARE if bare else FORK)
            else:
                process = next((p for p in usable if p.is_warm), usable[0])
                self._waiting.remove(process)
            self._out.add(process)
            return process

    def give_back(self, process: JobProcess, *, is_over: bool) -> None:
        """Take back a process that ends by itself, or kill it if not `is_over`."""
        if not is_over:
            process.kill()
            process.has_ended(END_SECONDS)
        with self._lock:
            self._out.discard(process)
            process.end_by = self._clock() + END_SECONDS
            self._ending.append(process)

    def keep(self, room: int) -> None:
        """Do the chores: collect the dead, follow installed packages, fork if there is room."""
        with self._lock:
            self._collect()
            self._follow()
            self._drop_dead()
            warming = sum(not process.is_warm for process in self._waiting)
            if self._clock() < self._not_before or self._server.has_ended:
                return
            while len(self._waiting) < self._size and warming < room:
                self._waiting.append(self._fork(FORK))
                warming += 1

    @property
    def left_out(self) -> tuple[str, ...]:
        """The modules that are not imported beforehand, since a server ended amid that."""
        return tuple(self._preload.modules) if self._is_without else ()

    def imports_for(self) -> float:
        """Return how many seconds the server has imported; 0 once it is prepared."""
        with self._lock:
            return self._server.imports_for

    def look_after(self, server: PreloadServer) -> None:
        """Replace a server whose imports do not end."""
        with self._lock:
            why = server.why_stuck()
            if why is not None:
                log.error("the preload server does not come up: %s; ending it", why)
                server.kill()

    def renew(self) -> None:
        """Replace the server, to import everything anew; running jobs keep theirs."""
        with self._lock:
            self._import_again()

    def close(self) -> None:
        """End everything."""
        with self._lock:
            self._is_closed = True
            for server in (self._server, *self._retired):
                server.hang_up()
            for server in (self._server, *self._retired):
                server.close()
            for process in (*self._waiting, *self._out, *self._ending):
                process.close()

    def _fork(self, what: bytes) -> JobProcess:
        try:
            return JobProcess(self._server, self._server.fork(what), what == FORK_BARE)
        except OSError as error:
            log.warning("the preload server is gone (%s); starting another", error)
            self._renew()
            return JobProcess(self._server, self._server.fork(what), what == FORK_BARE)

    def _start(self) -> PreloadServer:
        self._fingerprint = self._installed()
        self._changed_at = None
        self._servers += 1
        folder = Path(self._preload.runtime_folder) / str(self._servers)
        make_private(folder)
        modules = () if self._is_without else self._preload.modules
        own = {"runtime_folder": str(folder), "modules": modules}
        preload = self._preload.model_copy(update=own)
        return self._start_server(preload)

    def _import_again(self) -> None:
        """Start another server, with all modules: what was wrong with one may be mended."""
        self._is_without = False
        self._renew(is_fault=False)

    def _renew(self, *, is_fault: bool = True) -> None:
        old = self._server
        has_imports = bool(self._preload.modules) and not self._is_without
        if is_fault and has_imports and old.has_ended and not old.is_prepared:
            log.error(
                "a preload server ended while it imported %s (kernels.preload); the next one "
                "goes without, until packages change or the daemon gets a SIGHUP",
                ", ".join(self._preload.modules),
            )
            self._is_without = True
        for process in self._waiting:
            process.kill()
            process.close()
        self._waiting.clear()
        self._retired.append(old)
        self._server = self._start()
        self._collect()

    def _collect(self) -> None:
        """Forget ended processes, and retired servers that nobody needs any more."""
        now = self._clock()
        for process in list(self._ending):
            if process.has_ended():
                process.close()
                self._ending.remove(process)
            elif now > process.end_by:
                process.kill()
        busy = {process.server for process in (*self._out, *self._ending)}
        for server in list(self._retired):
            if server not in busy:
                server.hang_up()
            if server.has_ended:
                server.close()
                Disk().discard_tree(Path(server.runtime_folder))
                self._retired.remove(server)

    def _follow(self) -> None:
        """Replace a server that is gone or out of date, before anybody needs it."""
        now = self._clock()
        self.look_after(self._server)
        if self._server.has_ended:
            if now >= self._not_before:
                log.warning("the preload server is gone; starting another")
                self._put_off(now)
                self._renew()
            return
        current = self._installed()
        if current == self._fingerprint:
            self._changed_at = None
        elif self._changed_at is None or current != self._last_seen:
            self._changed_at, self._last_seen = now, current
        elif now - self._changed_at >= SETTLED_SECONDS:
            log.info("installed packages have changed; starting another preload server")
            self._import_again()

    def _drop_dead(self) -> None:
        for process in list(self._waiting):
            if process.hear() and process.trouble is None:
                if process.is_warm:
                    self._delay = FIRST_DELAY_SECONDS
                continue
            why = process.trouble or "its process ended"
            log.warning("a kernel that was to wait is not there: %s", why)
            self._waiting.remove(process)
            self._put_off(self._clock())
            process.kill()
            process.close()

    def _put_off(self, now: float) -> None:
        self._not_before = now + self._delay
        self._delay = min(self._delay * 2, LAST_DELAY_SECONDS)
