"""Does the regular chores.

Prunes the history, shrinks the ledger, ends orphans, removes status files that are not true.
"""

import logging
import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

from runner.config import Settings
from runner.daemon.stale_status import StaleStatus
from runner.daemon.startup import Parts
from runner.outbox.publish import OutboxGone
from runner.state.jobs import Job
from runner.system.clocks import Clocks
from runner.system.files.disk import Disk
from runner.system.processes.allocator import Allocator
from runner.system.processes.process_tree import children

log = logging.getLogger(__name__)

SHRINK_SECONDS = 0.05
"""Time for one step in which the ledger frees disk space."""
FETCH_DAYS = 1 / 24
"""A result without a chosen name stays this long at least, so that its client can fetch it."""


class Upkeep:
    """Does the chores when the loop says so."""

    def __init__(self, settings: Settings, parts: Parts, clocks: Clocks, disk: Disk) -> None:
        self._settings = settings
        self._parts = parts
        self._clocks = clocks
        self._strangers: set[int] = set()
        self._allocator = Allocator()
        self._stale_status = StaleStatus(parts, disk)

    def prune(self) -> bool:
        """Keep the history within its limits; return whether there may be more to remove."""
        history, parts = self._settings.history, self._parts
        older_than = self._days_ago(history.keep_days)
        fetched_by = self._days_ago(max(history.keep_days, FETCH_DAYS))
        for job in parts.ledger.without_name(older_than=fetched_by):
            self._prune_one(job, lambda job: parts.history.retire(job.name))
        jobs = [
            job
            for job in parts.ledger.prunable(older_than=older_than, keep_runs=history.keep_runs)
            if self._prune_one(job, lambda job: parts.outbox.prune(job.name, job.job_id))
        ]
        parts.ledger.pruned([job.job_id for job in jobs], self._days_ago(0))
        parts.inputs.remove(job.job_id for job in jobs)
        if jobs:
            log.info("removed %d old runs from the history", len(jobs))
        parts.following.bound()
        rows = parts.ledger.forget(older_than=self._days_ago(history.keep_rows_days))
        return bool(jobs or rows)

    def remove_stale_status(self) -> None:
        """Remove status files that lay in the outbox at the start, of jobs that are not open."""
        self._stale_status.remove()

    def tidy(self) -> None:
        """Free unused memory and disk space, and end unknown processes."""
        self._reap()
        self._allocator.look()
        try:
            self._parts.ledger.shrink(SHRINK_SECONDS, self._clocks.seconds)
        except sqlite3.OperationalError as error:
            log.debug("the ledger does not shrink now: %s", error)

    def _days_ago(self, days: float) -> str:
        return (self._clocks.now() - timedelta(days=days)).isoformat(timespec="milliseconds")

    def _prune_one(self, job: Job, step: Callable[[Job], None]) -> bool:
        """Do one step for one job; a failure holds up no other."""
        try:
            step(job)
        except (OSError, OutboxGone) as error:
            log.warning("job %s stays in the history: %s", job.job_id, error)
            return False
        return True

    def _reap(self) -> None:
        """End orphans that became our children because the preload server was gone.

        Only those of the last look too: a new child may not be known yet.
        """
        parts = self._parts
        known = parts.execution.pids | parts.inbox.pids
        known |= (
            parts.following.pids
            | parts.submitting.pids
            | (parts.gateway.pids if parts.gateway else set())
        )
        strangers = set(children(os.getpid())) - known
        for child in strangers & self._strangers:
            log.info("ending a process without a parent: %d", child)
            with suppress(ProcessLookupError, ChildProcessError):
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
        self._strangers = strangers
