"""Promises to whoever has only the folders: the guide in the inbox, and the skill for agents."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml

from runner.config import Settings
from runner.inbox.guide import guide_for
from tests.conftest import Json, Program, Serving

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "inbox" / "README.md"
SKILL = ROOT / "docs" / "SKILL.md"

WRITER = {
    "cells": [
        {
            "cell_type": "code",
            "source": "import os, pathlib\n"
            "folder = pathlib.Path(os.environ['RUNNER_OUTPUT_DIR'])\n"
            "(folder / 'model.result.json').write_text('[0.5]')",
        }
    ]
}
"""Publishes a file whose name ends like that of a report."""

pytestmark = pytest.mark.kernels


def blocks(text: str, language: str) -> list[str]:
    """The fenced examples of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def say(folder: Path, source: str) -> str:
    """What a Python without any of our packages prints."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", source],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def program(standing: Program) -> Program:
    shutil.copytree(ROOT / "notebooks", standing.library, dirs_exist_ok=True)
    return standing


def test_the_runner_leaves_the_guide_in_an_inbox_that_it_makes(serving: Serving) -> None:
    """With the places of the other folders; what somebody writes there stays."""
    program = serving({"outbox": "elsewhere/results"})
    guide = (program.inbox / "README.md").read_text()
    assert f"| outbox | `{program.root / 'elsewhere' / 'results'}` |" in guide
    assert "| library | `../notebooks` |" in guide
    (program.inbox / "README.md").write_text("ours")
    program.stop()
    program.start()
    assert (program.inbox / "README.md").read_text() == "ours"


def test_the_guide_of_this_project_is_the_one_that_the_runner_leaves() -> None:
    """Of folders that lie side by side."""
    assert guide_for(Settings()) == GUIDE.read_bytes()


def test_the_examples_of_the_guide_do_what_it_says(program: Program) -> None:
    """A library notebook with parameters, one of one's own, an error, and the list of runs."""
    text = GUIDE.read_text()
    shown, error = blocks(text, "text")
    library, own = blocks(text, "json")
    program.drop("loan-3-years.json", library)
    program.drop("mine.json", own)
    program.drop("bad.json", {"notebook": {"cells": [{"cell_type": "code", "source": "1 / 0"}]}})
    program.drop("model.json", {"notebook": WRITER})
    assert program.await_report("model")["files"][0]["path"] == "model.files/model.result.json"
    assert program.await_report("mine")["results"] == {"answer": 42}
    _is_like(program.await_report("loan-3-years"), shown)
    _is_like(program.await_report("bad"), f"{{{error}}}")
    (listing,) = blocks(text, "python")
    (line,) = say(program.inbox, listing).splitlines()
    assert " loan-3-years " in line
    assert "{'amount': 9000, 'years': 3}" in line


def test_where_nothing_ran_the_notebook_is_as_it_came(program: Program) -> None:
    """The library's, or what was dropped; none of an archive that is refused."""
    program.drop("refused.json", {"notebook": "loan.ipynb", "kernel": "none of that name"})
    program.drop("odd.ipynb", b"[]")
    program.drop("missing.json", {"notebook": "no such.ipynb"})
    with ZipFile(program.root / "two.part", "w") as archive:
        archive.writestr("a.ipynb", "{}")
        archive.writestr("b.ipynb", "{}")
    shutil.move(program.root / "two.part", program.inbox / "two.zip")
    for name, came in (
        ("refused", (program.library / "loan.ipynb").read_bytes()),
        ("odd", b"[]"),
        ("missing", b'{"notebook": "no such.ipynb"}'),
        ("two", None),
    ):
        path = program.await_report(name)["output_nb"]
        left = None if path is None else (program.outbox / path).read_bytes()
        assert left == came, name


def _is_like(report: Json, shown: str) -> None:
    """An example on a page has keys of a report, and of these the values that are not shortened."""
    text = re.sub(r",\s*…?\s*([\]}])", r"\1", shown.replace("[…]", "null").replace('"…"', "null"))
    for key, value in json.loads(text).items():
        if key not in ("job_id", "finished_at", "duration_seconds", "results", "traceback"):
            assert report[key] == value, key
    for name, value in json.loads(text).get("results", {}).items():
        if isinstance(value, float):
            assert report["results"][name] == value
        else:
            assert set(value) <= set(report["results"][name]), name


def test_the_skill_is_one_that_agents_read() -> None:
    """Front matter with a name and what it is for; short enough to be read whole."""
    _, front, body = SKILL.read_text().split("---\n", 2)
    known: Mapping[str, str] = yaml.safe_load(front)
    assert set(known) == {"name", "description"}
    assert re.fullmatch(r"[a-z0-9-]{1,64}", known["name"])
    assert len(known["description"]) <= 1024
    assert len(SKILL.read_text().splitlines()) <= 150
    there = body.partition("Keys of a request:")[2].partition("no others")[0]
    here = GUIDE.read_text().partition("Keys: ")[2].partition(" No others")[0]
    assert set(re.findall(r"`(\w+)`", there)) == set(re.findall(r"`(\w+)`", here))


def test_the_examples_of_the_skill_run_as_they_stand(program: Program) -> None:
    """One after the other, by the standard library alone."""
    program.drop("model.json", {"notebook": WRITER})
    program.await_report("model")
    said = say(program.root, "\n".join(blocks(SKILL.read_text(), "python")))
    for line in (
        "succeeded 45",
        "papermill_execution_error Cell In[1] (cell_index 0): "
        "NameError: name 'parts' is not defined 0",
        "{'share': 0.25}",
        "loan.ipynb 267.72 []",
    ):
        assert line in said, said
    assert "\ncancelled\n" in said
    assert said.count(" share ") == 2, "the run before lies in the history"
