"""From folder to folder: no link is followed, and one entry never hides the others."""

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from runner.system.files import folders
from runner.system.files.disk import Disk
from runner.system.files.folders import Kind, enter, open_file, opened, walk
from tests.integration.test_disk import nest


@pytest.fixture(params=["openat2", "without"])
def _calls(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of the kernel; older ones, and filters of calls, have not the first."""
    if request.param == "without":
        monkeypatch.setattr(folders, "_has_openat2", lambda: False)
    elif not folders._has_openat2():
        pytest.skip("this kernel has no openat2")


pytestmark = pytest.mark.usefixtures("_calls")


def test_every_kind_is_listed(tmp_path: Path) -> None:
    """A folder before what is in it; links and pipes as what they are."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "file").touch()
    (tmp_path / "a" / "b" / "deep").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with opened(tmp_path) as root:
        entries = list(walk(root))
    assert {entry.path: entry.kind for entry in entries} == {
        "a": Kind.FOLDER,
        "a/file": Kind.FILE,
        "a/b": Kind.FOLDER,
        "a/b/deep": Kind.FILE,
        "link": Kind.OTHER,
        "pipe": Kind.OTHER,
    }
    paths = [entry.path for entry in entries]
    assert paths.index("a") < paths.index("a/b") < paths.index("a/b/deep")


@pytest.fixture
def in_memory(tmp_path: Path) -> Iterator[Path]:
    """A folder that no disk slows down, where there is one."""
    shared = Path("/dev/shm")
    with TemporaryDirectory(dir=shared if shared.is_dir() else tmp_path) as folder:
        yield Path(folder)


def test_folders_too_deep_for_a_path_are_said(in_memory: Path) -> None:
    """Ten thousand of them neither end the listing nor take the memory."""
    tree = in_memory / "tree"
    tree.mkdir()
    (tree / "beside").touch()
    nest(tree, 10_000)
    with opened(tree) as root:
        entries = list(walk(root))
    assert [entry.path for entry in entries if entry.kind is Kind.FILE] == ["beside"]
    closed = [entry for entry in entries if entry.kind is Kind.CLOSED]
    assert [entry.why for entry in closed] == ["its path is too long"]
    Disk().remove_tree(tree)
    assert not tree.exists()


def test_no_part_of_a_path_may_be_a_link(tmp_path: Path) -> None:
    """A folder that was swapped for a link after the listing leads nowhere."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "file").write_text("secret")
    (tmp_path / "root" / "real").mkdir(parents=True)
    (tmp_path / "root" / "real" / "file").write_text("mine")
    (tmp_path / "root" / "swapped").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "root" / "pipe")
    with opened(tmp_path / "root") as root:
        fd = open_file(root, "real/file")
        assert os.read(fd, 10) == b"mine"
        os.close(fd)
        for path in ("swapped/file", "pipe", "real", "swapped"):
            with pytest.raises(OSError, match=r"\w"):
                open_file(root, path)
        for name in ("swapped", "pipe"):
            with pytest.raises(OSError, match=r"\w") as refused:
                enter(root, name)
            assert refused.value.errno in folders.NOT_A_FOLDER


def test_a_walk_that_may_not_go_up_again_goes_on(tmp_path: Path) -> None:
    """A folder that may be listed and not entered, for a user who is stopped by it."""
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    (tmp_path / "b").chmod(0o400)
    with opened(tmp_path) as root:
        files = {entry.path for entry in walk(root) if entry.kind is Kind.FILE}
    (tmp_path / "b").chmod(0o700)
    assert {"a/file", "c/file"} <= files
