"""How busy slots are kept: local ones, and those of a Dask cluster as docs/scale.md has them."""

import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from drops import burst, notebook, own_folder
from processes.parts import own_cpu
from processes.times import pss_mb
from program import program
from speed.report import Sheet

SLEEP_SECONDS, EACH = 5, 3
_OF_IDEAL = re.compile(r"^\| (\d+ x \d+) \|(?:[^|]+\|){7} ([\d.]+%) \|$", re.MULTILINE)
_COST = re.compile(r"^\| (\d+ x \d+) \| ([\d.]+%) \|(?:[^|]+\|){4} (\d+ MB) \|", re.MULTILINE)


def measure(slots: Iterable[int], scale: Path) -> Sheet:
    """A row for each number of local slots, then those of the page on clusters."""
    made = Sheet(
        "Slots",
        ("slots", "where", "kept busy", "CPU of the daemon", "its memory"),
        f"Local slots run {EACH} notebooks each that sleep {SLEEP_SECONDS} s; kernels are brought "
        "up meanwhile. Those on Dask are of [More than one machine](scale.md), where notebooks "
        "sleep longer the more slots there are.",
    )
    for count in slots:
        made.add(str(count), "local", *_local(count))
    for row in of_cluster(scale.read_text()):
        made.add(*row)
    return made


def _local(slots: int) -> tuple[str, str, str]:
    settings: dict[str, Any] = {
        "execution": {"concurrency": slots},
        "kernels": {"preload": [], "warm": slots},
        "limits": {"memory_mb": 100},
    }
    raw = notebook([f"import time\ntime.sleep({SLEEP_SECONDS})"])
    with own_folder() as root, program(root, "serve", **settings) as running:
        time.sleep(2)
        pid = running.process.pid
        before = own_cpu(pid).total
        seconds = burst(running, raw, slots * EACH)
        share = (own_cpu(pid).total - before) / seconds
        return f"{SLEEP_SECONDS * EACH / seconds:.0%}", f"{share:.1%}", f"{pss_mb(pid):.0f} MB"


def of_cluster(text: str) -> list[tuple[str, str, str, str, str]]:
    """The rows of the page's two tables, put together by workers and slots.

    Raises:
        ValueError: the tables do not have the same rows.
    """
    busy, cost = _OF_IDEAL.findall(text), _COST.findall(text)
    rows = []
    for (name, share), (same, cpu, memory) in zip(busy, cost, strict=True):
        if name != same:
            raise ValueError(f"docs/scale.md tells of {name} and {same} in the same row")
        workers, slots = map(int, name.split(" x "))
        rows.append((str(workers * slots), f"Dask, {workers} workers", share, cpu, memory))
    return rows
