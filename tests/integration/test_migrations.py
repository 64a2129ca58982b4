"""Promises of an upgrade: a copy first, each step whole, nothing lost, and no way back unseen."""

import gzip
import sqlite3
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from runner.state.jobs import JobFilter, State
from runner.state.ledger import Ledger
from runner.state.ledger_reader import LedgerReader
from runner.state.listing import COLUMNS, LEDGER_FILE
from runner.state.migrations import STEPS, VERSION, copies_of, migrate

VERSION_1 = Path(__file__).parents[1] / "fixtures" / "ledger_v1.sqlite3.gz"
NOW = datetime(2026, 11, 27, 9, 30, tzinfo=UTC)


def put_version_1(state: Path) -> Path:
    """Lay a ledger of version 1 below a state folder."""
    file = state / LEDGER_FILE
    file.write_bytes(gzip.decompress(VERSION_1.read_bytes()))
    return file


def version_of(file: Path) -> int:
    with closing(sqlite3.connect(file)) as db:
        return int(db.execute("PRAGMA user_version").fetchone()[0])


def rows(file: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(file)) as db:
        return db.execute(f"SELECT {COLUMNS} FROM jobs ORDER BY seq").fetchall()


def test_a_ledger_of_version_1_keeps_every_job(tmp_path: Path) -> None:
    """Their rows are the same, and open ones are as open as they were."""
    file = put_version_1(tmp_path)
    before = rows(file)
    ledger = Ledger(tmp_path)
    states = Counter(job.state for job in ledger.jobs(limit=1_000))
    assert states == {State.CLOSED: 192, State.QUEUED: 4, State.RUNNING: 2, State.SEALED: 2}
    assert len(ledger.jobs(JobFilter(is_over=True), limit=1_000)) == 194
    assert ledger.fact("instance") == "0123456789abcdef"
    ledger.close()
    assert version_of(file) == VERSION
    assert rows(file) == before


def test_a_reader_may_be_newer_than_the_ledger(tmp_path: Path) -> None:
    """It counts what is there; the runner upgrades it at its next start."""
    put_version_1(tmp_path)
    with closing(LedgerReader(tmp_path)) as reader:
        counts = reader.finished()
    assert sum(counts.values()) == 194
    with closing(Ledger(tmp_path)) as ledger:
        assert ledger.finished() == counts


def test_what_was_added_to_version_1_later_is_made(tmp_path: Path) -> None:
    """There are ledgers of that version from before the library was noted."""
    file = put_version_1(tmp_path)
    with closing(sqlite3.connect(file)) as db:
        db.execute("DROP TABLE library")
    ledger = Ledger(tmp_path)
    assert ledger.library_runs() == {}
    ledger.close()


def test_the_ledger_is_copied_before_it_is_upgraded(tmp_path: Path) -> None:
    """With version and time in the name; the copy is a ledger that the earlier runner opens."""
    file = put_version_1(tmp_path)
    before = rows(file)
    Ledger(tmp_path, lambda: NOW).close()
    (copy,) = copies_of(file)
    assert copy.name == "ledger-v1-20261127T093000Z.sqlite3"
    assert version_of(copy) == 1
    assert rows(copy) == before
    Ledger(tmp_path, lambda: NOW + timedelta(hours=1)).close()
    assert copies_of(file) == [copy], "no upgrade, no copy"


def test_the_last_two_copies_are_kept(tmp_path: Path) -> None:
    """Whoever goes back and forth does not fill the disk."""
    for hours in (9, 10, 11):
        for one in tmp_path.glob(f"{LEDGER_FILE}*"):
            one.unlink()
        put_version_1(tmp_path)
        Ledger(tmp_path, partial(NOW.replace, hour=hours)).close()
    names = [one.name for one in copies_of(tmp_path / LEDGER_FILE)]
    assert names == [f"ledger-v1-20261127T{hour}3000Z.sqlite3" for hour in (10, 11)]


def test_a_new_ledger_is_not_copied(tmp_path: Path) -> None:
    """There is nothing in it."""
    Ledger(tmp_path).close()
    assert version_of(tmp_path / LEDGER_FILE) == VERSION
    assert copies_of(tmp_path / LEDGER_FILE) == []


def test_a_ledger_that_cannot_be_copied_is_not_upgraded(tmp_path: Path) -> None:
    """The message says what to do; no part of a copy is left."""
    file = put_version_1(tmp_path)
    blocked = tmp_path / "ledger-v1-20261127T093000Z.sqlite3"
    blocked.mkdir()
    with pytest.raises(sqlite3.DatabaseError, match="Make room in"):
        Ledger(tmp_path, lambda: NOW)
    assert version_of(file) == 1
    assert list(tmp_path.glob("*.part")) == []
    blocked.rmdir()
    Ledger(tmp_path, lambda: NOW).close()
    assert version_of(file) == VERSION


def test_a_step_that_fails_leaves_nothing_of_itself(tmp_path: Path) -> None:
    """The steps before it stay, and the next start goes on from there."""
    file = put_version_1(tmp_path)
    broken = "CREATE TABLE made_in_part (a); INSERT INTO nowhere VALUES (1);"
    with (
        closing(sqlite3.connect(file, isolation_level=None)) as db,
        pytest.raises(sqlite3.OperationalError, match="nowhere"),
    ):
        migrate(db, file, steps=(*STEPS, broken))
    assert version_of(file) == VERSION
    with closing(sqlite3.connect(file)) as db:
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_master")]
    assert "made_in_part" not in names
    Ledger(tmp_path).close()


def test_a_ledger_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    """An older runner does not write into what it does not know, and says what to do."""
    Ledger(tmp_path).close()
    file = tmp_path / LEDGER_FILE
    with closing(sqlite3.connect(file)) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(sqlite3.DatabaseError, match=r"99.*Start the newer runner, or put a copy"):
        Ledger(tmp_path)
    assert version_of(file) == 99
