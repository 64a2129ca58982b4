"""Callbacks as clients see them: what was told of a job, to whom, and once more on request.

Needs no daemon; the process that sends reads the same record.
"""

from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

from runner.contract.callbacks import shown
from runner.jobs.problem import not_found
from runner.jobs.record import Record, opened
from runner.state.books.callbacks import CALLBACKS_FILE, TRIED_FOR, Callback, CallbackBook
from runner.state.jobs import State
from runner.system.clocks import Clocks


class Deliveries:
    """The callbacks of the jobs behind one face."""

    def __init__(self, record: Record, clocks: Clocks | None = None) -> None:
        self._record = record
        self._clocks = clocks or Clocks()

    def of(self, job_id: str) -> list[Callback]:
        """List the deliveries of a job; none before it is over.

        Raises:
            Problem: `not_found`, `unavailable`.
        """
        if self._record.job(job_id).state is not State.CLOSED:
            return []
        with self._book() as book:
            return [] if book is None else book.of_job(job_id)

    def again(self, job_id: str, delivery: str) -> list[Callback]:
        """Let a delivery be made once more, now; return all of the job.

        Raises:
            Problem: `not_found`, `unavailable`.
        """
        self._record.job(job_id)
        now = self._clocks.now()
        with self._book() as book:
            found = book and book.again(job_id, delivery, _iso(now), _iso(now + TRIED_FOR))
            if not found:
                raise not_found(f"Job {job_id} has no callback and no notification of that id.")
            return found

    def _book(self) -> AbstractContextManager[CallbackBook | None]:
        """Open the record; None where there is none yet."""
        return opened(self._record.state, CALLBACKS_FILE, CallbackBook, "callbacks")


def row_of(one: Callback) -> dict[str, Any]:
    """Describe a delivery as JSON. Of the address only the beginning is shown."""
    return {
        "id": one.id,
        "kind": "callback",
        "url": shown(one.url),
        "state": one.state,
        "attempts": one.attempts,
        "created_at": one.created_at,
        "last_at": one.last_at,
        "http_status": one.http_status,
        "error": one.error,
        "due_at": one.due_at if one.state == "waiting" else None,
    }


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")
