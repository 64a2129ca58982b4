"""Decides who is to be told of a job or a missed time, and writes what they are told."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from runner.config import Settings
from runner.contract.notifications import (
    FAILURES,
    Event,
    Notify,
    events_of,
    notification_id,
    wanting,
)
from runner.followers.notifications.message import Text, of_job, of_missed
from runner.followers.notifications.pacing import iso
from runner.followers.notifications.receivers import receivers_of
from runner.jobs.histories.differences import since_last_success
from runner.jobs.problem import Problem, unavailable
from runner.jobs.record import Record
from runner.state.books.notifications import TRIED_FOR, NewNotification
from runner.state.jobs import Job
from runner.state.ledger_reader import LedgerReader
from runner.submitters.schedules.book import Occurrence
from runner.submitters.schedules.files import ScheduleFiles, job_name_of
from runner.system.clocks import Clocks


class _KeptOpen(Record):
    """Reads the ledger by one connection, since a batch of jobs asks it some hundred times."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._stack = ExitStack()
        self._reader: LedgerReader | None = None

    @contextmanager
    def ledger(self) -> Iterator[LedgerReader]:
        """Yield the connection, which is opened by the first read.

        Raises:
            Problem: `unavailable`, it cannot be read.
        """
        if self._reader is None:
            self._reader = self._stack.enter_context(super().ledger())
        try:
            yield self._reader
        except sqlite3.Error as error:
            raise unavailable(f"The ledger cannot be read: {error}.") from error

    def close(self) -> None:
        """Close the connection."""
        self._stack.close()


class Recording:
    """Makes the notifications of one runner; records nothing itself."""

    def __init__(self, settings: Settings, clocks: Clocks) -> None:
        self._settings = settings
        self._clocks = clocks
        self._schedules = ScheduleFiles(settings.schedules_folder)

    def of_jobs(self, jobs: Iterable[Job]) -> Iterator[NewNotification]:
        """Yield the notifications of the ends of jobs, one for each receiver.

        Raises:
            OSError: the ledger cannot be read.
        """
        with closing(_KeptOpen(self._settings)) as record:
            for job in jobs:
                yield from self._of_job(record, job)

    def of_missed(self, missed: Occurrence) -> Iterator[NewNotification]:
        """Yield the notifications of times at which a schedule did not run."""
        text = of_missed(
            missed.name, missed.scheduled_for, missed.through, missed.reason or "no reason is known"
        )
        what = f"missed {missed.name} {missed.through}"
        names = (missed.name, self._job_name(missed.name))
        link = self._settings.gateway.address_of_schedule(missed.name)
        for line, event in wanting(self._settings.notify, names, [Event.MISSED]):
            yield from self._to_each(line, what, (None, missed.name, event), (text, link))

    def _job_name(self, schedule: str) -> str:
        """Return the name of a schedule's jobs; the usual one if its file cannot be read.

        The library may be away, which may be why the schedule did not run.
        """
        with suppress(OSError):
            for one in self._schedules.all():
                if one.name == schedule and one.plan is not None:
                    return one.plan.job_name
        return job_name_of(schedule)

    def _of_job(self, record: Record, job: Job) -> Iterator[NewNotification]:
        lines = [one for one in self._settings.notify if fnmatchcase(job.name, one.names)]
        events = _events(record, job, lines)
        wanted = [*wanting(lines, [job.name], events)]
        texts: dict[Event, Text] = {}
        link = self._settings.gateway.address_of_job(job.job_id)
        for line, event in wanted:
            if event not in texts:
                texts[event] = _text(record, job, event)
            about = (job.job_id, job.name, event)
            yield from self._to_each(line, job.job_id, about, (texts[event], link))

    def _to_each(
        self,
        line: Notify,
        what: str,
        about: tuple[str | None, str, Event],
        said: tuple[Text, str],
    ) -> Iterator[NewNotification]:
        now = self._clocks.now()
        job_id, name, event = about
        text, link = said
        for receiver in receivers_of(self._settings, line):
            yield NewNotification(
                id=notification_id(what, receiver.key),
                job_id=job_id,
                name=name,
                event=event,
                receiver=receiver.key,
                minutes=line.digest_minutes,
                shown=receiver.shown,
                title=text.title,
                body=text.body,
                link=link,
                line=text.line,
                attach=",".join(line.attach),
                created_at=iso(now),
                give_up_at=_give_up(now, line),
            )


def _events(record: Record, job: Job, lines: Sequence[Notify]) -> Sequence[Event]:
    """List what a job's end is; beside the job before it, if a line wants to know that.

    Raises:
        OSError: the ledger cannot be read.
    """
    wanted = {event for line in lines for event in line.when}
    if not wanted & {Event.FIRST_FAILURE, Event.RECOVERED}:
        return events_of(job.status, None)
    try:
        with record.ledger() as ledger:
            good = ledger.latest_ended(job.name, succeeded=True, before=job.seq)
            bad = ledger.latest_ended(job.name, succeeded=False, before=job.seq)
    except Problem as problem:
        raise OSError(problem.message) from problem
    last = max((one for one in (good, bad) if one), key=lambda one: one.seq, default=None)
    return events_of(job.status, None if last is None else last.status)


def _text(record: Record, job: Job, event: Event) -> Text:
    if job.status not in FAILURES:
        return of_job(job, event, None)
    report = record.outbox.of_job(job.name, job.job_id)
    return of_job(job, event, None if report is None else report.head, _changes(record, job))


def _changes(record: Record, job: Job) -> Sequence[str]:
    """List what differs since the last success, as far as that can be read."""
    try:
        differences = since_last_success(record, job)
    except Problem:
        return ()
    return () if differences is None else differences.sentences


def _give_up(now: datetime, line: Notify) -> str:
    return iso(now + timedelta(minutes=line.digest_minutes) + TRIED_FOR)
