"""Owns the ledger's tables, and brings those of an earlier version up to date."""

import sqlite3

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
VERSION = 1


def migrate(connection: sqlite3.Connection) -> None:
    """Make the tables that are not there.

    Raises:
        sqlite3.DatabaseError: the file is damaged or of a newer version.
    """
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise sqlite3.DatabaseError(
            f"the ledger's version is {version}, made by a newer runner; this one knows {VERSION}"
        )
    connection.executescript(_SCHEMA)
    if version != VERSION:
        connection.execute(f"PRAGMA user_version = {VERSION}")
