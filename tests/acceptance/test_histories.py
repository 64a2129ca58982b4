"""The history of a name: on the page, and by `runner history`."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests

from tests.conftest import Program, code, notebook, programs


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
