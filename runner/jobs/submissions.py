"""Submits for `POST /run` and retry: one request file into the inbox, then the wait for its report.

Executes nothing and stores nothing; it needs only the folders, and uses the ledger if it can.
"""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from zipfile import BadZipFile

from runner.config import MEGABYTE, Limits, Settings
from runner.contract.job_ids import id_of_cause
from runner.contract.names import is_made_name, made_name
from runner.contract.outcome import Refused
from runner.contract.request import Request
from runner.contract.states.status import ErrorType
from runner.inbox.bundles.store import InputStore
from runner.inbox.bundles.uploads import Upload, digest_with_files, in_archive
from runner.inbox.library import library_reader
from runner.jobs import submit
from runner.jobs.body import JobRequest
from runner.jobs.problem import Problem, ProblemType, gone, unavailable
from runner.jobs.record import Record, Room
from runner.jobs.waiting import Arrivals
from runner.outbox.reader import Report
from runner.state.jobs import Job, State
from runner.state.locks import is_astray
from runner.system.files.disk import Disk

BUSY_SECONDS = 5.0
BUSY_LOOK_SECONDS = 0.02


@dataclass(frozen=True)
class Submitted:
    """A submitted job, with its name."""

    job_id: str
    name: str


class NotebookChanged(Problem):
    """The library has another notebook now than the one that a job ran."""

    def __init__(self, path: str, job_id: str) -> None:
        super().__init__(
            ProblemType.GONE,
            f"The library's notebook {path!r} has changed since job {job_id}. POST /run "
            "with its path and the same parameters runs it as it is now.",
        )
        self.path = path


class Runs:
    """Submits for one gateway. Safe for many threads."""

    def __init__(self, settings: Settings, record: Record, arrivals: Arrivals, disk: Disk) -> None:
        self._settings = settings
        self._record = record
        self._room = Room(record, settings.limits.queue)
        self._arrivals = arrivals
        self._disk = disk
        self._lock = threading.Lock()

    def submit(self, wanted: JobRequest, job_id: str | None) -> Submitted:
        """Bring a request into the inbox, once for each id. Durable when this returns.

        Raises:
            Problem: `invalid_request` where the id belongs to other bytes, `name_busy`, `gone`,
                `notebook_too_large`, `queue_full`, `unavailable`.
            OSError: the inbox cannot be written.
        """
        if job_id is None:
            return self._write(wanted, submit.new_job_id())
        with self._lock:  # of requests with one id at the same time, one is written
            return self._known(wanted, job_id) or self._write(wanted, job_id)

    def submit_for(self, cause: str, wanted: JobRequest, *, is_new: bool = False) -> Submitted:
        """Bring a request into the inbox for a cause, such as `schedule:daily@2026-11-26T06:00Z`.

        One cause is one job. The same cause, after a restart or with another request, gives the
        existing job, while its row is kept (`history.keep_rows_days`). `is_new` says that there is
        none, so that none is looked for; and it waits for no other request of its name.

        Raises:
            ValueError: the cause is no line of 1 to 200 characters.
            Problem: `name_busy` while another request of its name waits in the inbox,
                `notebook_too_large`, `queue_full`, `unavailable`.
            OSError: the inbox cannot be written.
        """
        job_id = id_of_cause(cause)
        request = {**wanted.request, "submitted_by": cause}
        Request.model_validate({"submitted_by": cause})
        with self._lock:
            known = None if is_new else self.place_of(job_id)
            asked = replace(wanted, request=request)
            return known or self._write(asked, job_id, busy_seconds=0 if is_new else BUSY_SECONDS)

    def of_cause(self, cause: str) -> Submitted | None:
        """Find the job that a cause has already.

        Raises:
            Problem: `unavailable`, the ledger cannot be read.
        """
        return self.place_of(id_of_cause(cause))

    def place_of(self, job_id: str) -> Submitted | None:
        """Look for a job where a request goes, in the order in which it goes there."""
        waiting = submit.waiting(self._settings.inbox, job_id)
        if waiting is not None:
            return Submitted(job_id, waiting[0])
        with self._record.ledger() as ledger:
            job = ledger.job(job_id)
        return None if job is None else Submitted(job_id, job.name)

    def wait(self, job: Submitted, seconds: float, has_left: Callable[[], bool]) -> Report | None:
        """Wait for the job's report; None if time ran out, the client left or no seat is free."""
        if seconds <= 0 or not self._arrivals.take_seat():
            return self._arrivals.reader.of_job(job.name, job.job_id)
        try:
            return self._arrivals.wait(job.name, job.job_id, seconds, has_left)
        finally:
            self._arrivals.leave_seat()

    def retry(self, job_id: str, face: str, *, as_it_is_now: bool = False) -> Submitted:
        """Submit a job's request once more, as a new job of the same name.

        A notebook of the library must be unchanged, unless it may run `as_it_is_now`.

        Raises:
            Problem: `invalid_notebook` where it never was one, `gone` where it is not kept,
                `not_found`, and those of `submit`.
            NotebookChanged: the library has another notebook at its place by now.
        """
        job = self._record.job(job_id)
        request, notebook = self._record.input_of(job)
        if "notebook" not in request:
            try:
                request["notebook"] = json.loads(notebook or b"")
            except ValueError:
                request["notebook"] = None
            if not isinstance(request["notebook"], dict):
                message = f"Job {job_id} never had a notebook that could run; drop it anew."
                raise Problem(ErrorType.INVALID_NOTEBOOK, message)
        else:
            self._check_library(job, str(request["notebook"]), as_it_is_now)
        request.pop("id", None)
        request["submitted_by"] = face
        name = None if is_made_name(job.name) else job.name
        files = self.files_of(job)
        return self._write(JobRequest(request, name, None, files), submit.new_job_id())

    def files_of(self, job: Job) -> tuple[Upload, ...]:
        """Return the files that came with a job, to go along once more.

        Raises:
            Problem: `gone`, they are not kept any more.
        """
        if not self._record.files_of(job):
            return ()
        archive = InputStore(self._settings.state, self._disk).path_of(job.job_id)
        try:
            return in_archive(archive)
        except (OSError, BadZipFile) as error:
            message = f"The files that came with job {job.job_id} are not kept any more."
            raise gone(message) from error

    def _check_library(self, job: Job, path: str, as_it_is_now: bool) -> None:
        """Check that a library notebook is unchanged: a retry runs what the job ran.

        Raises:
            NotebookChanged: it is another one by now, and that may not run.
            Problem: `gone`, it is gone.
        """
        limits = self._settings.limits
        try:
            raw = library_reader(self._settings.notebooks, int(limits.notebook_mb * MEGABYTE))(path)
        except Refused as refused:
            raise gone(f"It cannot be run again as it was: {refused.failure.message}") from refused
        is_same = not job.input_sha256 or hashlib.sha256(raw).hexdigest() == job.input_sha256
        if not (is_same or as_it_is_now):
            raise NotebookChanged(path, job.job_id)

    def _known(self, wanted: JobRequest, job_id: str) -> Submitted | None:
        """Find the job of that id, in the inbox, or accepted since.

        The order matters: a request that moves on while we look is met at its next place.
        """
        waiting = submit.waiting(self._settings.inbox, job_id)
        if waiting is not None:
            name, digest = waiting
            self._check_same(digest, wanted, name, job_id)
            return Submitted(job_id, name)
        job = self._record.find(job_id)
        if job is not None:
            self._check_same(job.request_sha256, wanted, job.name, job_id)
            report = self._arrivals.reader.of_job(job.name, job_id)
            if report is None and job.state is State.CLOSED:
                raise gone(f"Job {job_id} is over, and its result is not kept any more.")
            return Submitted(job_id, job.name)
        return None

    def _check_same(self, digest: str, wanted: JobRequest, name: str, job_id: str) -> None:
        """Compare with a request of this id. Earlier versions did not name the submitter.

        Raises:
            Problem: `invalid_request`, it is another one.
        """
        unsigned = {key: value for key, value in wanted.request.items() if key != "submitted_by"}
        contents = (submit.encode(job_id, one) for one in (wanted.request, unsigned))
        same = digest in {_digest(content, wanted.files) for content in contents}
        if same and wanted.name in (None, name):
            return
        raise Problem(
            ErrorType.INVALID_REQUEST,
            f"The id {job_id} belongs to another request, with another body or name. "
            "Use a new Idempotency-Key or id.",
        )

    def _write(
        self, wanted: JobRequest, job_id: str, busy_seconds: float = BUSY_SECONDS
    ) -> Submitted:
        content = submit.encode(job_id, wanted.request)
        self._check_size(content)
        if not self._room.is_left():
            limit = self._settings.limits.queue
            message = f"{limit} requests wait already (limits.queue). Try again later."
            raise Problem(ProblemType.QUEUE_FULL, message, 10)
        if is_astray(self._settings.inbox, self._settings.state):
            raise unavailable("The runner waits for its inbox, which may be a lost mount.")
        job = Submitted(job_id, wanted.name or made_name(datetime.now(UTC), job_id))
        deadline = time.monotonic() + busy_seconds
        while True:
            try:
                inbox = self._settings.inbox
                submit.submit_with_files(inbox, job.name, content, wanted.files, self._disk)
            except submit.NameBusy as error:
                if time.monotonic() > deadline:
                    message = f"Another request named {job.name!r} waits in the inbox."
                    raise Problem(ProblemType.NAME_BUSY, message, 5) from error
                time.sleep(BUSY_LOOK_SECONDS)
            else:
                return job

    def _check_size(self, content: bytes) -> None:
        limits = self._settings.limits
        if len(content) > limits.notebook_mb * MEGABYTE:
            raise too_large(limits)


def _digest(content: bytes, files: Sequence[Upload]) -> str:
    if files:
        return digest_with_files(content, files)
    return hashlib.sha256(content).hexdigest()


def too_large(limits: Limits, *, with_files: bool = False) -> Problem:
    """Make the problem of a body above the limit; a form may bring files, too."""
    limit_mb, setting = limits.notebook_mb, "limits.notebook_mb"
    if with_files:
        limit_mb, setting = limit_mb + limits.inputs_mb, f"{setting} and limits.inputs_mb together"
    return Problem(
        ErrorType.NOTEBOOK_TOO_LARGE,
        f"The request is above the limit of {limit_mb:g} MB ({setting}).",
    )


def accepted(job: Submitted, report: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Write the body of a 202, which says where to ask again, and for what the job waits."""
    waits_for = (report or {}).get("waits_for")
    return {
        "job_id": job.job_id,
        "name": job.name,
        "status": (report or {}).get("status", "queued"),
        "location": f"/jobs/{job.job_id}",
        **({} if waits_for is None else {"waits_for": waits_for}),
    }
