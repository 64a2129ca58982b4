"""Decides, turn by turn, which occurrences run now, and submits them: each exactly once.

An occurrence is submitted first and noted then. A crash between the two repeats the first, and the
same cause is the same job.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Protocol

from runner.contract.outcome import Refused
from runner.contract.triggers.causes import cause_of_schedule, moment_of, stamp
from runner.contract.triggers.placeholders import PlaceholderError
from runner.jobs.body import JobRequest
from runner.jobs.problem import Problem
from runner.jobs.submissions import Submitted
from runner.submitters.schedules.book import DISABLED, PAUSED, Book, Entry, Occurrence
from runner.submitters.schedules.files import Plan, Planned
from runner.system.backoff import Backoff

log = logging.getLogger(__name__)

LATE = timedelta(seconds=60)
"""A run that starts later than that was missed, and `missed` says what becomes of it."""
FORGET = timedelta(hours=1)
"""A file that comes back within that time goes on where it was; editors replace files."""
SAVE_SECONDS = 60.0
"""How often to note how far a schedule was looked at while nothing comes due."""
LOOK_SECONDS = 1.0
A_TURN = 1_000
"""Most occurrences of one schedule that a turn decides; the next turn goes on."""
FIRST_SECONDS, LAST_SECONDS = 1.0, 60.0

AWAY = "it could not start in time, and missed: none"
NOT_LAST = "it could not start in time; a later one was made up (missed: last)"
TOO_LONG_AGO = "it could not start within catch_up_hours"
STILL_RUNNING = "the run before still went on, and overlap: skip"


Typed = Callable[[dict[str, Any], Collection[str]], dict[str, Any]]
"""Gives parameters that come as texts the types that the notebook wants; see `Functions.typed`."""


class Jobs(Protocol):
    """What schedules need of the jobs: `JobsOfRunner`, or a record of them in tests."""

    def typed(self, request: dict[str, Any], texts: Collection[str]) -> dict[str, Any]:
        """Give parameters that come as texts the types that the notebook wants."""

    def submit(self, cause: str, wanted: JobRequest) -> Submitted:
        """Submit a request for a cause; the same cause gives the same job."""

    def of_cause(self, cause: str) -> Submitted | None:
        """Find the job that a cause has already."""

    def status_of(self, run: Occurrence) -> str | None:
        """Return how a run ended; None while it is not over."""


@dataclass(frozen=True)
class _Case:
    """A schedule in one turn. `newest`: the last occurrence that is due; None if none is late."""

    plan: Plan
    is_paused: bool
    now: datetime
    newest: datetime | None


def request_of(plan: Plan, occurrence: datetime, typed: Typed) -> JobRequest:
    """Make the request of an occurrence.

    Raises:
        PlaceholderError: a placeholder leads out of the calendar.
    """
    request = plan.schedule.request_at(occurrence.astimezone(plan.calendar.zone))
    return JobRequest(typed(request, plan.schedule.texts), plan.job_name, None)


class Scheduling:
    """Works off the schedules. For one thread."""

    def __init__(
        self, book: Book, jobs: Jobs, now: Callable[[], datetime], seconds: Callable[[], float]
    ) -> None:
        self._book = book
        self._jobs = jobs
        self._now = now
        self._seconds = seconds
        self._delays = Backoff(seconds, FIRST_SECONDS, LAST_SECONDS)
        self._until: dict[str, datetime] = {}
        """How far each schedule was looked at, more exactly than the book has it."""
        self._saved: dict[str, float] = {}
        self._resolved: set[str] = set()
        """Schedules of which it is known that the book has all of their jobs."""
        self._held: dict[str, datetime] = {}
        """The occurrence of each schedule that could not be submitted; it is not late for that."""

    def turn(self, files: Sequence[Planned]) -> float:
        """Decide what is due, and return the seconds until there may be more.

        Raises:
            sqlite3.Error: the book cannot be read or written now.
        """
        now = self._now()
        self._note_ends(files)
        entries = self._book.entries()
        for name in entries.keys() - {one.name for one in files}:
            self._book.gone(name, _iso(now), _iso(now - FORGET))
            self._until.pop(name, None)
        self._delays.keep(one.name for one in files)
        waits = [LOOK_SECONDS]
        for one in files:
            if one.plan is not None:
                waits.append(self._turn_for(one.plan, entries.get(one.name), now))
        return max(0.0, min(waits))

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield the schedules that cannot be submitted now, and why."""
        yield from self._delays.reasons.items()

    def _turn_for(self, plan: Plan, entry: Entry | None, now: datetime) -> float:
        seen = self._begin(plan, entry, now)
        if self._delays.why_held(plan.name) is not None:
            return LOOK_SECONDS
        newest = plan.calendar.last_until(now) if seen < now - LATE else None
        case = _Case(plan, entry is not None and entry.paused_at is not None, now, newest)
        upcoming = plan.calendar.after(seen)
        following = None
        for occurrence in islice(upcoming, A_TURN):
            if plan.calendar.due_at(occurrence) > now:
                following = occurrence
                break
            if not self._decide(case, occurrence):
                return LOOK_SECONDS
        else:
            if next(upcoming, None) is not None:
                return 0.0
        self._advance(plan.name, now if following is None else min(now, _before(following)))
        if following is None:
            return LOOK_SECONDS
        return (plan.calendar.due_at(following) - now).total_seconds()

    def _begin(self, plan: Plan, entry: Entry | None, now: datetime) -> datetime:
        """Return until when a schedule was looked at; a new or retimed one begins now.

        A clock that was set back begins now as well: what ran already is in the book.
        """
        if entry is None or entry.timing != plan.timing:
            self._book.begin(plan.name, plan.timing, _iso(now))
            self._until[plan.name] = now
            return now
        seen = self._until.get(plan.name) or datetime.fromisoformat(entry.seen_until)
        if entry.gone_at is not None:
            self._book.seen(plan.name, entry.seen_until)
        return min(seen, now)

    def _advance(self, name: str, until: datetime) -> None:
        """Note how far a schedule was looked at: here at once, in the book from time to time."""
        self._until[name] = until
        if self._seconds() - self._saved.get(name, 0.0) > SAVE_SECONDS:
            self._saved[name] = self._seconds()
            self._book.seen(name, _iso(until))

    def _decide(self, case: _Case, occurrence: datetime) -> bool:
        """Submit an occurrence, or skip it; return whether that could be done."""
        name, stamped = case.plan.name, stamp(occurrence)
        if not self._book.has(name, stamped):
            is_late = self._is_late(case, occurrence)
            job = self._unnoted(name, occurrence) if is_late else None
            reason = None if job else self._why_not(case, occurrence, is_late=is_late)
            if reason is not None:
                day = occurrence.astimezone(case.plan.calendar.zone).date().isoformat()
                self._book.skipped(name, stamped, day, reason, _iso(occurrence))
            else:
                job = job or self._submit(case.plan, occurrence)
                if job is None:
                    return False
                self._book.submitted(name, stamped, job.job_id, job.name, _iso(occurrence))
        self._held.pop(name, None)
        self._delays.release(name)
        self._until[name] = occurrence
        return True

    def _unnoted(self, name: str, occurrence: datetime) -> Submitted | None:
        """Find a job that a crash kept from being noted: that of the first one not in the book."""
        if name in self._resolved:
            return None
        self._resolved.add(name)
        return self._jobs.of_cause(cause_of_schedule(name, occurrence))

    def _is_late(self, case: _Case, occurrence: datetime) -> bool:
        is_held = self._held.get(case.plan.name) == occurrence
        return not is_held and case.now - case.plan.calendar.due_at(occurrence) > LATE

    def _why_not(self, case: _Case, occurrence: datetime, *, is_late: bool) -> str | None:
        """Return why an occurrence does not run; None if it does."""
        timing = case.plan.schedule.timing
        if not timing.enabled:
            return DISABLED
        if case.is_paused:
            return PAUSED
        if is_late:
            if timing.missed == "none":
                return AWAY
            if case.now - occurrence > timedelta(hours=timing.catch_up_hours):
                return TOO_LONG_AGO
            if timing.missed == "last" and case.newest is not None and occurrence < case.newest:
                return NOT_LAST
        if timing.overlap == "skip" and self._book.has_open(case.plan.name):
            return STILL_RUNNING
        return None

    def _submit(self, plan: Plan, occurrence: datetime) -> Submitted | None:
        """Submit an occurrence; None, and once more later, if it cannot be."""
        try:
            job = self._jobs.submit(
                cause_of_schedule(plan.name, occurrence),
                request_of(plan, occurrence, self._jobs.typed),
            )
        except (Problem, Refused, PlaceholderError, OSError) as error:
            why = error.message if isinstance(error, Problem) else str(error)
            self._held[plan.name] = occurrence
            self._delays.hold(plan.name, why)
            return None
        log.info("the schedule %s: job %s for %s", plan.name, job.job_id, stamp(occurrence))
        return job

    def _note_ends(self, files: Sequence[Planned]) -> None:
        zones = {one.name: one.plan.calendar.zone for one in files if one.plan is not None}
        for run in self._book.still_open():
            status = self._jobs.status_of(run)
            if status is not None:
                moment = moment_of(run.scheduled_for).astimezone(zones.get(run.name, UTC))
                self._book.finished(run, moment.date().isoformat(), status)


def _before(occurrence: datetime) -> datetime:
    return occurrence.astimezone(UTC) - timedelta(seconds=1)


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")
