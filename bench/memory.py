"""The memory of daemon and gateway over many jobs, some with results of megabytes.

Submits, reads back and measures. The program is the real one, on folders of its own.
"""

import argparse
import json
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import psutil
from nbformat.v4 import new_code_cell, new_notebook
from processes.parts import child_named
from program import Running, program

GOAL_MB = 30
"""How much more they may hold at the end than after the first hundred."""
FIRST = 100
CLIENTS = 4
REST_SECONDS = 60
MIX = (0, 0, 0, 0, 0, 0, 10, 10, 10, 100, 100, 100, 100, 1000, 1000, 1000, 0, 10, 2000, 5000)
"""Kilobytes of results, in turn."""
MEGABYTE = 1 << 20


def main() -> None:
    """Print what was measured; exit with 1 above the goal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2000)
    jobs = parser.parse_args().jobs
    with tempfile.TemporaryDirectory(prefix="bench-memory-") as name:
        root = Path(name)
        settings: dict[str, Any] = {"kernels": {"preload": ["scrapbook"]}}
        with program(root, "serve", **settings) as running:
            grown = measure(running, jobs)
    sys.exit(grown > GOAL_MB)


def measure(running: Running, jobs: int) -> float:
    """Run them; gives how many megabytes more there are at the end than after the first.

    Both are taken at rest: what the last result needed is given back within half a minute.
    """
    numbers = iter(range(jobs))
    first = settled(running, work_off(running, islice(numbers, FIRST)))
    last = settled(running, work_off(running, numbers)) if jobs > FIRST else first
    for name, path in files(running.root):
        print(f"{name}: {path.stat().st_size / MEGABYTE:.1f} MB")
    return max(last[name] - first[name] for name in last)


def work_off(running: Running, numbers: Iterable[int]) -> int:
    """Run some jobs, several at a time, and print now and then what is held; gives the last one."""
    with ThreadPoolExecutor(CLIENTS) as clients:
        for number in clients.map(partial(submit, running), numbers):
            if number % 250 == 0:
                print(f"{number:5}  {said(memory(running))}", flush=True)
    return number


def settled(running: Running, number: int) -> dict[str, float]:
    """What is held once nothing has happened for a while."""
    time.sleep(REST_SECONDS)
    taken = memory(running)
    print(f"{number + 1:5}  {said(taken)}, at rest", flush=True)
    return taken


def submit(running: Running, number: int) -> int:
    """One job by `POST /run`; its result is read, and of some once more. Gives its number."""
    kilobytes = MIX[number % len(MIX)]
    source = (
        "import scrapbook\n"
        f"scrapbook.glue('rows', [[n, 'x' * 80, n / 7] for n in range({kilobytes * 9})])\n"
        f"{number}"
    )
    cell = new_code_cell(source, metadata={"tags": ["results"]})
    about = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    answer = call(running, "/run", {"notebook": new_notebook(cells=[cell], metadata=about)})
    assert answer["status"] == "succeeded", answer
    assert len(answer["results"]["rows"]) == kilobytes * 9
    if number % 10 == 0:
        assert call(running, f"/jobs/{answer['job_id']}")["result"]["results"] == answer["results"]
    return number


def call(running: Running, path: str, body: Any = None) -> Any:
    """JSON of the gateway."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{running.port}{path}",
        None if body is None else json.dumps(body).encode(),
        {"Content-Type": "application/json", "Accept": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=600) as answer:
        return json.load(answer)


def memory(running: Running) -> dict[str, float]:
    """Megabytes of daemon and gateway: resident, without pages of files."""
    daemon = psutil.Process(running.process.pid)
    gateway = child_named(daemon, "gateway")
    if gateway is None:
        raise SystemExit("the daemon has no gateway")
    found = {"daemon": daemon, "gateway": gateway}
    return {name: held(process) / MEGABYTE for name, process in found.items()}


def held(process: psutil.Process) -> int:
    """What is resident and no page of a file."""
    about = process.memory_info()
    return int(about.rss - about.shared)


def said(taken: dict[str, float]) -> str:
    """On one line."""
    return "  ".join(f"{name} {size:6.1f} MB" for name, size in taken.items())


def files(root: Path) -> Iterator[tuple[str, Path]]:
    """The ledger's."""
    for path in sorted((root / "state").glob("ledger.sqlite3*")):
        yield path.name, path


if __name__ == "__main__":
    main()
