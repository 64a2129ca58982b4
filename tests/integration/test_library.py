"""Promises of the library: its notebooks are listed, and nothing else is."""

import os
import unicodedata
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from click.testing import CliRunner

from runner.cli.main import main
from runner.contract.outcome import Refused
from runner.inbox import library
from runner.inbox.library import as_spelt, library_reader, listing


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


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("lon.ipynb", " (did you mean 'loan.ipynb'?)."),
        ("loan", " (did you mean 'loan.ipynb'?)."),
        ("monthly.ipynb", " (did you mean 'sales/monthly.ipynb'?)."),
        ("monthly", " (did you mean 'sales/monthly.ipynb'?)."),
        ("Sales/monthly.ipynb", " (did you mean 'sales/monthly.ipynb'?)."),
        ("sales/yearly-plan.ipynb", ". It has: 'loan.ipynb', 'sales/monthly.ipynb'."),
        ("else.ipynb/x.ipynb", ". It has: 'loan.ipynb', 'sales/monthly.ipynb'."),
        ("x/" * 90 + "x.ipynb", ". It has: 'loan.ipynb', 'sales/monthly.ipynb'."),
    ],
)
def test_of_a_notebook_that_is_not_there_the_message_says_which_one_was_probably_meant(
    tmp_path: Path, wrong: str, said: str
) -> None:
    """One letter less, no suffix, no folder: what everybody types at first."""
    for path in ("loan.ipynb", "sales/monthly.ipynb"):
        put(tmp_path, path)
    with pytest.raises(Refused) as caught:
        library_reader(tmp_path, 100)(wrong)
    message = caught.value.failure.message
    assert message == f"There is no notebook {wrong!r} in the library{said}"


@pytest.mark.parametrize(
    "wrong", ["../notebooks/loan.ipynb", "/srv/notebooks/loan.ipynb", "sales\\loan.ipynb"]
)
def test_a_path_outside_of_the_library_is_refused_with_the_one_that_was_probably_meant(
    tmp_path: Path, wrong: str
) -> None:
    """Who sees the folders names the notebook as it lies before him."""
    put(tmp_path, "loan.ipynb")
    with pytest.raises(Refused, match=r"without `\.\.` \(did you mean 'loan.ipynb'\?\)\."):
        library_reader(tmp_path, 100)(wrong)
    with pytest.raises(Refused, match=r"without `\.\.`\."):
        library_reader(tmp_path, 100)("../..")


def test_of_a_large_library_the_message_lists_the_beginning(tmp_path: Path) -> None:
    """And of an empty one, that it is."""
    with pytest.raises(Refused, match=r"in the library\. It has none\."):
        library_reader(tmp_path, 100)("plan.ipynb")
    for number in range(12):
        put(tmp_path, f"{number:03}.ipynb")
    with pytest.raises(Refused, match=r"It has: '000.ipynb', .*'009.ipynb' and 2 more\."):
        library_reader(tmp_path, 100)("plan.ipynb")


def test_what_lies_there_and_is_no_notebook_is_not_said_to_be_missing(tmp_path: Path) -> None:
    """A folder is there."""
    put(tmp_path, "sales/monthly.ipynb")
    with pytest.raises(Refused, match=r"cannot be read \(it is no regular file\)"):
        library_reader(tmp_path, 100)("sales")


def test_the_command_line_asks_as_well_which_one_was_meant(tmp_path: Path) -> None:
    """`runner check` and `runner run` look for a file first, and then in the library."""
    put(tmp_path / "shelf", "sales/monthly.ipynb")
    arguments = ["check", "monthly.ipynb", "--notebooks", str(tmp_path / "shelf")]
    said = CliRunner().invoke(main, arguments).output
    assert "(did you mean 'sales/monthly.ipynb'?)" in said


def test_a_notebook_sent_as_text_is_not_repeated_in_the_error(tmp_path: Path) -> None:
    """Base64 of n8n's binary data, say; what to send instead is said."""
    with pytest.raises(Refused, match="as a JSON object, not as a text") as refused:
        library_reader(tmp_path, 100)("eyJjZWxscyI6" * 300)
    assert len(refused.value.failure.message) < 400
