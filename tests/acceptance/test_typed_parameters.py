"""Promises of typed parameters, against the real program, by every way that a request may come."""

import json
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import requests

from tests.conftest import Json, Program, code, notebook, programs, wait_for

ZONE = "Pacific/Kiritimati"
"""The first to see a new day, 14 hours before Greenwich."""
TYPED = notebook(
    {"cell_type": "markdown", "source": "# Growth\n\nGrows a sum.", "metadata": {}},
    code(
        "from typing import Literal\nyears: Literal[1, 3, 5] = 3  # how long\nregion: str = 'EU'\n"
        "since = '2020-01-01'",
        "parameters",
    ),
    code("[years, region, since]", "results"),
)
SIDECAR = """\
tool: true
properties:
  since: {type: string, format: date, default: -7d, description: The first day.}
  region: {enum: [EU, US]}
"""
DOCS = (Path(__file__).parents[2] / "docs" / "parameters.md").read_text("utf-8")
FITS = "`years` is 7; it must be 1, 3 or 5."


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """One program with a typed notebook, one whose file is wrong, and one without types."""
    making = programs(tmp_path_factory.mktemp("typed"))
    program = next(making)({"gateway": {"enabled": True, "port": 0}}, TZ=ZONE).start()
    library = program.library
    (library / "sums").mkdir(parents=True)
    (library / "sums" / "growth.ipynb").write_text(json.dumps(TYPED))
    (library / "sums" / "growth.parameters.yaml").write_text(SIDECAR)
    (library / "wrong.ipynb").write_text(json.dumps(TYPED))
    (library / "wrong.parameters.yaml").write_text("properties:\n  years:\n    minimun: 1\n")
    plain = notebook(code("n = 3", "parameters"), code("n", "results"))
    (library / "plain.ipynb").write_text(json.dumps(plain))
    yield program
    next(making, None)


def week_ago() -> str:
    return str(
        datetime.fromtimestamp(datetime.now().timestamp() - 7 * 86_400, ZoneInfo(ZONE)).date()
    )


def value(report: Json) -> object:
    return next(iter(report["results"].values()))["application/json"]


def submit(program: Program, notebook: object, **parameters: object) -> requests.Response:
    body = {"notebook": notebook, "parameters": parameters}
    return requests.post(f"{program.url}/run?wait=60", json=body, timeout=90)


def test_a_value_that_does_not_fit_starts_no_kernel(program: Program) -> None:
    """By file, over HTTP and on the command line; in a dropped notebook as in the library."""
    program.drop("typed.json", {"notebook": TYPED, "parameters": {"years": 7, "region": "EU"}})
    answer = submit(program, "sums/growth.ipynb", years=7, region="EU")
    assert answer.status_code == 422
    done = program.run("run", "notebooks/sums/growth.ipynb", "-p", "years", "7")
    for report in (program.await_report("typed"), answer.json(), json.loads(done.stdout)):
        assert report["status"] == "rejected"
        assert report["error_type"] == "invalid_parameters"
        assert report["message"] == FITS
        assert report["cells"]["executed"] == 0
        assert report["kernel"]["name"] == "python3"
    assert done.returncode == 3
    two = submit(program, "sums/growth.ipynb", years="3", region="XX").json()["message"]
    assert '`years` is "3"; it must be 1, 3 or 5.' in two
    assert '`region` is "XX"; it must be "EU" or "US".' in two


def test_a_default_of_the_file_is_injected_and_its_day_stays(program: Program) -> None:
    """In the runner's own time zone; a retry gets the day that the first run had."""
    before = week_ago()
    report = submit(program, "sums/growth.ipynb", years=5).json()
    assert report["parameters"]["since"] in (before, week_ago())
    assert value(report) == [5, "EU", report["parameters"]["since"]]
    own = submit(program, "sums/growth.ipynb", since="2024-02-29").json()
    assert own["parameters"] == {"since": "2024-02-29"}
    again = requests.post(f"{program.url}/jobs/{own['job_id']}/retry?wait=60", timeout=90)
    assert again.json()["parameters"] == own["parameters"]


def block(language: str) -> str:
    """The first example of the docs in a language."""
    found = re.search(rf"```{language}\n(.*?)```", DOCS, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_example_of_the_docs_is_true(program: Program) -> None:
    """The cell runs, the file beside it is read, and the message is the one that stands there."""
    cell = code(block("python"), "parameters")
    document = notebook(cell, code("[years, amount, region, str(since), note]", "results"))
    (program.library / "growth.ipynb").write_text(json.dumps(document))
    report = submit(program, "growth.ipynb", amount=20).json()
    assert value(report) == [3, 20, "EU", "2026-01-01", ""]
    said = program.run("check", "notebooks/growth.ipynb", "-p", "years", "7").stdout
    assert f"```\n{said}```" in DOCS
    for wrong in ({"amount": 0}, {"region": "XX"}, {"since": "soon"}):
        assert submit(program, "growth.ipynb", **wrong).status_code == 422
    (program.library / "growth.parameters.yaml").write_text(block("yaml"))
    assert "`region` is missing" in submit(program, "growth.ipynb").json()["message"]
    report = submit(program, "growth.ipynb", region="US").json()
    assert value(report) == [3, 1000.0, "US", report["parameters"]["since"], ""]
    assert report["parameters"]["since"].endswith("-01")
    assert (
        "`x` is no parameter" in submit(program, "growth.ipynb", region="US", x=1).json()["message"]
    )


def test_an_untyped_default_is_a_guess(program: Program) -> None:
    """A text for a number runs, with a warning."""
    report = submit(program, "plain.ipynb", n="5").json()
    assert report["status"] == "succeeded"
    assert "`n` is a number in the notebook" in report["warnings"][0]


def test_a_wrong_file_refuses_its_own_notebook(program: Program) -> None:
    """With the line; other notebooks run."""
    program.drop("wrong.yaml", "notebook: wrong.ipynb\n")
    report = program.await_report("wrong")
    said = "The library's 'wrong.parameters.yaml' is wrong: `minimun` is no keyword"
    assert report["error_type"] == "invalid_notebook"
    assert said in report["message"]
    assert "(line 3)" in report["message"]
    done = program.run("check", "notebooks/wrong.ipynb")
    assert said in done.stdout
    assert done.returncode == 3


def test_a_notebook_is_called_by_its_path(program: Program) -> None:
    """With the parameters as the body; what does not fit becomes no job."""
    url = f"{program.url}/notebooks/sums/growth"
    shown = requests.get(f"{url}.ipynb", timeout=30).json()
    assert (shown["title"], shown["is_tool"]) == ("Growth", True)
    assert shown["parameters"]["properties"]["region"]["enum"] == ["EU", "US"]
    report = requests.post(f"{url}?wait=60", json={"years": 5}, timeout=90).json()
    assert value(report) == [5, "EU", report["parameters"]["since"]]
    assert report["name"].startswith("http/")

    def jobs() -> list[Json]:
        listed: list[Json] = requests.get(f"{program.url}/jobs", timeout=30).json()["jobs"]
        return listed

    wait_for(lambda: all(one["state"] == "closed" for one in jobs()))  # a moment after its result
    before = jobs()
    wrong = requests.post(f"{url}?wait=60", json={"years": 7}, timeout=90)
    assert wrong.status_code == 422
    assert wrong.json() == {
        "status": "rejected",
        "error_type": "invalid_parameters",
        "message": FITS,
    }
    for body in ([1], "x", None):
        assert requests.post(url, json=body, timeout=90).status_code in (415, 422)
    assert requests.post(f"{program.url}/notebooks/none", json={}, timeout=30).status_code == 404
    assert requests.post(f"{program.url}/notebooks/../x", json={}, timeout=30).status_code == 404
    broken = requests.post(f"{program.url}/notebooks/wrong", json={}, timeout=30)
    assert broken.status_code == 400
    assert "(line 3)" in broken.json()["message"]
    assert jobs() == before
    later = requests.post(url, json={}, headers={"Prefer": "respond-async"}, timeout=30)
    assert later.status_code == 202
    rows = requests.get(f"{program.url}/notebooks", timeout=30).json()["notebooks"]
    errors = {row["path"]: row["error"] for row in rows}
    assert errors["plain.ipynb"] is None
    (growth,) = (row for row in rows if row["path"] == "sums/growth.ipynb")
    assert (growth["title"], growth["description"]) == ("Growth", "Grows a sum.")
    assert "(line 3)" in errors["wrong.ipynb"]


def test_check_says_what_would_not_fit(program: Program) -> None:
    """And what type is not used, since its own default contradicts it."""
    done = program.run("check", "notebooks/sums/growth.ipynb", "-p", "years", "7")
    assert f"invalid_parameters: {FITS}" in done.stdout
    assert program.run("check", "notebooks/sums/growth.ipynb").returncode == 0
    odd = notebook(code("n: int = 1.5", "parameters"))
    (program.root / "odd.ipynb").write_text(json.dumps(odd))
    assert "`n` is declared `int`, but" in program.run("check", "odd.ipynb").stdout
