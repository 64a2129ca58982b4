"""Folders of the inbox that the program made: they go when they are empty, and hinder nobody."""

import threading
from pathlib import Path

import pytest

from runner.inbox.made_folders import MadeFolders, make
from runner.jobs.submit import cancel, submit
from runner.system.files.disk import Disk

ID = "ab" * 16


class Unmarked(Disk):
    """Of a file system that keeps no extended attributes."""

    def mark(self, folder: Path, name: str) -> None:
        pass


def test_only_what_the_program_made_is_removed(tmp_path: Path) -> None:
    """With what is empty above it; a folder of a person stays, and one in which something lies."""
    disk, person = Disk(), tmp_path / "person"
    person.mkdir()
    for folder in ("a/b/c", "person/ours", "full/inner", "http/2026-01-02"):
        make(tmp_path, tmp_path / folder, "test: folder", disk)
    (tmp_path / "full" / "note").touch()
    made = MadeFolders(tmp_path, disk)
    for folder in ("a/b/c", "person/ours", "full/inner", "http/2026-01-02", "person"):
        made.note(tmp_path / folder)
    made.remove_empty(busy=[tmp_path / "a/b/c"])
    assert (tmp_path / "a/b/c").is_dir()
    made.remove_empty()
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")) == [
        *("full", "full/note", "person")
    ]


def test_days_go_where_nothing_keeps_marks(tmp_path: Path) -> None:
    """Also those that an earlier run has left; of other folders nobody knows whose they are."""
    for folder in ("http/2026-01-02", "http/2026-01-03", "sales/eu"):
        make(tmp_path, tmp_path / folder, "test: folder", Unmarked())
    made = MadeFolders(tmp_path, Disk())
    made.note(tmp_path / "sales/eu")
    made.remove_empty()
    assert [p.name for p in tmp_path.iterdir()] == ["sales"]


@pytest.mark.parametrize("is_hidden_first", [False, True])
def test_a_request_finds_its_place_while_folders_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_hidden_first: bool
) -> None:
    """However often its folder goes between two of its steps."""
    disk, done = Disk(), threading.Event()
    if is_hidden_first:  # as where files cannot be made without a name
        monkeypatch.setattr(disk, "create_whole", disk._create_beside)

    def remove() -> None:
        made = MadeFolders(tmp_path, Disk())
        while not done.wait(0.003):
            made.note(tmp_path / "a" / "b")
            made.remove_empty()

    remover = threading.Thread(target=remove)
    remover.start()
    try:
        for number in range(40):
            submit(tmp_path, f"a/b/{number}", b"{}", disk).unlink()
            cancel(tmp_path, f"a/b/{number}", ID, disk)
            (tmp_path / f"a/b/{number}.cancel").unlink()
    finally:
        done.set()
        remover.join()


def test_a_lost_inbox_is_not_made_anew(tmp_path: Path) -> None:
    """What is not there may be a lost mount."""
    with pytest.raises(FileNotFoundError):
        submit(tmp_path / "inbox", "a/b", b"{}", Disk())
    assert list(tmp_path.iterdir()) == []
