"""Records how runs ended: seals their outcomes, or lets their jobs run again.

The records of many runs share one transaction; an error in it belongs to one job alone.
"""

import logging
import sqlite3
from dataclasses import dataclass, replace

from runner.contract.outcome import failed, our_fault
from runner.daemon.running.attempts import Attempts
from runner.daemon.running.in_hand import InHand, JobsInHand, Stage
from runner.daemon.running.publishing import (
    NO_FILES,
    Finished,
    Publishing,
    Sealed,
    Stores,
)
from runner.daemon.running.put_off import PutOff
from runner.state.jobs import Job, State, seconds_between
from runner.system.clocks import Clocks

log = logging.getLogger(__name__)

LONG_SECONDS = 1.0
"""How long bringing a run's result and files away may take until the log says so."""


@dataclass(frozen=True)
class _End:
    """The end of a run, as it is recorded: sealed, or to run again if there is nothing sealed."""

    one: InHand
    job: Job
    finished: Finished
    sealed: Sealed | None


class Endings:
    """The runs that are over and not recorded yet, in the order in which they ended."""

    def __init__(
        self,
        stores: Stores,
        publishing: Publishing,
        attempts: Attempts,
        jobs: JobsInHand,
        clocks: Clocks,
    ) -> None:
        self._ledger = stores.ledger
        self._work = stores.work
        self._publishing = publishing
        self._attempts = attempts
        self._jobs = jobs
        self._clocks = clocks
        self._finished: list[Finished] = []
        self._recorded: list[_End] = []
        self._untold: list[_End] = []
        self._put_off = PutOff("record the ends of runs", clocks.seconds)

    def add(self, finished: Finished) -> None:
        """Take on what a job's thread has brought; its slot is free."""
        self._jobs.move(self._jobs[finished.job_id], Stage.ENDED)
        self._finished.append(finished)

    @property
    def are_due(self) -> bool:
        """Whether there is something to record now."""
        return bool(self._finished) and not self._put_off.is_held()

    @property
    def troubles(self) -> dict[str, str]:
        """Why it cannot be recorded now."""
        return self._put_off.troubles

    def next_due(self) -> float | None:
        """Return the seconds until there is something to record; None if nothing waits."""
        if not self._finished:
            return None
        return 0.0 if self.are_due else self._put_off.next_due()

    def record(self) -> None:
        """Record all of them: part of the transaction around it, after which `conclude` follows."""
        self._recorded = []
        if self.are_due:
            self._recorded = [self._record(finished) for finished in self._finished]

    def conclude(self) -> None:
        """Let go of the recorded ones, once that is durable."""
        if not self._recorded:  # there are none, or they could not be recorded now
            return
        for end in self._recorded:
            self._conclude(end)
        self._recorded = []
        self._put_off.release()

    def record_each(self) -> None:
        """Record each in a transaction of its own, after they could not be recorded together."""
        self._recorded = []
        if not self.are_due:
            return
        for finished in list(self._finished):
            try:
                self._record_alone(finished)
            except sqlite3.OperationalError as error:
                self._put_off.hold("", error)
                return
            except Exception:
                log.exception("job %s is left to the next start", finished.job_id)
                self._finished.remove(finished)
                self._jobs.drop(finished.job_id)
        self._put_off.release()

    def tell(self) -> None:
        """Log the sealed ones, after they were published if that could be done."""
        for end in self._untold:
            job, finished = end.job, end.finished
            ran = 0.0 if job.started_at is None else seconds_between(job.started_at, finished.at)
            since_then = self._clocks.seconds() - end.one.since - ran
            outcome = finished.outcome
            log.info(
                "job %s: %s %r after %.1f s%s%s",
                job.job_id,
                outcome.status,
                job.name,
                ran,
                f", put away in {since_then:.1f} s more" if since_then >= LONG_SECONDS else "",
                "" if outcome.failure is None else f": {outcome.failure.in_short}",
            )
        self._untold = []

    def _record_alone(self, finished: Finished) -> None:
        """Record one; an unexpected exception becomes the outcome of its job."""
        try:
            with self._ledger.transaction():
                end = self._record(finished)
        except sqlite3.OperationalError:
            raise
        except Exception as error:
            log.exception("job %s: its outcome cannot be sealed", finished.job_id)
            nothing = replace(
                finished, outcome=failed(our_fault(error)), executed=None, staged=NO_FILES
            )
            with self._ledger.transaction():
                end = self._seal(self._job_of(finished), nothing)
        self._conclude(end)

    def _record(self, finished: Finished) -> _End:
        job = self._job_of(finished)
        failure = finished.outcome.failure
        if failure is not None and self._attempts.again(job, failure):
            return _End(self._jobs[job.job_id], job, finished, None)
        outcome = self._attempts.with_advice(job, finished.outcome)
        return self._seal(job, replace(finished, outcome=outcome))

    def _seal(self, job: Job, finished: Finished) -> _End:
        warnings = finished.staged.warnings
        if warnings:
            said = [*finished.outcome.warnings, *warnings]
            outcome = finished.outcome.model_copy(update={"warnings": said})
            finished = replace(finished, outcome=outcome)
        one = self._jobs[job.job_id]
        seal = self._publishing.record(job, finished, State.RUNNING)
        assert one.request is not None
        assert one.order is not None
        return _End(one, job, finished, Sealed(job, seal, one.request, one.order.inputs))

    def _job_of(self, finished: Finished) -> Job:
        job = self._ledger.job(finished.job_id)
        assert job is not None
        return job

    def _conclude(self, end: _End) -> None:
        job = end.job
        self._finished = [one for one in self._finished if one.job_id != job.job_id]
        self._jobs.drop(job.job_id)
        if end.sealed is None:
            self._work.remove(job.job_id)
            return
        self._publishing.add(end.sealed)
        self._untold.append(end)
