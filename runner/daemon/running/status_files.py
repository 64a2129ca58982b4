"""Writes `NAME.status.json` for jobs that run, and for the first that wait."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from runner.contract.text.strict_json import JsonValue
from runner.daemon.running.in_hand import InHand, JobsInHand, Stage
from runner.execution.order import Progress
from runner.outbox.publish import Outbox, OutboxGone
from runner.state.jobs import Job
from runner.state.ledger import Ledger
from runner.state.pauses import Pauses, why_waiting
from runner.system.clocks import Clocks

log = logging.getLogger(__name__)

Json = dict[str, JsonValue]

FIRST_SECONDS = 0.05
"""A job that is over by then gets no status file."""
STATUS_SECONDS = 1.0
STATUS_QUEUED = 100
QUEUED_STATUS_SECONDS = 10.0
"""Longest time between two files of a job that waits; it is less while it has not waited long."""


class Allowance:
    """Time for status files: on a slow outbox hundreds of them would hold up everything else."""

    SHARE = 0.05
    AT_ONCE_SECONDS = 0.2

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._left = self.AT_ONCE_SECONDS
        self._at = clock()

    def seconds_left(self) -> float:
        """Return how long the files may take now; below zero if earlier ones took too long."""
        now = self._clock()
        grown = self._left + (now - self._at) * self.SHARE
        self._left, self._at = min(grown, self.AT_ONCE_SECONDS), now
        return self._left

    def spend(self, seconds: float) -> None:
        """Take off what a file took."""
        self._left = self.seconds_left() - seconds

    def refilled_at(self) -> float:
        """Return the time from which on there is some left."""
        return self._clock() + max(-self.seconds_left(), 0.0) / self.SHARE


@dataclass(frozen=True)
class Due:
    """A status file: when it is due, when it was written last (or never), and what it says."""

    at: float
    last: float
    name: str
    content: Callable[[float], Json]
    """Gives it at a time, and notes that it is written."""


class StatusFiles:
    """Keeps the status files of unfinished jobs."""

    def __init__(self, ledger: Ledger, outbox: Outbox, pauses: Pauses, clocks: Clocks) -> None:
        self._ledger = ledger
        self._outbox = outbox
        self._pauses = pauses
        self._clocks = clocks
        self._allowance = Allowance(clocks.seconds)
        self._not_before = 0.0
        self._look_at = 0.0
        """When to look at the queue."""
        self._queued_at: dict[str, float] = {}

    def expect(self) -> None:
        """Note that jobs were accepted: what waits of them is due soon."""
        self._look_at = min(self._look_at, self._clocks.seconds() + FIRST_SECONDS)

    def write(self, jobs: JobsInHand) -> None:
        """Write the status files that are due; a failed one is written later, or never."""
        now = self._clocks.seconds()
        if now < self._due_at(jobs):
            return
        running = jobs.at(Stage.RUNNING)
        due = [self._of_running(one) for one in running if _at(one) <= now]
        if self._look_at <= now:
            due += self._of_queue(now, running)
        try:
            for one in sorted(due, key=lambda one: one.last):
                if self._allowance.seconds_left() > 0:
                    self._write(one, now)
        except (OSError, OutboxGone) as error:
            log.debug("status files: %s", error)
            self._not_before = now + STATUS_SECONDS
        else:
            self._not_before = self._allowance.refilled_at()

    def next_due(self, jobs: JobsInHand) -> float | None:
        """Return the seconds until there may be something to write; None if no job is open."""
        due = self._due_at(jobs)
        return None if math.isinf(due) else due - self._clocks.seconds()

    def _due_at(self, jobs: JobsInHand) -> float:
        first = min(map(_at, jobs.at(Stage.RUNNING)), default=math.inf)
        return max(min(self._look_at, first), self._not_before)

    def _of_running(self, one: InHand) -> Due:
        last = one.status_at

        def content(now: float) -> Json:
            one.status_at = now
            return _running(one, now - one.since)

        return Due(_at(one), -math.inf if last is None else last, one.job.name, content)

    def _of_queue(self, now: float, running: Sequence[InHand]) -> list[Due]:
        """List the files due of the first hundred that wait: the next job of each idle name."""
        names = {one.job.name for one in running}
        queued = self._ledger.queued(STATUS_QUEUED)
        self._look_at = now + STATUS_SECONDS if queued or running else math.inf
        known = self._queued_at
        self._queued_at = {job.job_id: known.get(job.job_id, -math.inf) for job in queued}
        due = []
        for place, job in enumerate(queued):
            if job.name not in names:
                names.add(job.name)
                due.append(self._of_queued(job, place))
        return [one for one in due if one.at <= now]

    def _of_queued(self, job: Job, place: int) -> Due:
        last = self._queued_at[job.job_id]

        def content(now: float) -> Json:
            self._queued_at[job.job_id] = now
            why = why_waiting(job, self._pauses.all())
            return _queued(job, place, self._waited(job), why)

        pause = min(max(self._waited(job) / 10, STATUS_SECONDS), QUEUED_STATUS_SECONDS)
        return Due(last + pause, last, job.name, content)

    def _write(self, one: Due, now: float) -> None:
        began = self._clocks.seconds()
        self._outbox.status(one.name, one.content(now))
        self._allowance.spend(self._clocks.seconds() - began)

    def _waited(self, job: Job) -> float:
        since = datetime.fromisoformat(job.accepted_at)
        return max((self._clocks.now() - since).total_seconds(), 0.0)


def _at(one: InHand) -> float:
    """Return when the next status file of a job that runs is due."""
    if one.status_at is None:
        return one.since + FIRST_SECONDS
    return one.status_at + STATUS_SECONDS


def _running(one: InHand, seconds: float) -> Json:
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


def _queued(job: Job, place: int, seconds: float, why: str | None) -> Json:
    held_until = job.waiting.held_until
    return {
        "job_id": job.job_id,
        "name": job.name,
        "status": "queued",
        "waiting_before": place,
        **({} if held_until is None else {"held_until": held_until}),
        **({} if why is None else {"waits_for": why}),
        "elapsed_seconds": round(seconds, 1),
    }
