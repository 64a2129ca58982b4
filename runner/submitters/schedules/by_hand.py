"""Finds the runs of schedules that somebody started by hand: they are in the ledger alone."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from runner.contract.states.status import FINAL
from runner.contract.triggers.causes import by_hand, schedule_of, stamp
from runner.jobs.problem import Problem
from runner.jobs.record import Record
from runner.state.jobs import Job, JobFilter
from runner.submitters.schedules.book import Occurrence


class RunsByHand:
    """The ledger behind one face. While it cannot be read, there are no such runs."""

    def __init__(self, record: Record) -> None:
        self._record = record

    def newest(self, job_names: dict[str, str]) -> dict[str, Occurrence]:
        """Give the newest run of each schedule, by its name, if that was started by hand.

        `job_names` are the names of its jobs.
        """
        try:
            with self._record.ledger() as ledger:
                jobs = {name: ledger.latest(job_name) for name, job_name in job_names.items()}
        except Problem:
            return {}
        return {
            name: _described(job)
            for name, job in jobs.items()
            if job is not None and _is_of(name, job)
        }

    def of(self, name: str, job_name: str, limit: int) -> list[Occurrence]:
        """List those of one schedule among its newest jobs, the newest first."""
        try:
            with self._record.ledger() as ledger:
                jobs = ledger.jobs(JobFilter(name=job_name), limit=limit)
        except Problem:
            return []
        return [_described(job) for job in jobs if _is_of(name, job)]


def newest_first(runs: Iterable[Occurrence], limit: int) -> Sequence[Occurrence]:
    """Order runs by hand and those of the set times together."""
    return sorted(runs, key=lambda one: one.through, reverse=True)[:limit]


def _is_of(name: str, job: Job) -> bool:
    return schedule_of(job.submitted_by) == name and by_hand(job.submitted_by) is not None


def _described(job: Job) -> Occurrence:
    moment = stamp(datetime.fromisoformat(job.accepted_at))
    return Occurrence(
        name=schedule_of(job.submitted_by) or "",
        scheduled_for=moment,
        through=moment,
        times=1,
        reason=None,
        job_id=job.job_id,
        job_name=job.name,
        status=job.status if job.status in FINAL else None,
        by=by_hand(job.submitted_by),
    )
