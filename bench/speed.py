"""How long a notebook takes, by every way there is, side by side in one run; and what it costs.

Prints a table with the goals beside the figures, and writes it where `--write` says.
"""

import asyncio
import http.client
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click
import nbformat
import psutil
from nbformat.v4 import new_code_cell, new_notebook
from program import Running, program
from rich.console import Console
from rich.table import Table

from runner.config import Kernels

console = Console(width=100)

TINY = ["x = 1", "print(x + 1)", "x + 2"]
PANDAS = [
    "import pandas as pd\nimport scrapbook as sb\n"
    'sb.glue("table", pd.DataFrame({"name": ["a", "b"], "score": [95, 87]}), "pandas")',
    'sb.glue("total", 182)\npd.DataFrame({"x": range(5)}).describe()',
]
NOTEBOOKS = {"tiny": TINY, "pandas + scrapbook": PANDAS}
PAUSE_SECONDS = 0.4
"""Between two runs of an idle runner: it has a kernel ready again by then."""


@dataclass
class Report:
    """What was measured, as rows of text for a terminal and for Markdown."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, what: str, figure: str, goal: str = "") -> None:
        """Keep a row, and show it at once: the whole takes minutes."""
        self.rows.append((what, figure, goal))
        console.print(f"[dim]{what}:[/dim] {figure}", highlight=False)


def notebook(cells: Sequence[str]) -> bytes:
    """The bytes of a notebook of these cells."""
    kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    made = new_notebook(
        cells=[new_code_cell(c) for c in cells], metadata={"kernelspec": kernelspec}
    )
    text: str = nbformat.writes(made)
    return text.encode()


# The ways


def by_command(raw: bytes, folder: Path) -> Callable[[], None]:
    """(a) The papermill command, a new process each."""
    (folder / "in.ipynb").write_bytes(raw)
    papermill = Path(sys.executable).with_name("papermill")

    def run() -> None:
        subprocess.run(
            [papermill, "in.ipynb", "out.ipynb", "-k", "python3"],
            cwd=folder,
            check=True,
            capture_output=True,
        )

    return run


def in_process(raw: bytes, folder: Path) -> Callable[[], None]:
    """(b) papermill in a warm process, a new kernel each."""
    import papermill

    (folder / "in.ipynb").write_bytes(raw)
    asyncio.set_event_loop(asyncio.new_event_loop())

    def run() -> None:
        papermill.execute_notebook(
            str(folder / "in.ipynb"), str(folder / "out.ipynb"), progress_bar=False
        )

    return run


def by_drop(raw: bytes, running: Running, suffix: str = ".ipynb") -> Callable[[], None]:
    """(c) A drop into the inbox, until the result is visible."""
    made = 0

    def run() -> None:
        nonlocal made
        made += 1
        name = f"drop{made}-{os.getpid()}-{time.monotonic_ns()}"
        drop(running, name, raw, suffix)
        result = running.root / "outbox" / f"{name}.result.json"
        while not result.exists():
            time.sleep(0.0005)

    return run


def drop(running: Running, name: str, raw: bytes, suffix: str = ".ipynb") -> None:
    """Put a request into the inbox, whole, by rename."""
    temp = running.root / "inbox" / f".{name}.tmp"
    temp.write_bytes(raw)
    temp.rename(running.root / "inbox" / f"{name}{suffix}")


def by_post(raw: bytes, running: Running) -> Callable[[], None]:
    """(d) `POST /run`, until the answer is read."""
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)

    def run() -> None:
        connection.request("POST", "/run", raw, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, body

    return run


@contextmanager
def floor(cells: Sequence[str]) -> Iterator[Callable[[], None]]:
    """(e) A fork of a process that has everything imported runs the cells through IPython.

    No kernel, no protocol, no notebook: what is left is what running the cells costs.
    """
    script = _FLOOR.format(modules=", ".join(Kernels().preload), cells=list(cells))
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()

        def run() -> None:
            process.stdin.write(b"go\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
            assert process.stdout.readline() == b"done\n"  # type: ignore[union-attr]

        yield run
        process.stdin.close()


_FLOOR = """
import gc, os, sys
import {modules}
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.history_manager.enabled = False
out = os.fdopen(os.dup(1), "w")
sys.stdout = open(os.devnull, "w")
gc.collect(); gc.disable(); gc.freeze()
print("ready", file=out, flush=True)
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        for cell in {cells}:
            result = shell.run_cell(cell)
            result.raise_error()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    print("done", file=out, flush=True)
"""


def measure(run: Callable[[], None], times: int, pause: float = 0.0) -> list[float]:
    """Milliseconds of so many runs, after one that is not counted."""
    run()
    found = []
    for _ in range(times):
        time.sleep(pause)
        began = time.perf_counter()
        run()
        found.append((time.perf_counter() - began) * 1000)
    return found


def latencies(report: Report, times: int) -> None:
    """Every way on every notebook."""
    goals = {"tiny": (75, 3.0), "pandas + scrapbook": (110, 3.0)}
    for name, cells in NOTEBOOKS.items():
        raw = notebook(cells)
        with _folder() as folder, floor(cells) as at_best:
            found = {
                "(a) papermill command": measure(by_command(raw, folder), times),
                "(b) papermill in a warm process": measure(in_process(raw, folder), times),
                "(e) floor: fork and IPython": measure(at_best, times, PAUSE_SECONDS),
            }
        with _folder() as folder, program(folder, "serve") as running:
            until_warm(running)
            found["(c) drop into the inbox"] = measure(by_drop(raw, running), times, PAUSE_SECONDS)
            found["(d) POST /run"] = measure(by_post(raw, running), times, PAUSE_SECONDS)
        base = statistics.median(found["(e) floor: fork and IPython"])
        dropped = statistics.median(found["(c) drop into the inbox"])
        goal, ratio = goals[name]
        said = {
            "(c) drop into the inbox": f"≤ {goal} ms, ≤ {ratio:g} x the floor",
            "(d) POST /run": "≤ 10 ms more than (c)",
        }
        for way in sorted(found):
            took = found[way]
            median, p95 = statistics.median(took), _p95(took)
            figure = (
                f"median {median:.0f} ms, p95 {p95:.0f} ms; "
                f"{median / base:.1f} x (e), {median / dropped:.2f} x (c)"
            )
            report.add(f"{name}: {way}", figure, said.get(way, ""))


def throughput(report: Report, count: int) -> None:
    """A burst of tiny notebooks, dropped at once."""
    raw = notebook(TINY)
    with _folder() as folder, program(folder, "serve") as running:
        until_warm(running)
        daemon = psutil.Process(running.process.pid)
        before, began = cpu_of_tree(daemon), time.perf_counter()
        for number in range(count):
            drop(running, f"burst{number}", raw)
        until_finished(running, count)
        seconds = time.perf_counter() - began
        spent = (cpu_of_tree(daemon) - before) * 1000 / count
    report.add(
        f"burst of {count} tiny notebooks",
        f"{count / seconds:.1f} a second; {spent:.0f} ms of CPU each, of the daemon and all below",
        "≥ 15 a second",
    )


def memory(report: Report) -> None:
    """Of a pair that waits: a kernel with pandas imported, and its job process."""
    with _folder() as folder, program(folder, "serve", kernels={"warm": 4}) as running:
        until_warm(running, 4)
        time.sleep(1)
        server = _preload_server(running)
        jobs = server.children()
        pairs = [_pss(job) + sum(_pss(kernel) for kernel in job.children()) for job in jobs]
        whole = _pss(server) + sum(pairs) + _pss(psutil.Process(running.process.pid))
    report.add(
        "memory of a waiting pair (PSS, 4 of them)",
        f"{statistics.mean(pairs):.0f} MB; daemon, preload server and all pairs {whole:.0f} MB",
        "≤ 45 MB",
    )


def idleness(report: Report, seconds: float) -> None:
    """CPU of everything that `runner serve` starts, while nothing is dropped."""
    with _folder() as folder, program(folder, "serve") as running:
        until_warm(running)
        time.sleep(3)
        tree = [psutil.Process(running.process.pid)]
        tree += tree[0].children(recursive=True)
        before = {process.pid: own_cpu(process) for process in tree}
        time.sleep(seconds)
        spent = {process.pid: own_cpu(process) - before[process.pid] for process in tree}
    daemon = spent[running.process.pid]
    report.add(
        f"idle for {seconds:g} s",
        f"daemon {daemon / seconds:.2%} of a core; with gateway, preload server and kernels "
        f"{sum(spent.values()) / seconds:.2%}",
        "≤ 1 %",
    )


def backlog(report: Report, count: int) -> None:
    """So many notebooks dropped at once, until all are accepted; the one slot is taken."""
    raw = notebook(TINY)
    settings: dict[str, Any] = {"execution": {"concurrency": 1}, "kernels": {"warm": 0}}
    with _folder() as folder, program(folder, "serve", **settings) as running:
        daemon = psutil.Process(running.process.pid)
        drop(running, "long", notebook(["import time", "time.sleep(3000)"]))
        while (running.root / "inbox" / "long.ipynb").exists():
            time.sleep(0.05)
        time.sleep(3)
        memory_before = daemon.memory_info().rss
        inbox, waiting = running.root / "inbox", running.root / "waiting"
        waiting.mkdir()
        for number in range(count):
            (waiting / f"w{number}.ipynb").write_bytes(raw)
        began = time.perf_counter()
        for number in range(count):
            os.rename(waiting / f"w{number}.ipynb", inbox / f"w{number}.ipynb")
        dropped = time.perf_counter() - began
        most = memory_before
        while any(inbox.glob("w*.ipynb")) or any(inbox.glob(".claim-*")):
            most = max(most, daemon.memory_info().rss)
            time.sleep(0.2)
        seconds = time.perf_counter() - began
        most = max(most, daemon.memory_info().rss)
        running.process.kill()
    report.add(
        f"{count:,} notebooks dropped at once",
        f"accepted at {count / seconds:,.0f} a second ({seconds:.1f} s, the drop itself "
        f"{dropped:.1f} s); the daemon grew by {(most - memory_before) / 1024**2:.0f} MB",
        "≥ 1,000 a second, ≤ 100 MB",
    )


# Looking at the program


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        yield Path(name)


def until_warm(running: Running, kernels: int | None = None) -> None:
    """Wait until so many kernels wait: without a number, one for each core."""
    pulse = running.root / "state" / "pulse.json"
    wanted = kernels or len(os.sched_getaffinity(0))
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if pulse.exists() and json.loads(pulse.read_bytes())["warm"] >= wanted:
            return
        time.sleep(0.05)
    raise SystemExit(f"no {wanted} kernels wait; {(running.root / 'log').read_text()}")


def until_finished(running: Running, count: int) -> None:
    """Wait until as many results of a burst are visible."""
    outbox = running.root / "outbox"
    while sum(1 for _ in outbox.glob("burst*.result.json")) < count:
        time.sleep(0.05)


def _preload_server(running: Running) -> psutil.Process:
    children = psutil.Process(running.process.pid).children()
    return next(
        child for child in children if "runner.execution.job.preload" in " ".join(child.cmdline())
    )


def cpu_of_tree(process: psutil.Process) -> float:
    """Seconds of CPU of a process, its children, and all of theirs that have ended."""
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        times = one.cpu_times()
        total += times.user + times.system + times.children_user + times.children_system
    return total


def own_cpu(process: psutil.Process) -> float:
    """Seconds of CPU of a process alone."""
    times = process.cpu_times()
    return float(times.user + times.system)


def _pss(process: psutil.Process) -> float:
    return float(process.memory_full_info().pss) / 1024**2


def _p95(took: Sequence[float]) -> float:
    return statistics.quantiles(took, n=20, method="inclusive")[-1]


# The command


@click.command()
@click.option("--runs", default=30, show_default=True, help="Runs of each way and notebook.")
@click.option("--burst", default=300, show_default=True, help="Notebooks dropped at once.")
@click.option("--idle", default=30.0, show_default=True, help="Seconds of doing nothing.")
@click.option("--backlog", "waiting", multiple=True, type=int, default=(10_000, 100_000))
@click.option("--write", type=click.Path(path_type=Path), help="A Markdown file to write.")
def main(runs: int, burst: int, idle: float, waiting: tuple[int, ...], write: Path | None) -> None:
    """Measure everything; takes about ten minutes."""
    report = Report()
    parts: list[Callable[[], None]] = [
        lambda: latencies(report, runs),
        lambda: throughput(report, burst),
        lambda: memory(report),
        lambda: idleness(report, idle),
        *(partial(backlog, report, count) for count in waiting),
    ]
    for part in parts:
        part()
        if write is not None:
            write.write_text(_markdown(report, runs))
    table = Table("what", "figure", "goal")
    for row in report.rows:
        table.add_row(*row)
    console.print(table)


def _markdown(report: Report, runs: int) -> str:
    versions = {name: _version(name) for name in ("papermill", "ipykernel", "pandas")}
    machine = (
        f"{os.cpu_count()} cores, Python {platform.python_version()}, Linux {platform.release()}"
    )
    libraries = ", ".join(f"{name} {version}" for name, version in versions.items())
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`; run it on your own machine, since figures differ and ratios",
        f"less so. This run: {datetime.now(UTC):%Y-%m-%d}, {machine}; {libraries}.",
        f"Medians and 95th percentiles of {runs} runs.",
        "",
        "| what | figure | goal |",
        "|---|---|---|",
        *(f"| {what} | {figure} | {goal} |" for what, figure, goal in report.rows),
        "",
    ]
    return "\n".join(lines)


def _version(name: str) -> Any:
    from importlib.metadata import version

    return version(name)


if __name__ == "__main__":
    main()
