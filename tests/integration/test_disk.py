"""Whatever a notebook leaves in its folder, it can be removed."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.system.files.disk import Disk


def nest(root: Path, depth: int) -> None:
    """Folders in folders, below a path longer than any call takes."""
    before = Path.cwd()
    os.chdir(root)
    try:
        for _ in range(depth):
            Path("folder").mkdir()
            os.chdir("folder")
        Path("file").touch()
    finally:
        os.chdir(before)


@pytest.mark.parametrize("depth", [1, 3, 1500])
def test_folders_nested_however_deep_are_removed(tmp_path: Path, depth: int) -> None:
    """Deeper than a path may be long, and than Python may call itself."""
    tree = tmp_path / "tree"
    tree.mkdir()
    nest(tree, depth)
    Disk().remove_tree(tree)
    assert not tree.exists()


def test_links_are_removed_and_not_followed(tmp_path: Path) -> None:
    """What they point to is somebody else's."""
    kept = tmp_path / "kept"
    (kept / "inner").mkdir(parents=True)
    (kept / "file").touch()
    tree = tmp_path / "tree"
    (tree / "inner").mkdir(parents=True)
    (tree / "inner" / "folder").symlink_to(kept)
    (tree / "file").symlink_to(kept / "file")
    (tree / "loop").symlink_to(tree)
    os.mkfifo(tree / "pipe")
    Disk().remove_tree(tree)
    assert not tree.exists()
    assert (kept / "file").exists()
    assert (kept / "inner").exists()


def test_folders_without_rights_are_removed(tmp_path: Path) -> None:
    """They are the runner's own."""
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "b" / "file").touch()
    for folder in (tree / "a" / "b", tree / "a", tree):
        folder.chmod(0)
    Disk().remove_tree(tree)
    assert not tree.exists()
    Disk().remove_tree(tree)


def test_what_is_no_folder_is_removed_as_well(tmp_path: Path) -> None:
    """A leftover may be a file; a link goes, and what it leads to stays."""
    (tmp_path / "file").touch()
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    for name in ("file", "link", "gone"):
        Disk().remove_tree(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_what_cannot_be_removed_keeps_nothing_else(
    tmp_path: Path, immutable: Callable[[Path], None]
) -> None:
    """All else goes, the error names the first that stays, and later it goes as well."""
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    for name in ("a/b/stays", "a/b/goes", "a/goes", "z"):
        (tree / name).touch()
    immutable(tree / "a/b/stays")
    with pytest.raises(PermissionError, match="not permitted: a/b/stays"):
        Disk().remove_tree(tree)
    left = sorted(path.relative_to(tree).as_posix() for path in tree.rglob("*"))
    assert left == ["a", "a/b", "a/b/stays"]
