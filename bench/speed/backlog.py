"""Many notebooks dropped at once, while the one slot is taken: until all are accepted."""

import os
import time
from dataclasses import dataclass
from typing import Any

import psutil
from drops import TINY, drop, notebook, own_folder
from program import program

from speed.report import Sheet

GOAL_RATE, GOAL_MB = 1000, 100
SETTLED_SECONDS = 2
LOOK_SECONDS = 0.1


@dataclass(frozen=True)
class Backlog:
    """What accepting them took."""

    count: int
    seconds: float
    dropped_seconds: float
    grown_mb: float
    """Of the daemon."""

    @property
    def rate(self) -> float:
        """How many a second."""
        return self.count / self.seconds


def measure(count: int) -> Backlog:
    """Drop them, and wait until the inbox is empty."""
    raw = notebook(TINY)
    settings: dict[str, Any] = {"execution": {"concurrency": 1}, "kernels": {"warm": 0}}
    with own_folder() as folder, program(folder, "serve", **settings) as running:
        daemon = psutil.Process(running.process.pid)
        inbox, waiting = running.root / "inbox", running.root / "waiting"
        drop(running, "long", notebook(["import time", "time.sleep(3000)"]))
        while (inbox / "long.ipynb").exists():
            time.sleep(LOOK_SECONDS)
        time.sleep(SETTLED_SECONDS)
        before = most = daemon.memory_info().rss
        waiting.mkdir()
        for number in range(count):
            (waiting / f"w{number}.ipynb").write_bytes(raw)
        began = time.perf_counter()
        for number in range(count):
            os.rename(waiting / f"w{number}.ipynb", inbox / f"w{number}.ipynb")
        dropped = time.perf_counter() - began
        while any(inbox.glob("w*.ipynb")) or any(inbox.glob(".claim-*")):
            most = max(most, daemon.memory_info().rss)
            time.sleep(LOOK_SECONDS)
        seconds = time.perf_counter() - began
        most = max(most, daemon.memory_info().rss)
        running.process.kill()
    return Backlog(count, seconds, dropped, (most - before) / 1024**2)


def goals(found: Backlog, goals_sheet: Sheet) -> None:
    """The row of this figure."""
    goals_sheet.add(
        f"{found.count:,} notebooks dropped at once",
        f"accepted at {found.rate:,.0f} a second ({found.seconds:.1f} s, the drop itself "
        f"{found.dropped_seconds:.1f} s); the daemon grew by {found.grown_mb:.0f} MB",
        f"≥ {GOAL_RATE:,} a second, ≤ {GOAL_MB} MB",
    )
