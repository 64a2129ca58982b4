"""The history of a name: on the page, and by `runner history`."""

import json
import platform
import re
from collections.abc import Callable, Iterator
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
    assert [one["notebook"] for one in content["runs"]] == [None]
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


def test_a_result_says_where_it_comes_from(make_program: Callable[..., Program]) -> None:
    """Python, packages, image and the library's commit; and a failure what of it is another one."""
    program = make_program({"gateway": {"enabled": True, "port": 0}})
    packages = program.root / "packages"
    (packages / "demo-1.0.dist-info").mkdir(parents=True)
    program.environment = {"PYTHONPATH": str(packages), "RUNNER_IMAGE": "ours:7"}
    repository = program.library / ".git"
    repository.mkdir(parents=True)
    (repository / "HEAD").write_text("a" * 40)
    (repository / "index").write_bytes(b"DIRC\0\0\0\2\0\0\0\1\7a.ipynb\0")
    cells = notebook(code("n = 1", "parameters"), code("1 / n", "results"))
    (program.library / "a.ipynb").write_text(json.dumps(cells))
    program.start()

    def run(n: int) -> Json:
        asked = {"notebook": "a.ipynb", "parameters": {"n": n}, "name": "origin"}
        done: Json = requests.post(f"{program.url}/run", json=asked, timeout=90).json()
        url = f"{program.url}/jobs/{done['job_id']}"
        wait_for(lambda: requests.get(url, timeout=90).json()["state"] == "closed")
        return done

    good = run(1)
    assert good["library_commit"] == "a" * 40
    assert good["environment"]["python"] == platform.python_version()
    assert good["environment"]["image"] == "ours:7"
    told = requests.get(f"{program.url}/jobs/{good['job_id']}/environment", timeout=90).json()
    assert told["packages"]["demo"] == "1.0"
    assert told["packages_sha256"] == good["environment"]["packages_sha256"]
    (packages / "demo-1.0.dist-info").rename(packages / "demo-1.1.dist-info")
    (packages / "new-3.dist-info").mkdir()
    (repository / "HEAD").write_text("b" * 40)
    bad = run(0)
    assert bad["environment"]["packages_sha256"] != good["environment"]["packages_sha256"]
    page = requests.get(
        f"{program.url}/jobs/{bad['job_id']}", headers={"Accept": "text/html"}, timeout=90
    ).text
    text = re.sub(r"<[^>]+>|\s+", " ", page)
    said = re.sub(" +", " ", text)
    assert "the library is at commit bbbbbbbbbb ; it was at aaaaaaaaaa" in said
    assert "the package demo is 1.1; it was 1.0" in said
    assert "the package new 3 is there; it was not then" in said
    told = json.loads(program.run("history", "origin", "--json").stdout)
    assert told["last_success"]["notebook"] == told["runs"][0]["notebook"] == "a.ipynb"
    listed = program.run("environment", good["job_id"][:8])
    assert listed.returncode == 0, listed.stderr
    assert f"# library commit: {'a' * 40}\n" in listed.stdout
    assert "\ndemo==1.0\n" in listed.stdout
    newest = json.loads(program.run("environment", "origin", "--json").stdout)
    assert newest["packages"]["demo"] == "1.1"
    refused = requests.post(f"{program.url}/run", json={"notebook": "none.ipynb"}, timeout=90)
    unknown = program.run("environment", refused.json()["job_id"])
    assert (unknown.returncode, "no kernel was chosen" in unknown.stderr) == (1, True)
    missing = requests.get(f"{program.url}/jobs/{refused.json()['job_id']}/environment", timeout=90)
    assert missing.status_code == 404
