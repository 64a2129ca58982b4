"""A real JupyterLab over the inbox: what it does when one saves there."""

import base64
import json
import os
from collections.abc import Iterator

import pytest
import requests

from tests.conftest import Json, Program, code, notebook, programs, wait_for
from tests.peers.lab import lab

MEGABYTE = 1024 * 1024


def answer(number: int) -> Json:
    return notebook(code(f"{number}", "results"))


class Contents:
    """The contents API of one server."""

    def __init__(self, port: int, token: str) -> None:
        self._url = f"http://127.0.0.1:{port}/api"
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"token {token}"

    def put(self, name: str, **body: object) -> None:
        answered = self._session.put(f"{self._url}/contents/{name}", json=body, timeout=60)
        # It looks at the file once more when it is written, and the runner may be quicker.
        assert answered.ok or "No such file" in answered.text, answered.text

    def save(self, name: str, content: Json) -> None:
        self.put(name, type="notebook", format="json", content=content)

    def upload(self, name: str, raw: bytes) -> Iterator[int]:
        """Chunk by chunk, as JupyterLab does over 1 MiB; the last one has the number -1."""
        starts = range(0, len(raw), MEGABYTE)
        for number, start in enumerate(starts, 1):
            chunk = base64.b64encode(raw[start : start + MEGABYTE]).decode()
            is_last = start == starts[-1]
            yield number
            self.put(
                name,
                type="file",
                format="base64",
                content=chunk,
                chunk=-1 if is_last else number,
            )


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    make = programs(tmp_path_factory.mktemp("program"))
    yield next(make)({"kernels": {"preload": []}, "intake": {"broken_seconds": 3600}}).start()
    next(make, None)


@pytest.fixture(scope="module")
def contents(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Contents]:
    with lab(tmp_path_factory.mktemp("lab"), program.inbox) as found:
        yield Contents(found.port, found.token)


def test_a_notebook_that_is_saved_twice_shows_its_last_content(
    program: Program, contents: Contents
) -> None:
    """Each save that is taken is a whole one."""
    contents.save("saved.ipynb", answer(1))
    contents.save("saved.ipynb", answer(2))
    wait_for(lambda: value(program.report("saved")) == "2")
    jobs = [
        json.loads(line)
        for line in program.run("jobs", "--json", "--name", "saved").stdout.splitlines()
    ]
    assert {job["status"] for job in jobs} == {"succeeded"}
    assert len(jobs) <= 2


def test_a_save_in_place_runs_once(program: Program, contents: Contents) -> None:
    """The old content goes to a hidden copy, the file is rewritten in place; one run of the new."""
    assert program.stop() == 0
    contents.save("twice.ipynb", notebook(code("1", "results"), "#" * 100_000))
    contents.save("twice.ipynb", answer(2))
    program.start()
    assert value(program.await_report("twice")) == "2"
    assert len(program.run("jobs", "--json", "--name", "twice").stdout.splitlines()) == 1


def test_an_upload_in_chunks_runs_when_it_is_whole(program: Program, contents: Contents) -> None:
    """Each chunk is written and closed; none but the last makes a notebook of it."""
    raw = json.dumps(notebook(code("3", "results"), "#" * int(2.5 * MEGABYTE))).encode()
    chunks = 0
    for number in contents.upload("large.ipynb", raw):
        chunks = number
        if number > 1:
            program.drop(f"between{number}.ipynb", answer(number))
            program.await_report(f"between{number}")
            assert (program.inbox / "large.ipynb").stat().st_size == (number - 1) * MEGABYTE
    assert chunks == 3
    assert value(program.await_report("large")) == "3"
    assert len(program.run("jobs", "--json", "--name", "large").stdout.splitlines()) == 1


def test_an_upload_in_chunks_starts_its_notebook_once(program: Program, contents: Contents) -> None:
    """A rule takes the file when it is whole, though nobody has it open between two chunks."""
    rules = program.root / "notebooks" / "rules"
    rules.mkdir(parents=True)
    size = notebook(
        code("path = ''", "parameters"), code("open(path).read().count('x')", "results")
    )
    (program.root / "notebooks" / "size.ipynb").write_text(json.dumps(size))
    (rules / "up.yaml").write_text(
        "pattern: 'up-*.csv'\ndata_seconds: 60\nnotebook: size.ipynb\n"
        "parameters: {path: '{{ file }}'}\n"
    )
    program.drop("up-first.csv", "x" * 7)
    assert value(program.await_report("rules/up/up-first"), 3) == "7"
    raw = b"x" * int(float(os.environ.get("TEST_UPLOAD_MB", "2.5")) * MEGABYTE)
    for number in contents.upload("up-large.csv", raw):
        if number in (2, 3):  # the runner takes others meanwhile
            program.drop(f"up-{number}.csv", "x" * number)
            assert value(program.await_report(f"rules/up/up-{number}"), 3) == str(number)
            assert (program.inbox / "up-large.csv").stat().st_size == (number - 1) * MEGABYTE
    assert value(program.await_report("rules/up/up-large"), 3) == str(len(raw))
    jobs = program.run("jobs", "--json", "--name", "rules/up/up-large").stdout.splitlines()
    assert len(jobs) == 1


def value(report: Json | None, cell: int = 1) -> str | None:
    """What the one tagged cell gave."""
    if report is None:
        return None
    found = report["results"][f"cell_{cell}"]["text/plain"]
    return str(found)
