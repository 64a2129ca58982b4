"""Frees unused space in the ledger's files. Knows nothing of jobs."""

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from runner.system.files.databases import BUSY_MILLISECONDS

KEPT_BYTES = 16 << 20
"""Free space that the ledger's file and its log may keep."""
STEP_PAGES = 256
REBUILT_BYTES = 256 << 20
"""A larger ledger of an earlier version keeps its free pages."""


def shrink(connection: sqlite3.Connection, seconds: float, clock: Callable[[], float]) -> bool:
    """Free some space, for about that long; see `Ledger.shrink`."""
    end_at = clock() + seconds
    is_due = _free_bytes(connection) > KEPT_BYTES
    while _free_bytes(connection) > KEPT_BYTES and clock() < end_at:
        # Not `execute`: it takes one step of what has no columns, and that is one page.
        connection.executescript(f"PRAGMA incremental_vacuum({STEP_PAGES})")
    if is_due or _log_bytes(connection) > KEPT_BYTES:
        connection.execute("PRAGMA busy_timeout = 0")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        connection.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
        return True
    return False


def learn_to_shrink(connection: sqlite3.Connection) -> None:
    """Rewrite a ledger of an earlier version once, if that does not take long."""
    if _pragma(connection, "auto_vacuum"):
        return
    size = _pragma(connection, "page_count") * _pragma(connection, "page_size")
    if size - _free_bytes(connection) > REBUILT_BYTES:
        return
    with suppress(sqlite3.OperationalError):  # no room for it, or a reader is there: another time
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("VACUUM")


def _free_bytes(connection: sqlite3.Connection) -> int:
    return _pragma(connection, "freelist_count") * _pragma(connection, "page_size")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _log_bytes(connection: sqlite3.Connection) -> int:
    file = connection.execute("PRAGMA database_list").fetchone()[2]
    try:
        return Path(f"{file}-wal").stat().st_size
    except FileNotFoundError:
        return 0
