"""Promises of an anchor: a folder is the one on the mount where it was."""

from pathlib import Path

from runner.system.files.mounts import Anchor
from tests.unit.test_mounts import line


class Table:
    """A mount table that the test changes."""

    def __init__(self, *lines: str) -> None:
        self.text = "".join(lines)

    def __call__(self) -> str:
        return self.text


def test_an_empty_mount_point_is_not_the_folder(tmp_path: Path) -> None:
    """The mount is remembered, also by who asks later; back again, all is well."""
    root, share = line("/", "ext4"), line(tmp_path, "cifs")
    table = Table(root, share)
    anchor = Anchor(tmp_path, None, table)
    assert anchor.point == str(tmp_path)
    assert anchor.trouble() is None
    table.text = root
    lost = f"was on the mount {tmp_path}, which is not mounted now"
    assert anchor.trouble() == lost
    assert Anchor(tmp_path, anchor.point, table).trouble() == lost
    assert Anchor(tmp_path, None, table).trouble() is None
    table.text = root + line(tmp_path, "nfs")
    assert anchor.trouble() is None


def test_a_mount_that_comes_over_a_folder_is_remembered(tmp_path: Path) -> None:
    """The first start may have been earlier than the mount."""
    root = line("/", "ext4")
    table = Table(root)
    anchor = Anchor(tmp_path, None, table)
    assert anchor.trouble() is None
    table.text = root + line(tmp_path, "cifs")
    assert anchor.trouble() is None
    assert anchor.point == str(tmp_path)
    table.text = root
    assert anchor.trouble() is not None


def test_a_folder_made_anew_on_its_mount_is_the_folder(tmp_path: Path) -> None:
    """Only while it is gone there is trouble."""
    folder = tmp_path / "inbox"
    folder.mkdir()
    anchor = Anchor(folder, None, Table(line("/", "ext4")))
    folder.rmdir()
    assert anchor.trouble() == "is not there"
    folder.write_text("a file")
    assert anchor.trouble() == "cannot be read (Not a directory)"
    folder.unlink()
    folder.mkdir()
    assert anchor.trouble() is None


def test_without_a_mount_table_a_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    """Nothing is known then, and nothing is claimed."""
    assert Anchor(tmp_path, "/no-such", Table()).trouble() is None
