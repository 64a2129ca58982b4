"""The history of a name: on the page, and by `runner history`."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests

from tests.conftest import Json, Program, code, notebook, programs, wait_for


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with contextmanager(programs)(tmp_path_factory.mktemp("histories")) as make:
        one = make({"gateway": {"enabled": True, "port": 0}})
        one.start()
        cells = notebook(code("n = 1", "parameters"), code("1 / n", "results"))
        for n in (1, 2, 0):
            asked = {"notebook": cells, "parameters": {"n": n}, "name": "sales/sum"}
            requests.post(f"{one.url}/run", json=asked, timeout=90)
        yield one


def test_the_page_of_a_name_tells_what_became_of_it(program: Program) -> None:
    """Its runs day by day, how long they took, the last failure with its cell, its parameters."""
    page = requests.get(f"{program.url}/ui/names/sales/sum", timeout=90)
    assert page.status_code == 200
    text = re.sub(r"<[^>]+>", " ", page.text)
    assert "3 jobs" in text
    assert "ZeroDivisionError" in text
    assert "1 / n" in text
    assert re.search(r'aria-label="The last year: 2 succeeded, 1 failed"', page.text)
    assert page.text.count("<circle") == 3
    assert re.findall(r"<strong>(\d)</strong>", page.text) == ["0", "2"]
    missing = requests.get(f"{program.url}/ui/names/other", timeout=90)
    assert (missing.status_code, "No job is named" in missing.text) == (404, True)


def test_the_command_tells_the_same(program: Program) -> None:
    """As a table, and as JSON."""
    told = program.run("history", "sales/sum")
    assert told.returncode == 0, told.stderr
    kinds = [line.split("\t")[1] for line in told.stdout.splitlines()]
    assert kinds == ["status", "papermill_execution_error", "succeeded", "succeeded"]
    assert "3 jobs; in the last year 1 failed, 2 succeeded" in told.stderr
    assert re.search(r"last failure: .* cell 1: .*ZeroDivisionError", told.stderr)
    content = json.loads(program.run("history", "sales/sum", "--json", "-n", "1").stdout)
    assert (content["count"], len(content["runs"])) == (3, 1)
    assert content["last_failure"]["cell"] == "1 / n"
    assert program.run("history", "other").returncode == 1


def test_a_failure_says_what_differs_from_the_last_success(program: Program) -> None:
    """Parameters, the notebook, and files that came along; or that nothing does."""
    url, name = program.url, "compared"
    cells = notebook(code("n = 1", "parameters"), code("1 / n", "results"))

    def run(content: Json, n: int, **files: str) -> str:
        asked = {"notebook": content, "parameters": {"n": n}, "name": name, "files": files}
        done = requests.post(f"{url}/run", json=asked, timeout=90).json()
        job_id = str(done["job_id"])
        wait_for(
            lambda: requests.get(f"{url}/jobs/{job_id}", timeout=90).json()["state"] == "closed"
        )
        page = requests.get(
            f"{url}/jobs/{job_id}", headers={"Accept": "text/html"}, timeout=90
        ).text
        told = re.search(r"Since the last success</h2>(.*?)</section>", page, re.DOTALL)
        return re.sub(r"<[^>]+>|\s+", " ", told[1]) if told else ""

    assert run(cells, 0) == ""
    assert run(cells, 1, **{"a.csv": "1"}) == ""
    assert "n is 0 ; it was 1" in re.sub(" +", " ", run(cells, 0, **{"a.csv": "1"}))
    other = notebook(code("n = 1", "parameters"), code("1 / n  # new", "results"))
    told = re.sub(" +", " ", run(other, 0, **{"a.csv": "2"}))
    assert "the notebook has changed" in told
    assert "the file a.csv has other content" in told
    always = notebook(code("import os; assert not os.path.exists('b.csv')", "results"))
    assert run(always, 1) == ""
    same = re.sub(" +", " ", run(always, 1, **{"b.csv": "x"}))
    assert "the file b.csv came along; it did not then" in same.replace(" ;", ";")
