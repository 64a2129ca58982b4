"""What a notebook takes by the number of its cells, and by the size of its outputs."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from drops import by_drop, notebook, own_folder, until_warm
from processes.parts import DAEMON, DRIVERS, KERNELS, WATCHED, Cpu, Watch, watching
from program import Running, program
from speed.cells import sources
from speed.report import Sheet

LIMITS = {"notebook_mb": 100, "output_mb": 200, "run_seconds": 3600, "memory_mb": 4096}
LINE = 1000
"""Bytes of an output's line."""


@dataclass(frozen=True)
class Cost:
    """What one job took: seconds of time, and of CPU by part."""

    seconds: float
    cpu: dict[str, Cpu]


def cells(counts: Iterable[int]) -> Sheet:
    """Notebooks of so many cells, each of which prints a number."""
    made = Sheet(
        "Cells",
        ("cells", "drop to result", "a cell", "CPU of the driver, a cell", "of the kernel, a cell"),
    )
    sizes = list(counts)
    for count, cost in zip(sizes, _costs(map(sources, sizes)), strict=True):
        driver, kernel = (cost.cpu[part].each(count).total for part in (DRIVERS, KERNELS))
        made.add(
            f"{count:,}",
            f"{cost.seconds:.2f} s",
            f"{1000 * cost.seconds / count:.1f} ms",
            f"{driver:.1f} ms",
            f"{kernel:.1f} ms",
        )
    return made


def outputs(sizes: Iterable[int]) -> Sheet:
    """Notebooks of one cell that prints so many bytes, in lines."""
    made = Sheet(
        "Outputs",
        ("output", "drop to result", "CPU of the driver", "of the kernel", "of the daemon"),
    )
    listed = list(sizes)
    for size, cost in zip(listed, _costs([_printing(size)] for size in listed), strict=True):
        of_parts = (cost.cpu[part].each(1).total for part in (DRIVERS, KERNELS, DAEMON))
        made.add(in_bytes(size), f"{cost.seconds:.2f} s", *(f"{one:.0f} ms" for one in of_parts))
    return made


def _printing(size: int) -> str:
    return f'print("\\n".join(["x" * {LINE - 1}] * {size // LINE}))'


def in_bytes(size: int) -> str:
    """As people write it."""
    return f"{size / 1_000_000:g} MB" if size >= 1_000_000 else f"{size / 1000:g} kB"


def _costs(notebooks: Iterable[list[str]]) -> Iterator[Cost]:
    """One runner works them off, one at a time; the first, which is small, twice."""
    settings: dict[str, Any] = {**WATCHED, "limits": LIMITS}
    with own_folder() as root:
        notes = root / "reaped"
        with program(root, "serve", environment=watching(notes), **settings) as running:
            until_warm(running)
            watch = Watch(running.process.pid, notes)
            _cost(running, watch, notebook(["1"]))
            for one in notebooks:
                yield _cost(running, watch, notebook(one))


def _cost(running: Running, watch: Watch, raw: bytes) -> Cost:
    """Of one job; the kernel that waits after it is as dear as the one before it was."""
    before, began = watch.settled(), time.perf_counter()
    by_drop(raw, running)()
    seconds = time.perf_counter() - began
    after = watch.settled()
    return Cost(seconds, {part: after[part] - before[part] for part in after})
