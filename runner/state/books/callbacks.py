"""The record of callbacks: what is still to be sent, and what came of each delivery.

A database of its own in the state folder, `callbacks.sqlite3`. A row is there before the ledger
forgets that its job is to be told of, and the same delivery is one row.
"""

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from runner.system.files.databases import open_database, transaction

CALLBACKS_FILE = "callbacks.sqlite3"
BOOK_VERSION = 1
MOST_ERROR = 500
TRIED_FOR = timedelta(days=1)
"""How long a delivery is tried."""

_SCHEMA = f"""
CREATE TABLE callbacks (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, job_id TEXT NOT NULL,
    job_name TEXT NOT NULL, job_status TEXT NOT NULL, url TEXT NOT NULL, headers TEXT NOT NULL,
    body BLOB, state TEXT NOT NULL, created_at TEXT NOT NULL, due_at TEXT NOT NULL,
    give_up_at TEXT NOT NULL, is_alone INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0, last_at TEXT, http_status INTEGER, error TEXT
) STRICT;
CREATE INDEX callbacks_by_job ON callbacks (job_id);
CREATE INDEX callbacks_in_order ON callbacks (url, seq) WHERE state = 'waiting' AND is_alone = 0;
CREATE INDEX callbacks_alone ON callbacks (due_at) WHERE state = 'waiting' AND is_alone = 1;
CREATE INDEX callbacks_over ON callbacks (created_at) WHERE state != 'waiting';
PRAGMA user_version = {BOOK_VERSION};
"""
_NEXT = (
    "(SELECT min(seq) FROM callbacks WHERE state = 'waiting' AND is_alone = 0 GROUP BY url "
    "UNION ALL SELECT seq FROM callbacks WHERE state = 'waiting' AND is_alone = 1)"
)
"""The oldest waiting row of each address, and those that wait for nobody."""

_WAITING = (
    "(SELECT * FROM callbacks WHERE state = 'waiting' AND is_alone = 0 "
    "UNION ALL SELECT * FROM callbacks WHERE state = 'waiting' AND is_alone = 1)"
)
"""All that wait, by the indexes over these: what is over is kept for weeks."""


class CallbackState(StrEnum):
    """How far a delivery is."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"


@dataclass(frozen=True)
class NewCallback:
    """A delivery to be made. Times are UTC in ISO 8601; `body` is None if it is read then."""

    id: str
    job_id: str
    job_name: str
    job_status: str
    url: str
    headers: dict[str, str]
    body: bytes | None
    created_at: str
    give_up_at: str


@dataclass(frozen=True)
class Callback:
    """A delivery as it is recorded. `is_alone`: it does not wait for older ones to its address."""

    seq: int
    id: str
    job_id: str
    job_name: str
    job_status: str
    url: str
    state: CallbackState
    created_at: str
    due_at: str
    give_up_at: str
    is_alone: bool
    attempts: int
    last_at: str | None
    http_status: int | None
    error: str | None


@dataclass(frozen=True)
class Attempt:
    """What came of a delivery at a time. `due_at` is the next attempt's; None if there is none."""

    at: str
    http_status: int | None
    error: str | None = None
    due_at: str | None = None
    is_alone: bool = False


@dataclass(frozen=True)
class Stuck:
    """The deliveries to one address that wait after a failure: how many, since when, and why."""

    url: str
    jobs: int
    since: str
    error: str


class CallbackBook:
    """The record in one state folder. For one thread; several processes may have it open."""

    def __init__(self, state: Path) -> None:
        """Open it, or make it.

        Raises:
            sqlite3.Error, OSError: it cannot be opened or written.
        """
        # The ledger forgets what is here.
        self._db = open_database(state / CALLBACKS_FILE, _SCHEMA, synchronous="FULL")

    def close(self) -> None:
        """Close it."""
        self._db.close()

    def add(self, new: Iterable[NewCallback]) -> None:
        """Record deliveries; those that are there already stay as they are."""
        with transaction(self._db):
            self._db.executemany(
                "INSERT INTO callbacks (id, job_id, job_name, job_status, url, headers, body, "
                "state, created_at, due_at, give_up_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (id) DO NOTHING",
                [
                    (
                        *(one.id, one.job_id, one.job_name, one.job_status, one.url),
                        *(json.dumps(one.headers), one.body, CallbackState.WAITING),
                        *(one.created_at, one.created_at, one.give_up_at),
                    )
                    for one in new
                ],
            )

    def due(self, now: str, limit: int) -> list[Callback]:
        """List the deliveries that are due, of each address the oldest."""
        rows = self._db.execute(
            f"SELECT * FROM callbacks WHERE seq IN {_NEXT} AND due_at <= ? "  # noqa: S608
            "ORDER BY due_at, seq LIMIT ?",
            (now, limit),
        )
        return [_callback(row) for row in rows]

    def next_due(self) -> str | None:
        """Return when the next delivery is due; None if none waits."""
        query = f"SELECT min(due_at) FROM callbacks WHERE seq IN {_NEXT}"  # noqa: S608
        value = self._db.execute(query).fetchone()[0]
        return None if value is None else str(value)

    def content_of(self, seq: int) -> tuple[dict[str, str], bytes | None]:
        """Return the asked headers of a delivery, and its body if that is kept here."""
        row = self._db.execute(
            "SELECT headers, body FROM callbacks WHERE seq = ?", (seq,)
        ).fetchone()
        return json.loads(row["headers"]), row["body"]

    def attempted(self, seq: int, what: Attempt) -> None:
        """Record an attempt; a delivery that is over gives its body away."""
        state = CallbackState.WAITING
        if what.due_at is None:
            state = CallbackState.GIVEN_UP if what.error else CallbackState.DELIVERED
        error = None if what.error is None else what.error[:MOST_ERROR]
        self._db.execute(
            "UPDATE callbacks SET attempts = attempts + 1, last_at = ?, http_status = ?, "
            "error = ?, state = ?, due_at = coalesce(?, due_at), is_alone = ?, "
            "body = iif(?, body, NULL) WHERE seq = ?",
            (
                *(what.at, what.http_status, error, state, what.due_at, what.is_alone),
                *(state is CallbackState.WAITING, seq),
            ),
        )

    def again(self, job_id: str, delivery: str, now: str, give_up_at: str) -> list[Callback]:
        """Let a delivery be made now, whatever came of it; list all of the job as they are then.

        The list is empty if the job has no such delivery.
        """
        with transaction(self._db):
            changed = self._db.execute(
                "UPDATE callbacks SET state = ?, due_at = ?, give_up_at = ?, is_alone = 1 "
                "WHERE job_id = ? AND id = ?",
                (CallbackState.WAITING, now, give_up_at, job_id, delivery),
            ).rowcount
            return self.of_job(job_id) if changed else []

    def of_job(self, job_id: str) -> list[Callback]:
        """List the deliveries of a job, in their order."""
        rows = self._db.execute(
            "SELECT * FROM callbacks WHERE job_id = ? ORDER BY seq LIMIT 1000", (job_id,)
        )
        return [_callback(row) for row in rows]

    def count_waiting(self) -> int:
        """Count the deliveries that wait."""
        return sum(
            int(self._db.execute(query).fetchone()[0])
            for query in (
                "SELECT count(*) FROM callbacks WHERE state = 'waiting' AND is_alone = 0",
                "SELECT count(*) FROM callbacks WHERE state = 'waiting' AND is_alone = 1",
            )
        )

    def stuck(self, limit: int = 10) -> list[Stuck]:
        """List the addresses to which deliveries fail now, those that fail longest first."""
        rows = self._db.execute(
            f"SELECT url, count(*), min(created_at), max(error) FROM {_WAITING} "  # noqa: S608
            "GROUP BY url HAVING max(error) IS NOT NULL ORDER BY 3 LIMIT ?",
            (limit,),
        )
        return [Stuck(*row) for row in rows]

    def forget(self, before: str, limit: int = 1000) -> int:
        """Remove deliveries that were made, or given up, and are older than a time; count them."""
        return self._db.execute(
            "DELETE FROM callbacks WHERE seq IN (SELECT seq FROM callbacks WHERE "
            "state != 'waiting' AND created_at < ? ORDER BY created_at LIMIT ?)",
            (before, limit),
        ).rowcount


def _callback(row: sqlite3.Row) -> Callback:
    return Callback(
        seq=row["seq"],
        id=row["id"],
        job_id=row["job_id"],
        job_name=row["job_name"],
        job_status=row["job_status"],
        url=row["url"],
        state=CallbackState(row["state"]),
        created_at=row["created_at"],
        due_at=row["due_at"],
        give_up_at=row["give_up_at"],
        is_alone=bool(row["is_alone"]),
        attempts=row["attempts"],
        last_at=row["last_at"],
        http_status=row["http_status"],
        error=row["error"],
    )
