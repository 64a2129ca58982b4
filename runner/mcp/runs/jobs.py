"""The work of agents on the runner: submit, wait, look, cancel, check; a client of the folders.

It follows the rules of `POST /run` and `/jobs`, by the same code. Executes nothing.
"""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Collection, Coroutine, Mapping
from contextvars import ContextVar
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from anyio import CapacityLimiter, from_thread, to_thread

from runner.config import MEGABYTE, Settings
from runner.contract.job_ids import JOB_ID
from runner.contract.names import MADE_NAMES
from runner.contract.outcome import Failure, refuse
from runner.contract.states.status import ErrorType, Status
from runner.contract.states.words import has_outputs_of
from runner.followers.callbacks.overview import Deliveries
from runner.inbox import unclaimed as waiting
from runner.jobs.backend import backend_of
from runner.jobs.body import JobRequest, read_body
from runner.jobs.health import Health, examine, is_watched
from runner.jobs.look import Look, content_of
from runner.jobs.problem import Problem
from runner.jobs.record import Question
from runner.jobs.refusals import Forecast, Source, forecast, misspelt
from runner.jobs.submissions import Submitted
from runner.jobs.submit import (
    Dropped,
    Unaccepted,
    cancel,
    dropped,
    is_cancel_waiting,
    unaccepted,
)
from runner.mcp.runs.executed import Executed, executed_of
from runner.mcp.runs.job_lines import FACE, fits, row_of, untaken_row, unused_in
from runner.mcp.runs.shelf import Shelf
from runner.mcp.runs.summary import is_open
from runner.submitters.schedules.overview import Schedules
from runner.system.files.disk import Disk, read_regular

Json = dict[str, Any]
T = TypeVar("T")
Progress = Callable[[Mapping[str, Any]], Coroutine[Any, Any, None]]
"""Receives the content of the status file when it changed."""

PRIORITY = -1
"""That of a job that names none: people pass agents."""
WAITING = 250
"""Calls that wait at a time; the others wait for one of these to end."""
QUIET_SECONDS = 5.0
"""Pause between two reports without a change, which show a client that we live."""
REMEMBERED_NAMES = 1000
READ_BYTES = 1_000_000
"""Largest report that is read for a list."""


SUBMITTED: ContextVar[list[str] | None] = ContextVar("submitted", default=None)
"""Collects the ids of the jobs that a call submits."""


class Jobs:
    """The runner behind one set of folders. Never blocks the event loop."""

    def __init__(self, settings: Settings, closing: asyncio.Event, disk: Disk) -> None:
        """Set it up. Once `closing` is set, nobody waits any more."""
        self._settings = settings
        self._closing = closing
        self._disk = disk
        backend = backend_of(settings, disk)
        self._record = backend.record
        self._arrivals = backend.arrivals
        self._runs = backend.runs
        self._waiting = CapacityLimiter(WAITING)
        self._names: dict[str, str] = {}
        self.functions = backend.functions
        self.deliveries = Deliveries(backend.record)
        self.schedules = Schedules(backend)
        max_bytes = int(settings.limits.notebook_mb * MEGABYTE)
        self.shelf = Shelf(settings.notebooks, self.functions, backend.record, max_bytes)

    async def submit(self, source: Source, keys: Mapping[str, Any]) -> Submitted:
        """Submit a request. `keys` are its keys that are not None.

        Raises:
            Refused, Problem, OSError
        """
        values = keys.get("parameters")
        if isinstance(values, dict):
            await self.refuse_misspelt(source, values)
        job = await aside(self._runs.submit, self._asked(source, keys).submitted_by(FACE), None)
        if (submitted := SUBMITTED.get()) is not None:
            submitted.append(job.job_id)
        self._names[job.job_id] = job.name
        if len(self._names) > REMEMBERED_NAMES:
            self._names.pop(next(iter(self._names)))
        return job

    async def refuse_misspelt(self, source: Source, names: Collection[str]) -> None:
        """Refuse parameters that are meant for others; programs are only warned of them.

        Raises:
            Refused: `invalid_parameters`.
        """
        why = await aside(misspelt, source, names, self._settings) if names else None
        if why is not None:
            raise refuse(ErrorType.INVALID_PARAMETERS, f"{why} Nothing was submitted.")

    async def wait(self, job: Submitted, seconds: float, tell: Progress) -> Json:
        """Wait for a job's end or the end of the time, and describe the job."""
        left = threading.Event()

        def watch() -> Look:
            """Wait in a thread, and tell from there."""
            seen = Look(None, None)
            said, told_at = None, time.monotonic()
            for seen in self._arrivals.looks(job.name, job.job_id, seconds, has_left):
                now = time.monotonic()
                is_news = seen.progress != said or now - told_at > QUIET_SECONDS
                if seen.progress is not None and is_news:
                    said, told_at = seen.progress, now
                    from_thread.run(tell, seen.progress)
            return seen

        def has_left() -> bool:
            return left.is_set() or self._closing.is_set()

        try:
            last = await to_thread.run_sync(watch, abandon_on_cancel=True, limiter=self._waiting)
        finally:
            left.set()
        if last.report is not None:
            return content_of(last, job.name, job.job_id)
        return await self._unfinished(job, last.progress)

    async def _unfinished(self, job: Submitted, progress: Mapping[str, Any] | None) -> Json:
        """Describe it anew: it may be over since the last look. Needs no ledger."""
        try:
            record = await self.show(job.job_id)
        except Problem:
            record = content_of(Look(None, None), job.name, job.job_id)
        return await self.explained({"progress": progress, **record})

    async def explained(self, record: Json) -> Json:
        """Add to an open job why it waits, whether it is being cancelled, and the time now."""
        if not is_open(record):
            return record
        is_cancelled = await aside(_is_cancelled, self._settings.inbox, record)
        explained = {**record, "now": _now(), "cancelled": is_cancelled}
        if record["status"] == Status.QUEUED and (why := await self.why_waiting()):
            explained["message"] = f"It waits: {why}."
        return explained

    async def why_waiting(self) -> str:
        """Say why no request is accepted now; empty if they are."""
        return "; ".join((await self.health()).reasons)

    async def unaccepted(self) -> list[Unaccepted]:
        """List the requests in the inbox that no runner has accepted."""
        return await aside(unaccepted, self._settings.inbox)

    async def show(self, job_id: str) -> Json:
        """Describe a job, as `Record.show` does; one that was submitted here also without a ledger.

        Raises:
            Problem
        """
        return await aside(self._shown, job_id)

    def _shown(self, job_id: str) -> Json:
        try:
            return self._record.show(job_id)
        except Problem:
            name = self._names.get(job_id) or _made_name(self._settings.outbox, job_id)
            if name is None:
                raise
        return content_of(self._record.look(name, job_id), name, job_id)

    async def rows(self, question: Question) -> list[Json]:
        """List rows, the newest first.

        Raises:
            Problem
        """
        rows: list[Json] = (await aside(self._record.list, question))["jobs"]
        return rows

    async def listing(self, question: Question) -> tuple[list[Json], str | None]:
        """List rows, the newest first, and the id that asks for the next page.

        A row has the job's `parameters`, the path of its library `notebook`, and the `results` and
        the `cell_index` of its report where that is not large.

        Raises:
            Problem
        """
        return await aside(self._listed, question)

    def _listed(self, question: Question) -> tuple[list[Json], str | None]:
        new = unaccepted(self._settings.inbox) if may_be_new(question) else []
        ids = [one.job_id for one in new]
        if question.before in ids:
            new = new[ids.index(question.before) + 1 :]
            question = replace(question, before=None)
        elif question.before is not None:  # all of them came later than that job
            new = []
        described = [self._with_request(row_of(one), _request_in(one.path)) for one in new]
        page = self._record.list(question)
        rows: list[Json] = page["jobs"]
        accepted = {row["job_id"] for row in rows}
        fitting = [one for one in described if fits(one, question)]
        fitting = [one for one in fitting if one["job_id"] not in accepted]
        first = fitting[: question.limit]
        left = rows[: question.limit - len(first)]
        requests = self._record.requests_of(row["job_id"] for row in left)
        queued = [row["job_id"] for row in left if row["status"] == Status.QUEUED]
        waits = self._record.waits_for(queued) if queued else {}
        known = [
            {
                **self._with_request(row, requests.get(row["job_id"], {})),
                "waits_for": waits.get(row["job_id"]),
            }
            for row in left
        ]
        shown = [*first, *known]
        is_cut = len(shown) < len(fitting) + len(rows) or page["before"] is not None
        return shown, shown[-1]["job_id"] if is_cut else None

    def _with_request(self, row: Json, request: Json) -> Json:
        path = request.get("notebook")
        notebook = path if isinstance(path, str) else None
        more = {"parameters": request.get("parameters"), "notebook": notebook}
        more["submitted_by"] = request.get("submitted_by") or row.get("submitted_by")
        if is_open(row):
            more["cancelled"] = _is_cancelled(self._settings.inbox, row)
        return {**row, **more, **self._reported(row)}

    def _reported(self, row: Json) -> Json:
        report = self._record.look(row["name"], row["job_id"]).report
        if report is None or len(report.raw) > READ_BYTES:
            return {}
        return {key: report.content.get(key) for key in ("results", "cell_index", "warnings")}

    async def cancel(self, job_id: str) -> Json:
        """Cancel a job, and describe it.

        Raises:
            Problem, OSError
        """
        job = await self.show(job_id)
        if job["status"] in (Status.QUEUED, Status.RUNNING):
            await aside(cancel, self._settings.inbox, job["name"], job_id, self._disk)
        return job

    async def forecast(self, source: Source, keys: Mapping[str, Any]) -> Forecast:
        """List all reasons for which the runner would refuse it or warn of it."""
        request = {key: value for key, value in keys.items() if key != "name"}
        return await aside(_forecast, request, source, self._settings)

    async def executed_notebook(self, job_id: str) -> str:
        """Return the executed notebook's text.

        Raises:
            Problem, OSError
        """
        return await aside(lambda: read_regular(self._executed(job_id)).decode("utf-8", "replace"))

    async def executed(self, record: Mapping[str, Any]) -> Executed:
        """Return the cells of a job's executed notebook; none if it has none, or keeps none.

        Outputs that came with the notebook are not the job's.
        """
        report = record.get("result") or {}
        if not report.get("output_nb") or not has_outputs_of(report):
            return Executed()
        try:
            raw = await aside(lambda: read_regular(self._executed(str(record["job_id"]))))
        except (Problem, OSError):  # it is not kept any more
            return Executed()
        return await aside(_cells_in, raw, bool(report.get("parameters")))

    def _executed(self, job_id: str) -> Path:
        """Find the executed notebook beside the report by its name, else by the record."""
        name = str(self._shown(job_id)["name"])
        report = self._record.outbox.of_job(name, job_id)
        if report is None or report.content.get("output_nb") is None:
            return self._record.published(job_id, "")[0]
        return report.path.with_name(f"{name.rpartition('/')[2]}.ipynb")

    async def waiting(self) -> Json:
        """List the files that stay in the inbox, and why."""
        files = await aside(waiting.read, self._settings.state)
        return _inbox_content(files, await self.why_waiting(), await self.dropped())

    async def dropped(self) -> list[Dropped]:
        """List the files in the inbox that nobody takes, because no runner is up."""
        return await aside(self._dropped)

    def _dropped(self) -> list[Dropped]:
        settings = self._settings
        if is_watched(settings):
            return []
        return dropped(settings.inbox, settings.intake.ignore, settings.bundle_limits)

    async def health(self) -> Health:
        """Return whether a request that came now would be run."""
        return await aside(examine, self._settings)

    def _asked(self, source: Source, keys: Mapping[str, Any]) -> JobRequest:
        body = json.dumps({"notebook": source, "priority": PRIORITY, **keys}).encode()
        return read_body(body, self._settings)


def notebook_of(cells: list[Any], tag: str) -> Json:
    """Make a notebook of these cells; a text is the source of a code cell.

    The value of the last cell is the result, if that cell is a text.

    Raises:
        Refused
    """
    if not cells:
        raise refuse(ErrorType.INVALID_NOTEBOOK, "The list of cells is empty: nothing would run.")
    code: list[Json] = []
    for cell in cells:
        if isinstance(cell, str):
            code.append({"cell_type": "code", "source": cell, "metadata": {}})
        elif isinstance(cell, dict):
            code.append({"metadata": {}, **cell})
        else:
            raise refuse(
                ErrorType.INVALID_NOTEBOOK, "A cell is a text, or an object of a notebook."
            )
    if cells and isinstance(cells[-1], str):
        code[-1]["metadata"] = {"tags": [tag]}
    return {"cells": code, "metadata": {}, "nbformat": 4, "nbformat_minor": 4}


def without_outputs(content: Mapping[str, Any]) -> Json:
    """Remove the outputs of a notebook before its run: they only make it large."""
    cells = [
        {**cell, "outputs": [], "execution_count": None} if cell["cell_type"] == "code" else cell
        for cell in content["cells"]
    ]
    return {**content, "cells": cells}


def _forecast(request: Mapping[str, Any], source: Source, settings: Settings) -> Forecast:
    """Forecast by the rules of these tools, which refuse a misspelt parameter."""
    found = forecast(request, lambda: source, settings)
    values = request.get("parameters")
    why = misspelt(source, values, settings) if isinstance(values, dict) else None
    if why is None or settings.execution.unknown_parameters == "refuse":
        return found
    failure = Failure(error_type=ErrorType.INVALID_PARAMETERS, message=why)
    unused = unused_in([why])
    warnings = tuple(one for one in found.warnings if unused_in([one]) != unused)
    return replace(found, refusals=(*found.refusals, failure), warnings=warnings)


def _inbox_content(files: waiting.WaitingList | None, why: str, left: list[Dropped]) -> Json:
    """Describe the inbox; `why` says why nothing is accepted now, and `left` are files for later.

    Those nobody has looked at: no runner is up.
    """
    if files is None:
        note = "Nobody has looked into the inbox" + (f": {why}." if why else " yet.")
        rows = [untaken_row(one) for one in left[: waiting.MAX_LISTED]]
        return {"since": None, "count": len(left) or None, "files": rows, "note": note}
    content = waiting.content_of(files)
    return {**content, "note": f"Nothing is accepted now: {why}."} if why else content


def may_be_new(question: Question) -> bool:
    """Return whether requests that no runner has accepted may be part of the answer."""
    return question.status in (None, Status.QUEUED)


def _request_in(file: Path) -> Json:
    """Read a request of the inbox; empty if it is large, or not there any more."""
    try:
        if file.stat().st_size > READ_BYTES:
            return {}
        request = json.loads(read_regular(file))
    except (OSError, ValueError, RecursionError):
        return {}
    return request if isinstance(request, dict) else {}


def _made_name(outbox: Path, job_id: str) -> str | None:
    """Return the name of a job that nobody named, while the outbox holds something of it."""
    if not JOB_ID.fullmatch(job_id):
        return None
    place = next((outbox / MADE_NAMES).glob(f"*/{job_id}.*"), None)
    return None if place is None else f"{MADE_NAMES}/{place.parent.name}/{job_id}"


def _is_cancelled(inbox: Path, row: Mapping[str, Any]) -> bool:
    """Return whether somebody has cancelled a job; the runner may not know it yet."""
    name, job_id = str(row["name"]), str(row["job_id"])
    return bool(row.get("cancelled")) or is_cancel_waiting(inbox, name, job_id)


def _now() -> str:
    """Return the time as requests write it."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _cells_in(raw: bytes, has_parameters: bool) -> Executed:
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        return Executed()
    return executed_of(document, has_parameters=has_parameters)


async def aside(call: Callable[..., T], *arguments: object) -> T:
    """Make a blocking call away from the event loop."""
    return await to_thread.run_sync(partial(call, *arguments), abandon_on_cancel=True)
