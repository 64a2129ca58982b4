"""The record of schedules: how far each was looked at, who paused it, and what came of each run.

A database of its own in the state folder, `schedules.sqlite3`. It can be lost without a run being
doubled: the ledger takes each cause once.
"""

from dataclasses import dataclass
from pathlib import Path

from runner.system.files.databases import open_database, transaction

BOOK_FILE = "schedules.sqlite3"
BOOK_VERSION = 1
KEPT_OCCURRENCES = 1_000
"""Most occurrences that are kept of one schedule; the days stay."""
KEPT_DAYS = 400

_SCHEMA = f"""
CREATE TABLE schedules (
    name TEXT PRIMARY KEY, timing TEXT NOT NULL, seen_until TEXT NOT NULL,
    gone_at TEXT, paused_at TEXT, paused_by TEXT
) STRICT, WITHOUT ROWID;
CREATE TABLE occurrences (
    name TEXT NOT NULL, scheduled_for TEXT NOT NULL, through TEXT NOT NULL, times INTEGER NOT NULL,
    reason TEXT, job_id TEXT, job_name TEXT, status TEXT,
    PRIMARY KEY (name, scheduled_for)
) STRICT, WITHOUT ROWID;
CREATE INDEX still_open ON occurrences (name) WHERE job_id IS NOT NULL AND status IS NULL;
CREATE TABLE days (
    name TEXT NOT NULL, day TEXT NOT NULL, outcome TEXT NOT NULL, times INTEGER NOT NULL,
    PRIMARY KEY (name, day, outcome)
) STRICT, WITHOUT ROWID;
PRAGMA user_version = {BOOK_VERSION};
"""

SKIPPED = "skipped"
PAUSED = "paused"
DISABLED = "enabled: false"
BY_CHOICE = frozenset({PAUSED, DISABLED})
"""Reasons for which a run does not start because somebody wants so."""


@dataclass(frozen=True)
class Entry:
    """How far a schedule was looked at, and whether somebody paused it; times in UTC, ISO."""

    name: str
    timing: str
    seen_until: str
    gone_at: str | None
    paused_at: str | None
    paused_by: str | None


@dataclass(frozen=True)
class Occurrence:
    """A run of a schedule, or `times` ones that did not start, for one `reason`.

    The times are stamps (`2026-11-26T06:00Z`); `through` is the last of those. `status` is None
    while the run is not over.
    """

    name: str
    scheduled_for: str
    through: str
    times: int
    reason: str | None
    job_id: str | None
    job_name: str | None
    status: str | None
    by: str | None = None
    """By which face somebody started it by hand; such runs are in no book."""


class Book:
    """The record in one state folder. For one thread; several processes may have it open."""

    def __init__(self, state: Path) -> None:
        """Open it, or make it.

        Raises:
            sqlite3.Error, OSError: it cannot be opened or written.
        """
        # What a power cut takes is found again.
        self._db = open_database(state / BOOK_FILE, _SCHEMA, synchronous="NORMAL")

    def close(self) -> None:
        """Close it."""
        self._db.close()

    def entries(self) -> dict[str, Entry]:
        """Return all schedules that were ever seen and not forgotten, by name."""
        return {row["name"]: Entry(**row) for row in self._db.execute("SELECT * FROM schedules")}

    def begin(self, name: str, timing: str, now: str) -> None:
        """Look at a schedule from now on, also where it was seen with another timing."""
        self._db.execute(
            "INSERT INTO schedules (name, timing, seen_until) VALUES (?, ?, ?) ON CONFLICT DO "
            "UPDATE SET timing = excluded.timing, seen_until = excluded.seen_until, gone_at = NULL",
            (name, timing, now),
        )

    def seen(self, name: str, until: str) -> None:
        """Note how far a schedule was looked at. Its file is there."""
        self._db.execute(
            "UPDATE schedules SET seen_until = ?, gone_at = NULL WHERE name = ?", (until, name)
        )

    def gone(self, name: str, now: str, forgotten_before: str) -> None:
        """Note that a schedule's file is gone; forget it where that was long ago."""
        self._db.execute(
            "UPDATE schedules SET gone_at = ? WHERE name = ? AND gone_at IS NULL", (now, name)
        )
        self._db.execute(
            "DELETE FROM schedules WHERE name = ? AND gone_at < ?", (name, forgotten_before)
        )

    def pause(self, name: str, by: str, now: str) -> None:
        """Start no more runs of a schedule by itself."""
        with transaction(self._db):
            self._db.execute(
                "INSERT INTO schedules (name, timing, seen_until) VALUES (?, '', ?) "
                "ON CONFLICT DO NOTHING",
                (name, now),
            )
            self._db.execute(
                "UPDATE schedules SET paused_at = ?, paused_by = ? WHERE name = ?", (now, by, name)
            )

    def resume(self, name: str) -> None:
        """Start runs again; those that came due meanwhile are not made up."""
        self._db.execute(
            "UPDATE schedules SET paused_at = NULL, paused_by = NULL WHERE name = ?", (name,)
        )

    def has(self, name: str, stamped: str) -> bool:
        """Return whether an occurrence was decided."""
        return (
            self._db.execute(
                "SELECT 1 FROM occurrences WHERE name = ? AND scheduled_for <= ? AND through >= ? "
                "ORDER BY scheduled_for DESC LIMIT 1",
                (name, stamped, stamped),
            ).fetchone()
            is not None
        )

    def submitted(self, name: str, stamped: str, job_id: str, job_name: str, until: str) -> None:
        """Note the job of an occurrence, and how far the schedule was looked at."""
        with transaction(self._db):
            self._db.execute(
                "INSERT OR IGNORE INTO occurrences (name, scheduled_for, through, times, job_id, "
                "job_name) VALUES (?, ?, ?, 1, ?, ?)",
                (name, stamped, stamped, job_id, job_name),
            )
            self.seen(name, until)
            self._prune(name)

    def skipped(self, name: str, stamped: str, day: str, reason: str, until: str) -> None:
        """Note an occurrence that does not run; with those right before it, of one reason."""
        with transaction(self._db):
            last = self._db.execute(
                "SELECT * FROM occurrences WHERE name = ? ORDER BY scheduled_for DESC LIMIT 1",
                (name,),
            ).fetchone()
            if last is not None and last["reason"] == reason and last["through"] < stamped:
                self._db.execute(
                    "UPDATE occurrences SET through = ?, times = times + 1 "
                    "WHERE name = ? AND scheduled_for = ?",
                    (stamped, name, last["scheduled_for"]),
                )
            else:
                self._db.execute(
                    "INSERT INTO occurrences (name, scheduled_for, through, times, reason, status) "
                    "VALUES (?, ?, ?, 1, ?, ?)",
                    (name, stamped, stamped, reason, SKIPPED),
                )
            self._count(name, day, SKIPPED)
            self.seen(name, until)
            self._prune(name)

    def still_open(self) -> list[Occurrence]:
        """List the runs whose outcome is not known yet."""
        query = "SELECT * FROM occurrences WHERE job_id IS NOT NULL AND status IS NULL"
        return [Occurrence(**row) for row in self._db.execute(f"{query} LIMIT 1000")]

    def has_open(self, name: str) -> bool:
        """Return whether a run of a schedule is not known to be over."""
        query = "SELECT 1 FROM occurrences WHERE name = ? AND job_id IS NOT NULL AND status IS NULL"
        return self._db.execute(f"{query} LIMIT 1", (name,)).fetchone() is not None

    def finished(self, run: Occurrence, day: str, status: str) -> None:
        """Note how a run ended, once."""
        with transaction(self._db):
            changed = self._db.execute(
                "UPDATE occurrences SET status = ? WHERE name = ? AND scheduled_for = ? "
                "AND status IS NULL",
                (status, run.name, run.scheduled_for),
            ).rowcount
            if changed:
                self._count(run.name, day, status)

    def occurrences(self, name: str, limit: int = 50) -> list[Occurrence]:
        """List what came of a schedule, the newest first."""
        rows = self._db.execute(
            "SELECT * FROM occurrences WHERE name = ? ORDER BY scheduled_for DESC LIMIT ?",
            (name, limit),
        )
        return [Occurrence(**row) for row in rows]

    def skipped_after(self, stamped: str, limit: int = 1000) -> list[Occurrence]:
        """List the newest occurrences after a time that did not run, the oldest of them first."""
        rows = self._db.execute(
            "SELECT * FROM (SELECT * FROM occurrences WHERE status = ? AND through > ? "
            "ORDER BY through DESC LIMIT ?) ORDER BY through, name",
            (SKIPPED, stamped, limit),
        )
        return [Occurrence(**row) for row in rows]

    def changes(self) -> int:
        """Return a number that is another one after others have written here."""
        return int(self._db.execute("PRAGMA data_version").fetchone()[0])

    def days(self, name: str, since: str) -> dict[str, dict[str, int]]:
        """Count the outcomes of each day, from a day on: `{"2026-11-26": {"succeeded": 24}}`."""
        days: dict[str, dict[str, int]] = {}
        for row in self._db.execute(
            "SELECT * FROM days WHERE name = ? AND day >= ? ORDER BY day", (name, since)
        ):
            days.setdefault(row["day"], {})[row["outcome"]] = row["times"]
        return days

    def _count(self, name: str, day: str, outcome: str) -> None:
        self._db.execute(
            "INSERT INTO days VALUES (?, ?, ?, 1) ON CONFLICT DO UPDATE SET times = times + 1",
            (name, day, outcome),
        )
        self._db.execute(
            "DELETE FROM days WHERE name = ? AND day < date(?, ?)",
            (name, day, f"-{KEPT_DAYS} days"),
        )

    def _prune(self, name: str) -> None:
        self._db.execute(
            "DELETE FROM occurrences WHERE name = ? AND scheduled_for < (SELECT scheduled_for FROM "
            "occurrences WHERE name = ? ORDER BY scheduled_for DESC LIMIT 1 OFFSET ?)",
            (name, name, KEPT_OCCURRENCES),
        )
