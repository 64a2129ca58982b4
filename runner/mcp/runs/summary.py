"""Summarises a job for a model: its state, its results cut to a size, and its pictures.

Pure, over the JSON of the record. Says where it cut, and where all of it is.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runner.contract.text.plain_text import excerpt
from runner.mcp.pictures import Picture, fitted
from runner.mcp.pieces import PICTURES, text_of

Json = dict[str, Any]

ROWS = 20
VALUE_CHARACTERS = 4_000
RESULTS_CHARACTERS = 12_000
TRACEBACK_CHARACTERS = 4_000
LISTED_FILES = 50
_CELL = re.compile(r"cell_\d+")
_TABLE = {"columns", "index", "data"}


@dataclass(frozen=True)
class JobShown:
    """A job of the runner, as the tools give it."""

    job_id: str
    name: str
    status: str
    progress: str | None = None
    error_type: str | None = None
    message: str | None = None
    cell_index: int | None = None
    """The cell that failed, from 0."""
    cell_source: str | None = None
    traceback: str | None = None
    results: Json | None = None
    """Glued values by name, and cells tagged `results` as `cell_N`."""
    outputs: str = ""
    """What its cells showed, if it gave no results."""
    files: tuple[str, ...] = ()
    """Paths in the outbox."""
    duration_seconds: float | None = None
    warnings: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    """The parts that were cut; the resources have all of it."""
    has_notebook: bool = False
    next_step: str | None = None
    """What to do while it is not over."""


def shown(record: Mapping[str, Any]) -> tuple[JobShown, list[Picture]]:
    """Summarise a job (see `Record.show`) for a model, with the pictures of its results."""
    job_id = str(record["job_id"])
    report: Mapping[str, Any] | None = record.get("result")
    if report is None:
        return _without_report(record, job_id), []
    results, pictures, left_out = _results(report.get("results") or {})
    files = [str(file["path"]) for file in report.get("files") or []]
    if len(files) > LISTED_FILES:
        left_out.append(f"{len(files) - LISTED_FILES} of {len(files)} files")
    source = report.get("cell_source")
    return JobShown(
        job_id=job_id,
        name=str(report["name"]),
        status=str(report["status"]),
        error_type=report.get("error_type"),
        message=report.get("message"),
        cell_index=report.get("cell_index"),
        cell_source=None if source is None else excerpt(str(source), VALUE_CHARACTERS),
        traceback=_traceback(report.get("traceback")),
        results=results,
        files=tuple(files[:LISTED_FILES]),
        duration_seconds=report.get("duration_seconds"),
        warnings=tuple(str(warning) for warning in report.get("warnings") or []),
        left_out=tuple(left_out),
        has_notebook=bool(report.get("output_nb")),
    ), pictures


def _without_report(record: Mapping[str, Any], job_id: str) -> JobShown:
    is_over = record["status"] not in ("queued", "running")
    step = (
        "Its files are not in the outbox any more."
        if is_over
        else f'Ask again with get_job("{job_id}", wait_seconds=50); cancel_job("{job_id}") ends it.'
    )
    return JobShown(
        job_id=job_id,
        name=str(record["name"]),
        status=str(record["status"]),
        error_type=record.get("error_type"),
        message=record.get("message"),
        progress=progress_line(record.get("progress")),
        next_step=step,
    )


def progress_line(progress: Mapping[str, Any] | None) -> str | None:
    """Say how far a job is, by its status file."""
    if progress is None or progress.get("status") != "running":
        return None
    line = f"cell {progress.get('cell')} of {progress.get('cells')}"
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
    if job.progress:
        lines[0] += f", {job.progress}"
    if job.message:
        lines.append(f"{job.error_type}: {job.message}" if job.error_type else job.message)
    if job.cell_source is not None:
        lines.append(f"Cell {job.cell_index} of the notebook:\n{job.cell_source}")
    if job.traceback:
        lines.append(job.traceback)
    if job.results:
        text = json.dumps(job.results, ensure_ascii=False, separators=(",", ":"))
        lines.append(f"Results: {text}")
    if job.outputs:
        lines.append(f"Outputs of its cells:\n{job.outputs}")
    for title, items in (
        ("Files in the outbox", job.files),
        ("Warnings", job.warnings),
        ("Cut here", job.left_out),
    ):
        if items:
            lines.append(f"{title}: {'; '.join(items)}")
    if job.next_step:
        lines.append(job.next_step)
    elif job.has_notebook:
        lines.append(f"All of it: runner://jobs/{job.job_id}, and its /notebook")
    return "\n".join(lines)


def _traceback(lines: list[str] | None) -> str | None:
    if not lines:
        return None
    text = "\n".join(lines)
    if len(text) <= TRACEBACK_CHARACTERS:
        return text
    # What was raised stands at the end.
    left_out = len(text) - TRACEBACK_CHARACTERS
    return f"[… {left_out} characters left out …]\n{text[-TRACEBACK_CHARACTERS:]}"


def _results(results: Mapping[str, Any]) -> tuple[Json, list[Picture], list[str]]:
    kept: Json = {}
    pictures: list[Picture] = []
    left_out: list[str] = []
    budget = RESULTS_CHARACTERS
    for name, value in results.items():
        if _CELL.fullmatch(name) and isinstance(value, dict):
            value = _bundle(name, value, pictures, left_out)
        value = _cut(name, value, left_out)
        size = len(json.dumps(value, ensure_ascii=False))
        if size > budget:
            left_out.append(f"{name} ({size} characters)")
            continue
        budget -= size
        kept[name] = value
    return kept, pictures, left_out


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
    if "application/json" not in bundle and not kept and (text := text_of(bundle)):
        kept["text/plain"] = text
    if "text/html" in bundle:
        left_out.append(f"the HTML of {name}")
    return kept


def _cut(name: str, value: object, left_out: list[str]) -> object:
    if isinstance(value, dict) and set(value) == _TABLE and isinstance(value["data"], list):
        rows = len(value["data"])
        if rows > ROWS:
            left_out.append(f"{name}: {rows - ROWS} of {rows} rows")
            value = {
                "columns": value["columns"],
                "index": value["index"][:ROWS],
                "data": value["data"][:ROWS],
            }
    if isinstance(value, dict) and value and all("/" in key for key in value):
        return {key: _cut(f"{name} ({key})", inner, left_out) for key, inner in value.items()}
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if len(text) <= VALUE_CHARACTERS:
        return value
    left_out.append(f"{name}: {len(text) - VALUE_CHARACTERS} of {len(text)} characters")
    return excerpt(text, VALUE_CHARACTERS)
