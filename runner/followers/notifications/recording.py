"""Decides who is to be told of a job or a missed time, and writes what they are told."""

import sqlite3
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

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
from runner.jobs.problem import Problem
from runner.jobs.record import Record
from runner.outbox.reader import OutboxReader
from runner.state.books.notifications import TRIED_FOR, NewNotification
from runner.state.jobs import Job
from runner.state.ledger_reader import LedgerReader
from runner.submitters.schedules.book import Occurrence
from runner.system.clocks import Clocks


class Recording:
    """Makes the notifications of one runner; records nothing itself."""

    def __init__(self, settings: Settings, clocks: Clocks) -> None:
        self._settings = settings
        self._clocks = clocks
        self._outbox = OutboxReader(settings.outbox)
        self._jobs = Record(settings)

    def of_job(self, job: Job) -> Iterator[NewNotification]:
        """Yield the notifications of a job's end, one for each receiver.

        Raises:
            OSError: the ledger cannot be read.
        """
        possible = events_of(job.status, None)
        if not any(fits(line, job.name) for line in self._settings.notify) or not possible:
            return
        wanted = [*wanting(self._settings.notify, job.name, self._events(job))]
        texts: dict[Event, Text] = {}
        link = self._settings.gateway.address_of_job(job.job_id)
        for line, event in wanted:
            if event not in texts:
                texts[event] = self._text(job, event)
            about = (job.job_id, job.name, event)
            yield from self._to_each(line, job.job_id, about, (texts[event], link))

    def of_missed(self, missed: Occurrence) -> Iterator[NewNotification]:
        """Yield the notifications of times at which a schedule did not run."""
        text = of_missed(
            missed.name, missed.scheduled_for, missed.through, missed.reason or "no reason is known"
        )
        what = f"missed {missed.name} {missed.through}"
        for line, event in wanting(self._settings.notify, missed.name, [Event.MISSED]):
            yield from self._to_each(line, what, (None, missed.name, event), (text, ""))

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

    def _events(self, job: Job) -> Sequence[Event]:
        """List what a job's end is, beside how the one of its name before it ended."""
        try:
            reader = LedgerReader(self._settings.state)
        except sqlite3.Error as error:
            raise OSError(f"the ledger cannot be read: {error}") from error
        try:
            good = reader.latest_ended(job.name, succeeded=True, before=job.seq)
            bad = reader.latest_ended(job.name, succeeded=False, before=job.seq)
        finally:
            reader.close()
        last = max((one for one in (good, bad) if one), key=lambda one: one.seq, default=None)
        return events_of(job.status, None if last is None else last.status)

    def _text(self, job: Job, event: Event) -> Text:
        if job.status not in FAILURES:
            return of_job(job, event, None)
        report = self._outbox.of_job(job.name, job.job_id)
        return of_job(job, event, None if report is None else report.head, self._changes(job))

    def _changes(self, job: Job) -> Sequence[str]:
        """List what differs since the last success, as far as that can be read."""
        try:
            differences = since_last_success(self._jobs, job)
        except Problem:
            return ()
        return () if differences is None else differences.sentences


def fits(line: Notify, name: str) -> bool:
    """Return whether a line of the settings is about a name at all."""
    return line.wants(name, line.when) is not None


def _give_up(now: datetime, line: Notify) -> str:
    return iso(now + timedelta(minutes=line.digest_minutes) + TRIED_FOR)
