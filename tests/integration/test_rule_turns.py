"""Turns over the inbox of rules: what a look costs, and what it must not miss."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from runner.config import Settings
from runner.contract.rules import BundleLimits
from runner.contract.triggers.rules import read_rule
from runner.inbox.unclaimed import Reason, Waiting, WaitingList, read, write
from runner.jobs.body import JobRequest
from runner.jobs.problem import Problem, ProblemType
from runner.submitters.rules.files import Ruled
from runner.submitters.rules.listing import KEPT_SECONDS, SETTLED_NS, Listing
from runner.submitters.rules.outlook import ADVICE
from runner.submitters.rules.taking import Inbox, Taking
from runner.submitters.rules.telling import Telling
from runner.submitters.rules.whole import Wholeness
from runner.submitters.rules.working import (
    LONGEST_LOOK_SECONDS,
    LOOK_SECONDS,
    STAY_SECONDS,
    Place,
    Working,
)
from runner.system.clocks import Clocks
from runner.system.files.disk import Disk
from tests.conftest import wait_for

RULE = b"pattern: '*.csv'\nnotebook: n.ipynb\n"


class World:
    """An inbox with a clock of its own, on which each change was long ago."""

    def __init__(self, inbox: Path, limits: BundleLimits | None = None) -> None:
        self.inbox = inbox
        self.now = 1000.0
        self.full = False
        self.sent: list[str] = []
        self.judged: list[str] = []
        self.clocks = Clocks(
            seconds=lambda: self.now, wall_ns=lambda: time.time_ns() + 2 * SETTLED_NS
        )
        self.listing = Listing(inbox, (), self.clocks, lambda: True)
        limits = limits or Settings().bundle_limits
        self.taking = Taking(Inbox(inbox, limits), self, Disk(), lambda: date(2026, 1, 2))
        whole = Wholeness(inbox, self.clocks.seconds, self.clocks.wall_ns)
        self.working = Working(
            Place(self.listing.files, lambda: False), whole, self.taking, self.clocks
        )
        self.rules = [Ruled("r", inbox, read_rule(RULE))]

    def submit_for(self, cause: str, wanted: JobRequest, *, is_new: bool = False) -> object:
        if self.full:
            raise Problem(ProblemType.QUEUE_FULL, "No room.")
        self.sent.extend(upload.path for upload in wanted.files)
        return cause

    def of_cause(self, cause: str) -> object | None:
        return None

    def wants(self, path: str) -> bool:
        self.judged.append(path)
        return path.endswith(".csv")

    def look(self) -> list[str]:
        return [file.path for file in self.listing.files(self.wants, {})]

    def turns(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1
            self.working.turn(self.rules)


def changed(folder: Path, change: Callable[[], object]) -> None:
    """Change something in a folder; its times have only steps of some milliseconds."""
    before = folder.stat().st_ctime_ns

    def is_later() -> bool:
        os.utime(folder, ns=(1, 1))  # as `cp -a` and rsync set it
        return folder.stat().st_ctime_ns > before

    change()
    wait_for(is_later)


def test_a_folder_without_changes_is_not_read_again(tmp_path: Path) -> None:
    """What is new there is found at the next look, what is gone is not; a name is judged once."""
    world, below = World(tmp_path), tmp_path / "below"
    below.mkdir()
    for folder in (tmp_path, below):
        (folder / "a.csv").touch()
        (folder / "other.txt").touch()
    assert world.look() == ["a.csv", "below/a.csv"]
    assert len(world.judged) == 4
    changed(below, (below / "b.csv").touch)
    changed(below, (below / "a.csv").unlink)
    assert world.look() == ["a.csv", "below/b.csv"]
    assert world.judged[4:] == ["below/b.csv"]
    changed(tmp_path, lambda: below.rename(tmp_path / "other"))
    assert world.look() == ["a.csv", "other/b.csv"]


def test_a_listing_is_not_believed_for_ever(tmp_path: Path) -> None:
    """Whatever a file system does with the times of its folders."""
    world = World(tmp_path)
    world.look()
    (kept,) = world.listing._folders.values()
    world.look()
    assert list(world.listing._folders.values()) == [kept]
    world.now += KEPT_SECONDS
    world.look()
    (again,) = world.listing._folders.values()
    assert again is not kept


def test_what_cannot_be_submitted_now_stays_in_the_inbox(tmp_path: Path) -> None:
    """One file is on its way, and is the first that goes on; each is one job."""
    world = World(tmp_path)
    for number in range(5):
        (tmp_path / f"{number}.csv").touch()
    world.full = True
    world.turns(30)
    assert len(list(tmp_path.glob(".rule-*"))) == 1
    assert len(list(tmp_path.glob("*.csv"))) == 4
    assert any("No room." in problem for problem in world.working.problems())
    world.full = False
    world.turns(60)
    assert sorted(world.sent) == [f"{number}.csv" for number in range(5)]
    assert not list(tmp_path.glob(".rule-*"))


def test_a_file_that_stays_goes_once_it_may(tmp_path: Path) -> None:
    """It is looked at from time to time, and as soon as its rule is another one."""
    world = World(tmp_path, BundleLimits(bytes=10))
    (tmp_path / "a.csv").write_text("x" * 11)
    world.turns(20)
    assert any("above the limit" in problem for problem in world.working.problems())
    (tmp_path / "a.csv").write_text("x" * 9)
    world.turns(int(STAY_SECONDS) + 12)
    assert world.sent == ["a.csv"]


def test_looks_that_cost_much_are_rare(tmp_path: Path) -> None:
    """By the time of a processor: those that only wait for one are not."""
    world, spent = World(tmp_path), iter((0.0, 0.1, 1.0, 1.6, 10.0, 90.0))
    clocks = replace(world.clocks, cpu=lambda: next(spent))
    place = Place(world.listing.files, lambda: False)
    whole = Wholeness(tmp_path, clocks.seconds, clocks.wall_ns)
    working = Working(place, whole, world.taking, clocks)
    waits = [working.turn(world.rules) for _ in range(3)]
    assert waits == [LOOK_SECONDS, pytest.approx(3.0), LONGEST_LOOK_SECONDS]


def test_each_file_of_a_rule_is_told_of_it(tmp_path: Path) -> None:
    """Which one takes it, or why not yet; others keep the daemon's words."""
    single, batch = (read_rule(RULE + f"group: {one}\n".encode()) for one in ("single", "batch"))
    off = read_rule(b"pattern: 'off/*'\nnotebook: n.ipynb\nenabled: false\n")
    held = {"large.csv": "It is too large."}
    reasons = {
        "a.csv": Reason.DATA,
        "large.csv": Reason.DATA,
        "off/b": Reason.OTHER,
        "notes.txt": Reason.OTHER,
        "c~.csv": Reason.UNFINISHED,
    }
    listed = tuple(Waiting(path, reason, "") for path, reason in reasons.items())
    write(tmp_path, WaitingList(listed, len(listed)))
    telling = Telling(tmp_path, held.get)

    def told(*rules: Ruled, refusals: Mapping[str, str] | None = None) -> dict[str, str]:
        telling.tell(rules, refusals or {}, {})
        known = read(tmp_path)
        assert known is not None
        return {one.path: f"{one.reason}: {one.text}" for one in known.files}

    first = told(Ruled("r", tmp_path, single), Ruled("off", tmp_path, off))
    assert first["a.csv"] == "rule: a rule takes it: r, as soon as it is whole"
    assert first["large.csv"].endswith("the rule r does not take it: It is too large")
    assert next(iter(first)) == "large.csv"
    assert first["off/b"] == "rule_off: it is of a rule that is off: off (enabled: false)"
    assert (first["notes.txt"][:6], first["c~.csv"][:11]) == ("other:", "unfinished:")
    both = told(Ruled("r", tmp_path, single), Ruled("s", tmp_path, batch))
    assert both["a.csv"].endswith("the rules r and s match it; change one of them")
    assert told(Ruled("s", tmp_path, batch))["a.csv"].endswith("with those that come soon")
    refused = told(Ruled("s", tmp_path, batch), refusals={"s": f"No notebook. {ADVICE}"})
    assert refused["a.csv"].endswith("the rule s does not take it: No notebook")
    assert told()["a.csv"].startswith("data:")
