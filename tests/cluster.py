"""A Dask cluster of real processes for tests: a scheduler, and workers that come and go."""

import itertools
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.conftest import free_port, wait_for

QUIET = {
    "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "1s",
    "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL": "5s",
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "false",
}
"""As `runner worker` sets Dask: idle, it computes a third of what it would otherwise."""


@dataclass(eq=False)
class Daemon:
    """One process of the cluster, and its log."""

    command: Sequence[str]
    log: Path
    process: "subprocess.Popen[bytes]" = field(init=False)

    def __post_init__(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *self.command],
                cwd=self.log.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    **QUIET,
                    "SECRET_OF_THE_WORKER": "s3cret",
                    "PASSED": "by the worker",
                },
            )

    def tree(self) -> list[psutil.Process]:
        """It and all below it."""
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]

    def worker(self) -> psutil.Process:
        """The worker's own process; below a nanny the one that is not Python's own bookkeeper."""
        if "--no-nanny" in self.command:
            return psutil.Process(self.process.pid)

        def find() -> psutil.Process | None:
            for child in psutil.Process(self.process.pid).children():
                with suppress(psutil.Error):
                    if "spawn_main" in " ".join(child.cmdline()):
                        return child
            return None

        found: psutil.Process = wait_for(find)
        return found

    def kill(self) -> None:
        """All of it at once, the way a machine goes."""
        left = self.tree()
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()
        psutil.wait_procs(left, timeout=30)

    def end(self) -> None:
        """The polite way; it must not take long."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()
            raise


class Cluster:
    """A scheduler and its workers below one folder."""

    def __init__(self, folder: Path, tls: Sequence[str] = ()) -> None:
        self.folder = folder
        self.tls = tls
        self.workers: list[Daemon] = []
        self._numbers = itertools.count()
        self._port = free_port()  # so that nobody else has it while a scheduler is away
        self.start_scheduler()

    @property
    def address(self) -> str:
        return f"{'tls' if self.tls else 'tcp'}://127.0.0.1:{self._port}"

    def start_scheduler(self) -> None:
        """On the port that it had before."""
        log = self.folder / "scheduler.log"
        before = log.stat().st_size if log.exists() else 0
        command = ("-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1")
        options = ("--port", str(self._port), "--no-dashboard", "--dashboard-address", ":0")
        protocol = ("--protocol", "tls") if self.tls else ()
        self.scheduler = Daemon([*command, *options, *protocol, *self.tls], log)

        def port() -> int:
            assert self.scheduler.process.poll() is None, log.read_text()
            found = re.findall(r"Scheduler at: +t\w+://127.0.0.1:(\d+)", log.read_text()[before:])
            return int(found[0]) if found else 0

        self._port = wait_for(port)

    def add_worker(self, *options: str, slots: int = 2, nanny: bool = False) -> Daemon:
        """A plain `dask worker`, as somebody who knows Dask starts it.

        A nanny is a second process, which starts the worker's anew when it has died.
        """
        number = next(self._numbers)
        place = self.folder / f"worker{number}"
        place.mkdir()
        command = ("-m", "distributed.cli.dask_worker", self.address, "--no-dashboard")
        own = ("--nthreads", str(slots), "--local-directory", str(place))
        rest = (*own, *(() if nanny else ("--no-nanny",)))
        log = self.folder / f"worker{number}.log"
        self.workers.append(Daemon([*command, *rest, *self.tls, *options], log))
        return self.workers[-1]

    def logs(self) -> str:
        """All that was said."""
        return "\n".join(f"{p.name}:\n{p.read_text()}" for p in sorted(self.folder.glob("*.log")))

    def end_workers(self) -> None:
        """All at a time; the next ones have folders of their own."""
        for daemon in self.workers:
            if daemon.process.poll() is None:
                daemon.process.terminate()
        while self.workers:
            self.workers.pop().end()

    def end(self) -> None:
        self.end_workers()
        self.scheduler.end()


@contextmanager
def cluster(folder: Path, tls: Sequence[str] = ()) -> Iterator[Cluster]:
    """One for as long as a test needs it."""
    made = Cluster(folder, tls)
    try:
        yield made
    finally:
        made.end()
