"""Writes `NAME.status.json` for jobs that run for a while, and for the first that wait."""

import logging
from datetime import datetime

from runner.contract.text.strict_json import JsonValue
from runner.daemon.running.in_hand import InHand, JobsInHand, Stage
from runner.execution.order import Progress
from runner.outbox.publish import Outbox, OutboxGone
from runner.state.jobs import Job
from runner.state.ledger import Ledger
from runner.system.clocks import Clocks

log = logging.getLogger(__name__)

STATUS_AFTER_SECONDS = 1.0
STATUS_SECONDS = 1.0
STATUS_REST = 20
"""After writing status files, pause this many times as long as that took: a slow outbox with
hundreds of them would hold up everything else."""
STATUS_QUEUED = 100
QUEUED_STATUS_SECONDS = 10.0


class StatusFiles:
    """Keeps the status files of unfinished jobs."""

    def __init__(self, ledger: Ledger, outbox: Outbox, clocks: Clocks) -> None:
        self._ledger = ledger
        self._outbox = outbox
        self._clocks = clocks
        self._not_before = 0.0
        self._queued_at: dict[str, float] = {}

    def write(self, jobs: JobsInHand) -> None:
        """Write the status files that are due; a failed one is written later, or never."""
        now = self._clocks.seconds()
        if now < self._not_before:
            return
        running = jobs.at(Stage.RUNNING)
        try:
            for one in running:
                if now - one.since >= STATUS_AFTER_SECONDS <= now - one.status_at:
                    one.status_at = now
                    self._outbox.status(one.job.name, _of_running(one, now - one.since))
            self._write_queued(now, {one.job.name for one in running})
        except (OSError, OutboxGone) as error:
            log.debug("status files: %s", error)
        self._not_before = now + (self._clocks.seconds() - now) * STATUS_REST

    def next_due(self, jobs: JobsInHand) -> float | None:
        """Return the seconds until there may be something to write; None if no job is open."""
        return STATUS_SECONDS if self._queued_at or jobs.count(Stage.RUNNING) else None

    def _write_queued(self, now: float, running: set[str]) -> None:
        """Write the status of the first hundred that wait, except names that run."""
        written = {}
        for place, job in enumerate(self._ledger.queued(STATUS_QUEUED)):
            waited = (self._clocks.now() - datetime.fromisoformat(job.accepted_at)).total_seconds()
            last = self._queued_at.get(job.job_id, float("-inf"))
            written[job.job_id] = last
            if job.name in running or waited < STATUS_AFTER_SECONDS:
                continue
            if now - last < QUEUED_STATUS_SECONDS:
                continue
            written[job.job_id] = now
            self._outbox.status(job.name, _of_queued(job, place, waited))
        self._queued_at = written


def _of_running(one: InHand, seconds: float) -> dict[str, JsonValue]:
    progress = one.progress or Progress(cell=0, cells=0)
    return {
        "job_id": one.job.job_id,
        "name": one.job.name,
        "status": "running",
        "cell": progress.cell,
        "cells": progress.cells,
        "elapsed_seconds": round(seconds, 1),
        "log_tail": progress.tail,
    }


def _of_queued(job: Job, place: int, seconds: float) -> dict[str, JsonValue]:
    return {
        "job_id": job.job_id,
        "name": job.name,
        "status": "queued",
        "waiting_before": place,
        "elapsed_seconds": round(seconds, 1),
    }
