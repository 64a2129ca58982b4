"""The content of a job's page: its way through time, its request, its results.

Pure, over the ledger's row and the published report.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from runner.contract.names import is_made_name, shown_name
from runner.contract.request import Kind, kind_of
from runner.contract.states.status import ErrorType, Status
from runner.contract.states.turn import AT_ONCE, Waiting
from runner.contract.states.words import cells_in_words, has_outputs_of, variables_in_words
from runner.contract.text.plain_text import visible
from runner.contract.text.strict_json import StrictJsonError, loads
from runner.contract.triggers.causes import schedule_of
from runner.gateway.page.format import duration, size
from runner.gateway.page.result_views import Shown, json_text, shown
from runner.state.jobs import Job, Place, State, seconds_between

_LINE = re.compile(r"^Cell In\[\d{1,9}\], line (\d{1,9})", re.MULTILINE)
NEVER_NOTEBOOKS = frozenset({ErrorType.INVALID_NOTEBOOK, ErrorType.NOTEBOOK_TOO_LARGE})
"""Errors of inputs that are no notebook: nothing to render, nothing to run again."""
SMALL_BYTES = 100_000
LINE_CHARS = 120
"""Longest list or mapping among the parameters that stands on one line."""
DROPPED_CHARS = 4_000
MOST_BARS = 15
LEAST_SECONDS = 0.1
"""Of a run whose longest cell took less there is nothing to see."""
_PICTURES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml"})


@dataclass(frozen=True)
class Step:
    """A moment in a job's life; `note` says how long it took to get there."""

    label: str
    at: str
    note: str = ""


@dataclass(frozen=True)
class SourceLine:
    """A line of the cell that ended the run, from 1; `failed` is the one that was running then."""

    number: int
    text: str
    failed: bool


@dataclass(frozen=True)
class Trouble:
    """The reason why a job did not succeed."""

    error_type: str
    message: str
    source: tuple[SourceLine, ...] = ()
    traceback: str = ""
    missing: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    """What was alive when the cell raised."""

    @property
    def is_failure(self) -> bool:
        """Whether the marked line failed; otherwise it was running when the run was ended."""
        ended = (ErrorType.CANCELLED, ErrorType.INTERRUPTED, ErrorType.TIMEOUT)
        return self.error_type not in ended


@dataclass(frozen=True)
class Bar:
    """How long a cell ran: its number as in errors, in words, and in percent of the longest."""

    cell: int
    text: str
    percent: float


@dataclass(frozen=True)
class File:
    """A published file, where to load it, and whether it is a picture to show."""

    name: str
    url: str
    bytes: int
    is_picture: bool


@dataclass(frozen=True)
class JobView:
    """The content of the page."""

    job_id: str
    name: str
    status: Status
    steps: tuple[Step, ...]
    started_at: str | None = None
    seconds: float | None = None
    attempt: int = 0
    submitted_by: str | None = None
    waiting: Waiting = AT_ONCE
    waits_for: str = ""
    """For what it waits, if that is no time: the end of a pause, or of an older job."""
    library: str | None = None
    parameters: tuple[tuple[str, str], ...] = ()
    trouble: Trouble | None = None
    results: tuple[Shown, ...] = ()
    files: tuple[File, ...] = ()
    warnings: tuple[str, ...] = ()
    cells: str = ""
    kernel: str = ""
    host: str = ""
    environment: str = ""
    library_commit: str = ""
    took: tuple[tuple[str, str], ...] = ()
    """What the run took: names of figures, and figures."""
    bars: tuple[Bar, ...] = ()
    has_report: bool = False
    has_notebook: bool = False
    has_bytes: bool = False
    """Whether the dropped bytes are published as they came, because they are no notebook."""
    dropped_text: str = ""
    """The beginning of what was dropped, where it is no notebook and text."""
    has_run: bool = False
    has_outputs: bool = False
    """Whether the outputs in the notebook are those of this run."""
    has_no_files: bool = False
    """Whether the outbox has none of its files any more."""
    is_pruned: bool = False
    """Whether the runner removed them, as the settings of the history say."""
    can_run_again: bool = False
    inputs: tuple[str, ...] = ()
    """The names of the files that came with its request."""

    @property
    def is_named(self) -> bool:
        """Whether somebody chose its name, so that there may be other runs of it."""
        return not is_made_name(self.name)

    @property
    def shown_name(self) -> str:
        """Its name, cut if nobody chose it."""
        return shown_name(self.name)

    @property
    def is_over(self) -> bool:
        """Whether it has its outcome."""
        return self.status not in (Status.QUEUED, Status.RUNNING)

    @property
    def trouble_title(self) -> str:
        """Heading above why it did not succeed: not all of it is anything wrong."""
        if self.status is Status.REJECTED:
            return "Why it was not run"
        is_ended = self.status in (Status.CANCELLED, Status.INTERRUPTED)
        return "Why it ended" if is_ended else "What went wrong"

    @property
    def notebook_title(self) -> str:
        """Heading above the notebook, which may have run to its end, in part, or not at all."""
        if not self.has_run:
            return "Notebook (it did not run)"
        if not self.has_outputs:
            return "Notebook, as it was submitted"
        is_whole = self.status is Status.SUCCEEDED
        return "Executed notebook" if is_whole else "Notebook, as far as it ran"

    @property
    def schedule(self) -> str | None:
        """The schedule that it is of."""
        return schedule_of(self.submitted_by)

    @property
    def url(self) -> str:
        """Address of its parts."""
        return f"/jobs/{self.job_id}"

    @property
    def file_name(self) -> str:
        """The last part of its name, for downloads."""
        return self.name.rpartition("/")[2]


def submitted(job_id: str, name: str) -> JobView:
    """Describe a request in the inbox that no daemon has accepted yet."""
    return JobView(job_id, name, Status.QUEUED, ())


def sight_of(
    job: Job,
    report: Mapping[str, Any] | None,
    request: Mapping[str, Any] | None,
    dropped: bytes | None = None,
) -> JobView:
    """Describe a job by its row, its published report, its request and its dropped input."""
    content = report or {}
    library = (request or {}).get("notebook")
    parameters = content.get("parameters") or (request or {}).get("parameters") or {}
    was_none = job.error_type in NEVER_NOTEBOOKS
    is_paper = not (
        was_none or (job.error_type is ErrorType.INVALID_REQUEST and _no_paper(dropped))
    )
    return JobView(
        job_id=job.job_id,
        name=job.name,
        status=job.status if report is not None else _status(job),
        steps=_steps(job),
        started_at=job.started_at,
        seconds=_seconds(job),
        attempt=job.attempt,
        submitted_by=job.submitted_by,
        waiting=job.waiting,
        library=library if isinstance(library, str) else None,
        parameters=tuple((name, _word(value)) for name, value in parameters.items()),
        trouble=_trouble(job, content),
        results=shown(content.get("results") or {}),
        files=_files(job, content.get("files") or ()),
        warnings=tuple(content.get("warnings") or ()),
        cells=cells_in_words(content).replace(" cells", ""),
        kernel=str((content.get("kernel") or {}).get("name") or ""),
        host=str(content.get("host") or ""),
        environment=_environment(content.get("environment") or {}),
        library_commit=str(content.get("library_commit") or ""),
        took=tuple(_took(content.get("usage") or {})),
        bars=_bars(content.get("usage") or {}),
        has_report=report is not None,
        has_notebook=bool(content.get("output_nb")) and is_paper,
        has_bytes=bool(content.get("output_nb")) and not is_paper,
        dropped_text="" if is_paper else _small_text(dropped or b""),
        has_run=job.started_at is not None and job.status is not Status.REJECTED,
        has_outputs=has_outputs_of(content),
        inputs=tuple(one["path"] for one in content.get("inputs") or ()),
        has_no_files=report is None and job.state is State.CLOSED,
        is_pruned=report is None and job.place is Place.PRUNED,
        can_run_again=request is not None
        and job.place is not Place.PRUNED
        and (is_paper or (dropped is None and not was_none)),
    )


def _environment(about: Mapping[str, Any]) -> str:
    """Say in what it ran; empty where that is not known."""
    python, image = about.get("python"), about.get("image")
    return ", ".join(filter(None, (python and f"Python {python}", image)))


def _took(usage: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the figures that are known."""
    if (seconds := usage.get("cpu_seconds")) is not None:
        yield "Processor", duration(seconds)
    if (held := usage.get("peak_memory_bytes")) is not None:
        yield "Memory at most", size(held)
    if written := usage.get("written_bytes"):
        yield "Written", size(written)


def _bars(usage: Mapping[str, Any]) -> tuple[Bar, ...]:
    """Draw the cells that took longest, in their order; none where it was a moment for all."""
    cells = sorted(usage.get("cells") or (), key=lambda cell: -cell["seconds"])[:MOST_BARS]
    most = max((cell["seconds"] for cell in cells), default=0.0)
    if len(cells) < 2 or most < LEAST_SECONDS:
        return ()
    return tuple(
        Bar(cell["cell_index"], duration(cell["seconds"]), round(100 * cell["seconds"] / most, 1))
        for cell in sorted(cells, key=lambda cell: cell["cell_index"])
    )


def _small_text(dropped: bytes) -> str:
    """Return the beginning of small text to be read on the page; empty for anything else."""
    if len(dropped) > SMALL_BYTES or b"\0" in dropped:
        return ""
    try:
        text = visible(dropped.decode().replace("\r\n", "\n"))
    except UnicodeDecodeError:
        return ""
    return text if len(text) <= DROPPED_CHARS else f"{text[:DROPPED_CHARS]}…"


def _no_paper(dropped: bytes | None) -> bool:
    """Return whether the request is wrong, rather than a notebook's settings."""
    try:
        return kind_of(loads(dropped or b"")) is not Kind.NOTEBOOK
    except StrictJsonError:
        return True


def _status(job: Job) -> Status:
    """Return the status; a sealed job counts as running, because its report is still to come."""
    return Status.RUNNING if job.state is State.SEALED else job.status


def _seconds(job: Job) -> float | None:
    if job.started_at is None or job.finished_at is None:
        return None
    return seconds_between(job.started_at, job.finished_at)


def _steps(job: Job) -> tuple[Step, ...]:
    times = [
        ("Accepted", job.accepted_at, ""),
        ("Started", job.started_at, "waited"),
        ("Finished", job.finished_at, "ran" if job.started_at else "waited"),
        ("Published", job.published_at, "took"),
    ]
    steps: list[Step] = []
    for label, at, verb in times:
        if at is None:
            continue
        note = f"{verb} {duration(seconds_between(steps[-1].at, at))}" if steps else ""
        steps.append(Step(label, at, note))
    return tuple(steps)


def _trouble(job: Job, content: Mapping[str, Any]) -> Trouble | None:
    """Take the failure from the report, or from the ledger if that is gone."""
    if job.error_type is None:
        return None
    traceback = "\n".join(content.get("traceback") or ())
    return Trouble(
        error_type=job.error_type,
        message=str(content.get("message") or job.message or ""),
        source=_source(content.get("cell_source") or "", traceback),
        traceback=traceback,
        missing=tuple(content.get("missing_modules") or ()),
        variables=tuple(variables_in_words(content)),
    )


def _source(source: str, traceback: str) -> tuple[SourceLine, ...]:
    """Return the cell's lines; IPython's traceback names the failing one."""
    match = _LINE.search(traceback)
    failed = int(match[1]) if match else 0
    lines = source.rstrip("\n").split("\n") if source.strip() else []
    return tuple(SourceLine(at, text, at == failed) for at, text in enumerate(lines, 1))


def _files(job: Job, files: Sequence[Mapping[str, Any]]) -> tuple[File, ...]:
    prefix = f"{job.name}.files/"
    views = []
    for one in files:
        name = str(one["path"]).removeprefix(prefix)
        url = f"/jobs/{job.job_id}/files/{quote(name)}"
        views.append(File(name, url, int(one["bytes"]), one["media_type"] in _PICTURES))
    return tuple(views)


def _word(value: Any) -> str:
    """Write a parameter as exactly as anybody types it: without the noise of `0.1 + 0.2`."""
    exact = float(f"{value:.12g}") if isinstance(value, float) else value
    if isinstance(exact, str):
        return exact
    line = json.dumps(exact, ensure_ascii=False)
    return line if len(line) <= LINE_CHARS else json_text(exact)
