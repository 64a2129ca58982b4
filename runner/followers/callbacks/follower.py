"""The follower that sends callbacks: records who is to be told of a job, and tells them.

Rows are recorded first and settled then, so a crash repeats a record that changes nothing. A
delivery is recorded once it has its answer, so a crash may repeat it, with the same id.

To one address deliveries go in order, and wait while it does not answer. One that is refused
(status 4xx) waits alone.
"""

import json
import logging
import sqlite3
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from runner.config import CALLBACKS, Settings
from runner.contract.callbacks import (
    Callback,
    callbacks_of,
    from_text,
    host_is_named,
    shown,
    webhook_id,
)
from runner.contract.text.strict_json import dumps_compact
from runner.followers.callbacks.message import message_of
from runner.outbox.reader import OutboxReader
from runner.state.books import callbacks as book
from runner.state.jobs import Job
from runner.state.ledger_reader import LedgerReader
from runner.system.clocks import Clocks
from runner.system.safe_post import Answer, NotSent, post

log = logging.getLogger(__name__)

FIRST_SECONDS = 5.0
LAST_SECONDS = 3600.0
AT_ONCE = 16
"""Most deliveries on their way at a time."""
OF_A_HOST = 4
LOOK_SECONDS = 1.0
BUSY_SECONDS = 0.1
KEPT_BODY = 256 * 1024
"""Largest message that the record keeps; a larger one is read in the outbox when it is sent."""
KEPT_BODIES = 1_000
"""Most waiting deliveries whose messages the record keeps."""
FORGET_SECONDS = 600.0
NOTE_SECONDS = 5.0
ALONE = frozenset(range(400, 500)) - {408, 425, 429}
"""Answers that mean this delivery, and not the receiver."""


def in_thread(call: Callable[[], None]) -> None:
    """Make a call in a thread of its own, which ends with the process."""
    threading.Thread(target=call, daemon=True).start()


@dataclass(frozen=True)
class Ways:
    """How deliveries are sent, in what, and where they are recorded."""

    send: Callable[..., Answer] = post
    start: Callable[[Callable[[], None]], None] = in_thread
    open_book: Callable[[Path], book.CallbackBook] = book.CallbackBook


class Callbacks:
    """The callbacks of one runner. For one thread; each delivery on its way has one of its own."""

    name = CALLBACKS

    def __init__(
        self,
        settings: Settings,
        clocks: Clocks,
        ways: Ways | None = None,
    ) -> None:
        self._settings = settings
        self._clocks = clocks
        self._ways = ways or Ways()
        self._outbox = OutboxReader(settings.outbox)
        self._book: book.CallbackBook | None = None
        self._under_way: dict[int, str] = {}
        """Deliveries on their way, and the host of each."""
        self._answers: deque[tuple[book.Callback, Answer | str]] = deque()
        self._forgot = -FORGET_SECONDS
        self._problem: str | None = None
        self._notes: tuple[str, ...] = ()
        self._noted = -NOTE_SECONDS

    def deliver(self, jobs: Sequence[Job]) -> None:
        """Record the deliveries that these jobs want.

        Raises:
            OSError: they cannot be recorded now.
        """
        try:
            opened = self._opened()
            with_room = opened.count_waiting() < KEPT_BODIES
            opened.add([one for job in jobs for one in self._wanted(job, with_body=with_room)])
        except sqlite3.Error as error:
            raise OSError(f"{book.CALLBACKS_FILE} cannot be written: {error}") from error

    def work(self) -> float:
        """Send what is due, record what came of it; return the seconds until the next look."""
        try:
            return self._work()
        except (sqlite3.Error, OSError) as error:
            self._problem = f"callbacks cannot be recorded now: {error}"
            log.warning("%s", self._problem)
            return LOOK_SECONDS

    def close(self) -> None:
        """Close the record."""
        if self._book is not None:
            self._book.close()
            self._book = None

    def notes(self) -> Iterator[str]:
        """Say to whom callbacks do not come through, and why."""
        if self._problem is not None:
            yield self._problem
            return
        if self._book is None:
            return
        if self._clocks.seconds() - self._noted >= NOTE_SECONDS:
            self._noted = self._clocks.seconds()
            self._notes = tuple(map(_in_words, self._book.stuck()))
        yield from self._notes

    def _work(self) -> float:
        if self._book is None and not (self._settings.state / book.CALLBACKS_FILE).exists():
            return LOOK_SECONDS
        opened = self._opened()
        while self._answers:
            callback, answer = self._answers[0]
            opened.attempted(callback.seq, self._attempt(callback, answer))
            self._answers.popleft()  # one that cannot be recorded now stays
            self._under_way.pop(callback.seq, None)
        now = self._clocks.now()
        due = opened.due(_iso(now), 10 * AT_ONCE)
        for callback in due:
            if len(self._under_way) >= AT_ONCE:
                break
            if callback.seq not in self._under_way:
                self._begin(opened, callback)
        self._forget(opened)
        self._problem = None
        return BUSY_SECONDS if self._under_way else LOOK_SECONDS

    def _begin(self, opened: book.CallbackBook, callback: book.Callback) -> None:
        """Send a delivery in a thread of its own, unless enough are on their way to its host."""
        host = callback.url.split("/")[2]
        if Counter(self._under_way.values())[host] >= OF_A_HOST:
            return
        headers, body = opened.content_of(callback.seq)
        self._under_way[callback.seq] = host
        self._ways.start(partial(self._deliver, callback, headers, body))

    def _deliver(
        self, callback: book.Callback, headers: dict[str, str], body: bytes | None
    ) -> None:
        answer: Answer | str
        try:
            if body is None:
                body = self._body_of(callback)
            signed = message_of(
                callback.id, body, headers, self._settings.callbacks.key, self._clocks.now()
            )
            is_named = host_is_named(callback.url, self._settings.callbacks.named)
            answer = self._ways.send(callback.url, signed, body, may_be_private=is_named)
        except NotSent as error:
            answer = str(error)
        except Exception as error:
            log.exception("the callback %s cannot be sent", callback.id)
            answer = f"{type(error).__name__}: {error}"
        self._answers.append((callback, answer))

    def _attempt(self, callback: book.Callback, answer: Answer | str) -> book.Attempt:
        """Judge an attempt: done, or when it is made again, or that it is given up."""
        now = self._clocks.now()
        if isinstance(answer, Answer) and answer.is_good:
            return book.Attempt(_iso(now), answer.status)
        status = answer.status if isinstance(answer, Answer) else None
        error = answer if isinstance(answer, str) else f"the receiver answered {answer.status}"
        seconds = min(FIRST_SECONDS * 2.0 ** min(callback.attempts, 20), LAST_SECONDS)
        if isinstance(answer, Answer) and answer.retry_after is not None:
            seconds = max(seconds, answer.retry_after)
        due = now + timedelta(seconds=seconds)
        is_over = due > datetime.fromisoformat(callback.give_up_at)
        where = shown(callback.url)
        after = "is given up" if is_over else f"is sent again in {seconds:.0f} s"
        log.warning("the callback of job %s to %s %s: %s", callback.job_id, where, after, error)
        return book.Attempt(
            at=_iso(now),
            http_status=status,
            error=error,
            due_at=None if is_over else _iso(due),
            is_alone=status in ALONE or callback.is_alone,
        )

    def _wanted(self, job: Job, *, with_body: bool) -> Iterator[book.NewCallback]:
        asked = self._asked(job.job_id)
        wanted = callbacks_of(job.name, str(job.status), asked, self._settings.callbacks.for_all)
        if not wanted:
            return
        body = self._report(job) if with_body else None
        if body is not None and len(body) > KEPT_BODY:
            body = None
        now = self._clocks.now()
        for one in wanted:
            yield book.NewCallback(
                id=webhook_id(job.job_id, one.url),
                job_id=job.job_id,
                job_name=job.name,
                job_status=str(job.status),
                url=one.url,
                headers=one.headers,
                body=body,
                created_at=_iso(now),
                give_up_at=_iso(now + book.TRIED_FOR),
            )

    def _asked(self, job_id: str) -> Callback | None:
        """Read the callback of a job's request; None if it has none."""
        try:
            reader = LedgerReader(self._settings.state)
        except sqlite3.Error as error:
            raise OSError(f"the ledger cannot be read: {error}") from error
        try:
            said: Any = json.loads(reader.request_of(job_id) or "{}").get("callback")
        finally:
            reader.close()
        try:
            return None if said is None else Callback.model_validate(from_text(said))
        except ValidationError:  # of another version
            log.exception("job %s has a callback that cannot be read", job_id)
            return None

    def _report(self, job: Job) -> bytes | None:
        report = self._outbox.of_job(job.name, job.job_id)
        return None if report is None else report.raw

    def _body_of(self, callback: book.Callback) -> bytes:
        """Read a job's result; where it is gone, say how the job ended."""
        report = self._outbox.of_job(callback.job_name, callback.job_id)
        if report is not None:
            return report.raw
        return dumps_compact(
            {
                "job_id": callback.job_id,
                "name": callback.job_name,
                "status": callback.job_status,
                "message": "The result is not in the outbox any more.",
            }
        )

    def _forget(self, opened: book.CallbackBook) -> None:
        if self._clocks.seconds() - self._forgot < FORGET_SECONDS:
            return
        self._forgot = self._clocks.seconds()
        days = timedelta(days=self._settings.history.keep_rows_days)
        opened.forget(_iso(self._clocks.now() - days))

    def _opened(self) -> book.CallbackBook:
        if self._book is None:
            self._book = self._ways.open_book(self._settings.state)
        return self._book


def _in_words(one: book.Stuck) -> str:
    waits = "1 callback waits" if one.jobs == 1 else f"{one.jobs} callbacks wait"
    return f"{waits} since {one.since[:16]} to go to {shown(one.url)}: {one.error}"


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")
