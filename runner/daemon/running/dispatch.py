"""Takes jobs from the ledger to the outbox: starts, settles, seals and publishes them.

Every step is recorded before the next one begins. Never looks into the inbox.
"""

import logging
import sqlite3

from runner.config import Settings
from runner.contract.outcome import failed
from runner.contract.states.status import ErrorType
from runner.daemon.running.attempts import Attempts
from runner.daemon.running.endings import Endings
from runner.daemon.running.in_hand import Stage
from runner.daemon.running.lost_runs import LostRuns
from runner.daemon.running.publishing import Finished, Publishing, Stores
from runner.daemon.running.starts import Executing, Starts
from runner.daemon.running.status_files import StatusFiles
from runner.execution.order import Progress
from runner.outbox.publish import OutboxGone
from runner.outbox.staging import EVERYBODYS
from runner.state.jobs import Job, State
from runner.system.clocks import Clocks

log = logging.getLogger(__name__)

YOUNG_SECONDS = 1.0


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
        self._endings = Endings(stores, publishing, self._attempts, self._starts.jobs, clocks)
        self._lost = LostRuns(stores, publishing, self._attempts, clocks)
        self._status_files = StatusFiles(stores.ledger, stores.outbox, stores.pauses, clocks)

    @property
    def running(self) -> int:
        """How many jobs run, or have run and are not recorded yet."""
        return self._starts.jobs.count(Stage.RUNNING, Stage.ENDED)

    @property
    def is_busy(self) -> bool:
        """Whether a job runs, or something is to be recorded or published now."""
        return self.running > 0 or self._publishing.are_due

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
            **self._endings.troubles,
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
        self._lost.settle()
        sealed = [job for job in self._ledger.unclosed() if job.state is State.SEALED]
        for job in sealed:
            self._publishing.add_recorded(job)
        self._publishing.clean({job.job_id for job in sealed})

    def turn(self) -> None:
        """Record what has ended, start as many jobs as possible, and publish."""
        starts = self._starts
        starts.jobs.forget_unrecorded()
        self._work.try_again()
        try:
            if not starts.starting.is_held():
                starts.put_back()
                starts.keep_time()
                self._settle_all()
            self._record()
            starts.launch()
        except (OSError, OutboxGone, sqlite3.OperationalError) as error:
            starts.jobs.forget_unrecorded()
            starts.starting.hold("", error)
        else:
            if not starts.starting.is_held():
                starts.starting.release()
        self._publishing.publish_due()
        self._endings.tell()

    def close_published(self) -> None:
        """Close what is published, before the inbox is looked at.

        A client that has seen a result may drop its next request at once. That must find the name
        closed, or the result would still be there when the request leaves the inbox.
        """
        publishing = self._publishing
        if not publishing.has_closed:
            return
        try:
            with self._ledger.transaction():
                publishing.record_closed()
        except Exception:
            log.debug("closing one by one, after an error", exc_info=True)
            publishing.close_each()
        else:
            publishing.conclude_closed()

    def _record(self) -> None:
        """Record starts, ends of runs and what is published, in one transaction if all goes well.

        Raises:
            OSError, OutboxGone, sqlite3.OperationalError: nothing can start.
        """
        was_put_off = bool(self._endings.troubles)
        self._record_now()
        if was_put_off and not self._endings.troubles:
            self._record_now()  # what could not start meanwhile

    def _record_now(self) -> None:
        starts, endings, publishing = self._starts, self._endings, self._publishing
        may_start = (
            starts.has_room
            and not starts.starting.is_held()
            and not endings.troubles
            and self._ledger.has_ready()
        )
        if not (may_start or endings.are_due or publishing.has_closed):
            return
        try:
            with self._ledger.transaction():
                self._record_all(may_start=may_start)
        except Exception:
            log.debug("recording one by one, after an error", exc_info=True)
            starts.jobs.forget_unrecorded()
            endings.record_each()
            publishing.close_each()
            if may_start and not endings.troubles:
                with self._ledger.transaction():
                    starts.reserve()
        else:
            endings.conclude()
            publishing.conclude_closed()

    def _record_all(self, *, may_start: bool) -> None:
        """Record all of it: part of the transaction around it.

        The starts come first: a start moves the results of its name to the history, so it must be
        durable by then that the job before is closed.
        """
        if may_start:
            self.reserve()
        self._endings.record()
        self._publishing.record_closed()

    def reserve(self) -> None:
        """Record the next starts, in the transaction around it; see `Starts.reserve`.

        None while ends of runs cannot be recorded: what would run now could be lost as well.
        """
        if self._endings.troubles:
            self._starts.jobs.forget_unrecorded()
        else:
            self._starts.reserve()

    def launch(self) -> None:
        """Execute the reserved jobs, once that is durable; see `Starts.launch`."""
        self._starts.launch()

    def finish(self, finished: Finished) -> None:
        """Take on what a job's thread has brought; the next turn records it."""
        self._starts.look_again()
        self._endings.add(finished)

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
            self._endings.next_due(),
            self._publishing.next_due(),
            starts.names.next_due(),
            starts.starting.next_due(),
            starts.next_due(),
            self._work.next_due(),
            self._status_files.next_due(starts.jobs),
        )
        due = [seconds for seconds in times if seconds is not None]
        return max(min(due), 0.0) if due else None

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
