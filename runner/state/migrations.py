"""Owns the ledger's tables, and updates those of an earlier version, step by step.

`PRAGMA user_version` counts the steps of a ledger. A released step never changes; a change is
another step.
"""

import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

KEPT_COPIES = 2
"""How many copies from before upgrades are kept."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    seq            INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id         TEXT NOT NULL UNIQUE,
    name           TEXT NOT NULL,
    state          TEXT NOT NULL,
    status         TEXT,
    error_type     TEXT,
    message        TEXT,
    attempt        INTEGER NOT NULL DEFAULT 0,
    retries        INTEGER NOT NULL DEFAULT 0,
    cancelled      INTEGER NOT NULL DEFAULT 0,
    refused        INTEGER NOT NULL DEFAULT 0,
    awaits_settings INTEGER NOT NULL DEFAULT 0,
    request_sha256 TEXT NOT NULL,
    input_sha256   TEXT NOT NULL,
    accepted_at    TEXT NOT NULL,
    started_at     TEXT,
    finished_at    TEXT,
    published_at   TEXT,
    place          TEXT NOT NULL DEFAULT 'none'
);
CREATE INDEX IF NOT EXISTS jobs_by_name ON jobs (name, seq);
CREATE INDEX IF NOT EXISTS jobs_open ON jobs (seq) WHERE state != 'closed';
CREATE INDEX IF NOT EXISTS jobs_open_by_name ON jobs (name, seq) WHERE state != 'closed';
CREATE INDEX IF NOT EXISTS jobs_to_settle ON jobs (seq)
    WHERE state != 'closed' AND state = 'queued' AND (refused OR cancelled);
CREATE INDEX IF NOT EXISTS jobs_by_status ON jobs (status, seq);
CREATE INDEX IF NOT EXISTS jobs_by_end ON jobs (status, error_type);
CREATE INDEX IF NOT EXISTS jobs_by_place ON jobs (place, name, seq);
CREATE TABLE IF NOT EXISTS inputs (
    job_id   TEXT PRIMARY KEY REFERENCES jobs (job_id),
    request  TEXT NOT NULL,
    notebook BLOB,
    failure  TEXT
);
CREATE TABLE IF NOT EXISTS outcomes (
    job_id   TEXT PRIMARY KEY REFERENCES jobs (job_id),
    outcome  TEXT NOT NULL,
    files    TEXT NOT NULL,
    executed BLOB
);
CREATE TABLE IF NOT EXISTS warnings (
    job_id  TEXT NOT NULL REFERENCES jobs (job_id),
    warning TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS warnings_by_job ON warnings (job_id);
CREATE TABLE IF NOT EXISTS facts (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS durations (
    stage   TEXT NOT NULL,
    bound   REAL NOT NULL,
    jobs    INTEGER NOT NULL,
    seconds REAL NOT NULL,
    PRIMARY KEY (stage, bound)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS demands (
    job_id TEXT PRIMARY KEY REFERENCES jobs (job_id),
    demand TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS library (
    path   TEXT PRIMARY KEY,
    job_id TEXT NOT NULL REFERENCES jobs (job_id)
) WITHOUT ROWID;
"""
_TOTALS = """
CREATE TABLE totals (
    status     TEXT NOT NULL,
    error_type TEXT NOT NULL,
    jobs       INTEGER NOT NULL,
    PRIMARY KEY (status, error_type)
) WITHOUT ROWID;
ALTER TABLE jobs ADD COLUMN pruned_at TEXT;
UPDATE jobs SET pruned_at = finished_at WHERE place = 'pruned';
CREATE INDEX jobs_pruned ON jobs (pruned_at) WHERE place = 'pruned';
"""
_DELIVERIES = """
CREATE TABLE deliveries (
    seq       INTEGER PRIMARY KEY AUTOINCREMENT,
    follower  TEXT NOT NULL,
    job_id    TEXT NOT NULL REFERENCES jobs (job_id),
    closed_at TEXT NOT NULL,
    attempts  INTEGER NOT NULL DEFAULT 0,
    due_at    TEXT,
    error     TEXT
);
CREATE INDEX deliveries_by_follower ON deliveries (follower, seq);
CREATE INDEX deliveries_by_job ON deliveries (job_id);
"""
_SUBMITTED_BY = "ALTER TABLE jobs ADD COLUMN submitted_by TEXT;"

_WAITING = """
ALTER TABLE jobs ADD COLUMN turn REAL NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN run_group TEXT;
ALTER TABLE jobs ADD COLUMN held_until TEXT;
ALTER TABLE jobs ADD COLUMN start_by TEXT;
UPDATE jobs SET turn = (julianday(accepted_at) - 2440587.5) * 86400 WHERE state != 'closed';
CREATE INDEX jobs_to_run ON jobs (turn, seq)
    WHERE state != 'closed' AND state = 'queued' AND held_until IS NULL;
CREATE INDEX jobs_under_way ON jobs (name) WHERE state != 'closed' AND state != 'queued';
CREATE INDEX jobs_held ON jobs (held_until)
    WHERE state != 'closed' AND state = 'queued' AND held_until IS NOT NULL;
CREATE INDEX jobs_to_expire ON jobs (start_by)
    WHERE state != 'closed' AND state = 'queued' AND start_by IS NOT NULL;
"""
_INPUT_FILES = "ALTER TABLE inputs ADD COLUMN files TEXT;"
_ENVIRONMENTS = """
CREATE TABLE environments (
    packages_sha256 TEXT PRIMARY KEY,
    packages        TEXT NOT NULL,
    seen_on         TEXT NOT NULL
) WITHOUT ROWID;
"""

STEPS = (
    _SCHEMA,  # 1
    _SCHEMA,  # 2: ledgers of version 1 lack what was added while that was the only version
    _TOTALS,  # 3: rows of pruned jobs leave, their counts stay
    _SUBMITTED_BY,  # 4: who or what made the request
    _DELIVERIES,  # 5: what followers are still to be told of
    _WAITING,  # 6: what a queued job waits for, besides its turn
    _INPUT_FILES,  # 7: what came along with a request
    _ENVIRONMENTS,  # 8: which packages a run found
)
"""The SQL from each version to the next; the first step starts from no ledger at all."""
VERSION = len(STEPS)


def utc_now() -> datetime:
    """Read the time of day, in UTC."""
    return datetime.now(UTC)


def migrate(
    connection: sqlite3.Connection,
    file: Path,
    now: Callable[[], datetime] = utc_now,
    steps: Sequence[str] = STEPS,
) -> None:
    """Take the steps that the ledger in `file` lacks, each in a transaction of its own.

    A ledger with content is copied before.
    """
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > len(steps):
        raise sqlite3.DatabaseError(_of_newer(version, file))
    if version == len(steps):
        return
    if connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
        _copy(connection, file, version, now())
    for number, step in enumerate(steps[version:], version + 1):
        _take(connection, number, step)


def _of_newer(version: int, file: Path) -> str:
    return (
        f"its version is {version}, made by a newer runner; this one knows {VERSION}. "
        f"Start the newer runner, or put a copy of the ledger from before the upgrade in the "
        f"place of {file} ({_pattern(file)} beside it, or a backup)."
    )


def _take(connection: sqlite3.Connection, number: int, step: str) -> None:
    script = f"BEGIN IMMEDIATE;\n{step}\nPRAGMA user_version = {number};\nCOMMIT;"
    try:
        connection.executescript(script)
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _copy(connection: sqlite3.Connection, file: Path, version: int, now: datetime) -> None:
    """Copy the ledger beside itself, durably and under its name only once it is whole."""
    target = file.with_name(f"{file.stem}-v{version}-{now:%Y%m%dT%H%M%SZ}{file.suffix}")
    part = target.with_name(target.name + ".part")
    try:
        part.unlink(missing_ok=True)
        connection.execute("VACUUM INTO ?", (str(part),))
        _sync(part)
        part.rename(target)
        _sync(file.parent)
    except (OSError, sqlite3.Error) as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise sqlite3.OperationalError(
            f"no copy of it can be made before it is upgraded, so it stays as it is ({error}). "
            f"Make room in {file.parent}, where the copy goes, and start again."
        ) from error
    for old in copies_of(file)[:-KEPT_COPIES]:
        with suppress(OSError):
            old.unlink()


def copies_of(file: Path) -> list[Path]:
    """List the copies of a ledger from before its upgrades, the oldest first."""
    return sorted(file.parent.glob(_pattern(file)), key=lambda one: one.stem.rpartition("-")[2])


def _pattern(file: Path) -> str:
    return f"{file.stem}-v*{file.suffix}"


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
