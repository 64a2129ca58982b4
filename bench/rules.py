"""Many data files at once on a rule, beside plain requests; and many files that nobody takes.

Prints rates, memory and CPU; exits with 1 when a file was not processed exactly once, or a goal is
missed. The program is the real one, on folders of its own.
"""

import argparse
import json
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from drops import drop
from nbformat.v4 import new_code_cell, new_notebook
from processes.parts import child_named
from program import Running, program

FILE_BYTES = 100_000
LEAST_RATIO = 0.5
"""Of the rate of plain requests."""
MOST_GROWTH_MB = 30
"""How much more a process may hold at the end than when a tenth is done."""
MOST_IDLE = 0.10
"""Of one core, for all processes of an idle runner."""
IDLE_SECONDS = 30
MEGABYTE = 1 << 20
NAMES = ("daemon", "submit", "gateway")
SIZE = "import os\nos.stat(path).st_size if path else 0"
RULES = {
    "bulk": 'pattern: "in/*.bin"\n',
    "off": 'pattern: "off/*.bin"\nenabled: false\n',
    "large": 'pattern: "large/*.bin"\n',
}
WHAT_STAYS = {
    "none": "match no rule",
    "off": "match a rule that is switched off",
    "large": "are too large for their rule",
}

Taken = dict[str, tuple[float, float]]
"""Megabytes of memory and seconds of CPU, by process."""


def main() -> None:
    """Print what was measured; exit with 1 when something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1000, help="that a rule takes; 0 for none")
    parser.add_argument("--plain", type=int, default=None, help="requests; else as many as files")
    parser.add_argument("--idle", type=int, default=20_000, help="files that stay; 0 for none")
    asked = parser.parse_args()
    problems: list[str] = []
    if asked.files:
        plain = asked.files if asked.plain is None else asked.plain
        problems += in_folder(partial(burst, plain=plain, files=asked.files))
    for kind in WHAT_STAYS if asked.idle else ():
        problems += in_folder(partial(idle, kind=kind, count=asked.idle))
    for problem in problems:
        print(f"WRONG: {problem}")
    sys.exit(bool(problems))


def in_folder(measure: Callable[[Running], list[str]]) -> list[str]:
    """Measure with a runner in a folder of its own, with the notebook and the rules."""
    with tempfile.TemporaryDirectory(prefix="bench-rules-") as name:
        root = Path(name)
        rules = root / "notebooks" / "rules"
        rules.mkdir(parents=True)
        cells = [
            new_code_cell("path = ''", metadata={"tags": ["parameters"]}),
            new_code_cell(SIZE, metadata={"tags": ["results"]}),
        ]
        about = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
        notebook = new_notebook(cells=cells, metadata=about)
        (root / "notebooks" / "size.ipynb").write_text(json.dumps(notebook))
        for rule, pattern in RULES.items():
            text = f'{pattern}notebook: size.ipynb\nparameters: {{path: "{{{{ file }}}}"}}\n'
            (rules / f"{rule}.yaml").write_text(text)
        for folder in ("in", *WHAT_STAYS):
            (root / "inbox" / folder).mkdir(parents=True)
        with program(root, "serve") as running:
            until(lambda: len(processes(running)) == len(NAMES))
            return measure(running)


def burst(running: Running, plain: int, files: int) -> list[str]:
    """Work off plain requests, then as many files as are wanted; return what is wrong."""
    raw = json.dumps({"notebook": "size.ipynb", "parameters": {"path": "size.ipynb"}}).encode()
    drop(running, "first", raw, ".json")
    until(lambda: published(running, "first") == 1)
    began = time.perf_counter()
    for number in range(plain):
        drop(running, f"plain{number}", raw, ".json")
    until(lambda: published(running, "plain%") == plain)
    plain_rate = plain / (time.perf_counter() - began)
    print(f"{plain:,} plain requests: {plain_rate:.2f} a second", flush=True)

    before, began = show(running, "before the files"), time.perf_counter()
    put(running, files)
    print(f"{files:,} files put in {time.perf_counter() - began:.1f} s", flush=True)
    marks = []
    for tenth in (1, 5, 10):
        until_done(running, files * tenth // 10)
        seconds = time.perf_counter() - began
        marks.append(show(running, f"{tenth * 10} % after {seconds:.1f} s, {left(running)}"))
    rate = files / seconds
    print(f"{files:,} files: {rate:.2f} a second, {rate / plain_rate:.2f} of plain requests")
    until(lambda: not list((running.root / "inbox").glob(".rule-*")))
    for name in NAMES:
        cpu = marks[-1][name][1] - before[name][1]
        print(f"{name}: {1000 * cpu / files:.1f} ms of CPU a file")
    return list(wrong(running, files, marks[0], marks[-1], rate / plain_rate))


def put(running: Running, count: int) -> None:
    """Write files beside the inbox, each with other bytes, and rename them in, all at once."""
    beside = running.root / "beside"
    beside.mkdir()
    for number in range(count):
        (beside / f"{number:06}.bin").write_bytes(f"{number:010}".encode() * (FILE_BYTES // 10))
    for number in range(count):
        name = f"{number:06}.bin"
        (beside / name).rename(running.root / "inbox" / "in" / name)


def wrong(running: Running, files: int, early: Taken, late: Taken, ratio: float) -> Iterator[str]:
    """Say what is not as promised, after all files are processed."""
    reports = list(running.root.glob("outbox/rules/bulk/*.result.json"))
    sizes: set[str] = set()
    inputs: set[str] = set()
    for path in reports:
        report = json.loads(path.read_bytes())
        inputs.update(one["path"] for one in report["inputs"])
        sizes.update(one["text/plain"] for one in report["results"].values())
    kept = list(running.root.glob("inbox/.done/*/in/*.bin"))
    with ledger(running) as rows:
        asked = "SELECT count(*), count(DISTINCT name), count(DISTINCT submitted_by) FROM jobs"
        jobs = rows.execute(f"{asked} WHERE submitted_by LIKE 'rule:%'").fetchone()
    for what, count in {
        "result files": len(reports),
        "distinct inputs": len(inputs),
        "jobs in the ledger": jobs[0],
        "names of jobs": jobs[1],
        "causes of jobs": jobs[2],
        "files in .done": len(kept),
    }.items():
        if count != files:
            yield f"{count:,} {what} of {files:,} files"
    if sizes != {str(FILE_BYTES)}:
        yield f"the notebooks saw files of {sizes} bytes"
    if any(running.root.glob("inbox/in/*")) or any(running.root.glob("inbox/rules/**/*.*")):
        yield "files are left in the inbox"
    if any(running.root.glob("outbox/**/*.error.json")):
        yield "there are errors in the outbox"
    if ratio < LEAST_RATIO:
        yield f"{ratio:.2f} of the rate of plain requests"
    for name in NAMES:
        grown = late[name][0] - early[name][0]
        if grown > MOST_GROWTH_MB:
            yield f"{name} holds {grown:.1f} MB more than after a tenth"


def idle(running: Running, kind: str, count: int) -> list[str]:
    """Let files lie in the inbox, and see what that costs; return what is wrong."""
    folder = running.root / "inbox" / kind
    size = 300 * MEGABYTE if kind == "large" else 10
    for number in range(count):
        with (folder / f"{number:06}.bin").open("wb") as file:
            file.truncate(size)
    time.sleep(IDLE_SECONDS)  # until all of them are known
    before = taken(running)
    time.sleep(IDLE_SECONDS)
    after = taken(running)
    costs = {name: (after[name][1] - before[name][1]) / IDLE_SECONDS for name in NAMES}
    raw = json.dumps({"notebook": "size.ipynb"}).encode()
    began = time.perf_counter()
    drop(running, "one", raw, ".json")
    until(lambda: published(running, "one") == 1, 0.01)
    plain = time.perf_counter() - began
    began = time.perf_counter()
    put(running, 1)
    until(lambda: published(running, "rules/bulk/%") == 1, 0.01)
    data = time.perf_counter() - began
    each = ", ".join(f"{name} {100 * cost:.1f} %" for name, cost in costs.items())
    print(f"{count:,} files that {WHAT_STAYS[kind]}: {each} of a core; {said(after)}")
    print(f"  then a request takes {plain:.2f} s, and a file {data:.2f} s", flush=True)
    total = sum(costs.values())
    return [f"{100 * total:.0f} % of a core, idle"] if total > MOST_IDLE else []


def until(is_so: Callable[[], bool], pause: float = 0.5) -> None:
    """Wait for it."""
    while not is_so():
        time.sleep(pause)


def until_done(running: Running, count: int) -> None:
    """Wait until so many files are processed."""
    until(lambda: published(running, "rules/%") >= count)


def ledger(running: Running) -> "closing[sqlite3.Connection]":
    """Open the ledger, to read."""
    path = running.root / "state" / "ledger.sqlite3"
    return closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=60))


def published(running: Running, name: str) -> int:
    """Count the jobs of a name, with `%` for any letters, whose result is there."""
    with ledger(running) as rows:
        asked = "SELECT count(*) FROM jobs WHERE name LIKE ? AND published_at IS NOT NULL"
        return int(rows.execute(asked, (name,)).fetchone()[0])


def left(running: Running) -> str:
    """Say how many files wait for their rule, and how many jobs for their turn."""
    waiting = sum(1 for _ in (running.root / "inbox" / "in").iterdir())
    with ledger(running) as rows:
        queued = rows.execute("SELECT count(*) FROM jobs WHERE state = 'queued'").fetchone()[0]
    return f"{waiting:,} files and {queued:,} jobs wait"


def processes(running: Running) -> dict[str, psutil.Process]:
    """Find the daemon and the two beside it."""
    daemon = psutil.Process(running.process.pid)
    beside = {name: child_named(daemon, name) for name in NAMES[1:]}
    return {"daemon": daemon} | {name: one for name, one in beside.items() if one is not None}


def taken(running: Running) -> Taken:
    """Measure what the processes take now: their share of memory, and CPU so far."""
    now: Taken = {}
    for name, process in processes(running).items():
        cpu: Any = process.cpu_times()
        now[name] = process.memory_full_info().pss / MEGABYTE, cpu.user + cpu.system
    return now


def said(now: Taken) -> str:
    """Write memory on one line."""
    return "  ".join(f"{name} {memory:.1f} MB" for name, (memory, _) in now.items())


def show(running: Running, when: str) -> Taken:
    """Print what the processes hold, and return it."""
    now = taken(running)
    print(f"{said(now)}: {when}", flush=True)
    return now


if __name__ == "__main__":
    main()
