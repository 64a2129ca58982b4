"""What a long ledger costs: the runner's start, a job, a list of jobs, memory and disk."""

import http.client
import statistics
import time
from collections.abc import Callable, Iterable

from drops import TINY, by_drop, notebook, own_folder, until_warm
from gateway import fill
from processes.times import pss_mb
from program import program
from speed.report import Sheet

TIMES, PAUSE_SECONDS = 10, 0.4
LISTS = ("/jobs?limit=50", "/jobs?limit=50&status=failed", "/jobs?limit=50&name=daily/7")
MEGABYTE = 1024**2


def measure(counts: Iterable[int]) -> Sheet:
    """A row for each number of finished jobs."""
    made = Sheet(
        "Jobs in the ledger",
        ("finished jobs", "start", "drop to result", "lists of jobs", "the daemon", "on the disk"),
        "The start is from the command until a kernel waits. A drop is a tiny notebook, a list the "
        f"slowest of the newest 50, the failed ones and those of a name; medians of {TIMES}. A "
        "tenth of the jobs have failed.",
    )
    for count in counts:
        made.add(f"{count:,}", *_row(count))
    return made


def _row(count: int) -> tuple[str, ...]:
    raw = notebook(TINY)
    with own_folder() as root:
        (root / "state").mkdir()
        fill(root / "state", count)
        began = time.perf_counter()
        with program(root, "serve") as running:
            until_warm(running)
            start = time.perf_counter() - began
            dropped = _median(by_drop(raw, running), PAUSE_SECONDS)
            connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)
            listed = max(_median(_asking(connection, path), 0) for path in LISTS)
            held = pss_mb(running.process.pid)
        size = sum(path.stat().st_size for path in (root / "state").glob("ledger*"))
    disk = f"{size / MEGABYTE:.1f} MB"
    return f"{start:.1f} s", f"{dropped:.0f} ms", f"{listed:.1f} ms", f"{held:.0f} MB", disk


def _asking(connection: http.client.HTTPConnection, path: str) -> Callable[[], None]:
    def run() -> None:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise SystemExit(f"GET {path}: {answer.status}")

    return run


def _median(run: Callable[[], None], pause: float) -> float:
    """Milliseconds, after one that is not counted."""
    run()
    found = []
    for _ in range(TIMES):
        time.sleep(pause)
        began = time.perf_counter()
        run()
        found.append(1000 * (time.perf_counter() - began))
    return statistics.median(found)
