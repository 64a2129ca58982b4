"""What a job's end was told to whom, for every interface: its callbacks and its notifications."""

from collections.abc import Sequence
from typing import Any

from runner.followers.callbacks import overview as of_callbacks
from runner.followers.notifications import overview as of_notifications
from runner.jobs.record import Record
from runner.state.books.callbacks import Callback


class Told:
    """The deliveries of the jobs behind one face, as JSON."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._callbacks = of_callbacks.Deliveries(record)
        self._notifications = of_notifications.SentNotifications(record)

    def of(self, job_id: str) -> list[dict[str, Any]]:
        """List the deliveries of a job; none before it is over.

        Raises:
            Problem: `not_found`, `unavailable`.
        """
        return _rows(self._callbacks.of(job_id), self._notifications.of(job_id))

    def again(self, job_id: str, delivery: str) -> list[dict[str, Any]]:
        """Let a delivery be made once more, now; return all of the job.

        Raises:
            Problem: `not_found`, `unavailable`.
        """
        self._record.job(job_id)
        if notifications := self._notifications.again(job_id, delivery):
            return _rows(self._callbacks.of(job_id), notifications)
        return _rows(self._callbacks.again(job_id, delivery), self._notifications.of(job_id))


def _rows(
    callbacks: Sequence[Callback], notifications: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    return [*({**of_callbacks.row_of(one), "held": None} for one in callbacks), *notifications]
