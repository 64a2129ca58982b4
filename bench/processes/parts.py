"""Which part of the program each process is, and what CPU each part has spent so far.

A process is known by its command line, its parent and its name, not by how many there are. What has
ended is read from the notes of `injected/sitecustomize.py`, so nothing is lost of short lives.
"""

import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from runner.execution.local.preload_server import DRIVER

INJECTED = Path(__file__).parent / "injected"
DAEMON, COMPANIONS, GATEWAY = "daemon", "companions", "gateway"
SERVER, DRIVERS = "preload server", "drivers"
ZYGOTES, KERNELS = "zygotes", "kernels"
PARTS = (DAEMON, COMPANIONS, GATEWAY, SERVER, DRIVERS, ZYGOTES, KERNELS)
FORKED, FORKED_GATEWAY = "runner ", "runner gateway"
"""How names begin of what the daemon has forked, with its own command line; and the gateway's."""
_PRELOADS = re.compile(r"\bfrom runner\.execution\.\S*preload import\b")
SETTLING_SECONDS, LOOK_SECONDS = 60, 0.5
AT_REST_SECONDS = 0.02
"""Of CPU between two looks."""
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cpu:
    """Seconds of CPU."""

    user: float = 0.0
    system: float = 0.0

    @property
    def total(self) -> float:
        """Both together."""
        return self.user + self.system

    def __add__(self, other: "Cpu") -> "Cpu":
        return Cpu(self.user + other.user, self.system + other.system)

    def __sub__(self, other: "Cpu") -> "Cpu":
        return Cpu(self.user - other.user, self.system - other.system)

    def each(self, count: int) -> "Cpu":
        """The share of one of so many, in milliseconds."""
        return Cpu(self.user * 1000 / count, self.system * 1000 / count)


@dataclass(frozen=True)
class Reaped:
    """A process that has ended, as the one that reaped it noted."""

    reaper: int
    pid: int
    whole: Cpu
    """With all that it had reaped itself."""
    name: str


@dataclass
class Watch:
    """The processes of one `runner serve` and what they spend."""

    daemon: int
    notes: Path
    known: dict[int, str] = field(default_factory=dict)
    """Each process that has been seen, also if it has ended since."""

    def spent(self) -> dict[str, Cpu]:
        """What each part has spent up to now."""
        found = dict.fromkeys(PARTS, Cpu())
        for pid, part in self.living().items():
            with suppress(OSError):
                found[part] += own_cpu(pid)
        for pid, part, cpu in self.ended():
            del pid
            found[part] += cpu
        return found

    def settled(self) -> dict[str, Cpu]:
        """What each part has spent, once they are at rest: kernels for the next jobs are up.

        Raises:
            SystemExit: they do not come to rest.
        """
        before = self.spent()
        for _ in range(int(SETTLING_SECONDS / LOOK_SECONDS)):
            time.sleep(LOOK_SECONDS)
            now = self.spent()
            if abs(_sum(now) - _sum(before)) < AT_REST_SECONDS:
                return now
            before = now
        raise SystemExit(f"the runner does not come to rest within {SETTLING_SECONDS} s")

    def living(self) -> dict[int, str]:
        """Every process that lives, and the part that it is of."""
        found = {self.daemon: DAEMON}
        pending = [self.daemon]
        while pending:
            parent = pending.pop()
            for pid in children(parent):
                with suppress(OSError):
                    found[pid] = _part(pid, found[parent])
                    pending.append(pid)
        self.known.update(found)
        return found

    def ended(self) -> Iterator[tuple[int, str, Cpu]]:
        """Every process that has ended, the part that it was of, and what it spent alone."""
        reaped = read_notes(self.notes)
        passed_on: dict[int, Cpu] = {}
        for one in reaped:
            passed_on[one.reaper] = passed_on.get(one.reaper, Cpu()) + one.whole
        by_pid = {one.pid: one for one in reaped}
        for one in reaped:
            part = self._part_of_ended(one, by_pid)
            yield one.pid, part, one.whole - passed_on.get(one.pid, Cpu())

    def _part_of_ended(self, one: Reaped, by_pid: Mapping[int, Reaped]) -> str:
        if one.name == DRIVER:
            return DRIVERS
        reaper = by_pid.get(one.reaper)
        above = self.known.get(one.reaper) or (
            DAEMON if reaper is None else self._part_of_ended(reaper, by_pid)
        )
        if above in (ZYGOTES, KERNELS):
            return KERNELS
        unknown = {SERVER: KERNELS, DRIVERS: ZYGOTES}
        return self.known.get(one.pid, unknown.get(above, above))

    def whole(self) -> Cpu:
        """What the tree has spent by the system's own sums, for a check of the parts."""
        total = Cpu()
        for pid in self.living():
            with suppress(OSError):
                total += own_cpu(pid) + own_cpu(pid, first=15)
        return total


def _sum(spent: Mapping[str, Cpu]) -> float:
    return sum(cpu.total for cpu in spent.values())


def _part(pid: int, above: str) -> str:
    if above in (ZYGOTES, KERNELS):
        return KERNELS
    name = _name(pid)
    if above in (SERVER, DRIVERS) and name == DRIVER:
        return DRIVERS
    command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    is_forked = any(map(_PRELOADS.search, command))
    if above == DRIVERS:
        return ZYGOTES if is_forked else KERNELS
    if above == SERVER:
        return KERNELS
    if above != DAEMON:
        return above
    if is_forked:
        return SERVER
    if "gateway" in command or name == FORKED_GATEWAY:
        return GATEWAY
    return COMPANIONS if "--owner" in command or name.startswith(FORKED) else DAEMON


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def own_cpu(pid: int, first: int = 13) -> Cpu:
    """What a process has spent without its children; from field 15 on, what those it reaped have.

    Raises:
        OSError: it is gone.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system = fields[first - 2 : first]
    return Cpu(int(user) / TICKS, int(system) / TICKS)


def child_named(daemon: psutil.Process, word: str) -> psutil.Process | None:
    """Find the daemon's child with this word in its name or command line; None if there is none.

    A forked one has its parent's command line.
    """
    for child in daemon.children():
        with suppress(psutil.NoSuchProcess):  # a zombie too
            if word in " ".join([child.name(), *child.cmdline()]):
                return child
    return None


def children(pid: int) -> list[int]:
    """The children of a process; empty if it is gone."""
    with suppress(psutil.Error):
        return [child.pid for child in psutil.Process(pid).children()]
    return []


def read_notes(notes: Path) -> list[Reaped]:
    """What has been noted of processes that were reaped."""
    if not notes.exists():
        return []
    found = []
    for line in notes.read_text().splitlines():
        reaper, pid, user, system, name = line.split(" ", 4)
        found.append(Reaped(int(reaper), int(pid), Cpu(float(user), float(system)), name))
    return found


WATCHED = {"kernels": {"pass_environment": ["BENCH_REAPED", "BENCH_SAMPLES"]}}
"""Settings of a program that is to be watched: else its preload server would not be."""


def watching(notes: Path, samples: Path | None = None) -> dict[str, str]:
    """The environment of a program that is to be watched."""
    before = os.environ.get("PYTHONPATH")
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(INJECTED), *([before] if before else [])]),
        "BENCH_REAPED": str(notes),
        **({} if samples is None else {"BENCH_SAMPLES": str(samples)}),
    }
