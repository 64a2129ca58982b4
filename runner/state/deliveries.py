"""Rows for followers, written in the transaction that closes a job.

A follower wants to know of every outcome. Its rows wait here, in the order in which jobs were
closed, until its settlement is recorded.
"""

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from runner.state.jobs import Job

MOST_WAITING = 100_000
"""Most rows that wait for one follower; beyond them the oldest go, and health counts them."""


@dataclass(frozen=True)
class Delivery:
    """A closed job that was not delivered to a follower yet.

    `attempts` have failed so far; `due_at`, UTC in ISO 8601, is the time of the next one.
    """

    seq: int
    job: Job
    attempts: int
    due_at: str | None


@dataclass(frozen=True)
class Settlement:
    """The result for all of a follower's rows up to `through`: delivered, or an error.

    After an error they are due again at `due_at`.
    """

    follower: str
    through: int
    error: str | None = None
    due_at: str | None = None

    def to_line(self) -> bytes:
        """Write it as one line."""
        return json.dumps(asdict(self)).encode() + b"\n"


@dataclass(frozen=True)
class Backlog:
    """How far a follower is behind: the number of jobs, since when, and the last error."""

    follower: str
    jobs: int
    since: str
    error: str | None


def add(db: sqlite3.Connection, job_id: str, closed_at: str, followers: Iterable[str]) -> None:
    """Add a row for each follower, in the transaction around it."""
    db.executemany(
        "INSERT INTO deliveries (follower, job_id, closed_at) VALUES (?, ?, ?)",
        [(follower, job_id, closed_at) for follower in followers],
    )


def settle(db: sqlite3.Connection, what: Settlement) -> None:
    """Remove delivered rows, or put them off, in the transaction around it."""
    rows = (what.follower, what.through)
    if what.error is None:
        db.execute("DELETE FROM deliveries WHERE follower = ? AND seq <= ?", rows)
        return
    db.execute(
        "UPDATE deliveries SET attempts = attempts + 1, error = ?, due_at = ? "
        "WHERE follower = ? AND seq <= ?",
        (what.error, what.due_at, *rows),
    )


def bound(db: sqlite3.Connection, followers: Iterable[str], most: int) -> int:
    """Remove the rows of former followers, and the oldest above `most` for each follower.

    Return the number of the latter; in the transaction around it.
    """
    names = json.dumps(list(followers))
    db.execute(
        "DELETE FROM deliveries WHERE follower NOT IN (SELECT value FROM json_each(?))", (names,)
    )
    return db.execute(
        "DELETE FROM deliveries WHERE seq IN (SELECT seq FROM (SELECT seq, row_number() OVER "
        "(PARTITION BY follower ORDER BY seq DESC) AS nth FROM deliveries) WHERE nth > ?)",
        (most,),
    ).rowcount


def backlogs(db: sqlite3.Connection) -> list[Backlog]:
    """List the followers that are behind."""
    rows = db.execute(
        "SELECT follower, count(*), min(closed_at), max(error) FROM deliveries "
        "GROUP BY follower ORDER BY follower"
    )
    return [Backlog(*row) for row in rows]
