"""Promises of the library's notebooks as functions: read once, told anew when they change."""

import json
import os
import time
from pathlib import Path

import pytest

from runner.config import Settings
from runner.contract.outcome import Refused
from runner.inbox.sidecars import sidecar_bytes, sidecar_reader
from runner.jobs import functions
from runner.jobs.functions import Function, Functions, names_of
from tests.conftest import Json, code, notebook


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A library with one typed notebook."""
    library = tmp_path / "notebooks"
    library.mkdir()
    write(
        library / "a.ipynb", titled("# Growth of *sums*\n\nMore.", code("n: int = 3", "parameters"))
    )
    return library


def titled(text: str, *cells: Json) -> Json:
    return notebook({"cell_type": "markdown", "source": text, "metadata": {}}, *cells)


def write(file: Path, content: Json) -> None:
    """Write it, with a time that differs from the one before."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
    os.utime(file, ns=(0, time.time_ns()))


def functions_of(folder: Path) -> Functions:
    return Functions(Settings(notebooks=folder))


def test_a_notebook_and_its_file_are_read_anew_when_they_change(folder: Path) -> None:
    """And not before."""
    library = functions_of(folder)
    first = library.of("a.ipynb")
    assert library.of("a.ipynb") is first
    assert (first.title, first.is_tool) == ("Growth of *sums*", False)
    (folder / "a.parameters.yaml").write_text("tool: true\ntitle: Sums\n")
    second = library.of("a.ipynb")
    assert (second.title, second.is_tool) == ("Sums", True)
    (folder / "a.parameters.yaml").write_text("tool: 1\n")
    for _ in range(2):
        with pytest.raises(Refused, match=r"'a.parameters.yaml' is wrong: .*\(line 1\)"):
            library.of("a.ipynb")
    (folder / "a.parameters.yaml").unlink()
    write(folder / "a.ipynb", notebook(code("m: str", "parameters")))
    assert [one.name for one in library.of("a.ipynb").signature.parameters] == ["m"]


def test_a_notebook_that_is_none_hides_no_other(folder: Path) -> None:
    """It is listed with the reason."""
    (folder / "b.ipynb").write_text("{")
    write(folder / "deep" / "c.ipynb", titled("# Tool: Deep\n\nText", code("1", "parameters")))
    a, b, c = functions_of(folder).all()
    assert isinstance(a, Function)
    assert isinstance(b, tuple)
    assert isinstance(c, Function)
    assert "not JSON" in b[1].failure.message or "no JSON" in b[1].failure.message
    assert (c.path, c.title, c.is_tool) == ("deep/c.ipynb", "Deep", True)
    assert c.description == "# Deep\n\nText"


def test_half_a_character_breaks_no_answer(folder: Path) -> None:
    """JSON can escape it, and UTF-8 cannot hold it; other notebooks are listed with this one."""
    source = "a = '\\ud800'\nb: int = 3  # \ud800\nc: Literal['\\ud800'] = 1"
    write(folder / "b.ipynb", titled("# Half \ud800\n\n\ud800", code(source, "parameters")))
    half = functions_of(folder).of("b.ipynb")
    content = [half.title, half.description, half.signature.schema(), half.signature.notes]
    json.dumps(content, ensure_ascii=False).encode()
    assert half.signature.objections({"b": "x"})


def test_a_look_ends_and_the_next_one_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow disk holds up nobody."""
    monkeypatch.setattr(functions, "LOOK_SECONDS", -1)
    library = functions_of(folder)
    assert list(library.all()) == []
    library.of("a.ipynb")
    assert len(list(library.all())) == 1


def test_each_path_has_a_name_of_its_own() -> None:
    """Short, of plain letters, and never one that is taken."""
    names = names_of(
        ["Daily Report.ipynb", "daily/report.ipynb", "2024.ipynb", "größe.ipynb", "売上.ipynb"],
        taken={"grosse"},
    )
    assert names["2024.ipynb"] == "notebook_2024"
    assert names["größe.ipynb"] == "groe"
    assert names["Daily Report.ipynb"].startswith("daily_report_")
    assert names["daily/report.ipynb"] != names["Daily Report.ipynb"]
    assert names_of(["get job.ipynb"], taken={"get_job"})["get job.ipynb"].startswith("get_job_")
    (long,) = names_of(["x" * 200 + ".ipynb"]).values()
    assert len(long) == 64


def test_the_file_beside_is_found_in_each_spelling(folder: Path) -> None:
    """Both of them are one too many; without one there is nothing."""
    read = sidecar_reader(folder)
    assert read("a.ipynb") is None
    (folder / "a.parameters.yml").write_text("tool: true\n")
    declared = read("a.ipynb")
    assert declared is not None
    assert declared.is_tool
    (folder / "a.parameters.yaml").write_text("")
    with pytest.raises(Refused, match="lies there too; keep one"):
        read("a.ipynb")


def test_the_file_beside_is_a_file_of_the_library(folder: Path, tmp_path: Path) -> None:
    """No link leads out of it, no pipe is waited for, and a huge one is not read to its end."""
    beside = folder / "a.parameters.yaml"
    beside.symlink_to(tmp_path / "secret.yaml")
    (tmp_path / "secret.yaml").write_text("secret: 1\n")
    with pytest.raises(Refused, match="leads out"):
        sidecar_bytes(folder, "a.ipynb")
    beside.unlink()
    os.mkfifo(beside)
    with pytest.raises(Refused, match="no regular file"):
        sidecar_bytes(folder, "a.ipynb")
    beside.unlink()
    beside.write_text("#" * 10_000_000)
    with pytest.raises(Refused, match="at most 16384"):
        sidecar_reader(folder)("a.ipynb")
    assert functions_of(folder).broken(["a.ipynb"]).keys() == {"a.ipynb"}
