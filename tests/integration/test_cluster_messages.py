"""Folders that travel: what goes along, what does not, and where it may land."""

import os
from pathlib import Path

import pytest

from runner.execution.cluster.messages import FolderTooLarge, Packed, collect_files, pack, unpack
from runner.system.files.output_folder import FileCaps


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    (made / "data" / "empty").mkdir(parents=True)
    (made / "neighbour.py").write_text("x = 1")
    (made / "run.sh").write_text("#!/bin/sh")
    (made / "run.sh").chmod(0o755)
    (made / "data" / "ü.bin").write_bytes(bytes(range(256)))
    (made / ".git").mkdir()
    (made / ".git" / "config").write_text("secret")
    (made / "__pycache__").mkdir()
    (made / "link").symlink_to("/etc/passwd")
    os.mkfifo(made / "pipe")
    return made


def test_what_was_packed_is_the_same_elsewhere(folder: Path, tmp_path: Path) -> None:
    """Bytes, names, empty folders and what may be executed; no links, no hidden names."""
    there = tmp_path / "there"
    there.mkdir()
    unpack(pack(folder, 1000)[0], there)
    found = sorted(str(p.relative_to(there)) for p in there.rglob("*"))
    assert found == ["data", "data/empty", "data/ü.bin", "neighbour.py", "run.sh"]
    assert (there / "data" / "ü.bin").read_bytes() == bytes(range(256))
    assert os.access(there / "run.sh", os.X_OK)
    assert not os.access(there / "neighbour.py", os.X_OK)


def test_a_folder_above_the_cap_is_not_read_to_its_end(folder: Path) -> None:
    """A sparse terabyte costs nothing."""
    with (folder / "large").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(FolderTooLarge):
        pack(folder, 1000)


def test_the_cap_is_the_last_size_that_goes(folder: Path) -> None:
    """Exactly as many bytes as there are, and one less."""
    size = sum(len(one.content or b"") for one in pack(folder, 10_000)[0])
    assert pack(folder, size)
    with pytest.raises(FolderTooLarge):
        pack(folder, size - 1)


def test_what_cannot_be_read_stays_behind_with_a_word(folder: Path) -> None:
    """A neighbour that nobody reads keeps no notebook from running; root reads everything."""
    (folder / "run.sh").unlink()
    (folder / "run.sh").symlink_to("/nowhere")
    fine, nothing = pack(folder, 1000)
    assert not nothing
    assert "run.sh" not in {one.path for one in fine}
    if os.getuid() != 0:
        (folder / "neighbour.py").chmod(0)
        (folder / "data").chmod(0)
        packed, warnings = pack(folder, 1000)
        (folder / "data").chmod(0o755)
        assert not {"neighbour.py", "data/ü.bin"} & {one.path for one in packed}
        assert len(warnings) == 2


@pytest.mark.parametrize("path", ["../out", "/etc/out", "a/../../out"])
def test_nothing_lands_outside(path: str, tmp_path: Path) -> None:
    """Whatever a worker says."""
    inside = tmp_path / "inside"
    inside.mkdir()
    with pytest.raises(ValueError, match="leads out"):
        unpack((Packed(path, 0o644, b"x"),), inside)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["inside"]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """Not through a link either."""
    (tmp_path / "here").mkdir()
    (tmp_path / "target").write_text("mine")
    (tmp_path / "here" / "a").symlink_to(tmp_path / "target")
    with pytest.raises(FileExistsError):
        unpack((Packed("a", 0o644, b"x"),), tmp_path / "here")
    assert (tmp_path / "target").read_text() == "mine"


def test_files_within_the_caps_are_collected(folder: Path) -> None:
    """And the others are named, as the outbox would."""
    files, warnings = collect_files(folder, FileCaps(300, 2), "n")
    assert {one.path for one in files} <= {"data/ü.bin", "neighbour.py", "run.sh", ".git/config"}
    assert len(files) == 2
    assert warnings
    assert all("was not published" in warning for warning in warnings)
