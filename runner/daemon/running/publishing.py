"""Publishes sealed jobs, several at a time, closes them, and tries again until it is done.

Every step is recorded before the next one begins.
"""

import logging
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from runner.contract.outcome import InputFile, Outcome
from runner.contract.request import Request
from runner.daemon.running.put_off import PutOff
from runner.daemon.running.work_folders import WorkFolders
from runner.inbox.bundles.store import InputStore
from runner.outbox.history import History
from runner.outbox.placing import Placed, Publication
from runner.outbox.publish import Outbox, OutboxGone
from runner.outbox.report import report_of
from runner.state.contents import Seal
from runner.state.jobs import Job, State
from runner.state.ledger import Ledger
from runner.state.pauses import Pauses
from runner.system.clocks import Clocks
from runner.system.files.output_folder import NAMED_FILES, FileCaps, Staged

log = logging.getLogger(__name__)

NO_FILES = Staged((), ())
GROUP = 64
GROUP_BYTES = 32 * 1024 * 1024
"""How many jobs, or bytes of theirs, are published at a time."""


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
class Sealed:
    """A job that is sealed for good, and what its report is made of."""

    job: Job
    seal: Seal
    request: Request
    inputs: Sequence[InputFile]


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
        self._waiting: dict[str, Sealed | None] = {}
        """The sealed jobs to publish, by id. None: what failed once is read from the ledger."""
        self._names: dict[str, str] = {}
        """The names of all that are not closed."""
        self._placed: dict[str, Sequence[str]] = {}
        """The published jobs to close, by id, and their followers."""
        self._closing: list[str] = []
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
        """Seal a job's outcome, and take it on.

        Raises:
            sqlite3.OperationalError: the ledger cannot take it now.
        """
        self.record(job, finished, from_state)
        self.add_recorded(job)

    def record(self, job: Job, finished: Finished, from_state: State) -> Seal:
        """Write a job's outcome into the ledger; once that is durable, `add` follows."""
        executed = finished.executed
        if executed is None:
            job_input = self._ledger.input_of(job.job_id)
            executed = job_input.notebook if job_input is not None else None
        files = finished.staged.files
        seal = Seal(job.job_id, finished.outcome, executed, files, finished.at)
        self._ledger.seal(seal, from_state=from_state)
        return seal

    def add(self, sealed: Sealed) -> None:
        """Take on a job that ran, whose outcome is sealed for good.

        Earlier results of its name were moved before it started.
        """
        self._waiting[sealed.job.job_id] = sealed
        self._names[sealed.job.job_id] = sealed.job.name

    def add_recorded(self, job: Job) -> None:
        """Take on a job of which the ledger alone knows the outcome."""
        self._waiting[job.job_id] = None
        self._names[job.job_id] = job.name

    def publish_due(self) -> None:
        """Publish every job that is due; a failure of one holds up no other.

        They are closed by `record_closed`, in the next transaction.
        """
        group: list[Publication] = []
        size = 0
        for job_id in list(self._waiting):
            if self._put_off.is_held(job_id):
                continue
            try:
                group.append(self._prepare(job_id))
            except Exception as error:  # noqa: BLE001 - `_hold` logs it
                self._hold(job_id, error)
                continue
            size += len(group[-1].executed or b"") + len(group[-1].report)
            if len(group) >= GROUP or size >= GROUP_BYTES:
                self._publish(group)
                group, size = [], 0
        self._publish(group)

    def record_closed(self) -> None:
        """Close what is published: part of the transaction around it; `conclude_closed` follows."""
        self._closing = [job_id for job_id in self._placed if not self._put_off.is_held(job_id)]
        at = self._clocks.stamp()
        for job_id in self._closing:
            self._ledger.published(job_id, at, self._placed[job_id])

    def conclude_closed(self) -> None:
        """Let go of what is closed, once that is durable."""
        for job_id in self._closing:
            self._conclude(job_id)
        self._closing = []

    def close_each(self) -> None:
        """Close each in a transaction of its own, after they could not be closed together."""
        self._closing = []
        at = self._clocks.stamp()
        for job_id, followers in list(self._placed.items()):
            if self._put_off.is_held(job_id):
                continue
            try:
                self._ledger.published(job_id, at, followers)
            except Exception as error:  # noqa: BLE001 - `_hold` logs it
                self._hold(job_id, error)
            else:
                self._conclude(job_id)

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

    @property
    def are_due(self) -> bool:
        """Whether there is something to publish or to close now."""
        held = self._put_off.held()
        return any(job_id not in held for job_id in self._names)

    @property
    def has_closed(self) -> bool:
        """Whether something published waits to be closed."""
        return bool(self._placed)

    def next_due(self) -> float | None:
        """Return the seconds until a publication is due; None if none waits."""
        return 0.0 if self.are_due else self._put_off.next_due()

    def _prepare(self, job_id: str) -> Publication:
        sealed = self._waiting[job_id]
        if sealed is None:
            self._waiting[job_id] = sealed = self._read(job_id)
            self._history.retire_known(sealed.job.name)
        new = self._publication(sealed)
        if new.files and not self._outbox.has_files(new):
            self._stage_again(new, sealed.inputs)
            self._waiting[job_id] = sealed = self._read(job_id)
            new = self._publication(sealed)
        return new

    def _read(self, job_id: str) -> Sealed:
        job, job_input = self._ledger.job(job_id), self._ledger.input_of(job_id)
        seal = self._ledger.seal_of(job_id)
        assert job is not None
        assert job_input is not None
        assert seal is not None
        request = Request.model_validate_json(job_input.request)
        return Sealed(job, seal, request, job_input.files)

    def _publish(self, group: Sequence[Publication]) -> None:
        if not group:
            return
        try:
            placed = self._outbox.publish(group)
        except OutboxGone as error:
            placed = [Placed(new.job_id, error=error) for new in group]
        for one in placed:
            if one.error is not None:
                self._hold(one.job_id, one.error)
                continue
            for warning in one.warnings:
                log.warning("job %s: %s", one.job_id, warning)
            sealed = self._waiting.pop(one.job_id)
            assert sealed is not None
            has_callback = sealed.request.callback is not None
            self._placed[one.job_id] = self._followers_of(
                sealed.job.name, has_callback=has_callback
            )

    def _hold(self, job_id: str, error: Exception) -> None:
        """Put off a job; what it holds in memory is read again."""
        if not isinstance(error, OSError | OutboxGone | sqlite3.OperationalError):
            log.error("job %s: cannot be published", job_id, exc_info=error)
        self._put_off.hold(job_id, error)
        if job_id in self._waiting:
            self._waiting[job_id] = None

    def _conclude(self, job_id: str) -> None:
        del self._placed[job_id], self._names[job_id]
        self._put_off.release(job_id)
        self._work.remove(job_id)

    def _publication(self, sealed: Sealed) -> Publication:
        job, seal = sealed.job, sealed.seal
        warnings = self._ledger.warnings_of(job.job_id)
        return Publication(
            job_id=job.job_id,
            name=job.name,
            succeeded=seal.outcome.failure is None,
            report=report_of(job, seal, sealed.request, sealed.inputs, warnings),
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
