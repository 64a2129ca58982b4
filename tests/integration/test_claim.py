"""The claim: a rename that takes a file, and never one that is not what was read."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from runner.inbox import write_lease as lease
from runner.inbox.claim import Claims
from runner.inbox.drop import Drop
from runner.inbox.scanning.inspection import Bounds
from runner.inbox.scanning.scan import Inbox, Selection
from runner.system.clocks import Clocks
from runner.system.files.disk import Disk
from tests.conftest import notebook, wait_for

RAW = json.dumps(notebook("1")).encode()
ID = "ab" * 16


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    clocks = Clocks(seconds=lambda: 0.0, wall_ns=lambda: 10**19)
    return Inbox(tmp_path, Selection(Bounds(10_000, broken_seconds=15)), clocks)


def look(inbox: Inbox) -> Drop:
    return inbox.scan(10).drops[0]


def test_second_claim_loses(inbox: Inbox) -> None:
    """Of two that saw the same file, one has it; the other leaves no folder behind."""
    (inbox.folder / "a.ipynb").write_bytes(RAW)
    claims = Claims(inbox.folder, 10_000, Disk())
    first, second = look(inbox), look(inbox)
    claim = claims.take(first, ID)
    assert claim is not None
    assert claims.take(second, "cd" * 16) is None
    assert sorted(p.name for p in inbox.folder.iterdir()) == [f".claim-{ID}"]
    assert (inbox.folder / claim.folder / "a.ipynb").read_bytes() == RAW


def test_what_changed_since_it_was_read_is_looked_at_again(inbox: Inbox) -> None:
    """Another file under the name: it stays in the claim folder, with its own content."""
    path = inbox.folder / "a.ipynb"
    path.write_bytes(RAW)
    drop = look(inbox)
    other = inbox.folder / ".other"
    other.write_bytes(RAW + b"\n")
    other.rename(path)
    assert Claims(inbox.folder, 10_000, Disk()).take(drop, ID) is None
    drop.release()
    again = look(inbox)
    assert again.claim == f".claim-{ID}"
    assert again.main.raw == RAW + b"\n"


def test_a_writer_that_comes_after_the_look_is_noticed(inbox: Inbox) -> None:
    """The lease breaks, so that the claim is not taken for what was read."""
    lease.ignore_breaks()
    path = inbox.folder / "a.ipynb"
    path.write_bytes(RAW)
    drop = look(inbox)
    write = f"open({str(path)!r}, 'r+b').write(b' ')"
    writer = subprocess.Popen([sys.executable, "-c", write])
    wait_for(lambda: not drop.main.intact(path))
    assert Claims(inbox.folder, 10_000, Disk()).take(drop, ID) is None
    drop.release()
    assert writer.wait(90) == 0


def test_a_claim_without_its_notebook_is_undone(inbox: Inbox) -> None:
    """The settings go back to where they were, unless somebody put others there."""
    folder = inbox.folder / f".claim-{ID}"
    folder.mkdir()
    (folder / "a.yaml").write_text("parameters: {x: 1}\n")
    Claims(inbox.folder, 10_000, Disk()).undo_if_empty(f".claim-{ID}")
    assert (inbox.folder / "a.yaml").read_text() == "parameters: {x: 1}\n"
    assert not folder.exists()


def test_what_is_too_large_is_never_unlinked(inbox: Inbox) -> None:
    """It is in no ledger, so it moves to `.refused/`, in the subfolder that it came from."""
    large = inbox.folder / "sub" / "large.ipynb"
    large.parent.mkdir()
    large.write_bytes(b" " * 10_001)
    claims = Claims(inbox.folder, 10_000, Disk())
    drop = look(inbox)
    assert drop.main.too_large
    assert drop.main.raw == b""
    claim = claims.take(drop, ID)
    assert claim is not None
    drop.release()
    claims.remove(claim.folder, ID)
    claims.tidy()
    kept = inbox.folder / ".refused" / "sub" / f"large-{ID[:8]}.ipynb"
    assert kept.stat().st_size == 10_001
    assert not (inbox.folder / "sub" / f".claim-{ID}").exists()


@pytest.mark.parametrize("main", ["two.ipynb", "two.json"])
def test_settings_that_were_not_used_move_away_before_their_notebook(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch, main: str
) -> None:
    """A run that ends in between finds the notebook, and nothing is taken for another."""
    claims = Claims(inbox.folder, 10_000, Disk())
    place = inbox.folder / f".claim-{ID}"
    place.mkdir()
    for name in (main, "two.yaml", "two.yml"):
        (place / name).write_text(name)
    with monkeypatch.context() as broken:
        broken.setattr(Disk, "unlink", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            claims.remove(place.name, ID, keeps_settings=True)
    kept = sorted((inbox.folder / ".refused").iterdir())
    assert [one.read_text() for one in kept] == ["two.yaml", "two.yml"]
    assert [one.name for one in place.iterdir()] == [main]
    claims.remove(place.name, ID, keeps_settings=True)
    assert list(place.iterdir()) == []
