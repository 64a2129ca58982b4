"""Summarises a job for a model: its state, its results cut to a size, and its pictures.

Pure, over the JSON of the record. Says where it cut, and where all of it is.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from runner.contract.displays import text_of, text_of_odd_numbers
from runner.contract.states.words import did_not_run, variables_in_words, without_cell
from runner.contract.text.plain_text import excerpt, one_line
from runner.contract.text.tracebacks import folded
from runner.mcp.pictures import Picture, fitted
from runner.mcp.pieces import BRIEF as BRIEF_BOUNDS
from runner.mcp.pieces import PICTURES
from runner.mcp.runs.executed import Executed, ExecutedCell

Json = dict[str, Any]

VALUE_CHARACTERS = 4_000
TRACEBACK_CHARACTERS = 4_000
LISTED_PLOTS = 20
LISTED_PRINTS = 3
PARAMETERS_CHARACTERS = 300
_CELL = re.compile(r"cell_\d+")
_TABLE = {"columns", "index", "data"}
_COUNTED = re.compile(r"\b(C|c)(?:ode c)?ell \d+ of \d+\b")
"""Matches a cell by its place among the code cells; the answer names the cell itself."""
_BY_COUNT = re.compile(r"\bcell In\[(\d+)\]")
"""Matches a cell by its execution count."""
_AROUND = re.compile(r" +\d+(?: |$)| *\(\.\.\.\)$")
"""Matches a line of source beside the one that raised."""
_NUMBERED = re.compile(r"^(?:-*> ?)?\s*\d+\s*")
"""Matches what stands before a line of source in a traceback."""
_ATTEMPT = re.compile(r"Attempt \d+ ended, and it ")
"""Matches the warning on an attempt that was not to be the last."""
NONE = Executed()


@dataclass(frozen=True)
class Sizes:
    """How much of a job a model gets."""

    rows: int = 20
    value_characters: int = 4_000
    results_characters: int = 12_000
    files: int = 50


BRIEF = Sizes()
FULL = Sizes(1_000, 40_000, 60_000, 300)


@dataclass(frozen=True)
class JobShown:
    """A job of the runner, as the tools give it."""

    job_id: str
    name: str
    status: str
    progress: str | None = None
    error_type: str | None = None
    message: str | None = None
    notebook: str | None = None
    """Path of the library notebook that failed: there it is to be mended."""
    cell: str | None = None
    """The cell that failed, by index and id."""
    cell_line: int | None = None
    """The line of it that raised, if `traceback` does not name it."""
    cell_source: str | None = None
    traceback: str | None = None
    variables: str = ""
    """What was alive at the failure."""
    parameters: str = ""
    """The values that it was given."""
    attempt: int = 1
    results: Json | None = None
    """Glued values by name, and cells tagged `results` as `cell_N`."""
    places: tuple[str, ...] = ()
    """Which cells these are."""
    outputs: str = ""
    """What its cells showed, if it gave no results."""
    printed: str = ""
    """Which cells printed something that the answer does not have, and what gives it."""
    ran_nothing: bool = False
    """Whether no cell had code."""
    plots: tuple[str, ...] = ()
    """Cells with pictures that the answer does not have."""
    files: tuple[str, ...] = ()
    """Paths in the outbox."""
    duration_seconds: float | None = None
    callbacks: tuple[str, ...] = ()
    """Those that have not come through."""
    warnings: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    """The parts that were cut; the resources have all of it."""
    is_full: bool = False
    """Whether no other detail gives more."""
    has_notebook: bool = False
    did_not_run: bool = False
    """Whether its last attempt, or it at all, ran no cell."""
    has_run_before: bool = False
    """Whether it had an attempt before."""
    next_step: str | None = None
    """What to do while it is not over."""


def shown(
    record: Mapping[str, Any], executed: Executed = NONE, sizes: Sizes = BRIEF
) -> tuple[JobShown, list[Picture]]:
    """Summarise a job (see `Record.show`) for a model, with the pictures of its results."""
    job_id = str(record["job_id"])
    report: Mapping[str, Any] | None = record.get("result")
    if report is None:
        return _without_report(record, job_id), []
    results, pictures, left_out, counts = _results(report.get("results") or {}, sizes)
    files = [str(file["path"]) for file in report.get("files") or []]
    if len(files) > sizes.files:
        left_out.append(f"{sizes.files} of {len(files)} files shown")
    tagged = {name: executed.of_result(name) for name in results}
    cells = {name: cell for name, cell in tagged.items() if cell is not None}
    seen = {cell.index: counts.get(name, 0) for name, cell in cells.items()}
    return JobShown(
        job_id=job_id,
        name=str(report["name"]),
        status=str(report["status"]),
        results=results,
        places=tuple(f"{name} is {cell.name}" for name, cell in cells.items()),
        parameters=in_short(report.get("parameters") or {}),
        attempt=int(report.get("attempt") or 1),
        printed=_printed(executed, cells.values(), job_id),
        plots=plots_of(executed, seen),
        is_full=sizes is FULL,
        files=tuple(files[: sizes.files]),
        duration_seconds=report.get("duration_seconds"),
        warnings=tuple(
            _warning(str(one), report, executed) for one in report.get("warnings") or []
        ),
        left_out=tuple(left_out),
        has_notebook=bool(report.get("output_nb")),
        did_not_run=did_not_run(report),
        has_run_before=has_run_before(report),
        **_failure(report, executed),
    ), pictures


def has_run_before(report: Mapping[str, Any]) -> bool:
    """Return whether a report tells of an attempt after which another was due."""
    return any(_ATTEMPT.match(str(warning)) for warning in report.get("warnings") or [])


def plots_of(executed: Executed, seen: Mapping[int, int]) -> tuple[str, ...]:
    """Name the cells with more pictures than were seen, by index, and how many they have."""
    cells = [cell for cell in executed.cells if cell.pictures > seen.get(cell.index, 0)]
    lines = [
        f"{cell.name} ({cell.pictures}{f', {here} of them here' if here else ''})"
        for cell in cells[:LISTED_PLOTS]
        for here in [seen.get(cell.index, 0)]
    ]
    more = len(cells) - LISTED_PLOTS
    return (*lines, f"and in {more} more cells") if more > 0 else tuple(lines)


def _failure(report: Mapping[str, Any], executed: Executed) -> dict[str, Any]:
    """Return what repair needs: the cell, the traceback from the notebook on, the variables."""
    if report.get("error_type") is None:
        return {}
    source, index = report.get("cell_source"), report.get("cell_index")
    name = None if index is None else f"[{index}]"
    if index is not None and index < len(executed.cells):
        cell = executed.cells[index]
        name = cell.name if cell.source == source else name
    message, line = str(report.get("message") or ""), None
    traceback = _traceback(report.get("traceback"), executed)
    if source is not None and name is not None and _has_all(traceback or "", name, str(source)):
        source = None
    elif source is not None and name is not None and len(str(source)) <= VALUE_CHARACTERS:
        traceback = None if traceback is None else _without_excerpt(traceback, name)
        line, traceback = _line_of(traceback or "", name)
    return {
        "error_type": report["error_type"],
        "message": message if name is None else _of_cell(message, name),
        "notebook": report.get("notebook"),
        "cell": name,
        "cell_line": line,
        "cell_source": None if source is None else excerpt(str(source), VALUE_CHARACTERS),
        "traceback": traceback,
        "variables": "; ".join(variables_in_words(report)),
    }


def _without_excerpt(traceback: str, name: str) -> str:
    """Leave out the lines around those that raised, of a cell whose source stands above."""
    kept: list[str] = []
    is_inside = False
    for line in traceback.split("\n"):
        if line.startswith(f"Cell {name}, line"):
            is_inside = True
        elif not _AROUND.match(line) and not line.startswith("--"):
            is_inside = False
        if not is_inside or not _AROUND.match(line):
            kept.append(line)
    return "\n".join(kept)


def _line_of(traceback: str, name: str) -> tuple[int | None, str]:
    """Return the line of a cell that raised, if a traceback begins there; and the rest of that.

    The cell's source stands above, so that its head and its line need not be said again.
    """
    frame = re.match(rf"Cell {re.escape(name)}, line (\d+)\n-+> \1 .*\n", traceback)
    return (None, traceback) if frame is None else (int(frame[1]), traceback[frame.end() :])


def _has_all(traceback: str, name: str, source: str) -> bool:
    """Return whether a traceback names the cell, and shows each line of it."""
    shown_lines = {_NUMBERED.sub("", line) for line in traceback.split("\n")}
    lines = {line.strip() for line in source.splitlines()} - {""}
    return f"Cell {name}, line" in traceback and lines <= shown_lines


def _warning(text: str, report: Mapping[str, Any], executed: Executed) -> str:
    """Name a cell in a warning as the answer does, and do not repeat the answer's message."""
    message = str(report.get("message") or "").rstrip(" .")
    if message and _ATTEMPT.match(text):
        text = text.replace(message, "the same")

    def named(match: re.Match[str]) -> str:
        cell = executed.of_count(int(match[1]))
        return match[0] if cell is None else f"cell {cell.name}"

    return _BY_COUNT.sub(named, text)


def _of_cell(message: str, name: str) -> str:
    """Name the cell in a message as the answer does, which knows it by index and id."""
    return _COUNTED.sub(lambda one: f"{one[1]}ell {name}", without_cell(message))


def is_open(record: Mapping[str, Any]) -> bool:
    """Return whether a job is not over, or is on its way into the outbox."""
    is_unpublished = record.get("state") == "sealed" and record.get("result") is None
    return is_unpublished or record["status"] in ("queued", "running")


def _without_report(record: Mapping[str, Any], job_id: str) -> JobShown:
    place = progress_line(record.get("progress")) or _held(record)
    is_ending = record.get("cancelled") and record["status"] in ("queued", "running")
    places = ("is being cancelled" if is_ending else None, place)
    return JobShown(
        job_id=job_id,
        name=str(record["name"]),
        status=str(record["status"]),
        error_type=record.get("error_type"),
        message=record.get("message"),
        progress=", ".join(filter(None, places)) or None,
        next_step=_next_step(record, job_id),
    )


def _next_step(record: Mapping[str, Any], job_id: str) -> str:
    """Say what to do about a job that has no report."""
    if not is_open(record):
        return "Its files are not in the outbox any more."
    again = f'get_job("{job_id}", wait_seconds=50)'
    if record["status"] not in ("queued", "running"):
        return f"It is over, and its report is on its way: {again} gives it."
    end = "" if record.get("cancelled") else f'; cancel_job("{job_id}") ends it'
    now = f" It is {record['now']} now." if record.get("now") else ""
    return f"Ask again with {again}{end}.{now}"


def _held(record: Mapping[str, Any]) -> str | None:
    """Say for what a queued job waits, besides its turn."""
    why = record.get("waits_for")
    return f"waits for {why}" if why and record["status"] == "queued" else None


def progress_line(progress: Mapping[str, Any] | None) -> str | None:
    """Say how far a job is, by its status file."""
    if progress is None or progress.get("status") != "running":
        return None
    has_begun = bool(progress.get("cells"))
    place = f"code cell {progress.get('cell')} of {progress.get('cells')}"
    line = place if has_begun else "its kernel starts"
    if isinstance(progress.get("elapsed_seconds"), int | float):
        line += f", {progress['elapsed_seconds']:.0f} s"
    tail = str(progress.get("log_tail") or "").strip()
    return f"{line}; printed last: {tail[-300:]}" if tail else line


def sentence(job: JobShown) -> str:
    """Write the job as text."""
    name = "" if job.name.endswith(job.job_id) else f" ({job.name})"
    lines = [f"Job {job.job_id}{name}: {job.status}"]
    if job.duration_seconds is not None:
        lines[0] += f" after {job.duration_seconds:g} s"
        lines[0] += f" in attempt {job.attempt}" if job.attempt > 1 else ""
    if job.progress:
        lines[0] += f", {job.progress}"
    if job.parameters:
        lines.append(f"Parameters: {job.parameters}")
    if job.message:
        lines.append(f"{job.error_type}: {job.message}" if job.error_type else job.message)
    if job.notebook:
        lines.append(f"Notebook: {job.notebook} of the library")
    if job.cell_source is not None:
        where = "A cell of the runner's own" if job.cell is None else f"Cell {job.cell}"
        where += "" if job.cell_line is None else f", line {job.cell_line}"
        lines.append(f"{where}:\n{job.cell_source}")
    if job.traceback:
        lines.append(job.traceback)
    if job.variables:
        lines.append(f"Variables then: {job.variables}")
    if job.results:
        text = json.dumps(job.results, ensure_ascii=False, separators=(",", ":"))
        lines.append(f"Results: {text}")
    if job.places:
        lines.append(f"({'; '.join(job.places)})")
    if job.ran_nothing:
        lines.append("No cell had code: nothing ran.")
    if job.outputs:
        lines.append(f"Outputs of its cells:\n{job.outputs}")
    for title, items, more in (
        ("Printed, and not shown", (job.printed,) * bool(job.printed), ""),
        ("Pictures in cells", job.plots, f'; get_job("{job.job_id}", cell=…) gives them'),
        ("Files in the outbox", job.files, ""),
        ("Callback not delivered", job.callbacks, ""),
        ("Warnings", job.warnings, ""),
        ("Cut here", job.left_out, _more_of(job)),
    ):
        if items:
            lines.append(f"{title}: {'; '.join(items)}{more}")
    if job.next_step:
        lines.append(job.next_step)
    elif job.did_not_run:
        word = "No further attempt ran a cell." if job.has_run_before else "It did not run."
        lines.append(f"{word} All of its report: runner://jobs/{job.job_id}")
    elif job.has_notebook:
        lines.append(f"All of it: runner://jobs/{job.job_id}, and its /notebook")
    return "\n".join(lines)


def _more_of(job: JobShown) -> str:
    """Say where more is than an answer has."""
    if not job.is_full:
        return f'; get_job("{job.job_id}", detail="full") gives more'
    part = "/notebook" if job.outputs else ""
    return f"; whole in runner://jobs/{job.job_id}{part} and on the runner's page"


def in_short(parameters: Mapping[str, Any]) -> str:
    """Write the values that a run was given in one line."""
    if not parameters:
        return ""
    text = one_line(json.dumps(parameters, ensure_ascii=False, separators=(",", ":")))
    cut = len(text) > PARAMETERS_CHARACTERS
    return f"{text[: PARAMETERS_CHARACTERS - 1]}…" if cut else text


def _printed(executed: Executed, results: Iterable[ExecutedCell], job_id: str) -> str:
    """Name the cells that printed something, with how much, and the call that gives it.

    What a cell printed as its result is none of it.
    """
    counts = {one.name: one.printed for one in executed.cells if one.printed}
    counts |= {one.name: one.printed_aside for one in results}
    counts = {name: count for name, count in counts.items() if count}
    if not counts:
        return ""
    names = [f"{count} characters of {name}" for name, count in counts.items()]
    more = len(names) - LISTED_PRINTS
    last = [f"and of {more} more cells"] if more > 0 else []
    call = f'get_job("{job_id}", cell=…) gives it'
    if max(counts.values()) > BRIEF_BOUNDS.output_characters:
        call = f'get_job("{job_id}", cell=…, detail="full") gives the beginning and the end'
    return f"{', '.join([*names[:LISTED_PRINTS], *last])}; {call}"


def _traceback(lines: list[str] | None, executed: Executed) -> str | None:
    if not lines:
        return None
    text = executed.renumbered("\n".join(folded(lines)))
    return excerpt(text, TRACEBACK_CHARACTERS)


def _results(
    results: Mapping[str, Any], sizes: Sizes
) -> tuple[Json, list[Picture], list[str], dict[str, int]]:
    """Return what is kept, its pictures, what is left out, and how many pictures each has here."""
    kept: Json = {}
    counts: dict[str, int] = {}
    pictures: list[Picture] = []
    left_out: list[str] = []
    budget = sizes.results_characters
    for name, value in results.items():
        if _CELL.fullmatch(name) and isinstance(value, dict):
            before = len(pictures)
            value = _bundle(name, value, pictures, left_out)
            counts[name] = len(pictures) - before
        value = _cut(name, value, left_out, sizes)
        size = len(json.dumps(value, ensure_ascii=False))
        if size > budget:
            left_out.append(f"{name} ({size} characters, not shown)")
            continue
        budget -= size
        kept[name] = value
    return kept, pictures, left_out, counts


def _bundle(name: str, bundle: Json, pictures: list[Picture], left_out: list[str]) -> Json:
    """Return a cell's MIME bundle without its pictures and repetitions."""
    kept: Json = {}
    for media_type, value in bundle.items():
        if media_type in ("image/png", "image/jpeg", "image/gif", "image/webp"):
            data = str(value).replace("\n", "")
            picture = fitted(Picture(data, media_type)) if len(pictures) < PICTURES else None
            if picture is None:
                left_out.append(f"a picture of {name}")
            else:
                pictures.append(picture)
                kept[media_type] = f"[picture {len(pictures)}]"
        elif media_type not in ("text/plain", "text/html", "image/svg+xml"):
            kept[media_type] = value
    if (odd := text_of_odd_numbers(bundle)) is not None:
        kept = {key: one for key, one in kept.items() if one is not None} | {"text/plain": odd}
    if "application/json" not in bundle and not kept and (text := text_of(bundle)):
        kept["text/plain"] = text
    return kept


def _cut(name: str, value: object, left_out: list[str], sizes: Sizes) -> object:
    if isinstance(value, dict) and set(value) == _TABLE and isinstance(value["data"], list):
        rows = len(value["data"])
        if rows > sizes.rows:
            left_out.append(f"{name}: {sizes.rows} of {rows} rows shown")
            value = {
                "columns": value["columns"],
                "index": value["index"][: sizes.rows],
                "data": value["data"][: sizes.rows],
            }
    if isinstance(value, dict) and value and all("/" in key for key in value):
        return {
            key: _cut(f"{name} ({key})", inner, left_out, sizes) for key, inner in value.items()
        }
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if len(text) <= sizes.value_characters:
        return value
    left_out.append(f"{name}: {sizes.value_characters} of {len(text)} characters shown")
    return excerpt(text, sizes.value_characters)
