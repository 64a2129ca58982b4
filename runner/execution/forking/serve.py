"""A job process: executes one order after the other, each in a kernel of its own.

The preload server forks it, and its zygote forks its kernels. It makes a kernel ready when told to,
long before the order comes. It leaves nothing of a run behind, and ends itself once it has grown.
"""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
from dataclasses import dataclass
from functools import partial
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path

from jupyter_core.utils import ensure_event_loop

from runner.execution import order as wire
from runner.execution.forking.zygote import Become, Zygote, start_zygote
from runner.execution.job.execute import OrderRun, Surroundings
from runner.execution.job.kernelspecs import installed_kernels
from runner.execution.job.ready import ReadyKernel
from runner.execution.kernel.forked import KernelTemplate
from runner.execution.kernel.running import Origin, make_connections
from runner.execution.limits.cgroup import Cgroup
from runner.execution.limits.footprint import held_memory
from runner.execution.limits.hold import KERNEL_MB, MEGABYTE
from runner.execution.local.preload_server import DRIVER, Preload
from runner.execution.order import Order
from runner.system.files.disk import Disk
from runner.system.files.folders import make_private
from runner.system.processes.process_tree import adopt_orphans, end_descendants
from runner.system.processes.shown_name import show_as

_NOISY = ("papermill", "nbclient", "traitlets", "asyncio")
MOST_RUNS = 500
"""After so many runs a job process ends, so that no leak of a library lasts."""
GROWN_BYTES = 48 * MEGABYTE
"""What it may hold beyond what it was forked with."""


def serve(connection: Connection, preload: Preload, template: KernelTemplate) -> Become | None:
    """Be a job process, until the daemon hangs up or the process has grown.

    Return the next step of a child, which this process has forked; else None.

    Raises:
        EOFError, OSError: the daemon is gone.
    """
    os.setsid()
    adopt_orphans()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    zygote = start_zygote(template)
    if not isinstance(zygote, Zygote):
        return zygote
    show_as(DRIVER)  # after the fork: a kernel keeps Python's own name, as notebooks know it
    wire.send(connection, "hello", pid=os.getpid(), zygote=zygote.pid)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
    gc.enable()
    _JobProcess(connection, preload, zygote).serve()
    return None


@dataclass(frozen=True)
class _Place:
    """What belongs to one run, or to the kernel that waits for it."""

    folder: Path
    cgroup: Cgroup | None
    ready: ReadyKernel | None = None


class _JobProcess:
    """The loop of a job process."""

    def __init__(self, connection: Connection, preload: Preload, zygote: Zygote) -> None:
        self._connection = connection
        self._preload = preload
        self._zygote = zygote
        self._numbers = count(1)
        self._next: _Place | None = None
        """The place of the run that comes next, if its kernel waits."""
        self._growth = Growth()

    def serve(self) -> None:
        """Do what the daemon says.

        Raises:
            EOFError, OSError: the daemon is gone.
        """
        for _ in range(MOST_RUNS):
            order = self._await_order()
            if order is None:
                return
            has_ended = self._execute(order)
            if not has_ended or self._growth.is_too_much() or not self._zygote.is_alive():
                return
            wire.send(self._connection, "free")

    def _await_order(self) -> Order | None:
        """Wait for an order, and make a kernel ready if told to. None if that kernel ends."""
        while True:
            ready = None if self._next is None else self._next.ready
            if ready is not None and not ready.waits(self._connection):
                return None
            message = wire.receive(self._connection)
            match message.get("kind"):
                case "prepare":
                    self._prepare()
                case "order":
                    return Order.model_validate(message["order"])
                # Else it is for a run that has ended meanwhile.

    def _prepare(self) -> None:
        """Have a kernel forked, and bring it up.

        Raises:
            OSError: none can be forked.
        """
        preload, place = self._preload, self._make_place()
        connections = make_connections(str(place.folder))
        ours, theirs = socket.socketpair()
        with theirs:
            pid = self._zygote.fork(connections.file, theirs)
        if place.cgroup is not None:
            place.cgroup.enter(pid)
        origin = Origin(pid, self._zygote.pid, partial(self._zygote.ended_by, pid))
        ready = ReadyKernel(origin, ours, connections)
        self._next = _Place(place.folder, place.cgroup, ready)
        ready.bring_up(preload.kernel_start_seconds, preload.limits, self._connection)
        wire.send(self._connection, "waiting", trouble=ready.trouble)

    def _make_place(self) -> _Place:
        """Make the folder and the control group of one run."""
        preload, number = self._preload, next(self._numbers)
        folder = Path(preload.runtime_folder) / str(os.getpid())
        for one in (folder, folder / str(number)):
            make_private(one)
        if preload.cgroup is None:
            return _Place(folder / str(number), None)
        limits, key = preload.limits, f"{os.getpid()}-{number}"
        memory = None if limits.memory_mb is None else limits.memory_mb + KERNEL_MB
        cgroup = Cgroup.make(Path(preload.cgroup), key, memory, limits.processes)
        return _Place(folder / str(number), cgroup)

    def _execute(self, order: Order) -> bool:
        """Execute the order that has just come; send an outcome whatever happens.

        False if a process of the run could not be ended: then no other run may follow here.
        """
        raw = self._connection.recv_bytes()
        wire.send(self._connection, "begun")
        place, self._next = self._next or self._make_place(), None
        run = OrderRun(
            order,
            self._connection,
            Surroundings(
                place.folder,
                place.ready,
                installed_kernels(),
                self._preload.limits,
                place.cgroup,
                self._zygote.pid,
            ),
        )
        outcome, executed = run.execute(raw)
        run.end()
        wire.send_outcome(self._connection, outcome, executed)
        has_ended = end_descendants(keep={self._zygote.pid} if self._zygote.is_alive() else ())
        run.close()
        if place.ready is not None:
            place.ready.close()
        if place.cgroup is not None:
            place.cgroup.remove()
        Disk().discard_tree(place.folder)
        leave_loop()
        return has_ended


class Growth:
    """What this process holds beyond what it held at first."""

    def __init__(self) -> None:
        self._at_first = held_memory(os.getpid())

    def is_too_much(self) -> bool:
        """Tell whether another process should take its place."""
        if self._bytes() <= GROWN_BYTES:
            return False
        gc.collect()
        return self._bytes() > GROWN_BYTES

    def _bytes(self) -> int:
        return held_memory(os.getpid()) - self._at_first


def leave_loop() -> None:
    """Close this thread's event loop with all that waits in it: the next run gets its own."""
    loop = ensure_event_loop()
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    with contextlib.suppress(Exception):
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    loop.close()
    asyncio.set_event_loop(None)
