"""Data files that a rule takes, while somebody opens them again."""

import signal
import threading
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest

from runner.config import Settings
from runner.contract.triggers.rules import read_rule
from runner.inbox import write_lease
from runner.jobs.body import JobRequest
from runner.submitters.rules.files import Ruled
from runner.submitters.rules.listing import Listing
from runner.submitters.rules.taking import Inbox, Taking
from runner.submitters.rules.whole import DataFile
from runner.system.clocks import Clocks
from runner.system.files.disk import Disk
from tests.conftest import wait_for


@pytest.fixture(autouse=True)
def unbroken() -> Iterator[None]:
    """As the process that submits does: a broken lease would end it."""
    before = signal.getsignal(signal.SIGIO)
    write_lease.ignore_breaks()
    yield
    signal.signal(signal.SIGIO, before)


class Meanwhile:
    """The jobs; something happens just when one is submitted."""

    def __init__(self, happens: Callable[[], None]) -> None:
        self._happens = happens
        self.sent: list[str] = []

    def submit_for(self, cause: str, wanted: JobRequest, *, is_new: bool = False) -> object:
        self._happens()
        self.sent.extend(upload.path for upload in wanted.files)
        return cause

    def of_cause(self, cause: str) -> object | None:
        return None


def found(inbox: Path) -> DataFile:
    listing = Listing(inbox, (), Clocks(), lambda: True)
    (file,) = listing.files(lambda path: path.endswith(".csv"), {})
    return file


def write(path: Path) -> None:
    """As a program does that knows of no lease."""
    with path.open("a") as file:
        file.write(", and more")


def is_broken(place: str) -> bool:
    """Whether somebody waits for a lease on this inode (proc_locks(5))."""
    lines = Path("/proc/locks").read_text().splitlines()
    return any(place in line and "BREAKING" in line for line in lines)


@pytest.mark.parametrize("is_opened", [True, False])
def test_what_is_opened_again_is_not_deleted(tmp_path: Path, *, is_opened: bool) -> None:
    """Whoever opens it for writing meanwhile waits, and finds in `.done` what he wrote."""
    writers: list[threading.Thread] = []
    (tmp_path / "a.csv").write_text("1")

    def opened() -> None:
        (claimed,) = tmp_path.glob(".rule-*/a.csv")
        if is_opened:
            writer = threading.Thread(target=write, args=(claimed,))
            writer.start()
            writers.append(writer)
            place = f":{claimed.stat().st_ino} "
            wait_for(lambda: is_broken(place))

    jobs = Meanwhile(opened)
    inbox = Inbox(tmp_path, Settings().bundle_limits)
    taking = Taking(inbox, jobs, Disk(), lambda: date(2026, 1, 2))
    text = b"pattern: '*.csv'\nnotebook: n.ipynb\ndone: delete\n"
    taking.take(Ruled("r", tmp_path, read_rule(text)), [found(tmp_path)])
    assert jobs.sent == ["a.csv"]
    for writer in writers:
        writer.join(60)
    kept = [path.read_text() for path in tmp_path.glob(".done/2026-01-02/a.csv")]
    assert kept == (["1, and more"] if is_opened else [])
    assert not list(tmp_path.glob(".rule-*"))


def test_what_has_changed_since_it_was_seen_goes_back(tmp_path: Path) -> None:
    """No job is made of it; it is looked at again."""
    (tmp_path / "a.csv").write_text("1")
    seen = found(tmp_path)
    (tmp_path / "a.csv").write_text("1, and more")
    jobs = Meanwhile(lambda: None)
    taking = Taking(
        Inbox(tmp_path, Settings().bundle_limits), jobs, Disk(), lambda: date(2026, 1, 2)
    )
    taking.take(Ruled("r", tmp_path, read_rule(b"pattern: '*.csv'\nnotebook: n.ipynb\n")), [seen])
    assert jobs.sent == []
    assert (tmp_path / "a.csv").read_text() == "1, and more"
    assert not list(tmp_path.glob(".rule-*"))
