"""Small SQLite databases beside the ledger, which several processes may have open."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

BUSY_MILLISECONDS = 5_000
"""How long anybody waits for the lock of a database, the ledger's too."""


def open_database(
    file: Path, schema: str, *, synchronous: Literal["FULL", "NORMAL"]
) -> sqlite3.Connection:
    """Open a database, or make it by its `schema`, which sets `user_version` above 0.

    `synchronous` says what a power cut may take: nothing (FULL), or the last commits (NORMAL).

    Raises:
        sqlite3.Error, OSError: it cannot be opened or written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(file, isolation_level=None)
    db.row_factory = sqlite3.Row
    db.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute(f"PRAGMA synchronous = {synchronous}")
    if _version(db) == 0:
        with transaction(db):
            if _version(db) == 0:
                for statement in filter(str.strip, schema.split(";")):
                    db.execute(statement)
    return db


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Commit everything inside at once, or nothing if the body raises."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])
