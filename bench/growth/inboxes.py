"""What a full inbox costs: of requests that wait, and of files that are none and stay."""

import statistics
import time
from collections.abc import Iterable

from drops import TINY, by_drop, notebook, own_folder, until_warm
from processes.parts import own_cpu
from program import program
from speed import backlog
from speed.report import Sheet

SETTLED_SECONDS, IDLE_SECONDS, TIMES = 5, 20, 10
ENOUGH = 100
"""Fewer have no rate to speak of."""


def requests(counts: Iterable[int]) -> Sheet:
    """So many notebooks at once, until all are accepted; the one slot is taken."""
    made = Sheet(
        "Requests dropped at once",
        ("requests", "accepted", "a second", "the daemon grew by"),
    )
    for count in counts:
        found = backlog.measure(count)
        rate = f"{found.rate:,.0f}" if count >= ENOUGH else "–"
        grown = f"{found.grown_mb:.0f} MB"
        made.add(f"{count:,}", f"{found.seconds:.1f} s", rate, grown)
    return made


def remaining(counts: Iterable[int]) -> Sheet:
    """So many files that are no requests, and a notebook that is dropped among them."""
    made = Sheet(
        "Files that stay in the inbox",
        ("files", "idle CPU of the daemon", "drop to result"),
        f"Files that are no requests, such as a CSV. CPU in per cent of a core over {IDLE_SECONDS} "
        f"s. A drop is a tiny notebook among them, the median of {TIMES}.",
    )
    for count in counts:
        made.add(f"{count:,}", *_beside(count))
    return made


def _beside(count: int) -> tuple[str, str]:
    with own_folder() as root:
        (root / "inbox").mkdir()
        for number in range(count):
            (root / "inbox" / f"data{number}.csv").write_text("a,b\n1,2\n")
        with program(root, "serve") as running:
            until_warm(running)
            run = by_drop(notebook(TINY), running)
            run()
            took = []
            for _ in range(TIMES):
                time.sleep(0.4)
                began = time.perf_counter()
                run()
                took.append(1000 * (time.perf_counter() - began))
            time.sleep(SETTLED_SECONDS)
            before = own_cpu(running.process.pid).total
            time.sleep(IDLE_SECONDS)
            share = (own_cpu(running.process.pid).total - before) / IDLE_SECONDS
    return f"{share:.2%}", f"{statistics.median(took):.0f} ms"
