"""Many drops at once: 100,000 with a fake execution, 1,000 with real kernels and a long one.

Prints counts, rates and memory; exits with 1 when a drop has not just one result.
"""

import json
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import psutil
from drops import TINY, drop, notebook
from program import program
from rich.console import Console

from runner.config import Execution, Limits, Settings
from runner.contract.outcome import CellCount, Outcome
from runner.contract.states.status import Status
from runner.daemon.loop import Daemon
from runner.daemon.startup import Backing
from runner.execution.order import Order, Progress

console = Console()
FAKE_MB = 10
"""Of memory for a run that is none: the machine has enough for as many as there are slots."""
QUEUED_EVENTS = Path("/proc/sys/fs/inotify/max_queued_events")


class FakeExecution:
    """Succeeds with every order, at once or after a while, and runs nothing."""

    workers = troubles = notes = ()
    warm = 0
    pids: frozenset[int] = frozenset()

    def __init__(self, slots: int, seconds: float) -> None:
        self.slots = slots
        self._seconds = seconds

    def execute(
        self, order: Order, notebook: bytes, on_progress: Callable[[str, Progress], None]
    ) -> tuple[Outcome, bytes]:
        """The outcome of a notebook that gave nothing."""
        del order, on_progress
        time.sleep(self._seconds)
        return Outcome(status=Status.SUCCEEDED, cells=CellCount(total=3, executed=3)), notebook

    def keep(self, room: int) -> None:
        """There is nothing to keep."""

    def close(self) -> None:
        """There is nothing to close."""


@dataclass(frozen=True)
class Passed:
    """What a runner with a fake execution did with so many drops."""

    count: int
    seconds: float
    """From the first drop to the last result."""
    loop_seconds: float
    """CPU of the daemon's one loop."""
    grown_mb: float
    problems: list[str]


def fake(count: int, slots: int = 2, run_seconds: float = 0.0) -> Passed:
    """Real files, inbox, ledger and outbox."""
    raw = notebook(TINY)
    with tempfile.TemporaryDirectory(prefix="load-") as folder:
        root = Path(folder)
        settings = Settings(
            inbox=root / "inbox",
            outbox=root / "outbox",
            notebooks=root / "notebooks",
            state=root / "state",
            limits=Limits(memory_mb=FAKE_MB),
            execution=Execution(concurrency=slots),
        )
        execution: Any = FakeExecution(slots, run_seconds)
        daemon = Daemon(settings, backing=Backing(start_execution=lambda *_: execution))
        began, before = time.perf_counter(), psutil.Process().memory_info().rss
        loop_began, ended = time.thread_time(), began

        def dropper() -> None:
            nonlocal ended
            settings.inbox.mkdir(exist_ok=True)
            for number in range(count):
                (settings.inbox / f".{number}.tmp").write_bytes(raw)
                (settings.inbox / f".{number}.tmp").rename(settings.inbox / f"n{number}.ipynb")
            reports = settings.outbox
            while sum(1 for _ in reports.glob("*.result.json")) < count:
                time.sleep(min(count / 20_000, 1))
            ended = time.perf_counter()
            signal.raise_signal(signal.SIGTERM)

        threading.Thread(target=dropper, daemon=True).start()
        daemon.run()
        return Passed(
            count,
            ended - began,
            time.thread_time() - loop_began,
            (psutil.Process().memory_info().rss - before) / 1024**2,
            _problems(settings.outbox, [f"n{number}" for number in range(count)]),
        )


def real(count: int, note: str = "") -> list[str]:
    """Real kernels, and one long notebook that must not hold up the others, nor be starved."""
    raw = notebook(TINY)
    with tempfile.TemporaryDirectory(prefix="load-") as folder:
        root = Path(folder)
        with program(root, "serve") as running:
            drop(running, "long", notebook(["import time\ntime.sleep(20)"]))
            began = time.perf_counter()
            for number in range(count):
                drop(running, f"n{number}", raw)
            outbox, first = root / "outbox", 0.0
            while (found := sum(1 for _ in outbox.glob("*.result.json"))) < count + 1:
                first = first or (time.perf_counter() - began if found else 0.0)
                time.sleep(0.2)
            seconds = time.perf_counter() - began
        console.print(
            f"{count:,} drops with real kernels and a long one{note}: {count / seconds:.1f} a "
            f"second, the first result after {first:.1f} s",
            highlight=False,
        )
        return _problems(outbox, ["long", *(f"n{number}" for number in range(count))])


def few_events(count: int) -> list[str]:
    """The same with an event queue of 16, where this may be set (root)."""
    try:
        before = QUEUED_EVENTS.read_text()
        QUEUED_EVENTS.write_text("16")
    except OSError as error:
        console.print(f"skipped: max_queued_events cannot be set ({error})")
        return []
    try:
        return real(count, ", with 16 queued events")
    finally:
        QUEUED_EVENTS.write_text(before)


def _problems(outbox: Path, names: list[str]) -> list[str]:
    found: Counter[str] = Counter()
    wrong = []
    for pattern in ("*.result.json", "*.error.json"):
        for path in outbox.rglob(pattern):
            report = json.loads(path.read_bytes())
            found[report["name"]] += 1
            if report["status"] != "succeeded":
                wrong.append(f"{report['name']}: {report['message']}")
    wrong += [f"{name} has {found[name]} results" for name in names if found[name] != 1]
    return wrong


@click.command()
@click.option("--drops", default=100_000, show_default=True, help="With a fake execution.")
@click.option("--kernels", default=1_000, show_default=True, help="With real kernels.")
def main(drops: int, kernels: int) -> None:
    """Put load on the runner, and count its results."""
    passed = fake(drops)
    console.print(
        f"{drops:,} drops with a fake execution: {drops / passed.seconds:,.0f} a second from drop "
        f"to result; memory grew by {passed.grown_mb:.0f} MB",
        highlight=False,
    )
    problems = [*passed.problems, *real(kernels), *few_events(max(kernels // 4, 1))]
    for problem in problems[:50]:
        console.print(f"[red]{problem}[/red]", highlight=False)
    console.print(f"{len(problems)} lost, doubled or failed")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
