"""Describes jobs for clients: rows of the ledger, and files of the outbox.

Reads only. Looks ids up and never joins them to a path.
"""

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

from runner.config import Settings
from runner.contract.job_ids import JOB_ID
from runner.contract.outcome import InputFile
from runner.contract.states.status import ErrorType, Status
from runner.contract.states.turn import written
from runner.contract.text.strict_json import dumps
from runner.jobs import submit
from runner.jobs.look import Look, look, progress_of
from runner.jobs.problem import NoResultYet, Problem, ProblemType, gone, not_found, unavailable
from runner.outbox.reader import OutboxReader, Report
from runner.outbox.rows import row_of
from runner.state.jobs import Job, JobFilter, Place, State
from runner.state.ledger_reader import LedgerReader
from runner.state.pauses import Pauses, why_waiting

MAX_LIMIT = 500
FAR_FROM_FULL = 10_000
COUNT_SECONDS = 1.0


@dataclass(frozen=True)
class Question:
    """Which jobs to list: the newest first, `before` one of them.

    `part` is a part of the name, `pattern` its beginning or a pattern (see `JobFilter`); `is_over`:
    only those with an outcome; `notebook`: a library path.
    """

    limit: int = 50
    status: Status | None = None
    name: str | None = None
    part: str | None = None
    pattern: str | None = None
    is_over: bool = False
    before: str | None = None
    notebook: str | None = None
    submitted_by: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class Book(Protocol):
    """A record beside the ledger, in a database of its own."""

    def close(self) -> None:
        """Close it."""


AnyBook = TypeVar("AnyBook", bound=Book)


@contextmanager
def _for_one_use(book: Book, otherwise: str) -> Iterator[None]:
    """Close a database after its use; `otherwise` says what is wrong if SQLite fails in it.

    Raises:
        Problem: `unavailable`, SQLite has failed.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise unavailable(f"{otherwise}: {error}.") from error
    finally:
        book.close()


@contextmanager
def opened(
    state: Path, file: str, make: Callable[[Path], AnyBook], what: str
) -> Iterator[AnyBook | None]:
    """Open the record in a file of the state folder for one use; None where there is none yet.

    `make` opens it, by that folder; it is the record of `what`.

    Raises:
        Problem: `unavailable`, it cannot be read or used.
    """
    if not (state / file).exists():
        yield None
        return
    try:
        book = make(state)
    except (sqlite3.Error, OSError) as error:
        raise unavailable(f"The record of {what} cannot be read: {error}.") from error
    with _for_one_use(book, f"The record of {what} cannot be used"):
        yield book


class Record:
    """The jobs behind one gateway. Safe for many threads: each read opens the ledger anew."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.state = settings.state
        self.outbox = OutboxReader(settings.outbox)

    @contextmanager
    def ledger(self) -> Iterator[LedgerReader]:
        """Open the ledger for one short read.

        Raises:
            Problem: `unavailable`, it cannot be read.
        """
        try:
            reader = LedgerReader(self._settings.state)
        except sqlite3.Error as error:
            raise unavailable(f"The ledger cannot be read ({error}); is the runner up?") from error
        with _for_one_use(reader, "The ledger cannot be read"):
            yield reader

    def find(self, job_id: str) -> Job | None:
        """Return the job of an id; None if it is unknown, or the ledger cannot be read."""
        try:
            with self.ledger() as ledger:
                return ledger.job(job_id)
        except Problem:
            return None

    def job(self, job_id: str) -> Job:
        """Return the job of an id.

        Raises:
            Problem: `not_found`, `unavailable`.
        """
        if not JOB_ID.fullmatch(job_id):
            raise not_found("A job's id has 32 hex digits, in lower case.")
        with self.ledger() as ledger:
            job = ledger.job(job_id)
        if job is None:
            raise not_found(f"There is no job {job_id}.")
        return job

    def list(self, question: Question) -> dict[str, Any]:
        """Return `{"jobs": [rows], "before": id or null}`; the latter asks for the next page.

        Raises:
            Problem: `invalid_request` for an unknown `before`, `unavailable`.
        """
        with self.ledger() as ledger:
            jobs, before = listed(ledger, question)
            paths = ledger.notebooks_of(job.job_id for job in jobs)
        return {"jobs": [row(job, paths.get(job.job_id)) for job in jobs], "before": before}

    def requests_of(self, job_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Return the requests of those jobs that have not been pruned.

        Raises:
            Problem: `unavailable`.
        """
        with self.ledger() as ledger:
            requests = {job_id: ledger.request_of(job_id) for job_id in job_ids}
        return {job_id: json.loads(text) for job_id, text in requests.items() if text is not None}

    def library_runs(self) -> dict[str, dict[str, Any]]:
        """Return the row of the newest job of each library notebook, by its path.

        Raises:
            Problem: `unavailable`.
        """
        with self.ledger() as ledger:
            return {path: row(job, path) for path, job in ledger.library_runs().items()}

    def name_of(self, job_id: str) -> str:
        """Return the name of a job, or of a request that no daemon has accepted yet.

        Raises:
            Problem: `not_found`, `unavailable`.
        """
        job = self._job_or_name(job_id)
        return job if isinstance(job, str) else job.name

    def show(self, job_id: str) -> dict[str, Any]:
        """Return a job's row, its progress, and its result once there.

        Raises:
            Problem: `not_found`, `unavailable`.
        """
        job = self._job_or_name(job_id)
        if isinstance(job, str):
            return {"job_id": job_id, "name": job, "status": "queued", "state": "submitted"}
        content, report = self._shown(job)
        return content if report is None else {**content, "result": report.content}

    def show_text(self, job_id: str) -> bytes:
        """Return the same as JSON, without parsing its large parts.

        Raises:
            Problem: `not_found`, `unavailable`.
        """
        job = self.find(job_id)
        if job is None:
            return dumps(self.show(job_id))
        content, report = self._shown(job)
        if report is None:
            return dumps(content)
        before, line, after = dumps(content).partition(b'\n  "result": null')
        result = report.raw.strip().replace(b"\n", b"\n  ")
        return b"".join((before, line.removesuffix(b"null"), result, after))

    def _shown(self, job: Job) -> tuple[dict[str, Any], Report | None]:
        with self.ledger() as ledger:
            path = ledger.notebooks_of([job.job_id]).get(job.job_id)
        waits_for = self.waits_for([job.job_id]).get(job.job_id)
        seen = self.look(job.name, job.job_id)
        shown = {**row(job, path), "waits_for": waits_for, "progress": seen.progress}
        return {**shown, "result": None}, seen.report

    def waits_for(self, job_ids: Iterable[str]) -> dict[str, str]:
        """Say for what queued jobs wait, besides their turn among names; by id.

        Raises:
            Problem: `unavailable`.
        """
        try:
            pauses = Pauses(self._settings.state).all()
        except OSError:  # health tells
            pauses = ()
        with self.ledger() as ledger:
            jobs = [job for job_id in job_ids if (job := ledger.job(job_id)) is not None]
            return {
                job.job_id: why
                for job in jobs
                if job.state is State.QUEUED
                and (why := why_waiting(job, pauses, ledger.before_of_name(job)))
            }

    def look(self, name: str, job_id: str) -> Look:
        """Look at a job in the outbox; needs no ledger."""
        return look(self.outbox, name, job_id)

    def progress(self, name: str, job_id: str) -> dict[str, Any] | None:
        """Return the status file's content for a job."""
        return progress_of(self.outbox, name, job_id)

    def report(self, job_id: str) -> tuple[Job, Report]:
        """Return a job's report.

        Raises:
            Problem: `not_found` while there is none, `gone` when it is pruned, `unavailable`.
        """
        job = self.job(job_id)
        report = self.outbox.of_job(job.name, job_id)
        if report is not None:
            return job, report
        if job.state is State.CLOSED:
            raise gone(f"The files of job {job_id} are not in the outbox any more.")
        raise NoResultYet(job_id, job.status)

    def published(self, job_id: str, wanted: str) -> tuple[Path, str]:
        """Find a job's executed notebook (``""``) or file, and its media type.

        `wanted` is looked up among the files that the report names.

        Raises:
            Problem: `not_found`, `gone`, `unavailable`.
        """
        job, report = self.report(job_id)
        last = job.name.rpartition("/")[2]
        if not wanted:
            if report.head.get("output_nb") is None:
                raise not_found(f"Job {job_id} has no executed notebook.")
            return report.path.with_name(f"{last}.ipynb"), "application/x-ipynb+json"
        files: Any = report.head.get("files") or []
        for file in files:
            if file["path"] == f"{job.name}.files/{wanted}":
                return report.path.with_name(f"{last}.files") / wanted, file["media_type"]
        raise not_found(f"Job {job_id} published no such file.")

    def input_of(self, job: Job) -> tuple[dict[str, Any], bytes | None]:
        """Return a job's input: its request's keys, and the notebook's bytes.

        Raises:
            Problem: `gone` once it is pruned, `unavailable`.
        """
        with self.ledger() as ledger:
            content = ledger.input_of(job.job_id)
        if content is None or job.place is Place.PRUNED:
            raise gone(f"The request of job {job.job_id} is not kept any more.")
        request: dict[str, Any] = json.loads(content.request)
        return request, content.notebook

    def files_of(self, job: Job) -> tuple[InputFile, ...]:
        """Return the files that came with a job's request.

        Raises:
            Problem: `unavailable`.
        """
        with self.ledger() as ledger:
            content = ledger.input_of(job.job_id)
        return () if content is None else content.files

    def request_of(self, job_id: str) -> dict[str, Any] | None:
        """Return a job's request; None once it is pruned.

        Raises:
            Problem: `not_found`, `unavailable`.
        """
        try:
            return self.input_of(self.job(job_id))[0]
        except Problem as problem:
            if problem.error_type == ProblemType.GONE:
                return None
            raise

    def _job_or_name(self, job_id: str) -> Job | str:
        """Return a job, or the name of a waiting request; the ledger has those that left since.

        Raises:
            Problem: `not_found`, `unavailable`.
        """
        try:
            return self.job(job_id)
        except Problem:
            return self._waiting(job_id) or self.job(job_id)

    def _waiting(self, job_id: str) -> str | None:
        if not JOB_ID.fullmatch(job_id):
            return None
        request = submit.waiting(self._settings.inbox, job_id)
        return None if request is None else request[0]


class Room:
    """The room below `limit` waiting jobs. Safe for many threads.

    Counting takes longer with each that waits. So where there is room for 10,000 more, they are
    counted once a second, and not for each of 10,000 files.
    """

    def __init__(self, record: Record, limit: int) -> None:
        self._record = record
        self._limit = limit
        self._believed_until = 0.0

    def is_left(self) -> bool:
        """Tell whether fewer jobs wait; also where the ledger cannot be read."""
        now = time.monotonic()
        if now < self._believed_until:
            return True
        try:
            with self._record.ledger() as ledger:
                left = self._limit - ledger.count_queued()
        except Problem:
            return True
        if left > FAR_FROM_FULL:
            self._believed_until = now + COUNT_SECONDS
        return left > 0


def listed(ledger: LedgerReader, question: Question) -> tuple[Sequence[Job], str | None]:
    """Return the jobs of one page, and the id that asks for the next one, if there is more.

    Raises:
        Problem: `invalid_request` for an unknown `before`.
    """
    before = None
    if question.before is not None:
        last = ledger.job(question.before)
        if last is None:
            message = "`before` is no job's id; take it from the last answer."
            raise Problem(ErrorType.INVALID_REQUEST, message)
        before = last.seq
    which = JobFilter(
        question.status,
        question.name,
        question.part,
        question.is_over,
        question.pattern,
        notebook=question.notebook,
        submitted_by=question.submitted_by,
        since=None if question.since is None else written(question.since),
        until=None if question.until is None else written(question.until),
    )
    jobs = ledger.jobs(which, limit=question.limit + 1, before=before)
    page = jobs[: question.limit]
    return page, page[-1].job_id if len(jobs) > question.limit else None


def row(job: Job, notebook: str | None = None) -> dict[str, Any]:
    """Describe a job for a list, now; `notebook` is the library path that its request names."""
    return row_of(job, datetime.now(UTC), notebook)
