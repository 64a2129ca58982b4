"""The schedules for every interface: list them, look ahead, run one now, pause and resume.

Works with and without a running daemon: it reads the files and the book, and submits by the inbox.
"""

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import lru_cache
from itertools import islice
from typing import Any

from cron_descriptor import FormatError, Options, get_description

from runner.contract.states.status import ErrorType
from runner.contract.triggers.causes import cause_of_schedule
from runner.contract.triggers.placeholders import PlaceholderError
from runner.jobs import submit
from runner.jobs.backend import Backend
from runner.jobs.problem import Problem, not_found, unavailable
from runner.jobs.submissions import Submitted
from runner.submitters.schedules.book import BOOK_FILE, Book, Entry, Occurrence
from runner.submitters.schedules.by_hand import RunsByHand, newest_first
from runner.submitters.schedules.files import Plan, Planned, ScheduleFiles
from runner.submitters.schedules.outlook import Outlook
from runner.submitters.schedules.scheduling import request_of

MOST_UPCOMING = 100
MOST_CHARACTERS = 200
"""Longest part of an unknown name in a message."""


@dataclass(frozen=True)
class View:
    """One schedule as people see it.

    `state` is `on`, `paused`, `disabled`, `over` or `wrong`, and `error` says what is wrong: its
    file, or its next run, which the runner would refuse. `following` is the next run, in the
    schedule's time zone, also of one that would be refused; `last` what came of the last time it
    was due, or of a later run by hand.
    """

    name: str
    state: str
    error: str | None = None
    in_words: str = ""
    cron: str = ""
    timezone: str = ""
    notebook: str = ""
    following: datetime | None = None
    last: Occurrence | None = None
    paused_by: str | None = None


@dataclass(frozen=True)
class Details:
    """One schedule with what its own page tells.

    `upcoming` are the next times in its zone, paused or not; `occurrences` the last ones, also
    those by hand, the newest first; `parameters` have their placeholders still; `file` is below the
    folder.
    """

    view: View
    file: str
    occurrences: Sequence[Occurrence]
    upcoming: Sequence[datetime] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    job_name: str = ""


class Schedules:
    """The schedules behind one face. Safe for many threads.

    Each call looks into the folder; a file that has not changed is not read again.
    """

    def __init__(self, backend: Backend) -> None:
        self._settings = backend.settings
        self._runs = backend.runs
        self._files = ScheduleFiles(
            self._settings.schedules_folder,
            self._settings.request_rules,
            self._settings.intake.ignore,
        )
        self._by_hand = RunsByHand(backend.record)
        self._functions = backend.functions
        self._outlook = Outlook(backend.functions)
        self._reading = threading.Lock()

    def all(self) -> list[View]:
        """List them by name.

        Raises:
            Problem: `unavailable`, the folder or the book cannot be read.
        """
        now = datetime.now(UTC)
        planned = self._planned()
        with self._book() as book:
            entries = {} if book is None else book.entries()
            names = {one.name: one.plan.job_name for one in planned if one.plan is not None}
            by_hand = self._by_hand.newest(names)
            lasts = {one.name: _last(book, one.name, by_hand) for one in planned}
            views = [_view(one, entries.get(one.name), lasts[one.name], now) for one in planned]
        return self._looked_ahead(planned, views)

    def one(self, name: str) -> View:
        """Return the schedule of that name.

        Raises:
            Problem: `not_found`; `unavailable`.
        """
        planned = self._file_of(name)
        with self._book() as book:
            entry = None if book is None else book.entries().get(name)
            names = {} if planned.plan is None else {name: planned.plan.job_name}
            last = _last(book, name, self._by_hand.newest(names))
            view = _view(planned, entry, last, datetime.now(UTC))
        return self._looked_ahead([planned], [view])[0]

    def details(self, name: str, upcoming: int = 5, occurrences: int = 50) -> Details:
        """Return the schedule of that name, with its next times and its last ones.

        Raises:
            Problem: `not_found`; `unavailable`.
        """
        planned, now = self._file_of(name), datetime.now(UTC)
        plan = planned.plan
        with self._book() as book:
            entry = None if book is None else book.entries().get(name)
            past: Sequence[Occurrence] = () if book is None else book.occurrences(name, occurrences)
        if plan is not None:
            by_hand = self._by_hand.of(name, plan.job_name, occurrences)
            past = newest_first([*by_hand, *past], occurrences)
        view = _view(planned, entry, past[0] if past else None, now)
        view = self._looked_ahead([planned], [view])[0]
        file = planned.path.relative_to(self._settings.schedules_folder).as_posix()
        if plan is None:
            return Details(view, file, past)
        following = tuple(islice(plan.calendar.after(now), min(upcoming, MOST_UPCOMING)))
        parameters = plan.schedule.request.get("parameters") or {}
        return Details(view, file, past, following, parameters, plan.job_name)

    def upcoming(self, name: str, count: int) -> list[datetime]:
        """Return when it comes due next, in its time zone; whether it is paused or not.

        Raises:
            Problem: `not_found`; `invalid_request`, its file is wrong; `unavailable`.
        """
        calendar = self._plan_of(name).calendar
        return list(islice(calendar.after(datetime.now(UTC)), min(count, MOST_UPCOMING)))

    def run(self, name: str, face: str) -> Submitted:
        """Submit its request now, paused or not; the job says who asked, and that it is of this
        schedule.

        Raises:
            Problem: `not_found`; `invalid_request`, its file is wrong; those of a submission.
            OSError: the inbox cannot be written.
        """
        plan = self._plan_of(name)
        now = datetime.now(plan.calendar.zone).replace(second=0, microsecond=0)
        try:
            wanted = request_of(plan, now, self._functions.typed)
        except PlaceholderError as error:
            raise Problem(ErrorType.INVALID_REQUEST, f"{error}.") from error
        by = f"{cause_of_schedule(name, now)} by {face}"
        return self._runs.submit(wanted.submitted_by(by), submit.new_job_id())

    def pause(self, name: str, face: str) -> View:
        """Let no run start by itself until it is resumed, also after a restart.

        Raises:
            Problem: `not_found`; `unavailable`, the book cannot be written.
        """
        self._file_of(name)
        with self._book(for_writing=True) as book:
            assert book is not None
            book.pause(name, face, datetime.now(UTC).isoformat(timespec="seconds"))
        return self.one(name)

    def resume(self, name: str) -> View:
        """Let runs start again; those of the pause are not made up.

        Raises:
            Problem: `not_found`; `unavailable`, the book cannot be written.
        """
        self._file_of(name)
        with self._book(for_writing=True) as book:
            assert book is not None
            book.resume(name)
        return self.one(name)

    def occurrences(self, name: str, limit: int = 50) -> list[Occurrence]:
        """List what came of a schedule, the newest first; also of one whose file is gone.

        Raises:
            Problem: `unavailable`, the book cannot be read.
        """
        with self._book() as book:
            return [] if book is None else book.occurrences(name, limit)

    def days(self, name: str, since: str) -> dict[str, dict[str, int]]:
        """Count the outcomes of each day, from a day on.

        Raises:
            Problem: `unavailable`, the book cannot be read.
        """
        with self._book() as book:
            return {} if book is None else book.days(name, since)

    def _looked_ahead(self, planned: Iterable[Planned], views: Sequence[View]) -> list[View]:
        """Mark those whose next run the runner would refuse."""
        upcoming = [
            (one, view.following)
            for one, view in zip(planned, views, strict=True)
            if view.following is not None
        ]
        errors = self._outlook.errors(upcoming)
        return [
            replace(one, state="wrong", error=errors[one.name]) if one.name in errors else one
            for one in views
        ]

    def _planned(self) -> list[Planned]:
        folder = self._settings.schedules_folder
        try:
            with self._reading:
                return self._files.all()
        except OSError as error:
            raise unavailable(f"{folder} cannot be read ({error.strerror or error}).") from error

    def _file_of(self, name: str) -> Planned:
        planned = self._planned()
        for one in planned:
            if one.name == name:
                return one
        near = get_close_matches(name, [one.name for one in planned], 1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        wanted, folder = name[:MOST_CHARACTERS], self._settings.schedules_folder
        raise not_found(f"There is no schedule {wanted!r} in {folder}{hint}.")

    def _plan_of(self, name: str) -> Plan:
        planned = self._file_of(name)
        if planned.plan is None:
            raise Problem(
                ErrorType.INVALID_REQUEST, f"The schedule {name!r} is wrong. {planned.error}"
            )
        return planned.plan

    @contextmanager
    def _book(self, *, for_writing: bool = False) -> Iterator[Book | None]:
        """Open the book; None where there is none yet and nothing is to be written."""
        state = self._settings.state
        if not for_writing and not (state / BOOK_FILE).exists():
            yield None
            return
        try:
            book = Book(state)
        except (sqlite3.Error, OSError) as error:
            raise unavailable(
                f"The record of schedules in {state} cannot be opened: {error}."
            ) from error
        try:
            yield book
        except sqlite3.Error as error:
            raise unavailable(
                f"The record of schedules in {state} cannot be used: {error}."
            ) from error
        finally:
            book.close()


def _last(book: Book | None, name: str, by_hand: Mapping[str, Occurrence]) -> Occurrence | None:
    runs = [] if book is None else book.occurrences(name, 1)
    if name in by_hand:
        runs.append(by_hand[name])
    return max(runs, key=lambda one: one.through, default=None)


def _view(planned: Planned, entry: Entry | None, last: Occurrence | None, now: datetime) -> View:
    if planned.plan is None:
        return View(planned.name, "wrong", planned.error, last=last)
    schedule, calendar = planned.plan.schedule, planned.plan.calendar
    following = next(calendar.after(now), None)
    is_paused = entry is not None and entry.paused_at is not None
    state = "on"
    if following is None:
        state = "over"
    elif not schedule.timing.enabled:
        state = "disabled"
    elif is_paused:
        state = "paused"
    return View(
        name=planned.name,
        state=state,
        in_words=in_words(schedule.timing.cron),
        cron=schedule.timing.cron,
        timezone=calendar.zone.key,
        notebook=str(schedule.request["notebook"]),
        following=following if state == "on" else None,
        last=last,
        paused_by=entry.paused_by if entry is not None and is_paused else None,
    )


@lru_cache(maxsize=2_000)
def in_words(cron: str) -> str:
    """Say a cron expression in English: `At 06:00, Monday through Friday`.

    Some that come due have no words, such as a step after a list: those stay as they are.
    """
    options = Options()
    options.use_24hour_time_format = True
    options.locale_code = "en_US"
    try:
        return str(get_description(cron, options))
    except FormatError:
        return f"cron {cron}"
