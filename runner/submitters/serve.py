"""The process that makes requests by itself, beside a daemon and only while it lives."""

import json
import logging
import os
import signal
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice

from runner.config import Settings
from runner.jobs.backend import backend_of
from runner.submitters.hooks.outlook import HookNotes
from runner.submitters.rules.work import RuleWork
from runner.submitters.schedules.book import Book
from runner.submitters.schedules.files import Planned, ScheduleFiles
from runner.submitters.schedules.jobs_of_runner import JobsOfRunner
from runner.submitters.schedules.outlook import Outlook
from runner.submitters.schedules.scheduling import LOOK_SECONDS, Scheduling
from runner.system.clocks import Clocks
from runner.system.companion import is_alone, is_over

log = logging.getLogger(__name__)

LOCK_FILE = ".submitters.lock"
MOST_NOTES = 20
AHEAD_SECONDS = 5.0
"""How often to look whether the library has what the next runs need."""
READ_SECONDS = 0.2
"""How long such a look may read notebooks: what is due must not wait for it."""


def serve(settings: Settings, *, owner: int, reports: int) -> None:
    """Submit until `owner` reads to its end. Notes for health go to `reports`, a line each time.

    Both are descriptors of pipes whose other ends the daemon holds. A line is a JSON list of texts.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends with its daemon
    if not is_alone(settings.state / LOCK_FILE, owner):
        return
    loop = _Loop(settings)
    said: list[str] = []
    seconds = 0.0
    while not is_over(owner, seconds):
        seconds = loop.turn()
        notes = loop.notes()
        if notes != said:
            for note in notes:
                if note not in said:
                    log.warning("%s", note)
            said = notes
            try:
                os.write(reports, json.dumps(notes).encode() + b"\n")
            except BrokenPipeError:
                return


class _Loop:
    """The schedules of one runner, and what keeps them from being worked off."""

    def __init__(self, settings: Settings) -> None:
        clocks = Clocks()
        self._state = settings.state
        self._files = ScheduleFiles(
            settings.schedules_folder, settings.request_rules, settings.intake.ignore
        )
        backend = backend_of(settings)
        self._rules = RuleWork(backend, clocks)
        self._jobs = JobsOfRunner(backend)
        self._outlook = Outlook(backend.functions, READ_SECONDS)
        self._hooks = HookNotes(settings, backend.functions)
        self._clocks = clocks
        self._book: Book | None = None
        self._scheduling: Scheduling | None = None
        self._planned: Sequence[Planned] = ()
        self._problem: str | None = None
        self._refusals: Mapping[str, str] = {}
        self._looked = -AHEAD_SECONDS

    def turn(self) -> float:
        """Work off what is due, and return the seconds until the next turn."""
        return min(self._schedule(), self._rules.turn())

    def _schedule(self) -> float:
        try:
            self._planned = self._files.all()
            if self._book is None or self._scheduling is None:
                self._book = Book(self._state)
                now, seconds = self._clocks.now, self._clocks.seconds
                self._scheduling = Scheduling(self._book, self._jobs, now, seconds)
            wait = self._scheduling.turn(self._planned)
            self._look_ahead(self._book)
        except (OSError, sqlite3.Error) as error:
            self._problem = f"schedules cannot be worked off now: {error}"
            return LOOK_SECONDS
        self._problem = None
        return wait

    def _look_ahead(self, book: Book) -> None:
        """Learn from time to time which next runs would be refused; each is submitted all the same.

        Raises:
            sqlite3.Error: the book cannot be read now.
        """
        seconds = self._clocks.seconds()
        if seconds - self._looked < AHEAD_SECONDS:
            return
        self._looked = seconds
        paused = {name for name, one in book.entries().items() if one.paused_at is not None}
        upcoming = _upcoming((one for one in self._planned if one.name not in paused), self._clocks)
        self._refusals = self._outlook.errors(upcoming)
        self._hooks.look()

    def notes(self) -> list[str]:
        """Say which schedules do not run, and which hooks take no calls, and why; not too many."""
        return list(islice(self._notes(), MOST_NOTES))

    def _notes(self) -> Iterable[str]:
        yield from self._rules.notes()
        if self._problem is not None:
            yield self._problem
        for one in self._planned:
            if one.error is not None:
                yield f"the schedule {one.name} does not run: {one.error}"
        for name, why in self._refusals.items():
            yield f"the schedule {name} would not run: {why}"
        yield from self._hooks.all
        if self._scheduling is not None:
            for name, why in self._scheduling.problems():
                yield f"the schedule {name} cannot be submitted now: {why}"


def _upcoming(planned: Iterable[Planned], clocks: Clocks) -> Iterable[tuple[Planned, datetime]]:
    """Yield the schedules that run by themselves, each with its next time."""
    now = clocks.now()
    for one in planned:
        if one.plan is not None and one.plan.schedule.timing.enabled:
            following = next(one.plan.calendar.after(now), None)
            if following is not None:
                yield one, following
