"""The job processes of this machine, from one order to the next.

Keeps as many with a warm kernel as there is room for, has them serve one order after the other, and
drops dead and outdated ones. Knows nothing of orders.
"""

import logging
import threading
from collections.abc import Callable

from runner.execution.local.installed import Fingerprint
from runner.execution.local.job_process import JobProcess, Phase
from runner.execution.local.preload_server import Preload, PreloadServer
from runner.execution.local.servers import Servers

log = logging.getLogger(__name__)

END_SECONDS = 5.0
IDLE_SECONDS = 10.0
"""Time for which a process is kept that has no kernel and no order."""
FIRST_DELAY_SECONDS = 1.0
LAST_DELAY_SECONDS = 60.0


class PoolClosed(Exception):
    """The daemon is at its end: nothing is started any more."""


class Pool:
    """Hands out job processes, each for one order at a time. Safe for many threads."""

    def __init__(
        self,
        *,
        preload: Preload,
        start_server: Callable[[Preload], PreloadServer],
        installed: Callable[[], Fingerprint],
        size: int,
        clock: Callable[[], float],
    ) -> None:
        """Start a server; see `Servers`. `size` is how many processes may wait with a kernel."""
        self._servers = Servers(preload, start_server, installed, clock)
        self._size = size
        self._clock = clock
        self._lock = threading.RLock()
        self._waiting: list[JobProcess] = []
        """Those with a kernel, or to have one soon."""
        self._idle: list[JobProcess] = []
        """Those without one that may serve again; the last has just become free."""
        self._out: set[JobProcess] = set()
        self._returned: list[JobProcess] = []
        """Those that clean up after a run, or end."""
        self._delay = FIRST_DELAY_SECONDS
        self._not_before = 0.0
        self._is_closed = False

    @property
    def warm(self) -> int:
        """How many wait with a kernel that is ready."""
        with self._lock:
            return sum(process.is_warm for process in self._waiting)

    @property
    def pids(self) -> set[int]:
        """Every server, job process and zygote."""
        with self._lock:
            pairs = ((process.pid, process.zygote) for process in self._all())
            servers = {server.pid for server in self._servers.all}
            return servers | {pid for pair in pairs for pid in pair if pid is not None}

    def take(self, *, bare: bool = False) -> JobProcess:
        """Take the process that is ready first, or a new one; `bare`: one without a kernel.

        Raises:
            OSError: there is none, and no server can be started.
            PoolClosed
        """
        with self._lock:
            if self._is_closed:
                raise PoolClosed
            self._servers.refresh()
            self._collect()
            self._drop_dead()
            if bare or not self._waiting:
                process = self._make(prepared=not bare)
            else:
                process = next((p for p in self._waiting if p.is_warm), self._waiting[0])
                self._waiting.remove(process)
            self._out.add(process)
            return process

    def give_back(self, process: JobProcess, *, is_over: bool) -> None:
        """Take back a process that has sent its outcome, or kill it if not `is_over`."""
        if not is_over:
            process.kill()
            process.has_ended(END_SECONDS)
        with self._lock:
            self._out.discard(process)
            process.phase, process.since = Phase.SERVING, self._clock()
            self._returned.append(process)

    def keep(self, room: int) -> None:
        """Do the chores: collect the dead, follow installed packages, prepare if there is room."""
        with self._lock:
            self._follow()
            self._drop_dead()
            self._end_idle()
            warming = sum(not process.is_warm for process in self._waiting)
            if self._clock() < self._not_before or self._servers.current.has_ended:
                return
            while len(self._waiting) < self._size and warming < room:
                self._waiting.append(self._make(prepared=True))
                warming += 1

    @property
    def left_out(self) -> tuple[str, ...]:
        """The modules that are not imported beforehand, since a server ended amid that."""
        return self._servers.left_out

    def imports_for(self) -> float:
        """Return how many seconds the server has imported; 0 once it is prepared."""
        with self._lock:
            return self._servers.current.imports_for

    def look_after(self, server: PreloadServer) -> None:
        """Replace a server whose imports do not end, or that is stopped."""
        with self._lock:
            why = server.why_stuck()
            if why is not None:
                log.error("the preload server does not fork: %s; ending it", why)
                server.kill()

    def renew(self) -> None:
        """Replace the server, to import everything anew; running jobs keep theirs."""
        with self._lock:
            self._servers.import_again()
            self._collect()

    def close(self) -> None:
        """End everything."""
        with self._lock:
            self._is_closed = True
            self._servers.close()
            for process in self._all():
                process.close()

    def _all(self) -> list[JobProcess]:
        return [*self._waiting, *self._idle, *self._out, *self._returned]

    def _make(self, *, prepared: bool) -> JobProcess:
        """Take an idle process, or fork one; have it make a kernel ready if it is to be `prepared`.

        Raises:
            OSError: no server can be started.
        """
        while self._idle:
            process = self._idle.pop()
            if process.hear():
                break
            self._end(process)
        else:
            process = self._fork()
        if prepared:
            process.prepare()
        return process

    def _fork(self) -> JobProcess:
        servers = self._servers
        try:
            return JobProcess(servers.current, servers.current.fork())
        except OSError as error:
            log.warning("the preload server is gone (%s); starting another", error)
            servers.replace()
            self._collect()
            return JobProcess(servers.current, servers.current.fork())

    def _collect(self) -> None:
        """Take in those that are free again; end outdated ones, and forget what has ended."""
        now, server = self._clock(), self._servers.current
        for process in (*self._waiting, *self._idle):
            if process.server is not server:
                self._end(process)
        for process in list(self._returned):
            if process.has_ended():
                process.close()
                self._returned.remove(process)
                continue
            is_free = process.hear() and process.phase is Phase.IDLE
            if is_free and process.server is server:
                self._returned.remove(process)
                process.since = now
                self._idle.append(process)
            elif is_free or now > process.since + END_SECONDS:
                process.kill()
        self._servers.collect({process.server for process in (*self._out, *self._returned)})

    def _end(self, process: JobProcess) -> None:
        """End one that has no order."""
        process.kill()
        process.close()
        for those in (self._waiting, self._idle):
            if process in those:
                those.remove(process)

    def _end_idle(self) -> None:
        """End those that nobody has needed for a while, or that are gone."""
        now = self._clock()
        for process in list(self._idle):
            if not process.hear() or now > process.since + IDLE_SECONDS:
                self._end(process)

    def _follow(self) -> None:
        """Replace a server that is gone or out of date, before anybody needs it."""
        now, server = self._clock(), self._servers.current
        self.look_after(server)
        if not server.has_ended:
            self._servers.follow()
        elif now >= self._not_before:
            self._put_off(now)
            self._servers.refresh()
        self._collect()

    def _drop_dead(self) -> None:
        for process in list(self._waiting):
            if process.hear() and process.trouble is None:
                if process.is_warm:
                    self._delay = FIRST_DELAY_SECONDS
                continue
            why = process.trouble or "its process ended"
            log.warning("a kernel that was to wait is not there: %s", why)
            self._put_off(self._clock())
            self._end(process)

    def _put_off(self, now: float) -> None:
        self._not_before = now + self._delay
        self._delay = min(self._delay * 2, LAST_DELAY_SECONDS)
