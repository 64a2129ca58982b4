"""The ledger's own path: from a drop to its result, where execution costs nothing."""

import multiprocessing
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from load import Passed, fake

from speed.report import Sheet

GOAL_RATE = 1000
MEMORY = "/dev/shm"


@dataclass(frozen=True)
class Paths:
    """The same on the disk that temporary files are on, and in memory."""

    on_disk: Passed
    in_memory: Passed


def measure(count: int) -> Paths:
    """So many drops on each, in processes of their own."""
    return Paths(_in(tempfile.gettempdir(), count), _in(MEMORY, count))


def _in(folder: str, count: int) -> Passed:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn, _use, (folder,)) as pool:
        passed = pool.submit(fake, count).result()
    if passed.problems:
        raise SystemExit(f"wrong results: {passed.problems[:5]}")
    return passed


def _use(folder: str) -> None:
    tempfile.tempdir = folder


def goals(found: Paths, goals_sheet: Sheet) -> None:
    """The row of this figure."""
    disk, memory = found.on_disk, found.in_memory
    goals_sheet.add(
        f"drop to result with a fake execution, {disk.count:,} of them",
        f"{disk.count / disk.seconds:,.0f} a second; "
        f"{1000 * disk.loop_seconds / disk.count:.2f} ms of CPU in the daemon's loop each; with "
        "folders in memory "
        f"{memory.count / memory.seconds:,.0f} a second",
        f"≥ {GOAL_RATE:,} a second",
    )
