"""Ends a job: seals its outcome in the ledger, publishes it, and tries again until it is done.

Every step is recorded before the next one begins.
"""

import logging
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from runner.contract.outcome import Failure, InputFile, Outcome, failed
from runner.contract.request import Request
from runner.contract.states.status import ErrorType
from runner.daemon.running.put_off import PutOff
from runner.daemon.running.work_folders import WorkFolders
from runner.inbox.bundles.store import InputStore
from runner.outbox.history import History
from runner.outbox.publish import Outbox, OutboxGone, Publication
from runner.outbox.report import report_of
from runner.state.contents import Seal
from runner.state.jobs import Job, State
from runner.state.ledger import Ledger
from runner.state.pauses import Pauses
from runner.system.clocks import Clocks
from runner.system.files.output_folder import NAMED_FILES, FileCaps, Staged

log = logging.getLogger(__name__)

NO_FILES = Staged((), ())


class FollowersOf(Protocol):
    """Tells the followers of a job; see `Settings.followers_of`."""

    def __call__(self, name: str, *, has_callback: bool) -> Sequence[str]:
        """Return their names."""


@dataclass(frozen=True)
class Finished:
    """The result of a job's thread; `at` is the end of the run, before its files were copied."""

    job_id: str
    outcome: Outcome
    executed: bytes | None
    staged: Staged
    at: str


@dataclass(frozen=True)
class Stores:
    """The places of a job's data: its record, its results, earlier ones, its work folder.

    And the pauses, for which it may have to wait, and the files that came with it.
    """

    ledger: Ledger
    outbox: Outbox
    history: History
    work: WorkFolders
    pauses: Pauses
    inputs: InputStore


class Publishing:
    """The jobs that are over and not published yet. Any thread may call `stage`."""

    def __init__(
        self, stores: Stores, caps: FileCaps, clocks: Clocks, followers_of: FollowersOf
    ) -> None:
        """Set it up. The followers of a job get a row once it is closed; see `Ledger.published`."""
        self._ledger = stores.ledger
        self._outbox = stores.outbox
        self._history = stores.history
        self._work = stores.work
        self._caps = caps
        self._clocks = clocks
        self._followers_of = followers_of
        self._names: dict[str, str] = {}
        """Names of the sealed jobs that wait for publication."""
        self._put_off = PutOff("publish", clocks.seconds)

    def stage(
        self, job_id: str, name: str, source: Path, inputs: Sequence[InputFile] = ()
    ) -> Staged:
        """Copy a run's files to the outbox's staging; if it cannot take them, keep them for later.

        Those of `inputs` that the run has not changed are none of its files.

        Raises:
            OSError: they cannot be read.
        """
        caps = self._caps.beside(inputs)
        try:
            return self._outbox.stage(job_id, source, caps, name)
        except (OSError, OutboxGone) as error:
            log.warning("job %s: its files wait in the state folder: %s", job_id, error)
            return self._outbox.survey(source, caps, name)

    def unrun(self, job: Job, outcome: Outcome) -> Finished:
        """Describe the end of a job without an execution, or without a trace of one."""
        return Finished(job.job_id, outcome, None, NO_FILES, self._clocks.stamp())

    def seal(self, job: Job, finished: Finished, from_state: State) -> None:
        """Seal a job's outcome, and publish it if it can be.

        Raises:
            sqlite3.OperationalError: the ledger cannot take it now.
        """
        self.record(job, finished, from_state)
        self.add(job)
        self.publish_due()

    def record(self, job: Job, finished: Finished, from_state: State) -> None:
        """Write a job's outcome into the ledger; once that is durable, `add` follows."""
        executed = finished.executed
        if executed is None:
            job_input = self._ledger.input_of(job.job_id)
            executed = job_input.notebook if job_input is not None else None
        files = finished.staged.files
        seal = Seal(job.job_id, finished.outcome, executed, files, finished.at)
        self._ledger.seal(seal, from_state=from_state)

    def add(self, job: Job) -> None:
        """Take on a job whose outcome is sealed for good."""
        self._names[job.job_id] = job.name

    def publish_due(self) -> None:
        """Publish every job that is due; a failure of one holds up no other."""
        for job_id in list(self._names):
            if self._put_off.is_held(job_id):
                continue
            try:
                self._publish(job_id)
            except (OSError, OutboxGone, sqlite3.OperationalError) as error:
                self._put_off.hold(job_id, error)
            except Exception as error:
                log.exception("job %s: cannot be published", job_id)
                self._put_off.hold(job_id, error)
            else:
                del self._names[job_id]
                self._put_off.release(job_id)

    def clean(self, keep: set[str]) -> None:
        """Remove leftovers of earlier starts, of all jobs but these."""
        self._work.clean(keep)
        try:
            self._outbox.clean(keep)
        except (OSError, OutboxGone) as error:
            log.warning("leftovers in the outbox stay for now: %s", error)

    @property
    def troubles(self) -> dict[str, str]:
        """The publications that fail now, and why."""
        reasons = self._put_off.reasons
        return {f"publish {one} ({self._names.get(one)})": why for one, why in reasons.items()}

    def next_due(self) -> float | None:
        """Return the seconds until a publication is due; None if none waits."""
        if self._names.keys() - self._put_off.reasons:
            return 0.0
        return self._put_off.next_due()

    def _publish(self, job_id: str) -> None:
        job, job_input = self._ledger.job(job_id), self._ledger.input_of(job_id)
        assert job is not None
        assert job_input is not None
        self._history.retire_known(job.name)
        request = Request.model_validate_json(job_input.request)
        new = self._publication(job, request, job_input.files)
        if new.files and not self._outbox.has_files(new):
            self._stage_again(new, job_input.files)
            new = self._publication(job, request, job_input.files)
        for warning in self._outbox.publish(new):
            log.warning("job %s: %s", job_id, warning)
        followers = self._followers_of(job.name, has_callback=request.callback is not None)
        self._ledger.published(job_id, self._clocks.stamp(), followers)
        self._work.remove(job_id)

    def _publication(self, job: Job, request: Request, inputs: Sequence[InputFile]) -> Publication:
        seal = self._ledger.seal_of(job.job_id)
        assert seal is not None
        return Publication(
            job_id=job.job_id,
            name=job.name,
            succeeded=seal.outcome.failure is None,
            report=report_of(job, seal, request, inputs, self._ledger.warnings_of(job.job_id)),
            executed=seal.executed,
            files=seal.files,
        )

    def _stage_again(self, new: Publication, inputs: Sequence[InputFile]) -> None:
        """Stage files that wait in the state folder, and record those that the outbox takes."""
        work = self._work.of(new.job_id)
        if work.is_dir():
            staged = self._outbox.stage(new.job_id, work, self._caps.beside(inputs), new.name)
        else:
            staged = Staged((), ("The files of the run are gone: the outbox lost them.",))
        if staged.files == new.files:
            return
        seal = self._ledger.seal_of(new.job_id)
        assert seal is not None
        said = {*seal.outcome.warnings, *self._ledger.warnings_of(new.job_id)}
        warnings = [line for line in staged.warnings if line not in said]
        lost = [repr(file.path) for file in new.files if file not in staged.files]
        if lost:
            named = ", ".join(lost[:NAMED_FILES])
            warnings.append(
                f"{len(lost)} files of the run were refused, lost or changed before they could be "
                f"published: {named}."
            )
        self._ledger.amend_files(new.job_id, staged.files, warnings)


def our_fault(error: Exception) -> Outcome:
    """Make the outcome of a job in which the runner itself failed."""
    message = f"The runner itself failed: {type(error).__name__}: {error}. Its log says where."
    return failed(Failure(error_type=ErrorType.GATEWAY_ERROR, message=message))
