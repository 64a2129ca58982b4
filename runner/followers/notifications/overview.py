"""Notifications as clients see them: what a job's end was told to whom, and once more on request.

Needs no daemon; the process that sends reads the same record.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

from runner.contract.notifications import Event
from runner.followers.notifications.pacing import hold_of, iso
from runner.followers.notifications.receivers import name_of
from runner.jobs.record import Record, opened
from runner.state.books.notifications import (
    NOTIFICATIONS_FILE,
    TRIED_FOR,
    Notification,
    NotificationBook,
    NotificationState,
    Stream,
)
from runner.system.clocks import Clocks


class SentNotifications:
    """The notifications of the jobs behind one face."""

    def __init__(self, record: Record, clocks: Clocks | None = None) -> None:
        self._record = record
        self._clocks = clocks or Clocks()

    def of(self, job_id: str) -> list[dict[str, Any]]:
        """List the notifications of a job, as JSON.

        Raises:
            Problem: `unavailable`.
        """
        with self._book() as book:
            return [] if book is None else self._rows(book, book.of_job(job_id))

    def again(self, job_id: str, notification: str) -> list[dict[str, Any]]:
        """Let one be sent once more, now; list all of the job, or none if it has no such one.

        Raises:
            Problem: `unavailable`.
        """
        now = self._clocks.now()
        with self._book() as book:
            if book is None:
                return []
            again = book.again(job_id, notification, iso(now), iso(now + TRIED_FOR))
            return self._rows(book, again)

    def _rows(self, book: NotificationBook, listed: Sequence[Notification]) -> list[dict[str, Any]]:
        streams = {(one.receiver, one.minutes): one for one in book.streams()}
        now = self._clocks.now()
        return [row_of(one, streams.get((one.receiver, one.minutes)), now) for one in listed]

    def _book(self) -> AbstractContextManager[NotificationBook | None]:
        """Open the record; None where there is none yet."""
        return opened(self._record.state, NOTIFICATIONS_FILE, NotificationBook, "notifications")


def row_of(one: Notification, stream: Stream | None, now: datetime) -> dict[str, Any]:
    """Describe a notification as JSON, as deliveries are. Of the URL hardly anything is shown.

    `stream` is that in which it waits.
    """
    is_waiting = one.state is NotificationState.WAITING and stream is not None
    due_at, hold = one.due_at, None
    if is_waiting and stream is not None and not one.is_now:
        hold = hold_of(stream, Event(one.event), now)
        due_at = max(due_at, stream.due_at or "", "" if hold is None else iso(hold.until))
    return {
        "id": one.id,
        "kind": "notification",
        "url": name_of(one.receiver, one.shown),
        "state": one.state,
        "attempts": one.attempts,
        "created_at": one.created_at,
        "last_at": one.last_at,
        "http_status": None,
        "error": one.error,
        "due_at": due_at if is_waiting else None,
        "held": None if hold is None else hold.why,
    }
