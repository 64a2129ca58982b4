"""Promises of the library: its notebooks are listed, and nothing else is."""

import os
import unicodedata
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from runner import library
from runner.library import as_spelt, library_reader, listing
from runner.outcome import Refused


def put(root: Path, path: str, content: str = "{}") -> Path:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    return file


def test_notebooks_are_listed_by_path(tmp_path: Path) -> None:
    """With size and time; hidden files, folders and other suffixes are left out."""
    for path in ("b.ipynb", "a/z.ipynb", ".hidden.ipynb", ".ipynb_checkpoints/b.ipynb", "x.py"):
        put(tmp_path, path)
    os.utime(tmp_path / "b.ipynb", (0, 86_400))
    (tmp_path / "folder.ipynb").mkdir()
    found = listing(tmp_path)
    assert [one.path for one in found.notebooks] == ["a/z.ipynb", "b.ipynb"]
    assert found.notebooks[1].changed == "1970-01-02T00:00:00+00:00"
    assert (found.notebooks[1].bytes, found.is_cut) == (2, False)


def test_links_are_not_followed(tmp_path: Path) -> None:
    """Neither to files nor to folders, also not in a circle."""
    put(tmp_path, "outside/secret.ipynb")
    root = tmp_path / "library"
    root.mkdir()
    (root / "link.ipynb").symlink_to(tmp_path / "outside" / "secret.ipynb")
    (root / "folder").symlink_to(tmp_path / "outside")
    (root / "circle").symlink_to(root)
    os.mkfifo(root / "pipe.ipynb")
    assert listing(root).notebooks == ()
    with pytest.raises(Refused, match="leads out"):
        library_reader(root, 100)("link.ipynb")


def test_a_huge_library_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many files lie there, a page stays a page."""
    monkeypatch.setattr(library, "MAX_LISTED", 2)
    for number in range(3):
        put(tmp_path, f"{number}.ipynb")
    found = listing(tmp_path)
    assert ([one.path for one in found.notebooks], found.is_cut) == (["0.ipynb", "1.ipynb"], True)


def test_a_library_that_is_gone_is_no_empty_one(tmp_path: Path) -> None:
    """A lost mount is told."""
    with pytest.raises(FileNotFoundError):
        listing(tmp_path / "gone")


def test_a_name_that_is_no_text_is_left_out(tmp_path: Path) -> None:
    """No JSON could ask for it."""
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.ipynb")).write_text("{}")
    assert listing(tmp_path).notebooks == ()


@pytest.mark.parametrize(("there", "asked"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_an_accented_name_is_found_however_it_is_written(
    tmp_path: Path, there: Any, asked: Any
) -> None:
    """One character or two, in folders too; what is written exactly so comes first."""
    name = "B\u00fccher/Bericht \u00e4.ipynb"
    put(tmp_path, unicodedata.normalize(there, name), "one")
    wanted = unicodedata.normalize(asked, name)
    assert library_reader(tmp_path, 100)(wanted) == b"one"
    assert as_spelt(tmp_path, PurePosixPath(wanted)) == PurePosixPath(
        unicodedata.normalize(there, name)
    )
    put(tmp_path, wanted, "two")
    assert library_reader(tmp_path, 100)(wanted) == b"two"
    with pytest.raises(Refused):
        library_reader(tmp_path, 100)("B\u00fccher/other \u00e4.ipynb")
