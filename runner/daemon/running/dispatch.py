"""Takes jobs from the ledger to the outbox: starts, settles, seals and publishes them.

Every step is recorded before the next one begins. Never looks into the inbox.
"""

import logging
import sqlite3
from dataclasses import replace

from runner.config import Settings
from runner.contract.outcome import failed, interrupted
from runner.contract.states.status import ErrorType
from runner.daemon.running.attempts import Attempts
from runner.daemon.running.in_hand import Stage
from runner.daemon.running.lost_runs import LostRuns
from runner.daemon.running.publishing import NO_FILES, Finished, Publishing, Stores, our_fault
from runner.daemon.running.starts import Executing, Starts
from runner.daemon.running.status_files import StatusFiles
from runner.execution.order import Progress
from runner.outbox.publish import OutboxGone
from runner.outbox.staging import EVERYBODYS
from runner.state.jobs import Job, State, seconds_between
from runner.system.clocks import Clocks

log = logging.getLogger(__name__)

YOUNG_SECONDS = 1.0
LONG_SECONDS = 1.0
"""How long bringing a run's result and files away may take until the log says so."""
GONE_DOWN = interrupted("The runner or its machine went down while the notebook ran.")


class Dispatch:
    """The jobs in the runner's hands. Only the loop calls it."""

    def __init__(
        self,
        settings: Settings,
        stores: Stores,
        executing: Executing,
        publishing: Publishing,
        clocks: Clocks,
    ) -> None:
        self._ledger = stores.ledger
        self._history = stores.history
        self._work = stores.work
        self._executing = executing
        self._publishing = publishing
        self._clocks = clocks
        self._starts = Starts(settings, stores, executing, publishing, clocks)
        self._attempts = Attempts(stores.ledger, clocks, settings.limits)
        self._lost = LostRuns(stores, publishing, clocks)
        self._status_files = StatusFiles(stores.ledger, stores.outbox, stores.pauses, clocks)

    @property
    def running(self) -> int:
        """How many jobs have a slot."""
        return self._starts.jobs.count(Stage.RUNNING)

    @property
    def spare(self) -> int:
        """Slots for other work without harm to running jobs.

        A job that has just begun counts twice: it may be one of milliseconds, and it and its kernel
        keep two cores busy.
        """
        since = self._clocks.seconds() - YOUNG_SECONDS
        running = self._starts.jobs.at(Stage.RUNNING)
        young = sum(one.since > since for one in running)
        return max(self._executing.execution.slots - len(running) - young, 0)

    @property
    def troubles(self) -> dict[str, str]:
        """Actions that fail now, and why."""
        starts = self._starts
        return {
            **starts.starting.troubles,
            **self._publishing.troubles,
            **starts.names.troubles,
        }

    @property
    def notes(self) -> list[str]:
        """Shortcomings that stop no job, and pauses."""
        return [*self._work.notes, *self._starts.waits.notes]

    def recover(self) -> None:
        """Settle the jobs of an earlier owner: started runs are over, sealed ones are published.

        Nothing of the old runs may be alive any more.
        """
        for job in self._ledger.unclosed():
            if job.state is State.RUNNING:
                self._settle_dead_or_leave(job)
        sealed = [job for job in self._ledger.unclosed() if job.state is State.SEALED]
        for job in sealed:
            self._publishing.add(job)
        self._publishing.clean({job.job_id for job in sealed})

    def turn(self) -> None:
        """Publish, settle and start as many jobs as possible."""
        starts = self._starts
        starts.jobs.forget_unrecorded()
        self._publishing.publish_due()
        self._work.try_again()
        if starts.starting.is_held():
            return
        try:
            starts.put_back()
            starts.keep_time()
            self._settle_all()
            if starts.has_room:
                with self._ledger.transaction():
                    starts.reserve()
                starts.launch()
        except (OSError, OutboxGone, sqlite3.OperationalError) as error:
            starts.jobs.forget_unrecorded()
            starts.starting.hold("", error)
        else:
            if not starts.starting.is_held():
                starts.starting.release()

    def reserve(self) -> None:
        """Record the next starts, in the transaction around it; see `Starts.reserve`."""
        self._starts.reserve()

    def launch(self) -> None:
        """Execute the reserved jobs, once that is durable; see `Starts.launch`."""
        self._starts.launch()

    def finish(self, finished: Finished) -> None:
        """Seal the outcome of a job's thread, or let the job run again if it has retries left.

        Raises:
            sqlite3.OperationalError: the ledger cannot take it now; to be repeated.
        """
        job_id = finished.job_id
        running = self._starts.jobs[job_id]
        self._starts.look_again()
        job = self._ledger.job(job_id)
        assert job is not None
        failure = finished.outcome.failure
        if failure is not None and self._attempts.again(job, failure):
            self._starts.jobs.drop(job_id)
            self._work.remove(job_id)
            return
        finished = self._advised(job, finished)
        outcome = finished.outcome.model_copy(
            update={"warnings": [*finished.outcome.warnings, *finished.staged.warnings]}
        )
        try:
            self._publishing.seal(job, replace(finished, outcome=outcome), State.RUNNING)
        except sqlite3.OperationalError:
            raise
        except Exception as error:
            log.exception("job %s: its outcome cannot be sealed", job_id)
            outcome = our_fault(error)
            nothing = Finished(job_id, outcome, None, NO_FILES, finished.at)
            self._publishing.seal(job, nothing, State.RUNNING)
        self._starts.jobs.drop(job_id)
        ran = 0.0 if job.started_at is None else seconds_between(job.started_at, finished.at)
        since_then = self._clocks.seconds() - running.since - ran
        log.info(
            "job %s: %s %r after %.1f s%s%s",
            job_id,
            outcome.status,
            job.name,
            ran,
            f", put away in {since_then:.1f} s more" if since_then >= LONG_SECONDS else "",
            "" if outcome.failure is None else f": {outcome.failure.in_short}",
        )

    def progressed(self, job_id: str, progress: Progress) -> None:
        """Note a job's progress."""
        running = self._starts.jobs.get(job_id)
        if running is not None:
            running.progress = progress

    def cancel(self, job_ids: tuple[str, ...]) -> None:
        """End the runs of these jobs; waiting ones are settled when their turn comes."""
        for job_id in job_ids:
            one = self._starts.jobs.get(job_id)
            if one is not None and one.stage is Stage.RUNNING:
                self._executing.execution.stop(job_id, ErrorType.CANCELLED)

    def drain(self) -> None:
        """Start nothing more."""
        self._starts.stop()

    def interrupt(self) -> None:
        """End all remaining runs."""
        for one in self._starts.jobs.at(Stage.RUNNING):
            self._executing.execution.stop(one.job.job_id, ErrorType.INTERRUPTED)

    def write_status(self) -> None:
        """Write the status of jobs that run, and of the first that wait, if it is due."""
        self._status_files.write(self._starts.jobs)

    def expect_status(self) -> None:
        """Note that jobs were accepted, whose status is due soon if they wait."""
        self._status_files.expect()

    def next_due(self) -> float | None:
        """Return the seconds until there is work without an event; None if there is none."""
        starts = self._starts
        times = (
            self._publishing.next_due(),
            starts.names.next_due(),
            starts.starting.next_due(),
            starts.next_due(),
            self._work.next_due(),
            self._status_files.next_due(starts.jobs),
        )
        due = [seconds for seconds in times if seconds is not None]
        return max(min(due), 0.0) if due else None

    def _settle_dead_or_leave(self, job: Job) -> None:
        """Settle one dead run at the start; an unexpected exception leaves it, and others go on.

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
        """Settle a run of an earlier owner: it is over, and its end is unknown."""
        assert GONE_DOWN.failure is not None
        if self._attempts.again(job, GONE_DOWN.failure):
            return
        log.info("job %s: was interrupted", job.job_id)
        finished = self._advised(job, self._lost.finished(job))
        self._publishing.seal(job, finished, State.RUNNING)

    def _advised(self, job: Job, finished: Finished) -> Finished:
        """Add to the failure of a job's last attempt what to do about it."""
        failure = finished.outcome.failure
        if failure is None:
            return finished
        advised = self._attempts.advised(job, failure)
        return replace(finished, outcome=finished.outcome.model_copy(update={"failure": advised}))

    def _settle_all(self) -> None:
        """Give outcomes to jobs that will not run; a failure for one holds up no other.

        Raises:
            OSError, OutboxGone, sqlite3.OperationalError: it cannot be done for any.
        """
        names = self._starts.names
        while True:
            job = self._ledger.next_to_settle(self._executing.only, held=names.held())
            if job is None:
                return
            try:
                self._settle(job)
            except (OSError, OutboxGone, sqlite3.OperationalError) as error:
                if not isinstance(error, OSError) or error.errno in EVERYBODYS:
                    raise
                names.hold(job.name, error)
            else:
                names.release(job.name)

    def _settle(self, job: Job) -> None:
        """Give an outcome to a job that will not run, now that its turn has come."""
        self._history.retire_known(job.name)
        job_input = self._ledger.input_of(job.job_id)
        assert job_input is not None
        failure = job_input.failure or self._attempts.cancelled(job)
        self._publishing.seal(job, self._publishing.unrun(job, failed(failure)), State.QUEUED)
