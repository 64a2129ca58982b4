"""Lets a job run again whose run has failed, if its request says so."""

import logging
from datetime import timedelta

from runner.config import Limits
from runner.contract.advice.remedies import remedy_by_retries, remedy_of_timeout
from runner.contract.outcome import Failure, Outcome
from runner.contract.request import Request
from runner.contract.states.status import RETRIED, ErrorType
from runner.contract.states.turn import written
from runner.contract.waiting import Retry
from runner.state.jobs import Job
from runner.state.ledger import Ledger
from runner.system.clocks import Clocks

log = logging.getLogger(__name__)


class Attempts:
    """The attempts of running jobs."""

    def __init__(self, ledger: Ledger, clocks: Clocks, limits: Limits) -> None:
        self._ledger = ledger
        self._clocks = clocks
        self._limits = limits

    def again(self, job: Job, failure: Failure) -> bool:
        """Queue a running job once more, after a pause; return whether that is done.

        A warning in its result tells how the attempt ended.

        Raises:
            sqlite3.OperationalError: the ledger cannot take it now; to be repeated.
        """
        if job.cancelled or job.attempt > job.retries:
            return False
        retry = self._request_of(job).retry or Retry(times=job.retries)
        if failure.error_type not in retry.on:
            return False
        pause = retry.pause(job.attempt)
        held_until = written(self._clocks.now() + timedelta(seconds=pause)) if pause else None
        with self._ledger.transaction():
            self._ledger.requeue(job.job_id, held_until)
            self._ledger.warn(
                job.job_id,
                f"{_ended(job.attempt)}{failure.in_short.rstrip(' .')}.",
            )
        log.info("job %s: %s; runs again in %g s", job.job_id, failure.in_short, pause)
        return True

    def cancelled(self, job: Job) -> Failure:
        """Describe the end of a queued job that was cancelled, with how its last attempt ended."""
        if not job.attempt:
            message = "The job was cancelled before it ran."
            return Failure(error_type=ErrorType.CANCELLED, message=message)
        message = (
            f"The job was cancelled while it waited for its {ordinal(job.attempt + 1)} attempt."
        )
        begin = _ended(job.attempt)
        for warning in self._ledger.warnings_of(job.job_id):
            if warning.startswith(begin):
                message += f" Attempt {job.attempt} ended: {warning.removeprefix(begin)}"
        return Failure(error_type=ErrorType.CANCELLED, message=message)

    def with_advice(self, job: Job, outcome: Outcome) -> Outcome:
        """Add to the failure of a job's last attempt, if it failed, what to do about it."""
        if outcome.failure is None:
            return outcome
        return outcome.model_copy(update={"failure": self._advised(job, outcome.failure)})

    def _advised(self, job: Job, failure: Failure) -> Failure:
        """Add to the failure of the last attempt what to do about it."""
        request = self._request_of(job)
        advice = []
        if failure.error_type is ErrorType.TIMEOUT:
            seconds = request.timeout_seconds or self._limits.run_seconds
            advice.append(remedy_of_timeout(seconds, self._limits.max_run_seconds))
        retry = request.retry or (Retry(times=job.retries) if job.retries else None)
        if retry is not None and failure.error_type in retry.on and not job.cancelled:
            advice.append(f"All {job.attempt} attempts were used.")
        elif retry is None and failure.error_type in RETRIED:
            advice.append(remedy_by_retries(is_likely=failure.error_type is ErrorType.INTERRUPTED))
        if not advice:
            return failure
        message = " ".join((f"{failure.message.rstrip(' .:')}.", *advice))
        return failure.model_copy(update={"message": message})

    def _request_of(self, job: Job) -> Request:
        return Request.model_validate_json(self._ledger.request_of(job.job_id) or "{}")


def _ended(attempt: int) -> str:
    """Begin the warning on an attempt after which another was due."""
    return f"Attempt {attempt} ended, and it was to run again: "


def ordinal(number: int) -> str:
    """Write a small number as that of a place in an order: 2nd, 3rd, 4th, 11th."""
    last = "th" if number in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{last}"
