"""The follower that sends notifications: records who is to be told of a job, and tells them.

Rows are recorded first and settled then, so a crash repeats a record that changes nothing. A
message is recorded once it is known what came of it, so a crash may repeat it.

Each receiver has a stream of its own, and one message of it is on its way at a time.
"""

import logging
import math
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from runner.config import NOTIFICATIONS, Settings
from runner.followers.notifications import pacing
from runner.followers.notifications.attachments import Attachments, Gathering
from runner.followers.notifications.message import Text, Tone, of_many, tone_of
from runner.followers.notifications.missed import MissedTimes
from runner.followers.notifications.pacing import Kind, Turn, iso
from runner.followers.notifications.receivers import (
    Gone,
    NoReceiver,
    all_receivers,
    name_of,
    receiver_by,
)
from runner.followers.notifications.recording import Recording
from runner.followers.notifications.sending import Message, NotSent, Senders, missing_extra
from runner.state.books import notifications as book
from runner.state.jobs import Job
from runner.system.clocks import Clocks

log = logging.getLogger(__name__)

AT_ONCE = 16
"""Most messages on their way at a time."""
OF_A_FILE = 4
"""Most of them to the receivers in one file."""
LOOK_SECONDS = 1.0
BUSY_SECONDS = 0.1
FORGET_SECONDS = 600.0
NOTE_SECONDS = 5.0
RELOOK_SECONDS = 60.0


def in_thread(call: Callable[[], None]) -> None:
    """Make a call in a thread of its own, which ends with the process."""
    threading.Thread(target=call, daemon=True).start()


@dataclass(frozen=True)
class Ways:
    """How messages are sent, in what, and where they are recorded.

    `look` checks a URL without sending. `is_last`: nobody sends after this process.
    """

    send: Callable[[str, Message], str]
    look: Callable[[str], None]
    start: Callable[[Callable[[], None]], None] = in_thread
    open_book: Callable[[Path], book.NotificationBook] = book.NotificationBook
    is_last: bool = False


@dataclass(frozen=True)
class _Sending:
    """A message on its way: what of which stream it tells, and how the stream was before."""

    before: book.Stream
    turn: Turn
    batch: book.Batch
    text: Text
    tone: Tone
    link: str = ""
    job_id: str | None = None
    attach: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Result:
    """What came of a message: `error` if it did not go, `remark` what was left out."""

    error: str | None = None
    remark: str = ""
    is_over: bool = False
    """Whether it is not worth another attempt."""
    has_no_url: bool = False
    """Whether that is because the receiver has no URL now."""


@dataclass
class _Notes:
    """What health is told, and when that was last looked up.

    Receivers are looked at when `look_at` has come, and again while one of them cannot be used.
    """

    look_at: float
    without_url: frozenset[str] = frozenset()
    """Keys of the receivers that had no URL when they were looked at."""
    back: frozenset[str] = frozenset()
    """Those among them that have one now, and whose notifications have not been hurried yet."""
    problem: str | None = None
    stuck: tuple[str, ...] = ()
    receivers: tuple[str, ...] = ()
    at: float = -NOTE_SECONDS


class Notifications:
    """The notifications of one runner. For one thread; each message on its way has one too."""

    name = NOTIFICATIONS

    def __init__(self, settings: Settings, clocks: Clocks, ways: Ways | None = None) -> None:
        self._settings = settings
        self._clocks = clocks
        self._senders = Senders()
        self._ways = ways or Ways(self._senders.send, self._senders.look)
        self._recording = Recording(settings, clocks)
        self._gathering = Gathering(settings)
        self._missed = MissedTimes(settings)
        self._book: book.NotificationBook | None = None
        self._under_way: set[tuple[str, int]] = set()
        """Streams of which a message is on its way."""
        self._results: deque[tuple[_Sending, _Result]] = deque()
        self._forgot = -FORGET_SECONDS
        self._notes = _Notes(look_at=math.inf if self._ways.is_last else -math.inf)

    def deliver(self, jobs: Sequence[Job]) -> None:
        """Record the notifications that these jobs want.

        Raises:
            OSError: they cannot be recorded now.
        """
        try:
            new = [*self._recording.of_jobs(jobs)]
            if new:
                self._opened().add(new)
        except sqlite3.Error as error:
            raise OSError(f"{book.NOTIFICATIONS_FILE} cannot be written: {error}") from error

    def work(self) -> float:
        """Send what is due, record what came of it; return the seconds until the next look."""
        try:
            return self._work()
        except (sqlite3.Error, OSError) as error:
            problem = f"notifications cannot be recorded now: {error}"
            if problem != self._notes.problem:
                log.warning("%s", problem)
            self._notes.problem = problem
            return LOOK_SECONDS

    def close(self) -> None:
        """Close the record, and end the processes that send."""
        self._senders.close()
        self._gathering.close()
        self._missed.close()
        if self._book is not None:
            self._book.close()
            self._book = None

    def notes(self) -> Iterator[str]:
        """Say to whom notifications do not come through, and why."""
        if self._notes.problem is not None:
            yield self._notes.problem
            return
        if self._settings.notify and (missing := missing_extra()) is not None:
            yield f"notifications are not sent: {missing}"
            return
        yield from self._notes.receivers
        if self._book is not None and self._clocks.seconds() - self._notes.at >= NOTE_SECONDS:
            self._notes.at = self._clocks.seconds()
            self._notes.stuck = tuple(map(_in_words, self._book.stuck()))
        yield from self._notes.stuck

    def _work(self) -> float:
        if self._settings.notify and self._clocks.seconds() >= self._notes.look_at:
            self._notes.look_at = math.inf
            self._ways.start(self._look_at_receivers)
        has_book = (self._settings.state / book.NOTIFICATIONS_FILE).exists()
        if self._book is None and not (has_book or self._settings.notify):
            return LOOK_SECONDS
        opened = self._opened()
        self._tell_of_missed(opened)
        back, self._notes.back = self._notes.back, frozenset()
        if back:
            opened.hurry(back, iso(self._clocks.now()))
        while self._results:
            sending, result = self._results[0]
            self._record(opened, sending, result)
            self._results.popleft()  # one that cannot be recorded now stays
            self._under_way.discard((sending.batch.receiver, sending.batch.minutes))
        for stream in opened.streams():
            if len(self._under_way) >= AT_ONCE:
                break
            name = stream.receiver.partition("#")[0]
            of_name = sum(one.partition("#")[0] == name for one, _ in self._under_way)
            if of_name < OF_A_FILE and (stream.receiver, stream.minutes) not in self._under_way:
                self._begin(opened, stream)
        self._forget(opened)
        self._notes.problem = None
        return BUSY_SECONDS if self._under_way else LOOK_SECONDS

    def _begin(self, opened: book.NotificationBook, stream: book.Stream) -> None:
        """Send what is due of a stream, in a thread of its own."""
        now = self._clocks.now()
        turn = pacing.turn_of(stream, now, is_last=self._ways.is_last)
        sending = None
        if turn.kind is Kind.DIGEST:
            sending = _digest(opened, stream, turn)
        elif turn.kind is not Kind.NOTHING:
            asked, bad = turn.kind is Kind.ASKED, turn.kind is Kind.BAD
            one = opened.first(stream, iso(now), only_now=asked, only_bad=bad)
            sending = None if one is None else _single(stream, turn, one)
        if sending is not None:
            self._under_way.add((stream.receiver, stream.minutes))
            self._ways.start(partial(self._send, sending))

    def _send(self, sending: _Sending) -> None:
        try:
            result = self._sent(sending)
        except Gone as error:
            result = _Result(str(error), is_over=True)
        except NoReceiver as error:
            result = _Result(str(error), has_no_url=True)
        except NotSent as error:
            result = _Result(str(error))
        except Exception as error:  # noqa: BLE001 - its text may have a part of a URL
            log.error("a notification cannot be sent: %s", type(error).__name__)  # noqa: TRY400
            result = _Result(f"an error of the runner: {type(error).__name__}")
        self._results.append((sending, result))

    def _sent(self, sending: _Sending) -> _Result:
        """Send a message.

        Raises:
            NoReceiver, NotSent: it did not go.
        """
        receiver = receiver_by(self._settings, sending.batch.receiver)
        attached = Attachments()
        if sending.job_id is not None:
            attached = self._gathering.of_job(sending.job_id, sending.attach)
        body = sending.text.body
        if attached.left_out:
            body += "\n\nNot attached: " + "; ".join(attached.left_out) + "."
        message = Message(sending.text.title, body, sending.link, attached.files, sending.tone)
        remark = self._ways.send(receiver.url, message)
        return _Result(remark="; ".join(filter(None, (*attached.left_out, remark))))

    def _record(self, opened: book.NotificationBook, sending: _Sending, result: _Result) -> None:
        now = self._clocks.now()
        if result.error is None:
            what = book.Attempt(iso(now), remark=result.remark or None)
            opened.attempted(sending.batch, what, pacing.sent(sending.turn))
            return
        if result.has_no_url and not self._ways.is_last:
            soon = self._clocks.seconds() + RELOOK_SECONDS
            self._notes.look_at = min(self._notes.look_at, soon)
            self._notes.without_url |= {sending.batch.receiver}
        after = pacing.failed(sending.before, now)
        due = None if result.is_over else after.due_at
        opened.attempted(sending.batch, book.Attempt(iso(now), result.error, due), after)
        told = self._called(sending.batch.receiver)
        log.warning("a notification to %s did not go: %s", told, result.error)

    def _called(self, key: str) -> str:
        """Return what people call the receiver with a key."""
        try:
            return receiver_by(self._settings, key).name
        except NoReceiver as error:
            return error.name

    def _tell_of_missed(self, opened: book.NotificationBook) -> None:
        news = self._missed.news(opened, self._clocks.now())
        if not news:
            return
        try:
            new = [one for each in news for one in self._recording.of_missed(each)]
            opened.add(new, [(one.name, one.through) for one in news])
        except sqlite3.Error:
            self._missed.look_again()
            raise

    def _look_at_receivers(self) -> None:
        """Find receivers that Apprise cannot use, and those whose URL is there now."""
        notes, without_url = [], set[str]()
        for one in all_receivers(self._settings):
            if isinstance(one, NoReceiver):
                without_url.add(one.key)
                notes.append(f"no notification can be sent to {one.name}: {one}")
                continue
            try:
                self._ways.look(one.url)
            except NotSent as error:
                notes.append(f"no notification can be sent to {one.name}: {error}")
        self._notes.receivers = tuple(notes)
        self._notes.back |= self._notes.without_url - without_url
        self._notes.without_url = frozenset(without_url)
        self._notes.look_at = self._clocks.seconds() + RELOOK_SECONDS if notes else math.inf

    def _forget(self, opened: book.NotificationBook) -> None:
        if self._clocks.seconds() - self._forgot < FORGET_SECONDS:
            return
        self._forgot = self._clocks.seconds()
        days = timedelta(days=self._settings.history.keep_rows_days)
        opened.forget(iso(self._clocks.now() - days))

    def _opened(self) -> book.NotificationBook:
        if self._book is None:
            self._book = self._ways.open_book(self._settings.state)
        return self._book


def _single(stream: book.Stream, turn: Turn, one: book.Notification) -> _Sending:
    return _Sending(
        before=stream,
        turn=turn,
        batch=book.Batch(stream.receiver, stream.minutes, one.seq, only=True),
        text=Text(one.title, one.body, one.line),
        tone=tone_of([one.event], is_digest=False),
        link=one.link,
        job_id=one.job_id,
        attach=tuple(filter(None, one.attach.split(","))),
    )


def _digest(opened: book.NotificationBook, stream: book.Stream, turn: Turn) -> _Sending:
    through = opened.last_waiting(stream)
    batch = book.Batch(stream.receiver, stream.minutes, through, only=False)
    counted = opened.counted(batch)
    tone = tone_of({one.event for one in counted}, is_digest=True)
    return _Sending(stream, turn, batch, of_many(counted, stream.oldest), tone)


def _in_words(one: book.Stuck) -> str:
    waits = "1 notification waits" if one.waiting == 1 else f"{one.waiting} notifications wait"
    return (
        f"{waits} since {one.since[:16]} to go to {name_of(one.receiver, one.shown)}: {one.error}"
    )
