"""What a cell costs in a long notebook: by a drop and by nbclient, and whose CPU that is."""

import asyncio
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

import nbformat
from drops import by_drop, notebook, own_folder, until_warm
from nbclient import NotebookClient
from processes.parts import DRIVERS, KERNELS, WATCHED, Watch, watching
from program import program

from speed.report import Sheet

FEW, ALONE = 3, 600
"""Cells of a small notebook; cells that nbclient runs, whose price does not change.
"""
GOAL_MS = 3


@dataclass(frozen=True)
class CellPrice:
    """Milliseconds a cell."""

    count: int
    """Of the longest notebook's cells."""
    at_first: float
    """Of the cells up to a tenth of it."""
    later: float
    """Of the others."""
    driver_cpu: float
    kernel_cpu: float
    nbclient: float


def sources(count: int) -> list[str]:
    """Cells that each print something."""
    return [f"x = {number}\nprint(x)" for number in range(count)]


def measure(count: int) -> CellPrice:
    """A short notebook, one of a tenth of so many cells, and the long one, one after the other."""
    sizes, seconds = (FEW, count // 10, count), []
    with own_folder() as root:
        notes = root / "reaped"
        with program(root, "serve", environment=watching(notes), **WATCHED) as running:
            watch = Watch(running.process.pid, notes)
            for size in sizes:
                until_warm(running)
                before = watch.settled()
                run = by_drop(notebook(sources(size)), running)
                began = time.perf_counter()
                run()
                seconds.append(time.perf_counter() - began)
            after = watch.settled()
    few, some, many = seconds
    return CellPrice(
        count,
        1000 * (some - few) / (count // 10 - FEW),
        1000 * (many - some) / (count - count // 10),
        (after[DRIVERS] - before[DRIVERS]).each(count).total,
        (after[KERNELS] - before[KERNELS]).each(count).total,
        asyncio.run(_by_nbclient(sources(ALONE))),
    )


async def _by_nbclient(cells: Sequence[str]) -> float:
    """Milliseconds a cell for nbclient, once its kernel is there."""
    wanted = nbformat.reads(notebook(cells).decode(), as_version=4)
    client = NotebookClient(wanted, kernel_name="python3")
    async with client.async_setup_kernel(stderr=subprocess.DEVNULL):
        began = time.perf_counter()
        for number, cell in enumerate(wanted.cells):
            await client.async_execute_cell(cell, number)
        return 1000 * (time.perf_counter() - began) / len(cells)


def goals(found: CellPrice, goals_sheet: Sheet) -> None:
    """The row of this figure."""
    goals_sheet.add(
        f"a cell of a {found.count:,}-cell notebook",
        f"{found.later:.1f} ms, of its first tenth {found.at_first:.1f} ms; nbclient alone "
        f"{found.nbclient:.1f} ms; CPU: driver {found.driver_cpu:.1f} ms, kernel "
        f"{found.kernel_cpu:.1f} ms",
        f"linear, ≤ {GOAL_MS} ms above the kernel's own CPU",
    )
