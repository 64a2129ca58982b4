"""From the ledger to the outbox: starts jobs whose turn it is, seals and publishes what came out.

Every step is recorded before the next one begins. Never looks into the inbox.
"""

import logging
import os
import secrets
import sqlite3
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path, PurePosixPath

from runner.config import MEGABYTE, Settings
from runner.contract.outcome import (
    RETRIED,
    ErrorType,
    Failure,
    Outcome,
    Refused,
    failed,
    interrupted,
    refuse,
)
from runner.contract.remedies import with_remedy
from runner.contract.request import Request, Resources
from runner.contract.text.strict_json import JsonValue
from runner.daemon.leftovers import Leftovers
from runner.execution.interface import Execution
from runner.execution.order import Order, Progress
from runner.inbox.library import as_spelt
from runner.outbox.publish import EVERYBODYS, Outbox, OutboxGone, Publication
from runner.outbox.report import report_of
from runner.state.ledger import Job, Ledger, Seal, State
from runner.system.backoff import Delays
from runner.system.files.disk import Disk
from runner.system.files.output_folder import NAMED_FILES, FileCaps, Staged

log = logging.getLogger(__name__)

WORK = "work"
PASSED_OVER_SECONDS = 0.5
"""A queue of 100,000 that cannot be served now is not gone through at each turn of the loop."""
MOST_UNMET = 50
"""How many different demands that cannot be met now, or names that are put off, are passed over in
one look."""
STATUS_AFTER_SECONDS = 1.0
STATUS_SECONDS = 1.0
STATUS_REST = 20
"""Times as long as a round of status files took, nobody writes the next one: a slow outbox with
hundreds of them would hold up everything else."""
STATUS_QUEUED = 100
QUEUED_STATUS_SECONDS = 10.0
YOUNG_SECONDS = 1.0
START, PUBLISH, GO_ON = "start", "publish ", "go on with "


@dataclass(frozen=True)
class Finished:
    """What a job's thread brings back; `at` is when the run was over, before its files were."""

    job_id: str
    outcome: Outcome
    executed: bytes | None
    staged: Staged
    at: str


@dataclass
class _Running:
    """A job that has a slot."""

    job: Job
    wanted: Resources
    since: float
    progress: Progress | None = None
    status_at: float = 0.0


@dataclass(frozen=True)
class _Reserved:
    """A job that the ledger says is running, or will once its transaction is durable."""

    job: Job
    order: Order
    notebook: bytes


class _Held(Exception):
    """A job's name is put off: others go on. `demand` is none, so that it is asked again."""


class Dispatch:
    """The jobs that are in the runner's hands. All methods but `_execute` are the loop's own."""

    def __init__(
        self,
        *,
        settings: Settings,
        ledger: Ledger,
        outbox: Outbox,
        disk: Disk,
        execution: Execution,
        executor: Executor,
        retire: Callable[[str], None],
        tell: Callable[[Finished], None],
        on_progress: Callable[[str, Progress], None],
        clock: Callable[[], float],
        now: Callable[[], datetime],
        only: frozenset[str] | None = None,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._outbox = outbox
        self._disk = disk
        self._execution = execution
        self._executor = executor
        self._retire = retire
        self._tell = tell
        self._on_progress = on_progress
        self._clock = clock
        self._now = now
        self._only = only
        self._running: dict[str, _Running] = {}
        self._reserved: list[_Reserved] = []
        self._unstartable: dict[str, str] = {}
        self._not_begun: list[str] = []
        self._unpublished: dict[str, str] = {}
        """Sealed jobs that are to be published, and their names."""
        self._publishing = Delays(clock)
        self._names = Delays(clock)
        self._starting = Delays(clock)
        self._leftovers = Leftovers(disk, clock)
        self._queued_status: dict[str, float] = {}
        self._stopping = False
        self._passed_over_until = 0.0
        self._status_not_before = 0.0

    @property
    def running(self) -> int:
        """How many jobs have a slot."""
        return len(self._running)

    @property
    def spare(self) -> int:
        """Slots for other work that no running job would feel.

        A job that has just begun counts twice: it may be one of milliseconds, and it and its
        kernel keep two cores busy.
        """
        since = self._clock() - YOUNG_SECONDS
        young = sum(running.since > since for running in self._running.values())
        return max(self._execution.slots - len(self._running) - young, 0)

    def recover(self) -> None:
        """Settle what an earlier owner left: started runs are over, sealed ones are published.

        Nothing of the old runs may be alive any more.
        """
        for job in self._ledger.unclosed():
            if job.state is State.RUNNING:
                self._settle_dead_or_leave(job)
        unclosed = self._ledger.unclosed()
        for job in unclosed:
            if job.state is State.SEALED:
                self._unpublished[job.job_id] = job.name
        self._clean({job.job_id for job in unclosed if job.state is State.SEALED})

    @property
    def troubles(self) -> dict[str, str]:
        """What cannot be done now, and why."""
        return {
            **self._starting.reasons,
            **{
                f"{PUBLISH}{job_id} ({self._unpublished.get(job_id)})": why
                for job_id, why in self._publishing.reasons.items()
            },
            **{f"{GO_ON}{name}": why for name, why in self._names.reasons.items()},
        }

    @property
    def notes(self) -> list[str]:
        """What is not as it could be, though every job goes its way."""
        return self._leftovers.notes

    def turn(self) -> None:
        """Publish, settle and start whatever can be."""
        self._forget_reserved()
        self._publish_due()
        self._leftovers.try_again()
        if self._starting.why_held(START) is not None:
            return
        try:
            self._put_back()
            self._settle_all()
            if self._has_room():
                with self._ledger.transaction():
                    self.reserve()
                self.launch()
        except (OSError, OutboxGone, sqlite3.OperationalError) as error:
            self._forget_reserved()
            self._put_off(self._starting, START, error)
        else:
            if self._starting.why_held(START) is None:
                self._starting.release(START)

    def reserve(self) -> None:
        """Record that jobs whose turn it is run now, as many as there are slots.

        Part of the transaction around it, so that a drop can be accepted and started in one; what
        an earlier one reserved and did not make durable is forgotten.

        Raises:
            OSError, OutboxGone, sqlite3.OperationalError: it is not the jobs' fault.
        """
        self._forget_reserved()
        if self._passed_over_until > self._clock():
            return
        unmet: list[str] = []
        passed_over = 0
        while self._has_room() and passed_over <= MOST_UNMET:
            job = self._ledger.next_to_run(self._only, without=unmet, held=self._names.held())
            if job is None:
                break
            try:
                demand = self._reserve_or_fail(job)
            except _Held:
                passed_over += 1
                continue
            if demand is not None:
                passed_over += 1
                unmet.append(demand)
        if passed_over and self._has_room():
            self._passed_over_until = self._clock() + PASSED_OVER_SECONDS

    def launch(self) -> None:
        """Execute what is reserved, once that is durable.

        Where the system gives no thread for it, it goes back, and is tried again later.

        Raises:
            sqlite3.OperationalError: it cannot go back now; the next turn sees to it.
        """
        self._unpublished.update(self._unstartable)
        while self._reserved:
            one = self._reserved[0]
            running = _Running(one.job, one.order.resources, self._clock())
            self._running[one.job.job_id] = running
            try:
                future = self._executor.submit(self._execute, one.order, one.notebook)
            except RuntimeError as error:
                del self._running[one.job.job_id]
                self._not_begun.extend(left.job.job_id for left in self._reserved)
                self._reserved.clear()
                self._put_off(self._starting, START, error)
                self._put_back()
                return
            self._reserved.pop(0)
            log.info("job %s: started %r", one.job.job_id, one.job.name)
            future.add_done_callback(lambda done: self._tell(done.result()))

    def _put_back(self) -> None:
        """What has not begun is queued again.

        Raises:
            sqlite3.OperationalError: see `launch`.
        """
        while self._not_begun:
            self._ledger.put_back(self._not_begun[0])
            self._not_begun.pop(0)

    def _forget_reserved(self) -> None:
        """What was reserved in a transaction that failed is not recorded: it must not run."""
        self._reserved.clear()
        self._unstartable.clear()

    def finish(self, finished: Finished) -> None:
        """Seal what a job's thread brought back, or let it run again where that was asked for.

        Raises:
            sqlite3.OperationalError: the ledger cannot take it now; to be repeated.
        """
        running = self._running[finished.job_id]
        self._passed_over_until = 0.0
        job = self._ledger.job(finished.job_id)
        assert job is not None
        failure = finished.outcome.failure
        if failure is not None and self._runs_again(job, failure.error_type):
            log.info("job %s: %s, runs again", job.job_id, failure.error_type)
            self._ledger.requeue(job.job_id)
            del self._running[job.job_id]
            self._remove_work(job.job_id)
            return
        outcome = finished.outcome.model_copy(
            update={"warnings": [*finished.outcome.warnings, *finished.staged.warnings]}
        )
        try:
            self._seal(job, replace(finished, outcome=outcome), State.RUNNING)
        except sqlite3.OperationalError:
            raise
        except Exception as error:
            log.exception("job %s: its outcome cannot be sealed", job.job_id)
            outcome = _our_fault(error)
            nothing = Finished(job.job_id, outcome, None, Staged((), ()), finished.at)
            self._seal(job, nothing, State.RUNNING)
        del self._running[job.job_id]
        log.info(
            "job %s: %s %r after %.1f s%s",
            job.job_id,
            outcome.status,
            job.name,
            self._clock() - running.since,
            "" if outcome.failure is None else f": {outcome.failure.in_short}",
        )

    def progressed(self, job_id: str, progress: Progress) -> None:
        """A job told how far it is."""
        running = self._running.get(job_id)
        if running is not None:
            running.progress = progress

    def cancel(self, job_ids: tuple[str, ...]) -> None:
        """End the runs of these jobs; what only waits is settled when its turn comes."""
        for job_id in job_ids:
            if job_id in self._running:
                self._execution.stop(job_id, ErrorType.CANCELLED)

    def drain(self) -> None:
        """Start nothing more."""
        self._stopping = True

    def interrupt(self) -> None:
        """End every run that is left."""
        for job_id in list(self._running):
            self._execution.stop(job_id, ErrorType.INTERRUPTED)

    def write_status(self) -> None:
        """Tell about jobs that run for more than a second, and the first that wait."""
        now = self._clock()
        if now < self._status_not_before:
            return
        try:
            for running in self._running.values():
                if now - running.since >= STATUS_AFTER_SECONDS <= now - running.status_at:
                    running.status_at = now
                    self._outbox.status(running.job.name, self._status_of_running(running, now))
            self._write_queued_status(now)
        except (OSError, OutboxGone) as error:
            log.debug("status files: %s", error)
        self._status_not_before = now + (self._clock() - now) * STATUS_REST

    def next_due(self) -> float | None:
        """Seconds until there is something to do without an event; None if there is not."""
        now = self._clock()
        delays = (self._publishing, self._names, self._starting, self._leftovers)
        due = [seconds for one in delays if (seconds := one.next_due()) is not None]
        if self._unpublished.keys() - self._publishing.reasons:
            due.append(0.0)
        if self._passed_over_until > now:
            due.append(self._passed_over_until - now)
        if self._running or self._queued_status:
            due.append(STATUS_SECONDS)
        return max(min(due), 0.0) if due else None

    def _reserve_or_fail(self, job: Job) -> str | None:
        """The border around one job: what nobody thought of is its outcome, and others go on.

        What it asks of a machine, if that cannot be met now; then it waits on.

        Raises:
            _Held: it is the fault of what lies there under its name.
            OSError, OutboxGone, sqlite3.OperationalError: it is not the job's fault.
        """
        try:
            return self._reserve(job)
        except (_Held, OSError, OutboxGone, sqlite3.OperationalError):
            raise
        except Refused as refused:
            self._refuse(job, failed(refused.failure))
        except Exception as error:
            log.exception("job %s: cannot be started", job.job_id)
            self._refuse(job, _our_fault(error))
        return None

    def _refuse(self, job: Job, outcome: Outcome) -> None:
        """A job that was to be reserved gets its outcome instead, in the same transaction."""
        found = self._ledger.job(job.job_id)
        assert found is not None
        self._record_seal(found, self._unrun(job, outcome), found.state)
        self._unstartable[job.job_id] = job.name

    def _has_room(self) -> bool:
        taken = len(self._running) + len(self._reserved)
        return not self._stopping and taken < self._execution.slots

    def _reserve(self, job: Job) -> str | None:
        """Record that a job runs; gives its demand instead, if that cannot be met now.

        Raises:
            Refused: it can never be met.
            _Held: see `_make_way`.
            OSError, OutboxGone, sqlite3.OperationalError: it is not the job's fault.
        """
        demand = self._ledger.demand_of(job.job_id)
        if demand is not None and not self._can_be_met(Resources.model_validate_json(demand)):
            return demand
        asked = self._ledger.input_of(job.job_id)
        assert asked is not None
        request = Request.model_validate_json(asked.request)
        self._make_way(job)
        work = self._work(job.job_id)
        self._disk.make_folders(self._settings.state, work.parent, "work folders")
        self._disk.make_folder(work)
        order = self._order(job, request, work)
        self._ledger.start(job.job_id, self._time())
        self._reserved.append(_Reserved(job, order, asked.notebook or b""))
        return None

    def _make_way(self, job: Job) -> None:
        """Nothing of earlier runs lies where a job's files will.

        Raises:
            _Held: that cannot be done for this one name.
            OSError, OutboxGone, sqlite3.OperationalError: it cannot be done for any.
        """
        try:
            self._retire_current(job.name)
            for folder in self._folders_of(job.job_id):
                self._clear(folder)
        except OSError as error:
            if error.errno in EVERYBODYS:
                raise
            self._put_off(self._names, job.name, error, GO_ON)
            raise _Held from error
        self._names.release(job.name)

    def _retire_current(self, name: str) -> None:
        if self._ledger.current(name):
            self._retire(name)

    def _can_be_met(self, wanted: Resources) -> bool:
        """Whether there is room for such a job now.

        Raises:
            Refused: there never will be.
        """
        if self._execution.fits(wanted, self._taken()):
            return True
        why = self._execution.why_never(wanted)
        if why is None:
            return False
        raise refuse(
            ErrorType.INVALID_REQUEST,
            f"`resources` cannot be served: {why}. Ask for less, or add a worker that has it.",
        )

    def _taken(self) -> list[Resources]:
        """What is in flight, or is about to be, asks for."""
        running = [running.wanted for running in self._running.values()]
        return running + [one.order.resources for one in self._reserved]

    def _order(self, job: Job, request: Request, work: Path) -> Order:
        settings = self._settings
        folder = None
        if request.notebook is not None:
            library = settings.notebooks
            place = as_spelt(library, PurePosixPath(str(request.notebook)))
            folder = str((library / place).parent)
        return Order(
            job_id=job.job_id,
            name=job.name,
            attempt=job.attempt + 1,
            parameters=request.parameters,
            kernel=request.kernel,
            timeout_seconds=request.timeout_seconds or settings.limits.run_seconds,
            kernel_start_seconds=settings.limits.kernel_start_seconds,
            folder=folder,
            output_folder=str(work),
            packages_folder=str(self._packages(job.job_id)) if self._installs_for_a_run else None,
            allowed_kernels=settings.kernels.allowed,
            languages=settings.kernels.languages,
            start=settings.kernels.start,
            unknown_parameters=settings.execution.unknown_parameters,
            resources=request.resources,
            output_bytes=int(settings.limits.output_mb * MEGABYTE),
            results_bytes=int(settings.limits.results_mb * MEGABYTE),
            tag=settings.results.tag,
            scrapbook=settings.results.scrapbook,
        )

    def _execute(self, order: Order, notebook: bytes) -> Finished:
        """In a thread of its own: run, then bring the files out. Never raises."""
        at = None
        try:
            outcome, executed = self._execution.execute(order, notebook, self._on_progress)
            at = self._time()
            staged = self._bring_out(order)
        except Exception as error:
            log.exception("job %s: the runner failed", order.job_id)
            outcome, executed, staged = _our_fault(error), None, Staged((), ())
        return Finished(order.job_id, outcome, executed, staged, at or self._time())

    def _bring_out(self, order: Order) -> Staged:
        """Copy the files to the outbox's staging; if it cannot take them, keep them for later."""
        source, caps = Path(order.output_folder), self._caps()
        try:
            return self._outbox.stage(order.job_id, source, caps, order.name)
        except (OSError, OutboxGone) as error:
            log.warning("job %s: its files wait in the state folder: %s", order.job_id, error)
            return self._outbox.survey(source, caps, order.name)

    def _caps(self) -> FileCaps:
        limits = self._settings.limits
        return FileCaps(int(limits.files_mb * MEGABYTE), limits.files)

    def _runs_again(self, job: Job, error_type: ErrorType) -> bool:
        return error_type in RETRIED and job.attempt <= job.retries and not job.cancelled

    def _settle_dead_or_leave(self, job: Job) -> None:
        """The border around one job at the start: others go on.

        Raises:
            sqlite3.OperationalError: it is not the job's fault.
        """
        try:
            self._settle_dead(job)
        except sqlite3.OperationalError:
            raise
        except Exception:
            log.exception("job %s is left to the next start", job.job_id)

    def _settle_dead(self, job: Job) -> None:
        """A run that an earlier owner started: it is over, and nobody knows how."""
        if self._runs_again(job, ErrorType.INTERRUPTED):
            log.info("job %s: was interrupted, runs again", job.job_id)
            self._ledger.requeue(job.job_id)
            return
        log.info("job %s: was interrupted", job.job_id)
        outcome = interrupted("The runner or its machine went down while the notebook ran.")
        self._seal(job, self._unrun(job, outcome), State.RUNNING)

    def _settle_all(self) -> None:
        """Jobs that will not run get their outcomes; one that cannot now holds up none of others.

        Raises:
            OSError, OutboxGone, sqlite3.OperationalError: it cannot be done for any.
        """
        while True:
            job = self._ledger.next_to_settle(self._only, held=self._names.held())
            if job is None:
                return
            try:
                self._settle(job)
            except (OSError, OutboxGone, sqlite3.OperationalError) as error:
                if not isinstance(error, OSError) or error.errno in EVERYBODYS:
                    raise
                self._put_off(self._names, job.name, error, GO_ON)
            else:
                self._names.release(job.name)

    def _settle(self, job: Job) -> None:
        """A job that will not run gets its outcome when its turn comes."""
        self._retire_current(job.name)
        asked = self._ledger.input_of(job.job_id)
        assert asked is not None
        failure = asked.failure or Failure(
            error_type=ErrorType.CANCELLED, message="The job was cancelled before it ran."
        )
        self._seal(job, self._unrun(job, failed(failure)), State.QUEUED)

    def _unrun(self, job: Job, outcome: Outcome) -> Finished:
        """The end of a job of which nothing was executed, or nothing is left."""
        return Finished(job.job_id, outcome, None, Staged((), ()), self._time())

    def _seal(self, job: Job, finished: Finished, from_state: State) -> None:
        self._record_seal(job, finished, from_state)
        self._unpublished[job.job_id] = job.name
        self._publish_due()

    def _record_seal(self, job: Job, finished: Finished, from_state: State) -> None:
        executed = finished.executed
        if executed is None:
            asked = self._ledger.input_of(job.job_id)
            executed = asked.notebook if asked is not None else None
        files = finished.staged.files
        seal = Seal(job.job_id, finished.outcome, executed, files, finished.at)
        self._ledger.seal(seal, from_state=from_state)

    def _publish_due(self) -> None:
        """The border around one publication: whatever goes wrong in it, others are published."""
        for job_id in list(self._unpublished):
            if self._publishing.why_held(job_id) is not None:
                continue
            try:
                self._publish(job_id)
            except (OSError, OutboxGone, sqlite3.OperationalError) as error:
                self._put_off(self._publishing, job_id, error, PUBLISH)
            except Exception as error:
                log.exception("job %s: cannot be published", job_id)
                self._put_off(self._publishing, job_id, error, PUBLISH)
            else:
                del self._unpublished[job_id]
                self._publishing.release(job_id)

    def _publish(self, job_id: str) -> None:
        job, asked = self._ledger.job(job_id), self._ledger.input_of(job_id)
        assert job is not None
        assert asked is not None
        self._retire_current(job.name)
        request = Request.model_validate_json(asked.request)
        new = self._publication(job, request)
        if new.files and not self._outbox.has_files(new):
            self._stage_again(new)
            new = self._publication(job, request)
        for warning in self._outbox.publish(new):
            log.warning("job %s: %s", job_id, warning)
        self._ledger.published(job_id, self._time())
        self._remove_work(job_id)

    def _publication(self, job: Job, request: Request) -> Publication:
        seal = self._ledger.seal_of(job.job_id)
        assert seal is not None
        return Publication(
            job_id=job.job_id,
            name=job.name,
            succeeded=seal.outcome.failure is None,
            report=report_of(job, seal, request, self._ledger.warnings_of(job.job_id)),
            executed=seal.executed,
            files=seal.files,
        )

    def _stage_again(self, new: Publication) -> None:
        """Bring out files that wait in the state folder; of what the outbox takes, the record."""
        work = self._work(new.job_id)
        if work.is_dir():
            staged = self._outbox.stage(new.job_id, work, self._caps(), new.name)
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

    def _put_off(self, delays: Delays, key: str, error: Exception, what: str = "") -> None:
        why = with_remedy(error)
        if delays.hold(key, why):
            log.warning("cannot %s%s: %s; tried again", what, key, why)

    def _clean(self, keep: set[str]) -> None:
        """Remove work folders, staged files and status files that belong to no job any more."""
        work = self._settings.state / WORK
        if work.is_dir():
            for entry in list(os.scandir(work)):
                if entry.name not in keep:
                    self._leftovers.remove(Path(entry.path))
        try:
            self._outbox.clean(keep)
        except (OSError, OutboxGone) as error:
            log.warning("leftovers in the outbox stay for now: %s", error)

    def _clear(self, folder: Path) -> None:
        """Make sure that a folder is not there: what cannot be removed is moved out of the way.

        Raises:
            OSError: it cannot be moved either.
        """
        error = self._leftovers.try_to_remove(folder)
        self._leftovers.forget(folder)
        if error is not None:
            aside = folder.with_name(f"{folder.name}.left-{secrets.token_hex(4)}")
            self._disk.rename(folder, aside)
            self._leftovers.add(aside, error)

    def _remove_work(self, job_id: str) -> None:
        for folder in self._folders_of(job_id):
            self._leftovers.remove(folder)

    def _folders_of(self, job_id: str) -> tuple[Path, ...]:
        """Where it runs, and where it installs packages if it may."""
        work = self._work(job_id)
        return (work, self._packages(job_id)) if self._installs_for_a_run else (work,)

    @property
    def _installs_for_a_run(self) -> bool:
        return self._settings.kernels.install == "run"

    def _packages(self, job_id: str) -> Path:
        """Beside the work folder, whose files are published."""
        return self._settings.state / WORK / f"{job_id}.packages"

    def _work(self, job_id: str) -> Path:
        return self._settings.state / WORK / job_id

    def _time(self) -> str:
        return self._now().isoformat(timespec="milliseconds")

    def _status_of_running(self, running: _Running, now: float) -> dict[str, JsonValue]:
        progress = running.progress or Progress(cell=0, cells=0)
        return {
            "job_id": running.job.job_id,
            "name": running.job.name,
            "status": "running",
            "cell": progress.cell,
            "cells": progress.cells,
            "elapsed_seconds": round(now - running.since, 1),
            "log_tail": progress.tail,
        }

    def _write_queued_status(self, now: float) -> None:
        """The first hundred that wait, every ten seconds; while NAME runs, its own status stays."""
        running = {one.job.name for one in self._running.values()}
        written = {}
        for place, job in enumerate(self._ledger.queued(STATUS_QUEUED)):
            waited = (self._now() - datetime.fromisoformat(job.accepted_at)).total_seconds()
            last = self._queued_status.get(job.job_id, float("-inf"))
            written[job.job_id] = last
            if job.name in running or waited < STATUS_AFTER_SECONDS:
                continue
            if now - last < QUEUED_STATUS_SECONDS:
                continue
            written[job.job_id] = now
            self._outbox.status(
                job.name,
                {
                    "job_id": job.job_id,
                    "name": job.name,
                    "status": "queued",
                    "waiting_before": place,
                    "elapsed_seconds": round(waited, 1),
                },
            )
        self._queued_status = written


def _our_fault(error: Exception) -> Outcome:
    message = f"The runner itself failed: {type(error).__name__}: {error}."
    return failed(Failure(error_type=ErrorType.GATEWAY_ERROR, message=message))
