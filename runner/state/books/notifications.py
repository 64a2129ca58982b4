"""The record of notifications: what is still to be sent, and what came of each.

A database of its own in the state folder, `notifications.sqlite3`. It names receivers by the file
of their secret or a hash, never by their URL. A row is there before the ledger forgets that its
job is to be told of.
"""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

from runner.contract.notifications import GOOD_NEWS
from runner.system.files.databases import open_database, transaction

NOTIFICATIONS_FILE = "notifications.sqlite3"
BOOK_VERSION = 1
MOST_ERROR = 500
MOST_NAMES = 40
"""Most names that a digest lists."""
TRIED_FOR = timedelta(days=1)
LONGEST_PAUSE = timedelta(hours=1)
"""How long a notification is tried."""

_SCHEMA = f"""
CREATE TABLE notifications (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, job_id TEXT, name TEXT NOT NULL,
    event TEXT NOT NULL, receiver TEXT NOT NULL, minutes INTEGER NOT NULL, shown TEXT NOT NULL,
    title TEXT NOT NULL, body TEXT NOT NULL, link TEXT NOT NULL, line TEXT NOT NULL,
    attach TEXT NOT NULL, state TEXT NOT NULL, created_at TEXT NOT NULL, due_at TEXT NOT NULL,
    give_up_at TEXT NOT NULL, is_now INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0, last_at TEXT, error TEXT
) STRICT;
CREATE INDEX notifications_by_job ON notifications (job_id);
CREATE INDEX notifications_waiting ON notifications (receiver, minutes, created_at)
    WHERE state = 'waiting';
CREATE INDEX notifications_over ON notifications (created_at) WHERE state != 'waiting';
CREATE TABLE streams (
    receiver TEXT NOT NULL, minutes INTEGER NOT NULL, hour_began TEXT,
    singles INTEGER NOT NULL DEFAULT 0, failures INTEGER NOT NULL DEFAULT 0, due_at TEXT,
    error TEXT, PRIMARY KEY (receiver, minutes)
) STRICT, WITHOUT ROWID;
CREATE TABLE missed (schedule TEXT PRIMARY KEY, through TEXT NOT NULL) STRICT, WITHOUT ROWID;
PRAGMA user_version = {BOOK_VERSION};
"""
_IS_BAD = "event NOT IN ('" + "', '".join(sorted(GOOD_NEWS)) + "')"
_OF_STREAM = "receiver = ? AND minutes = ? AND state = 'waiting'"


class NotificationState(StrEnum):
    """How far a notification is."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"


@dataclass(frozen=True)
class NewNotification:
    """A notification to be sent. Times are UTC in ISO 8601.

    `receiver` is a key, and `shown` what everybody may see of its URL. `line` is what a digest
    says of it; `attach` are the words of the settings, with commas between.
    """

    id: str
    job_id: str | None
    name: str
    event: str
    receiver: str
    minutes: int
    shown: str
    title: str
    body: str
    link: str
    line: str
    attach: str
    created_at: str
    give_up_at: str


@dataclass(frozen=True)
class Notification(NewNotification):
    """A notification as it is recorded. `is_now`: somebody asked for it, so it does not wait."""

    seq: int
    state: NotificationState
    due_at: str
    is_now: bool
    attempts: int
    last_at: str | None
    error: str | None


@dataclass(frozen=True)
class Stream:
    """What waits for one receiver, and how far it may be sent.

    Of the notifications that are `waiting`, `bad` tell of no success. `minutes` is the window of a
    digest; 0 for none. `singles` messages went since `hour_began`. The last `failures` attempts
    failed; the next one is due at `due_at`.
    """

    receiver: str
    minutes: int
    waiting: int
    bad: int
    oldest: str
    wants_now: bool
    hour_began: str | None = None
    singles: int = 0
    failures: int = 0
    due_at: str | None = None


@dataclass(frozen=True)
class Counted:
    """What waits of one name, for a digest: how many of which event, and the first line."""

    name: str
    event: str
    times: int
    line: str


@dataclass(frozen=True)
class Batch:
    """What one message tells: the waiting notifications of a stream up to `through`, or `only`."""

    receiver: str
    minutes: int
    through: int
    only: bool


@dataclass(frozen=True)
class Attempt:
    """What came of a message. After an `error`, `due_at` is the next attempt's; None for none.

    `remark` says what was left out of one that went.
    """

    at: str
    error: str | None = None
    due_at: str | None = None
    remark: str | None = None


@dataclass(frozen=True)
class Stuck:
    """Notifications that wait for a receiver after a failure: how many, since when, and why."""

    shown: str
    receiver: str
    waiting: int
    since: str
    error: str


def _later(now: str) -> str:
    return (datetime.fromisoformat(now) + LONGEST_PAUSE).isoformat(timespec="milliseconds")


class NotificationBook:
    """The record in one state folder. For one thread; several processes may have it open."""

    def __init__(self, state: Path) -> None:
        """Open it, or make it.

        Raises:
            sqlite3.Error, OSError: it cannot be opened or written.
        """
        # The ledger forgets what is here.
        self._db = open_database(state / NOTIFICATIONS_FILE, _SCHEMA, synchronous="FULL")

    def close(self) -> None:
        """Close it."""
        self._db.close()

    def add(self, new: Iterable[NewNotification], missed: Iterable[tuple[str, str]] = ()) -> None:
        """Record notifications; those that are there already stay as they are.

        `missed` says of schedules how far their missed times are among these.
        """
        with transaction(self._db):
            self._db.executemany(
                "INSERT INTO notifications (id, job_id, name, event, receiver, minutes, shown, "
                "title, body, link, line, attach, state, created_at, due_at, give_up_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'waiting', ?, ?, ?) "
                "ON CONFLICT (id) DO NOTHING",
                [
                    (
                        *(one.id, one.job_id, one.name, one.event, one.receiver, one.minutes),
                        *(one.shown, one.title, one.body, one.link, one.line, one.attach),
                        *(one.created_at, one.created_at, one.give_up_at),
                    )
                    for one in new
                ],
            )
            self._db.executemany(
                "INSERT INTO missed VALUES (?, ?) ON CONFLICT DO UPDATE SET "
                "through = max(through, excluded.through)",
                list(missed),
            )

    def missed(self) -> dict[str, str]:
        """Return up to which time each schedule's missed times are recorded."""
        return {row["schedule"]: row["through"] for row in self._db.execute("SELECT * FROM missed")}

    def forget_missed(self) -> None:
        """Forget that, when nobody wants to know of them any more."""
        self._db.execute("DELETE FROM missed")

    def streams(self) -> list[Stream]:
        """List the streams in which something waits."""
        rows = self._db.execute(
            "SELECT w.*, hour_began, coalesce(singles, 0), coalesce(failures, 0), due_at FROM "  # noqa: S608
            f"(SELECT receiver, minutes, count(*), sum({_IS_BAD}), min(created_at), "
            "max(is_now) AS now FROM notifications "
            "WHERE state = 'waiting' GROUP BY receiver, minutes) w "
            "LEFT JOIN streams USING (receiver, minutes)"
        )
        return [
            Stream(*tuple(row)[:5], bool(row["now"]), *tuple(row)[6:])  # type: ignore[call-arg]
            for row in rows
        ]

    def first(
        self, stream: Stream, now: str, *, only_now: bool = False, only_bad: bool = False
    ) -> Notification | None:
        """Return what of a stream goes next alone: what was tried least, the oldest of it first.

        What is due in hours, as no pause is as long, was recorded before the clock was set back.
        """
        wanted = "is_now = 1" if only_now else _IS_BAD if only_bad else "1"
        row = self._db.execute(
            f"SELECT * FROM notifications WHERE {_OF_STREAM} AND (due_at <= ? OR due_at > ?) "  # noqa: S608
            f"AND {wanted} ORDER BY is_now DESC, attempts, seq LIMIT 1",
            (stream.receiver, stream.minutes, now, _later(now)),
        ).fetchone()
        return None if row is None else _notification(row)

    def last_waiting(self, stream: Stream) -> int:
        """Return the number of the newest that waits in a stream."""
        query = f"SELECT max(seq) FROM notifications WHERE {_OF_STREAM}"  # noqa: S608
        key = (stream.receiver, stream.minutes)
        return int(self._db.execute(query, key).fetchone()[0] or 0)

    def counted(self, batch: Batch) -> list[Counted]:
        """Count what a digest tells, by name and event; the first ones first."""
        rows = self._db.execute(
            "SELECT name, event, count(*) AS times, line, min(seq) FROM notifications "  # noqa: S608
            f"WHERE {_OF_STREAM} AND seq <= ? GROUP BY name, event ORDER BY min(seq)",
            (batch.receiver, batch.minutes, batch.through),
        )
        return [Counted(*row[:4]) for row in rows]

    def attempted(self, batch: Batch, what: Attempt, stream: Stream) -> None:
        """Record a message: what it told is delivered, or waits, or is given up after a day.

        `stream` says how the messages after it are sent.
        """
        key = (batch.receiver, batch.minutes)
        which = f"{_OF_STREAM} AND seq {'=' if batch.only else '<='} ?"
        error = None if what.error is None else what.error[:MOST_ERROR]
        with transaction(self._db):
            self._db.execute(
                "INSERT OR REPLACE INTO streams VALUES (?, ?, ?, ?, ?, ?, ?)",
                (*key, stream.hour_began, stream.singles, stream.failures, stream.due_at, error),
            )
            if error is None:
                changes = "attempts = attempts + 1, last_at = ?, error = ?, is_now = 0"
                delivered = f"UPDATE notifications SET state = 'delivered', {changes} WHERE {which}"  # noqa: S608
                self._db.execute(delivered, (what.at, what.remark, *key, batch.through))
                return
            put_off = (
                "UPDATE notifications SET attempts = attempts + 1, last_at = ?, error = ?, "  # noqa: S608
                "due_at = coalesce(?, due_at), is_now = 0, "
                "state = iif(? IS NULL OR give_up_at < ?, 'given_up', 'waiting') "
                f"WHERE {which}"
            )
            times = (what.due_at,) * 3
            self._db.execute(put_off, (what.at, error, *times, *key, batch.through))
            given_up = (
                "UPDATE notifications SET state = 'given_up', error = ? "  # noqa: S608
                f"WHERE {_OF_STREAM} AND give_up_at < ?"
            )
            self._db.execute(given_up, (error, *key, what.at))

    def again(
        self, job_id: str, notification: str, now: str, give_up_at: str
    ) -> list[Notification]:
        """Let a notification be sent now, alone; list all of the job as they are then.

        The list is empty if the job has no such notification.
        """
        with transaction(self._db):
            changed = self._db.execute(
                "UPDATE notifications SET state = 'waiting', due_at = ?, give_up_at = ?, "
                "is_now = 1 WHERE job_id = ? AND id = ?",
                (now, give_up_at, job_id, notification),
            ).rowcount
            return self.of_job(job_id) if changed else []

    def hurry(self, receivers: Iterable[str], now: str) -> None:
        """Let what waits for these receivers be tried now, whatever failed before."""
        keys = [(one,) for one in receivers]
        with transaction(self._db):
            self._db.executemany(
                "UPDATE streams SET failures = 0, due_at = NULL, error = NULL WHERE receiver = ?",
                keys,
            )
            self._db.executemany(
                "UPDATE notifications SET due_at = ? WHERE state = 'waiting' AND due_at > ? "
                "AND receiver = ?",
                [(now, now, *key) for key in keys],
            )

    def of_job(self, job_id: str) -> list[Notification]:
        """List the notifications of a job, in their order."""
        rows = self._db.execute(
            "SELECT * FROM notifications WHERE job_id = ? ORDER BY seq LIMIT 1000", (job_id,)
        )
        return [_notification(row) for row in rows]

    def count_waiting(self) -> int:
        """Count the notifications that wait."""
        query = "SELECT count(*) FROM notifications WHERE state = 'waiting'"
        return int(self._db.execute(query).fetchone()[0])

    def stuck(self, limit: int = 10) -> list[Stuck]:
        """List the receivers that do not get what waits for them, the longest first."""
        rows = self._db.execute(
            "SELECT shown, receiver, count(*), min(created_at), max(streams.error) FROM "
            "notifications JOIN streams USING (receiver, minutes) WHERE state = 'waiting' AND "
            "failures > 0 GROUP BY receiver ORDER BY 4 LIMIT ?",
            (limit,),
        )
        return [Stuck(*row) for row in rows]

    def forget(self, before: str, limit: int = 1000) -> int:
        """Remove what was sent, or given up, and is older than a time; count it."""
        return self._db.execute(
            "DELETE FROM notifications WHERE seq IN (SELECT seq FROM notifications WHERE "
            "state != 'waiting' AND created_at < ? ORDER BY created_at LIMIT ?)",
            (before, limit),
        ).rowcount


def _notification(row: sqlite3.Row) -> Notification:
    values = {name: row[name] for name in row.keys()}  # noqa: SIM118 - a Row iterates over values
    values |= {"state": NotificationState(row["state"]), "is_now": bool(row["is_now"])}
    return Notification(**values)
