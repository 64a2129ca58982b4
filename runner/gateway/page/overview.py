"""The content of the first page: health, open jobs, the last jobs, the last 24 hours.

Looks once at ledger, outbox and pulse, and returns comparable values. Renders nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from runner.config import Settings
from runner.contract.names import shown_name
from runner.contract.states.status import Status
from runner.gateway.page.format import duration, plural
from runner.jobs.health import Health, examine
from runner.jobs.pausing import Pausing
from runner.jobs.problem import Problem, ProblemType
from runner.jobs.record import Question, Record, listed
from runner.state.jobs import Hour, Job, JobFilter
from runner.state.pauses import PAUSED_BY, Pause
from runner.state.pulse import Worker

SHOWN_RUNNING = 50
SHOWN_QUEUED = 5
SHOWN_WORKERS = 50
DAY_JOBS = 5_000
"""Most jobs of a day that the picture shows, the newest ones."""
HOURS = 24
NOT_FAILED = frozenset({Status.CANCELLED, Status.REJECTED})
"""Ends of jobs that were stopped or never ran: the page tells them apart from failures."""


@dataclass(frozen=True)
class JobLine:
    """A job in a list."""

    job_id: str
    name: str
    status: Status
    accepted_at: str
    seconds: float | None
    error_type: str | None = None
    message: str | None = None
    notebook: str | None = None
    """Library path of its notebook, where its name does not say it."""
    held_until: str | None = None

    @property
    def url(self) -> str:
        """Address of its page."""
        return f"/jobs/{self.job_id}"

    @property
    def shown_name(self) -> str:
        """Its name, cut if nobody chose it."""
        return shown_name(self.name)


@dataclass(frozen=True)
class Running:
    """A running job: its progress, and since when."""

    job_id: str
    name: str
    started_at: str
    cell: int = 0
    cells: int = 0
    notebook: str | None = None
    """Library path of its notebook, where its name does not say it."""

    @property
    def shown_name(self) -> str:
        """Its name, cut if nobody chose it."""
        return shown_name(self.name)

    def seconds(self, now: datetime) -> float:
        """Return how long it has run."""
        return max((now - datetime.fromisoformat(self.started_at)).total_seconds(), 0.0)


@dataclass(frozen=True)
class Bar:
    """An hour in the picture, in its own units: 0 to 100 high, from below."""

    x: int
    good: int
    bad: int
    other: int
    label: str


@dataclass(frozen=True)
class Day:
    """The last 24 hours. `text` says the same in words."""

    bars: tuple[Bar, ...]
    text: str
    jobs: int
    """All that ended: those that succeeded, failed, were cancelled, or were refused."""
    bad: int
    other: int
    """Cancelled and refused jobs: they did not fail."""
    mean: float | None
    """Seconds of a run that went to its end."""
    top: int
    """Jobs of the fullest hour: the height of the picture."""
    is_cut: bool


@dataclass(frozen=True)
class Now:
    """The running and waiting jobs."""

    running: tuple[Running, ...] = ()
    queued: tuple[JobLine, ...] = ()
    queued_in_all: int = 0
    pauses: tuple[Pause, ...] = ()

    @property
    def is_paused(self) -> bool:
        """Whether no job starts at all."""
        return any(not pause.name for pause in self.pauses)


@dataclass(frozen=True)
class Cluster:
    """The first workers of a cluster by name, and sums over all of them."""

    workers: tuple[Worker, ...]
    in_all: int
    slots: int
    running: int


@dataclass(frozen=True)
class Jobs:
    """One page of the list, and the id that asks for the next one."""

    lines: tuple[JobLine, ...] = ()
    before: str | None = None

    @property
    def has_active(self) -> bool:
        """Whether one of them can be cancelled."""
        return any(line.status in (Status.QUEUED, Status.RUNNING) for line in self.lines)


@dataclass(frozen=True)
class OverviewSnapshot:
    """The whole page at one moment. `trouble` says why the ledger's part is empty."""

    health: Health
    cluster: Cluster | None
    now: Now
    jobs: Jobs
    trouble: str | None = None
    space: int | None = None
    """Free bytes on the fullest disk of the folders, in two digits: news only when these change."""

    @property
    def notes(self) -> list[str]:
        """Health's notes, without those on pauses: these stand beside the jobs, with a button."""
        return [note for note in self.health.notes if PAUSED_BY not in note]


class Overview:
    """Looks for one gateway. Safe for many threads."""

    def __init__(self, settings: Settings, record: Record) -> None:
        self._settings = settings
        self._record = record

    def look(self, question: Question) -> OverviewSnapshot:
        """Look once; health shows a ledger that cannot be read.

        Raises:
            Problem: 400 for an unknown `before`.
        """
        health = examine(self._settings)
        cluster = cluster_of(health.workers or ())
        space = _two_digits(min(health.free.values(), default=None))
        try:
            now, jobs = self._of_ledger(question)
        except Problem as problem:
            if problem.error_type != ProblemType.UNAVAILABLE:
                raise
            return OverviewSnapshot(health, cluster, Now(), Jobs(), problem.message, space)
        return OverviewSnapshot(health, cluster, now, jobs, space=space)

    def day(self, now: datetime) -> Day | None:
        """Return the last 24 hours; None if the ledger cannot be read."""
        first = _hour(now) - timedelta(hours=HOURS - 1)
        try:
            with self._record.ledger() as ledger:
                hours = ledger.hours(first.isoformat(timespec="milliseconds"), DAY_JOBS)
        except Problem:
            return None
        return day_of(hours, first)

    def _of_ledger(self, question: Question) -> tuple[Now, Jobs]:
        with self._record.ledger() as ledger:
            running = ledger.jobs(JobFilter(status=Status.RUNNING), limit=SHOWN_RUNNING)
            queued = ledger.queued(SHOWN_QUEUED)
            count = ledger.count_queued() if len(queued) == SHOWN_QUEUED else len(queued)
            jobs, before = listed(ledger, question)
            paths = ledger.notebooks_of({job.job_id for job in (*running, *queued, *jobs)})
        now = Now(
            tuple(self._running(job, paths) for job in reversed(running)),
            _lines(queued, paths),
            count,
            self._pauses(),
        )
        return now, Jobs(_lines(jobs, paths), before)

    def _pauses(self) -> tuple[Pause, ...]:
        try:
            return Pausing(self._settings.state).all()
        except Problem:  # health tells
            return ()

    def _running(self, job: Job, paths: Mapping[str, str]) -> Running:
        said = self._record.progress(job.name, job.job_id) or {}
        cell, cells = said.get("cell"), said.get("cells")
        return Running(
            job.job_id,
            job.name,
            job.started_at or job.accepted_at,
            cell if isinstance(cell, int) else 0,
            cells if isinstance(cells, int) else 0,
            _unnamed(job.name, paths.get(job.job_id)),
        )


def _two_digits(count: int | None) -> int | None:
    return None if count is None else count - count % 10 ** max(len(str(count)) - 2, 0)


def cluster_of(workers: Sequence[Worker]) -> Cluster | None:
    """Summarise the workers; None on one machine, which the page describes already."""
    if len(workers) < 2 and not any(worker.address for worker in workers):
        return None
    by_name = sorted(workers, key=lambda worker: (worker.host, worker.address or ""))
    return Cluster(
        tuple(by_name[:SHOWN_WORKERS]),
        len(workers),
        sum(worker.slots for worker in workers),
        sum(worker.running for worker in workers),
    )


def line_of(job: Job, notebook: str | None = None) -> JobLine:
    """Describe a job for a list; `notebook` is the library path that its request names."""
    seconds = None
    if job.started_at is not None and job.finished_at is not None:
        passed = datetime.fromisoformat(job.finished_at) - datetime.fromisoformat(job.started_at)
        seconds = max(passed.total_seconds(), 0.0)
    return JobLine(
        job.job_id,
        job.name,
        job.status,
        job.accepted_at,
        seconds,
        job.error_type,
        job.message,
        _unnamed(job.name, notebook),
        job.waiting.held_until,
    )


def _unnamed(name: str, notebook: str | None) -> str | None:
    """Return the path unless the job is called like it."""
    return None if notebook is None or notebook.removesuffix(".ipynb") == name else notebook


def day_of(hours: Iterable[Hour], first: datetime) -> Day:
    """Draw the hours from `first` on."""
    good, bad, other = ([0] * HOURS for _ in range(3))
    seconds, ran = 0.0, 0
    for one in hours:
        begin = datetime.fromisoformat(f"{one.hour}:00:00+00:00")
        place = int((begin - first).total_seconds() // 3600)
        if not 0 <= place < HOURS or one.status in (Status.QUEUED, Status.RUNNING):
            continue
        if one.status is Status.SUCCEEDED:
            good[place] += one.jobs
        elif one.status in NOT_FAILED:
            other[place] += one.jobs
            continue
        else:
            bad[place] += one.jobs
        seconds, ran = seconds + one.seconds, ran + one.jobs
    top = max(map(sum, zip(good, bad, other, strict=True)), default=0)
    bars = tuple(
        Bar(
            place,
            _high(good[place], top),
            _high(bad[place], top),
            _high(other[place], top),
            _label(first + timedelta(hours=place), good[place], bad[place], other[place]),
        )
        for place in range(HOURS)
        if good[place] or bad[place] or other[place]
    )
    mean = seconds / ran if ran else None
    jobs = ran + sum(other)
    text = f"In the last 24 hours {plural(jobs, 'job')} ended: {sum(bad)} failed"
    text += f", {sum(other)} cancelled or rejected" if any(other) else ""
    text += f"; the others and the failed took {duration(mean)} on average." if ran else "."
    return Day(bars, text, jobs, sum(bad), sum(other), mean, top, is_cut=jobs >= DAY_JOBS)


def _high(count: int, top: int) -> int:
    """Return the height in hundredths of the fullest hour; a single job is still visible."""
    return max(round(100 * count / top), 4) if count else 0


def _label(hour: datetime, good: int, bad: int, other: int) -> str:
    counts = ((good, "succeeded"), (bad, "failed"), (other, "cancelled or rejected"))
    return f"{hour:%H}:00 UTC: " + ", ".join(f"{count} {word}" for count, word in counts if count)


def _hour(now: datetime) -> datetime:
    return now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _lines(jobs: Iterable[Job], paths: Mapping[str, str]) -> tuple[JobLine, ...]:
    return tuple(line_of(job, paths.get(job.job_id)) for job in jobs)
