"""What `/openapi.json` says is true: schemathesis finds nothing against the real program."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from runner.config import Settings
from runner.gateway.app import App
from tests.conftest import Program, Serving, code, notebook, programs, wait_for

TOKEN = "s3cret-token"
SEED = os.environ.get("SCHEMATHESIS_SEED", "1")
TYPED = notebook(
    code(
        "from typing import Literal\nyears: Literal[1, 3] = 3\nday = '2026-01-31'  # type: date\n"
        "names: list[str] = []\nregion: str",
        "parameters",
    )
)
CONFIG = """
[parameters]
"query.wait" = 1
[checks]
positive_data_acceptance.expected-statuses = [
    "2xx", "400", "401", "403", "404", "409", "410", "422"
]
"""
"""Requests may fit the schema and name a notebook that is not there, or a cell that fails.

A job may start next year (`not_before`), and a client may say that it waits for it for a day.
"""


PAUSING = "^/(pauses?|resume)$"


@pytest.mark.timeout(1300)
def test_schemathesis_finds_nothing(serving: Serving, tmp_path: Path) -> None:
    """Random requests, right and wrong ones, and what follows from their answers."""
    program = serving(
        {
            "gateway": {"enabled": True, "port": 0, "token": TOKEN, "wait_seconds": 2},
            "limits": {"run_seconds": 5, "max_run_seconds": 5},
        }
    )
    headers = {"Authorization": f"Bearer {TOKEN}"}
    first = requests.post(
        f"{program.url}/run?wait=60",
        json=notebook(code("1", "results")),
        headers=headers,
        timeout=90,
    )
    assert first.status_code == 200
    program.library.mkdir(exist_ok=True)
    (program.library / "typed.ipynb").write_text(json.dumps(TYPED))
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    # A pause of all jobs would let each request wait for as long as it says.
    alone = ("--include-path-regex", PAUSING, "--phases", "coverage,fuzzing")
    for paths in (("--exclude-path-regex", PAUSING), alone):
        done = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "run", f"{program.url}/openapi.json"),
                *("-H", f"Authorization: Bearer {TOKEN}", "--checks", "all", *paths),
                *("--exclude-checks", "use_after_free"),  # a cancelled job stays to be seen
                *("--max-examples", "8", "--seed", SEED, "--generation-database", "none"),
                # The first notebook as HTML takes a busy machine long.
                *("--request-timeout", "60", "--max-response-time", "60"),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """One without a token, for tests that only ask."""
    with contextmanager(programs)(tmp_path_factory.mktemp("openapi")) as make:
        yield make({"gateway": {"enabled": True, "port": 0}}).start()


def test_a_typed_client_may_leave_out_what_has_a_default(program: Program) -> None:
    """openapi-typescript makes a key with a `default` a must, and takes a bare object for `{}`."""
    schemas = requests.get(f"{program.url}/openapi.json", timeout=30).json()["components"][
        "schemas"
    ]
    for name in ("RunRequest", "Resources"):
        assert not [key for key, one in schemas[name]["properties"].items() if "default" in one]
    assert schemas["RunRequest"]["required"] == ["notebook"]
    for one in (schemas["Notebook"], schemas["RunRequest"]["properties"]["notebook"]["anyOf"][1]):
        assert one["additionalProperties"] is True


def test_every_notebook_of_the_library_is_an_operation(serving: Serving) -> None:
    """With its types, and an example that runs; each with a name of its own."""
    program = serving({"gateway": {"enabled": True, "port": 0}})
    source = "from typing import Literal\nyears: Literal[1, 3] = 3\nregion: str\nn = 1"
    heading = {"cell_type": "markdown", "source": "# Growth\n\nGrows.", "metadata": {}}
    document = notebook(heading, code(source, "parameters"), code("[years, region, n]", "results"))
    (program.library / "a b").mkdir(parents=True)
    for name in ("a b/growth", "a b/Growth", "{x}"):
        (program.library / f"{name}.ipynb").write_text(json.dumps(document))
    paths = requests.get(f"{program.url}/openapi.json", timeout=30).json()["paths"]
    own = [path for path in paths if path.startswith("/notebooks/a")]
    assert own == ["/notebooks/a%20b/Growth", "/notebooks/a%20b/growth"]
    operation = paths[own[1]]["post"]
    assert operation["summary"] == "Growth"
    media = operation["requestBody"]["content"]["application/json"]
    assert media["schema"] == {
        "type": "object",
        "properties": {
            "years": {"type": "integer", "enum": [1, 3], "description": "Default: 3."},
            "region": {"type": "string"},
            "n": {"type": "integer", "description": "Default: 1."},
        },
        "required": ["region"],
    }
    ids = [way["operationId"] for ways in paths.values() for way in ways.values()]
    assert len(set(ids)) == len(ids)
    answer = requests.post(f"{program.url}{own[1]}?wait=60", json=media["example"], timeout=90)
    assert answer.json()["parameters"] == {"years": 3, "region": "text", "n": 1}
    assert answer.status_code == 200


def test_every_route_is_described(program: Program) -> None:
    """And nothing else is; without a token none is asked for."""
    found = requests.get(f"{program.url}/openapi.json", timeout=30).json()
    assert found["openapi"].startswith("3.1")
    assert found["security"] == []
    routes = [(one.method, one.rule) for one in App(Settings()).wsgi.routes]
    plain = {
        (method, re.sub(r"<(\w+)(?::re:.+?\]\+)?>", r"{\1}", path))
        for method, path in routes
        if not path.startswith("/ui/") and method != "OPTIONS"
    }
    described = {(method.upper(), path) for path, ways in found["paths"].items() for method in ways}
    assert described == plain
    names = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(found)))
    assert names <= set(found["components"]["schemas"])


def test_what_stays_in_the_inbox_is_told_by_every_face(serving: Serving) -> None:
    """The API, a page and the command say the same, and health notes what is stuck."""
    program = serving({"gateway": {"enabled": True, "port": 0}})
    program.drop("C4E439~4", b"")
    program.drop("list.json", b"[]")

    def listed() -> dict[str, str]:
        files = requests.get(f"{program.url}/inbox", timeout=30).json()["files"]
        return {one["path"]: one["reason"] for one in files}

    wait_for(lambda: listed() == {"C4E439~4": "mangled_name", "list.json": "no_request"})
    page = requests.get(f"{program.url}/ui/inbox", headers={"Accept": "text/html"}, timeout=30)
    assert "C4E439~4" in page.text
    assert "list.json" in page.text
    assert "list.json\t" in program.run("inbox").stdout

    def stuck() -> list[str]:
        health = requests.get(f"{program.url}/healthz", timeout=30).json()
        assert health["status"] == "healthy"
        notes = health.get("notes", [])
        return [note for note in notes if "C4E439~4" in note or "list.json" in note]

    wait_for(stuck)
    assert ["list.json" in note for note in stuck()] == [False]
