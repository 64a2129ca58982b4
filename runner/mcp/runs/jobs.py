"""The work of agents on the runner: submit, wait, look, cancel, check; a client of the folders.

It follows the rules of `POST /run` and `/jobs`, by the same code. Executes nothing.
"""

import asyncio
import json
import os
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from anyio import CapacityLimiter, from_thread, to_thread

from runner.config import MEGABYTE, Settings
from runner.contract.job_ids import JOB_ID
from runner.contract.names import MADE_NAMES
from runner.contract.outcome import ErrorType, Status, refuse
from runner.contract.request import library_path
from runner.inbox import unclaimed as waiting
from runner.inbox.library import as_spelt, library_reader
from runner.jobs.backend import backend_of
from runner.jobs.body import Asked, read_body
from runner.jobs.health import Health, examine
from runner.jobs.look import Look, content_of
from runner.jobs.problem import Problem
from runner.jobs.record import Question
from runner.jobs.refusals import Forecast, Source, forecast
from runner.jobs.submissions import Submitted
from runner.jobs.submit import cancel
from runner.system.files.disk import Disk, read_regular

Json = dict[str, Any]
T = TypeVar("T")
Progress = Callable[[Mapping[str, Any]], Coroutine[Any, Any, None]]
"""Receives the content of the status file when it changed."""

FACE = "mcp"
WAITING = 250
"""Calls that wait at a time; the others wait for one of these to end."""
QUIET_SECONDS = 5.0
"""Pause between two reports without a change, which show a client that we live."""
REMEMBERED_NAMES = 1000
LISTED_NOTEBOOKS = 1000
LOOKED_ENTRIES = 20_000


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

    async def submit(self, source: Source, keys: Mapping[str, Any]) -> Submitted:
        """Submit a request. `keys` are its keys that are not None.

        Raises:
            Refused, Problem, OSError
        """
        job = await _aside(self._runs.submit, self._asked(source, keys).submitted_by(FACE), None)
        self._names[job.job_id] = job.name
        if len(self._names) > REMEMBERED_NAMES:
            self._names.pop(next(iter(self._names)))
        return job

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
        """Describe it from the folders alone, because the ledger may be out of reach."""
        status = (progress or {}).get("status", Status.QUEUED)
        known = await _aside(self._record.find, job.job_id)
        if progress is None and known is not None:
            status = str(known.status)
        shape = {"job_id": job.job_id, "name": job.name, "status": status, "progress": progress}
        if status == Status.QUEUED and (reasons := (await self.health()).reasons):
            shape["message"] = f"It waits: {'; '.join(reasons)}."
        return shape

    async def show(self, job_id: str) -> Json:
        """Describe a job, as `Record.show` does; one that was submitted here also without a ledger.

        Raises:
            Problem
        """
        return await _aside(self._shown, job_id)

    def _shown(self, job_id: str) -> Json:
        try:
            return self._record.show(job_id)
        except Problem:
            name = self._names.get(job_id) or self._made_name(job_id)
            if name is None:
                raise
        return content_of(self._record.look(name, job_id), name, job_id)

    def _made_name(self, job_id: str) -> str | None:
        """Return the name of a job that nobody named, while the outbox holds something of it."""
        if not JOB_ID.fullmatch(job_id):
            return None
        folder = self._settings.outbox / MADE_NAMES
        place = next(folder.glob(f"*/{job_id}.*"), None)
        return None if place is None else f"{MADE_NAMES}/{place.parent.name}/{job_id}"

    async def listing(self, question: Question) -> list[Json]:
        """List rows, the newest first.

        Raises:
            Problem
        """
        rows: list[Json] = (await _aside(self._record.list, question))["jobs"]
        return rows

    async def cancel(self, job_id: str) -> Json:
        """Cancel a job, and describe it.

        Raises:
            Problem, OSError
        """
        job = await self.show(job_id)
        if job["status"] in (Status.QUEUED, Status.RUNNING):
            await _aside(cancel, self._settings.inbox, job["name"], job_id, self._disk)
        return job

    async def forecast(self, source: Source, keys: Mapping[str, Any]) -> Forecast:
        """List all reasons for which the runner would refuse it or warn of it."""
        request = {key: value for key, value in keys.items() if key != "name"}
        return await _aside(forecast, request, lambda: source, self._settings)

    async def executed_notebook(self, job_id: str) -> str:
        """Return the executed notebook's text.

        Raises:
            Problem, OSError
        """
        return await _aside(lambda: read_regular(self._executed(job_id)).decode("utf-8", "replace"))

    async def cell_outputs(self, job_id: str) -> list[Json]:
        """Return the outputs of all cells of an executed notebook, in order.

        Raises:
            Problem, OSError
        """
        return await _aside(lambda: _outputs_in(read_regular(self._executed(job_id))))

    def _executed(self, job_id: str) -> Path:
        """Find the executed notebook beside the report by its name, else by the record."""
        name = str(self._shown(job_id)["name"])
        report = self._record.outbox.of_job(name, job_id)
        if report is None or report.content.get("output_nb") is None:
            return self._record.published(job_id, "")[0]
        return report.path.with_name(f"{name.rpartition('/')[2]}.ipynb")

    async def library(self) -> tuple[list[Json], bool]:
        """List the notebooks of the library, by path; and whether there are more."""
        return await _aside(_listed, self._settings.notebooks)

    async def library_notebook(self, path: str) -> str:
        """Return a notebook's text.

        Raises:
            Refused
        """
        cap = int(self._settings.limits.notebook_mb * MEGABYTE)
        raw = await _aside(library_reader(self._settings.notebooks, cap), path)
        return raw.decode("utf-8", "replace")

    async def is_in_library(self, path: str) -> bool:
        """Return whether a request may name it.

        Raises:
            Refused: no path could be meant.
        """
        folder, pure = self._settings.notebooks, library_path(path)
        return await _aside(lambda: (folder / as_spelt(folder, pure)).is_file())

    async def waiting(self) -> Json:
        """List the files that stay in the inbox, and why."""
        files = await _aside(waiting.read, self._settings.state)
        return waiting.content_of(files or waiting.WaitingList())

    async def health(self) -> Health:
        """Return whether a request that came now would be run."""
        return await _aside(examine, self._settings)

    def _asked(self, source: Source, keys: Mapping[str, Any]) -> Asked:
        body = json.dumps({"notebook": source, **keys}).encode()
        return read_body(body, self._settings)


def notebook_of(cells: list[Any], tag: str) -> Json:
    """Make a notebook of these cells; a text is the source of a code cell.

    The value of the last cell is the result, if that cell is a text.

    Raises:
        Refused
    """
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


def _outputs_in(raw: bytes) -> list[Json]:
    """Return the outputs of a notebook; none of anything else."""
    try:
        document = json.loads(raw)
    except ValueError:
        return []
    cells = document.get("cells", []) if isinstance(document, dict) else []
    return [output for cell in cells for output in cell.get("outputs") or []]


async def _aside(call: Callable[..., T], *arguments: object) -> T:
    """Make a blocking call away from the event loop."""
    return await to_thread.run_sync(partial(call, *arguments), abandon_on_cancel=True)


def _listed(library: Path) -> tuple[list[Json], bool]:
    notebooks: list[Json] = []
    looked = 0
    for folder, folders, files in os.walk(library):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        looked += len(folders) + len(files)
        for name in sorted(files):
            if not name.endswith(".ipynb") or name.startswith("."):
                continue
            if len(notebooks) >= LISTED_NOTEBOOKS:
                return notebooks, True
            path = PurePosixPath(Path(folder, name).relative_to(library))
            notebooks.append({"path": str(path), "uri": f"runner://notebooks/{path}"})
        if looked > LOOKED_ENTRIES:
            return notebooks, True
    return notebooks, False
