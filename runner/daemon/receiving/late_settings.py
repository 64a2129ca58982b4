"""Handles settings without a notebook: for the next one, or too late for an accepted one."""

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path

from runner.contract.names import job_names
from runner.inbox.drop import Drop
from runner.outbox.publish import Outbox
from runner.state.jobs import Job, State
from runner.state.ledger import Ledger
from runner.system.clocks import Clocks

log = logging.getLogger(__name__)

LATE_SETTINGS_SECONDS = 60.0
TOGETHER_SECONDS = 2.0
"""Settings that come this soon after their notebook were dropped with it."""
PATIENCE_SECONDS = 1.0


class LateSettings:
    """Knows the jobs that missed their settings, and keeps these in the job's history."""

    def __init__(self, ledger: Ledger, outbox: Outbox, clocks: Clocks) -> None:
        self._ledger = ledger
        self._outbox = outbox
        self._clocks = clocks

    def wait(self, path: str, age_seconds: float) -> float | None:
        """Say how long settings without a notebook wait for one; see `settings_wait` below."""
        now = self._clocks.now()
        arrived = now - timedelta(seconds=age_seconds)
        return settings_wait(self._awaiting(path), arrived=arrived, now=now)

    def missed(self, path: str) -> Job | None:
        """Find the newest job of a request's path, however its letters are encoded."""
        jobs = (self._ledger.latest(name) for name in job_names(path))
        return max((job for job in jobs if job is not None), key=lambda job: job.seq, default=None)

    def warn(self, lone: Iterable[tuple[str, str]]) -> None:
        """Warn of settings that may belong to a job, while its result can still say so.

        `lone` has the request's path and the file's name of each.
        """
        for path, filename in lone:
            job = self._awaiting(path)
            if job is not None:
                self._warn_once(job, filename)

    def keep(self, job: Job, drop: Drop) -> None:
        """Put late settings into their job's history, instead of the next drop.

        Raises:
            OSError, OutboxGone: they cannot be put there now.
        """
        self._outbox.keep_beside(job.name, job.job_id, _filename(drop), drop.main.raw)

    def record(self, drop: Drop) -> None:
        """Record with their job that settings came too late."""
        job = self.missed(drop.path)
        if job is None:
            return
        filename = _filename(drop)
        self._warn_once(job, filename)
        log.info("job %s: settings %r came too late", job.job_id, filename)

    def _awaiting(self, path: str) -> Job | None:
        """Find the newest job of a request's path, if it was accepted without its settings."""
        job = self.missed(path)
        return job if job is not None and job.awaits_settings else None

    def _warn_once(self, job: Job, filename: str) -> None:
        warning = (
            f"The settings {filename!r} came after the notebook was accepted and were not "
            "used. Drop the settings first, the notebook last."
        )
        is_open = job.state in (State.QUEUED, State.RUNNING)
        if is_open and warning not in self._ledger.warnings_of(job.job_id):
            self._ledger.warn(job.job_id, warning)


def settings_wait(job: Job | None, *, arrived: datetime, now: datetime) -> float | None:
    """Say for how many seconds settings without a notebook wait for one, 0 if they are too late.

    `job` is the newest of their name that was accepted without settings. Settings that come within
    a minute after it are too late for it, or in time for the next notebook. Only the next minute
    can tell, so they wait for that long. If they came together with a job that was not over, they
    wait only a moment, because nobody had seen a result yet. None: they belong to no job.
    """
    if job is None:
        return None
    behind = (arrived - datetime.fromisoformat(job.accepted_at)).total_seconds()
    if abs(behind) > LATE_SETTINGS_SECONDS:
        return None
    over = job.finished_at is not None and datetime.fromisoformat(job.finished_at) <= arrived
    together = behind <= TOGETHER_SECONDS and not over
    patience = PATIENCE_SECONDS if together else LATE_SETTINGS_SECONDS
    return max(patience - (now - arrived).total_seconds(), 0.0)


def _filename(drop: Drop) -> str:
    return Path(drop.main.sighting.path).name
