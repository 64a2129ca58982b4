"""Followers are told of each closed job, in order, until they have taken it; the journal is one."""

import errno
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from runner.config import Settings
from runner.daemon.companions.following import BEHIND_SECONDS, Following
from runner.followers.delivering import BATCH, LAST_SECONDS, LOOK_SECONDS, Delivering
from runner.followers.journal import JOURNAL_FILE, TAIL_BYTES, Journal
from runner.state.deliveries import Settlement
from runner.state.jobs import Job, State
from runner.state.ledger import Ledger
from runner.state.ledger_reader import LedgerReader
from runner.system.clocks import Clocks
from runner.system.files.disk import Disk
from tests.integration.test_ledger import NOW, acceptance, job_id, seal

FOLLOWERS = ("journal",)


@dataclass
class Told:
    """A follower that remembers; `error` is why it cannot be told now."""

    name: str = "journal"
    error: Exception | None = None
    ids: list[str] = field(default_factory=list)

    def deliver(self, jobs: Sequence[Job]) -> None:
        if self.error is not None:
            raise self.error
        self.ids.extend(job.job_id for job in jobs)


class World:
    """A ledger, its daemon's part and a companion, on one clock."""

    def __init__(self, state: Path, follower: Told) -> None:
        self.ledger = Ledger(state)
        self.at = 0.0
        self.clocks = Clocks(lambda: self.at, lambda: self.now, lambda: 0)
        self.said: list[Settlement] = []
        self.records = True
        self.delivering = Delivering(
            [follower], lambda: LedgerReader(state), self._settle, self.clocks
        )

    @property
    def now(self) -> datetime:
        return datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC) + timedelta(seconds=self.at)

    def close_jobs(self, first: int, last: int) -> None:
        with self.ledger.transaction():
            for number in range(first, last):
                self.ledger.accept(acceptance(number))
                self.ledger.start(job_id(number), NOW)
                self.ledger.seal(seal(number), from_state=State.RUNNING)
                self.ledger.published(job_id(number), NOW, FOLLOWERS)

    def turns(self, number: int) -> float:
        seconds = 0.0
        for _ in range(number):
            seconds = self.delivering.turn()
            self.at += seconds
        return seconds

    def _settle(self, what: Settlement) -> None:
        self.said.append(what)
        if self.records:
            self.ledger.settle(what)


@pytest.fixture
def follower() -> Told:
    return Told()


@pytest.fixture
def world(tmp_path: Path, follower: Told) -> Iterator[World]:
    one = World(tmp_path, follower)
    yield one
    one.ledger.close()


def test_all_are_told_in_order_in_batches(world: World, follower: Told) -> None:
    world.close_jobs(0, BATCH + 5)
    assert world.turns(4) == LOOK_SECONDS
    assert follower.ids == [job_id(number) for number in range(BATCH + 5)]
    assert [what.error for what in world.said] == [None, None]
    assert not world.ledger.backlogs()


def test_nobody_is_told_of_what_was_closed_without_followers(world: World, follower: Told) -> None:
    world.close_jobs(0, 1)
    world.ledger.bound_deliveries(())
    world.turns(2)
    assert not follower.ids


def test_what_fails_is_told_again_after_growing_pauses(world: World, follower: Told) -> None:
    """And what came later waits behind it."""
    follower.error = OSError(errno.ENOSPC, "No space left on device")
    world.close_jobs(0, 2)
    while len(world.said) < 9:
        world.turns(1)
    [backlog] = world.ledger.backlogs()
    assert (backlog.jobs, backlog.error) == (2, "No space left on device")
    due = [datetime.fromisoformat(what.due_at or "") for what in world.said]
    pauses = [(later - sooner).total_seconds() for sooner, later in pairwise(due)]
    assert pauses[0] < pauses[1] < pauses[2]
    assert max(pauses) < LAST_SECONDS + 5
    follower.error = None
    world.close_jobs(2, 3)
    while world.ledger.backlogs():
        world.turns(1)
    assert follower.ids == [job_id(number) for number in range(3)]


def test_a_fault_of_a_follower_is_told_as_one(world: World, follower: Told) -> None:
    follower.error = KeyError("nobody thought of it")
    world.close_jobs(0, 1)
    world.turns(1)
    assert world.said[0].error == "KeyError: 'nobody thought of it'"


def test_the_next_rows_wait_until_the_last_ones_are_recorded(world: World, follower: Told) -> None:
    """So no more than a batch is told twice, whatever crashes; the settlement is said again."""
    world.records = False
    world.close_jobs(0, BATCH + 1)
    while world.at < 30:
        world.turns(1)
    assert len(follower.ids) == BATCH
    assert len(world.said) > 3
    assert len(set(world.said)) == 1
    world.records = True
    while world.ledger.backlogs():
        world.turns(1)
    assert len(follower.ids) == BATCH + 1


def test_a_clock_that_is_set_back_holds_nothing_up(world: World, follower: Told) -> None:
    follower.error = OSError("not now")
    world.close_jobs(0, 1)
    world.turns(1)
    follower.error = None
    world.at -= 86_400
    world.turns(3)
    assert follower.ids == [job_id(0)]


def test_rows_are_bounded_and_health_says_so(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("runner.state.deliveries.MOST_WAITING", 3)
    settings = Settings().model_copy(update={"state": tmp_path, "journal": True})
    following = Following(settings, world.ledger, world.clocks, world.said.append)
    world.close_jobs(0, 5)
    assert not list(following.notes())
    world.at = BEHIND_SECONDS + 1
    following.bound()
    behind, lost = following.notes()
    assert behind == f"the journal is 3 jobs behind since {NOW}"
    assert "not be told of 2 jobs" in lost
    reader = LedgerReader(tmp_path)
    assert [row.job.job_id for row in reader.deliveries("journal", 9)] == [
        job_id(number) for number in (2, 3, 4)
    ]
    reader.close()


def test_a_row_of_the_ledger_stays_while_a_follower_waits_for_it(world: World) -> None:
    world.close_jobs(0, 2)
    world.ledger.settle(Settlement("journal", 1))
    world.ledger.pruned([job_id(0), job_id(1)], NOW)
    assert world.ledger.forget(older_than="2027") == 1
    assert world.ledger.job(job_id(1)) is not None


# The journal


def job(number: int, message: str | None = None) -> Job:
    from tests.unit.test_report import JOB

    return Job(**{**JOB.__dict__, "job_id": job_id(number), "message": message})


def ids_in(folder: Path) -> list[str]:
    lines = (folder / JOURNAL_FILE).read_text().splitlines()
    return [json.loads(line)["job_id"] for line in lines]


def fresh(folder: Path) -> Journal:
    """As after a start."""
    return Journal(folder, Disk())


def test_a_line_says_what_became_of_a_job(tmp_path: Path) -> None:
    fresh(tmp_path).deliver([job(1, "two\nlines")])
    [line] = (tmp_path / JOURNAL_FILE).read_text().splitlines()
    assert json.loads(line) == {
        "job_id": job_id(1),
        "name": "sales/daily",
        "status": "succeeded",
        "error_type": None,
        "message": "two\nlines",
        "attempt": 1,
        "submitted_by": "file",
        "accepted_at": "2026-01-02T03:04:05.000Z",
        "started_at": "2026-01-02T03:04:06.000Z",
        "finished_at": "2026-01-02T03:04:08.500Z",
        "seconds": 2.5,
    }


def test_what_is_there_is_not_written_again(tmp_path: Path) -> None:
    """A crash came between the lines and their settlement: of the same jobs, and of more."""
    fresh(tmp_path).deliver([job(n) for n in range(BATCH)])
    fresh(tmp_path).deliver([job(n) for n in range(BATCH)])
    fresh(tmp_path).deliver([job(n) for n in range(BATCH, BATCH + 2)])
    assert ids_in(tmp_path) == [job_id(n) for n in range(BATCH + 2)]


@pytest.mark.parametrize("kept", [1, 40, 300])
def test_a_line_that_broke_off_is_written_anew(tmp_path: Path, kept: int) -> None:
    fresh(tmp_path).deliver([job(1), job(2)])
    file = tmp_path / JOURNAL_FILE
    file.write_bytes(file.read_bytes()[:-kept])
    fresh(tmp_path).deliver([job(1), job(2), job(3)])
    assert ids_in(tmp_path) == [job_id(n) for n in (1, 2, 3)]


def test_a_journal_that_was_moved_away_begins_anew(tmp_path: Path) -> None:
    journal = fresh(tmp_path)
    journal.deliver([job(1)])
    (tmp_path / JOURNAL_FILE).rename(tmp_path / "journal.1")
    journal.deliver([job(2)])
    assert ids_in(tmp_path) == [job_id(2)]


def test_the_largest_batch_is_known_by_its_tail(tmp_path: Path) -> None:
    """Names and messages as long as they may be, of what takes most bytes in JSON."""
    large = [Job(**{**job(n, "\x01" * 5000).__dict__, "name": "\x01" * 1000}) for n in range(BATCH)]
    fresh(tmp_path).deliver(large)
    assert (tmp_path / JOURNAL_FILE).stat().st_size < TAIL_BYTES
    fresh(tmp_path).deliver(large)
    assert len(ids_in(tmp_path)) == BATCH


def test_nothing_of_others_is_cut_away(tmp_path: Path) -> None:
    file = tmp_path / JOURNAL_FILE
    file.write_bytes(b'{"a note": "by hand"}\n' + b"x" * (TAIL_BYTES + 10))
    fresh(tmp_path).deliver([job(1)])
    assert file.stat().st_size > TAIL_BYTES + 10


@pytest.mark.parametrize(
    "problem", [Path.mkdir, os.mkfifo, lambda file: file.symlink_to("/dev/zero")]
)
def test_a_journal_that_cannot_be_written_says_so(
    tmp_path: Path, problem: Callable[[Path], None]
) -> None:
    problem(tmp_path / JOURNAL_FILE)
    with pytest.raises(OSError, match=r"no regular file"):
        fresh(tmp_path).deliver([job(1)])
