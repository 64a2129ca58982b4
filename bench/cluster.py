"""A Dask cluster on one machine: jobs a second by slots, what a job costs more than locally.

Real scheduler, workers and `runner serve`; at the end a ledger alone. Prints tables, and puts them
between the marks in the file that `--write` names.
"""

import json
import os
import platform
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import psutil
from distributed.protocol.pickle import dumps
from drops import TINY, by_drop, drop, notebook
from load import fake
from processes.times import cpu_of_tree, own_cpu
from program import Running, program
from rich.console import Console
from rich.table import Table

from runner import __version__
from runner.contract.outcome import CellCount, Outcome
from runner.contract.states.status import Status
from runner.execution.cluster.messages import Delivery, Luggage, Parcel, Terms, collect_files, pack
from runner.execution.order import Order
from runner.state import pulse
from runner.state.contents import Acceptance, Seal
from runner.state.jobs import State
from runner.state.ledger import Ledger
from runner.system.files.output_folder import FileCaps
from tests.cluster import Cluster, cluster
from tests.conftest import wait_for

console = Console(width=120)

MEGABYTE = 1024 * 1024
BEGIN, END = "<!-- figures -->", "<!-- /figures -->"
BARE: Mapping[str, Any] = {"preload": []}
"""Kernels that import nothing beforehand: it is not they that are measured."""
SETTLED_SECONDS = 3.0
PAUSE_SECONDS = 0.8
"""Between two jobs of an idle runner: a worker has a kernel ready again by then."""
BURSTS = 2
BATCH = 128
"""Requests that the runner accepts in one transaction, at most."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    grid: Sequence[tuple[int, int, float]]
    """Worker processes, slots of each, and how long a notebook sleeps."""
    rounds: int
    runs: int
    burst: int
    megabytes: Sequence[int]
    drops: int
    idle: Sequence[int]
    idle_seconds: float


WHOLE = Sizes(
    grid=((1, 2, 10), (2, 2, 10), (4, 2, 10), (4, 10, 15), (4, 25, 25), (4, 50, 40)),
    rounds=2,
    runs=20,
    burst=100,
    megabytes=(1, 20),
    drops=3_000,
    idle=(1, 20),
    idle_seconds=20,
)
QUICK = Sizes(
    grid=((1, 2, 2), (2, 5, 2)),
    rounds=2,
    runs=5,
    burst=10,
    megabytes=(1,),
    drops=500,
    idle=(1,),
    idle_seconds=5,
)


@dataclass
class Figures:
    """One table, for a terminal and for Markdown."""

    title: str
    note: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)

    def add(self, *row: str) -> None:
        """Keep a row, and show it at once: the whole takes minutes."""
        self.rows.append(row)
        said = ", ".join(f"{name} {cell}" for name, cell in zip(self.columns, row, strict=True))
        console.print(f"[dim]{said}[/dim]", highlight=False)

    def show(self) -> None:
        """On the terminal."""
        console.print()
        table = Table(title=self.title, title_justify="left", caption=self.note)
        for number, name in enumerate(self.columns):
            table.add_column(name, justify="right" if number else "left")
        for row in self.rows:
            table.add_row(*row)
        console.print(table)

    def markdown(self) -> list[str]:
        """Lines."""
        return [
            f"**{self.title}.** {self.note}",
            "",
            "| " + " | ".join(self.columns) + " |",
            "|---" + "|---:" * (len(self.columns) - 1) + "|",
            *("| " + " | ".join(row) + " |" for row in self.rows),
            "",
        ]


# A cluster and a runner


@dataclass(frozen=True)
class Parts:
    """A runner, its cluster, and what their processes take."""

    running: Running
    daemon: psutil.Process
    scheduler: psutil.Process
    workers: Sequence[psutil.Process]
    nannies: Sequence[psutil.Process]

    def cpu(self) -> Counter[str]:
        """Seconds until now, by kind; `notebooks` is all that workers have started."""
        own = sum(own_cpu(worker) for worker in self.workers)
        return Counter(
            {
                "daemon": own_cpu(self.daemon),
                "scheduler": own_cpu(self.scheduler),
                "workers": own + sum(own_cpu(nanny) for nanny in self.nannies),
                "notebooks": sum(cpu_of_tree(worker) for worker in self.workers) - own,
            }
        )

    def since(self, before: Counter[str]) -> dict[str, float]:
        """Seconds of CPU by kind since then; what nobody waited for is lost with its process."""
        now = self.cpu()
        return {kind: max(now[kind] - before[kind], 0.0) for kind in before}


@contextmanager
def clustered(workers: int, slots: int, **settings: Any) -> Iterator[Parts]:
    """A runner in front of so many worker processes, once a kernel waits in every slot."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        root, place = Path(name) / "runner", Path(name) / "cluster"
        root.mkdir()
        place.mkdir()
        with cluster(place) as made:
            for _ in range(workers):
                made.add_worker(slots=slots, nanny=True)
            execution = {"executor": "dask", "dask": {"address": made.address}}
            with program(root, "serve", kernels=BARE, execution=execution, **settings) as running:
                until_ready(running, workers * slots)
                yield _parts(running, made)


def _parts(running: Running, made: Cluster) -> Parts:
    return Parts(
        running,
        psutil.Process(running.process.pid),
        psutil.Process(made.scheduler.process.pid),
        [worker.worker() for worker in made.workers],
        [psutil.Process(worker.process.pid) for worker in made.workers],
    )


@contextmanager
def alone(slots: int) -> Iterator[Running]:
    """A runner that executes by itself."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        execution = {"concurrency": slots}
        with program(Path(name), "serve", kernels=BARE, execution=execution) as running:
            until_ready(running, slots)
            yield running


def until_ready(running: Running, slots: int) -> None:
    """Wait until it has so many slots, and a kernel that waits in each."""

    def is_ready() -> bool:
        found = pulse.read(running.root / "state")
        if found is None:
            return False
        return found.warm >= slots == sum(worker.slots for worker in found.workers)

    wait_for(is_ready, 300)


def reports(running: Running) -> list[Any]:
    """All that came out.

    Raises:
        SystemExit: something failed.
    """
    outbox = running.root / "outbox"
    failed = [path.read_text() for path in outbox.glob("*.error.json")]
    if failed:
        raise SystemExit("\n".join([*failed[:3], (running.root / "log").read_text()[-5000:]]))
    return [json.loads(path.read_bytes()) for path in outbox.glob("*.result.json")]


def burst(
    running: Running, raw: bytes, count: int, look: Callable[[], None] = lambda: None
) -> float:
    """Drop so many at once; seconds until the last result. `look` is called now and then."""
    outbox = running.root / "outbox"
    before = sum(1 for _ in outbox.glob("*.result.json"))
    began = time.perf_counter()
    for number in range(count):
        drop(running, f"burst{before + number}", raw)
    while sum(1 for _ in outbox.glob("*.result.json")) < before + count:
        if any(outbox.glob("*.error.json")):
            reports(running)
        look()
        time.sleep(0.1)
    return time.perf_counter() - began


# (a) Throughput by slots


def throughput(sizes: Sizes) -> Sequence[Figures]:
    """Notebooks that sleep, on more and more slots."""
    rates = Figures(
        "Notebooks that sleep, by slots",
        f"{sizes.rounds} for each slot, dropped at once. Ideal is slots / sleep. The rest of the "
        "whole time goes into bringing up as many kernels as there are slots, on the same few "
        "cores. A cycle is from a slot's result to its next one, once all slots are busy. With "
        "more slots notebooks sleep longer, so that the cores can follow.",
        (
            "workers x slots",
            "sleep",
            "jobs",
            "drop to last result",
            "jobs/s",
            "ideal",
            "of the ideal",
            "cycle",
            "of the ideal, all busy",
        ),
    )
    costs = Figures(
        "What they cost",
        "CPU in per cent of a core while jobs ran: of the daemon, the scheduler, the worker "
        "processes with their nannies, and all kernels and job processes. A job's CPU is its share "
        "of all that, with what is used in idleness (below), which is most of it where there are "
        "few jobs. Memory is what the machine had less at the worst moment.",
        (
            "workers x slots",
            "daemon",
            "scheduler",
            "workers",
            "kernels",
            "CPU a job",
            "daemon's memory",
            "memory",
        ),
    )
    for row in sizes.grid:
        _throughput(*row, sizes.rounds, rates, costs)
    return rates, costs


def _throughput(
    workers: int, slots: int, sleep: float, rounds: int, rates: Figures, costs: Figures
) -> None:
    raw = notebook([f"import time\ntime.sleep({sleep})"])
    whole = workers * slots
    count = whole * rounds
    free_before = least = psutil.virtual_memory().available
    most = 0
    with clustered(workers, slots) as parts:
        before = parts.cpu()

        def look() -> None:
            nonlocal least, most
            least = min(least, psutil.virtual_memory().available)
            most = max(most, parts.daemon.memory_info().rss)

        took = burst(parts.running, raw, count, look)
        spent = parts.since(before)
        found = reports(parts.running)
    ends = sorted(datetime.fromisoformat(report["finished_at"]).timestamp() for report in found)
    cycle = statistics.median(
        later - sooner for sooner, later in zip(ends, ends[whole:], strict=False)
    )
    rate, ideal = count / took, whole / sleep
    rates.add(
        f"{workers} x {slots}",
        f"{sleep:g} s",
        str(count),
        f"{took:.1f} s",
        f"{rate:.2f}",
        f"{ideal:.2f}",
        f"{rate / ideal:.0%}",
        f"{cycle:.2f} s",
        f"{sleep / cycle:.0%}",
    )
    costs.add(
        f"{workers} x {slots}",
        *(f"{seconds / took:.1%}" for seconds in spent.values()),
        f"{1000 * sum(spent.values()) / count:.0f} ms",
        f"{most / MEGABYTE:.0f} MB",
        f"{(free_before - least) / 1024**3:.1f} GB",
    )


# (b) What a job costs more


def overhead(sizes: Sizes) -> Sequence[Figures]:
    """Tiny notebooks one at a time and at once, here and on a cluster of the same size."""
    figures = Figures(
        "A tiny notebook, locally and on a cluster of one worker with as many slots",
        "In turn with each other, from drop to result.",
        ("what", "local", "cluster", "cluster / local", "more"),
    )
    raw = notebook(TINY)
    slots = len(os.sched_getaffinity(0))
    with alone(slots) as here, clustered(1, slots) as there:
        ways = {"local": by_drop(raw, here), "cluster": by_drop(raw, there.running)}
        took = in_turn(ways, sizes.runs, PAUSE_SECONDS)
        local, far = took["local"], took["cluster"]
        for what, figure in (("median ms", statistics.median), ("p95 ms", _p95)):
            one, other = figure(local), figure(far)
            figures.add(
                f"one at a time, {what}",
                f"{one:.0f}",
                f"{other:.0f}",
                f"{other / one:.2f}",
                f"{other - one:+.0f} ms",
            )
        seconds = {"local": 0.0, "cluster": 0.0}
        for _ in range(BURSTS):
            for name, running in (("local", here), ("cluster", there.running)):
                seconds[name] += burst(running, raw, sizes.burst)
    one, other = (BURSTS * sizes.burst / taken for taken in seconds.values())
    figures.add(
        f"bursts of {sizes.burst}, jobs/s",
        f"{one:.1f}",
        f"{other:.1f}",
        f"{other / one:.2f}",
        f"{1000 / other - 1000 / one:+.0f} ms a job",
    )
    return (figures,)


def in_turn(
    ways: Mapping[str, Callable[[], None]], runs: int, pause: float
) -> dict[str, list[float]]:
    """Milliseconds of so many runs of each, after one that is not counted."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(runs + 1):
        for name, run in ways.items():
            time.sleep(pause)
            began = time.perf_counter()
            run()
            if number:
                found[name].append((time.perf_counter() - began) * 1000)
    return found


# (c) Bytes a job


@dataclass(frozen=True)
class Kind:
    """A request, by what it carries along."""

    name: str
    raw: bytes
    suffix: str = ".ipynb"
    folder_mb: int = 0


def kinds(megabytes: Sequence[int]) -> list[Kind]:
    """A tiny notebook; folders that go; files that come back."""
    found = [Kind("tiny notebook", notebook(TINY))]
    for size in megabytes:
        asked = json.dumps({"notebook": f"with{size}/run.ipynb"}).encode()
        found.append(Kind(f"its folder has {size} MB", asked, ".json", size))
    for size in megabytes:
        writes = (
            "import os\nfrom pathlib import Path\n"
            f'Path(os.environ["RUNNER_OUTPUT_DIR"], "back").write_bytes(os.urandom({size} << 20))'
        )
        found.append(Kind(f"{size} MB of files back", notebook([writes])))
    return found


def traffic(sizes: Sizes) -> Sequence[Figures]:
    """What travels, and what that costs."""
    runs = max(sizes.runs // 4, 2)
    figures = Figures(
        "Bytes and time a job",
        f"Medians of {runs}; content is random, so that nothing compresses it. On the wire is what "
        "crossed the loopback interface meanwhile, without what does so in idleness: all of it "
        "passes the scheduler, so it is twice the parcel and twice the delivery.",
        ("what", "parcel KB", "delivery KB", "on the wire KB", "local ms", "cluster ms", "more"),
    )
    asked = kinds(sizes.megabytes)
    with alone(2) as here, clustered(1, 2) as there:
        for kind in asked:
            for running in (here, there.running):
                _lay_out(running, kind)
        idle = _wire_in(lambda: time.sleep(2 * SETTLED_SECONDS)) / (2 * SETTLED_SECONDS)
        for kind in asked:
            figures.add(*_traffic(kind, here, there.running, runs, idle))
    return (figures,)


def _lay_out(running: Running, kind: Kind) -> None:
    if kind.folder_mb:
        folder = running.root / "notebooks" / f"with{kind.folder_mb}"
        folder.mkdir()
        (folder / "run.ipynb").write_bytes(notebook(TINY))
        (folder / "along").write_bytes(os.urandom(kind.folder_mb * MEGABYTE))


def _traffic(kind: Kind, here: Running, there: Running, runs: int, idle: float) -> Sequence[str]:
    wires: list[float] = []
    far = by_drop(kind.raw, there, kind.suffix)

    def counted() -> None:
        began = time.perf_counter()
        crossed = _wire_in(far)
        wires.append(crossed - idle * (time.perf_counter() - began))

    ways = {"local": by_drop(kind.raw, here, kind.suffix), "cluster": counted}
    took = in_turn(ways, runs, PAUSE_SECONDS)
    local, cluster = (statistics.median(took[name]) for name in ("local", "cluster"))
    parcel, delivery = _pickled(kind, there)
    return (
        kind.name,
        f"{parcel / 1024:,.0f}",
        f"{delivery / 1024:,.0f}",
        f"{statistics.median(wires) / 1024:,.0f}",
        f"{local:.0f}",
        f"{cluster:.0f}",
        f"{cluster - local:+.0f} ms",
    )


def _wire_in(run: Callable[[], None]) -> float:
    """Bytes that the loopback interface carried while it ran, headers included."""
    before = psutil.net_io_counters(pernic=True)["lo"].bytes_sent
    run()
    return float(psutil.net_io_counters(pernic=True)["lo"].bytes_sent - before)


def _pickled(kind: Kind, running: Running) -> tuple[int, int]:
    """Bytes of a parcel and a delivery of this kind, as they are pickled; the newest result."""
    caps = FileCaps(200 * MEGABYTE, 1000)
    folder, source = None, kind.raw
    if kind.folder_mb:
        library = running.root / "notebooks" / f"with{kind.folder_mb}"
        folder, source = pack(library, 50 * MEGABYTE)[0], (library / "run.ipynb").read_bytes()
    order = Order(job_id="0" * 32, name="n", timeout_seconds=300, output_folder="/" + "o" * 60)
    parcel = Parcel("0" * 16, "0" * 32, Terms(), order, source, Luggage(folder), caps, 30)
    result = max((running.root / "outbox").glob("*.result.json"), key=lambda p: p.stat().st_mtime)
    name = result.name.removesuffix(".result.json")
    executed = result.with_name(f"{name}.ipynb").read_bytes()
    source_of_files = result.with_name(f"{name}.files")
    files = collect_files(source_of_files, caps, name)[0] if source_of_files.is_dir() else ()
    outcome = Outcome(status=Status.SUCCEEDED, cells=CellCount(total=3, executed=3))
    return len(dumps(parcel)), len(dumps(Delivery(outcome, executed, files)))


# (d) The ledger alone


def ledger(sizes: Sizes) -> Sequence[Figures]:
    """From drop to result with nothing executed, and each of a job's four transactions alone."""
    figures = Figures(
        "One ledger",
        "With a fake execution, real inbox, ledger and outbox; CPU is of the daemon's one loop, "
        "which is the limit where it is as long as the time. Then the ledger's own steps, each "
        f"durable before the next; {BATCH} drops are accepted in one.",
        ("what", "jobs", "seconds", "jobs/s", "ms a job", "CPU ms a job"),
    )
    for slots, seconds in ((2, 0.0), (200, 0.1)):
        passed = fake(sizes.drops, slots, seconds)
        if passed.problems:
            raise SystemExit("\n".join(passed.problems[:20]))
        took = "at once" if not seconds else f"after {seconds:g} s"
        figures.add(
            f"drop to result, {slots} slots, each ready {took}",
            *_rates(passed.count, passed.seconds, passed.loop_seconds),
        )
    for what, *taken in _steps(sizes.drops):
        figures.add(what, *_rates(sizes.drops, *taken))
    return (figures,)


def _rates(count: int, seconds: float, cpu: float) -> Sequence[str]:
    return (
        f"{count:,}",
        f"{seconds:.1f}",
        f"{count / seconds:,.0f}",
        f"{1000 * seconds / count:.2f}",
        f"{1000 * cpu / count:.2f}",
    )


def _steps(count: int) -> Iterator[tuple[str, float, float]]:
    """A job's four transactions, one kind after the other; seconds, and those of CPU."""
    raw, now = notebook(TINY), datetime.now(UTC).isoformat(timespec="milliseconds")
    outcome = Outcome(status=Status.SUCCEEDED, cells=CellCount(total=3, executed=3))
    ids = [f"{number:032x}" for number in range(count)]
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        book = Ledger(Path(folder))

        def accept(job_id: str) -> None:
            digest = "a" * 64
            book.accept(Acceptance(job_id, f"n{job_id}", "{}", raw, digest, digest, now))

        def seal(job_id: str) -> None:
            book.seal(Seal(job_id, outcome, raw, (), now), from_state=State.RUNNING)

        steps: Sequence[tuple[str, Callable[[str], None], int]] = (
            ("accepted", accept, BATCH),
            ("started", lambda job_id: book.start(job_id, now), 1),
            ("sealed", seal, 1),
            ("published", lambda job_id: book.published(job_id, now), 1),
        )
        for what, step, batch in steps:
            began, cpu = time.perf_counter(), time.thread_time()
            for at in range(0, count, batch):
                with book.transaction():
                    for job_id in ids[at : at + batch]:
                        step(job_id)
            yield f"ledger: {what}", time.perf_counter() - began, time.thread_time() - cpu
        book.close()


# (e) Idleness


def idleness(sizes: Sizes) -> Sequence[Figures]:
    """What it costs to be there: the daemon exchanges a word with each worker every second."""
    figures = Figures(
        "CPU while nothing is to be done",
        f"Per cent of a core over {sizes.idle_seconds:g} s; two slots a worker, a kernel waits in "
        "each. Workers are worker processes with their nannies, all together.",
        ("worker processes", "daemon", "scheduler", "workers", "a worker", "kernels"),
    )
    for workers in sizes.idle:
        with clustered(workers, 2) as parts:
            time.sleep(SETTLED_SECONDS)
            before = parts.cpu()
            time.sleep(sizes.idle_seconds)
            spent = {kind: s / sizes.idle_seconds for kind, s in parts.since(before).items()}
        figures.add(
            str(workers),
            f"{spent['daemon']:.1%}",
            f"{spent['scheduler']:.1%}",
            f"{spent['workers']:.1%}",
            f"{spent['workers'] / workers:.1%}",
            f"{spent['notebooks']:.1%}",
        )
    return (figures,)


# The command


def _p95(found: Sequence[float]) -> float:
    return statistics.quantiles(found, n=20, method="inclusive")[-1]


def machine() -> str:
    """What it was measured with."""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("distributed", "ipykernel"))
    memory = psutil.virtual_memory().total / 1024**3
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, everything on one machine with {os.cpu_count()} cores and "
        f"{memory:.0f} GB; inbox-runner {__version__}, {libraries}, "
        f"Python {platform.python_version()}, Linux {platform.release()}"
    )


def around(path: Path) -> tuple[str, str]:
    """What is before and after the figures.

    Raises:
        SystemExit: there are no marks.
    """
    before, begin, rest = path.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{path} has no lines {BEGIN} and {END}")
    return before, after


def markdown(made: Sequence[Figures]) -> str:
    """What is between the marks."""
    lines = ["", f"Measured by `make bench-cluster`: {machine()}.", ""]
    return "\n".join([*lines, *(line for figures in made for line in figures.markdown())])


PARTS: Mapping[str, Callable[[Sizes], Sequence[Figures]]] = {
    "throughput": throughput,
    "overhead": overhead,
    "traffic": traffic,
    "ledger": ledger,
    "idleness": idleness,
}


@click.command()
@click.option("--quick", is_flag=True, help="A minute, for a look whether all of it works.")
@click.option("--only", multiple=True, type=click.Choice(list(PARTS)), help="Some parts of it.")
@click.option(
    "--write",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help=f"A Markdown file: what is between {BEGIN} and {END} is replaced.",
)
def main(quick: bool, only: Sequence[str], write: Path | None) -> None:
    """Measure everything; takes about ten minutes."""
    sizes = QUICK if quick else WHOLE
    console.print(machine(), highlight=False)
    before, after = ("", "") if write is None else around(write)
    began = time.perf_counter()
    made: list[Figures] = []
    for name in only or PARTS:
        made.extend(PARTS[name](sizes))
    for figures in made:
        figures.show()
    console.print(f"{time.perf_counter() - began:.0f} s in all", highlight=False)
    if write is not None:
        write.write_text(f"{before}{BEGIN}\n{markdown(made)}\n{END}{after}")


if __name__ == "__main__":
    main()
