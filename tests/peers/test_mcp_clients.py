"""The tools for agents by the clients of others: SDK, Inspector, schemas, conformance suite.

They take half a minute altogether, and a minute or two to be installed.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.agents import Agents, agents, environment
from tests.conftest import Json, Program, notebook, programs
from tests.peers.n8n_service import cached, node_of

FOLDER = Path(__file__).parent / "mcp"
PACKAGE: Mapping[str, Json] = json.loads((FOLDER / "package.json").read_text())
NOWHERE = "http://127.0.0.1:9"
"""No Jupyter."""
SECONDS = 240

pytestmark = pytest.mark.timeout(3900)


@dataclass(frozen=True)
class Tools:
    """What npm has installed, and the Node that runs it."""

    node: Path
    folder: Path

    def run(self, script: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a script with its packages."""
        return subprocess.run(
            [self.node / "bin" / "node", script, *arguments],
            cwd=self.folder,
            env={**environment({"ROOM_URL": NOWHERE}), "HOME": str(self.folder)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )

    def of(self, package: str, program: str) -> Path:
        """The script of a package's program."""
        place = self.folder / "node_modules" / package
        found = json.loads((place / "package.json").read_text())["bin"]
        return place / (found if isinstance(found, str) else found[program])


@pytest.fixture(scope="module")
def tools() -> Tools:
    node = node_of(PACKAGE["config"]["node"])
    package = {"private": True, "dependencies": PACKAGE["dependencies"]}
    return Tools(node, cached("mcp", package, node))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    making = programs(tmp_path_factory.mktemp("clients"))
    found = next(making)().start()
    found.library.mkdir(exist_ok=True)
    (found.library / "plan.ipynb").write_text(json.dumps(notebook("1")))
    yield found
    next(making, None)


@pytest.fixture(scope="module")
def server(program: Program) -> Iterator[Agents]:
    with agents(program.root, ROOM_URL=NOWHERE) as found:
        yield found


@pytest.fixture(params=["http", "stdio"])
def target(request: pytest.FixtureRequest, server: Agents, program: Program) -> tuple[str, ...]:
    """How a client reaches the server: the way, and its address or command."""
    if request.param == "http":
        return "http", f"{server.url}/mcp"
    folders = [
        word
        for name in ("inbox", "outbox", "notebooks", "state")
        for word in (f"--{name}", str(program.root / name))
    ]
    return "stdio", sys.executable, "-m", "runner", "mcp", "--stdio", *folders


def test_the_typescript_sdk_finds_what_is_announced(tools: Tools, target: tuple[str, ...]) -> None:
    """Tools, resources, progress that increases, errors in words; news of a job over stdio."""
    ended = tools.run(FOLDER / "client.mjs", *target)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert set(found["capabilities"]) == {"tools", "resources"}
    assert "run_notebook" in found["tools"]
    assert "runner://jobs/{job_id}" in found["templates"]
    assert "plan.ipynb" in found["read"]
    assert "42" in found["run"]
    assert found["wrong"].startswith("run_notebook was not called: `notebook` must be")
    assert found["failed"] is True
    assert found["progress"] == sorted(set(found["progress"]))
    assert len(found["progress"]) > 1
    assert "succeeded" in found["job"]
    is_over_stdio = target[0] == "stdio"
    assert found["capabilities"]["resources"]["subscribe"] is is_over_stdio
    assert set(found["updated"]) == ({found["uri"]} if is_over_stdio else set())


def test_the_official_schemas_take_our_tasks(tools: Tools, server: Agents) -> None:
    """From the handle to the result."""
    ended = tools.run(FOLDER / "tasks.mjs", f"{server.url}/mcp")
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert len(found["are"]) > 1
    assert all(found["are"])
    assert found["task"]["status"] == "completed"
    assert "42" in found["task"]["result"]["content"][0]["text"]


def inspect(
    tools: Tools, target: tuple[str, ...], *arguments: str
) -> "subprocess.CompletedProcess[str]":
    """One question by the Inspector's command line."""
    script = tools.of("@modelcontextprotocol/inspector", "mcp-inspector")
    how = ("--transport", target[0], "--connect-timeout", "120000")
    return tools.run(script, "--cli", *target[1:], *how, *arguments)


def test_the_inspector_has_no_objection(tools: Tools, target: tuple[str, ...]) -> None:
    """`--strict`: schemas that every client understands, without a warning."""
    ended = inspect(tools, target, "--method", "tools/list", "--strict")
    assert ended.returncode == 0, ended.stderr
    assert "arning" not in ended.stderr, ended.stderr
    assert "run_notebook" in {tool["name"] for tool in json.loads(ended.stdout)["tools"]}


def test_the_inspector_calls_and_reads(tools: Tools, server: Agents) -> None:
    """As somebody does who tries the server out in a terminal."""
    target = ("http", f"{server.url}/mcp")
    cells = ("--tool-name", "run_notebook", "--tool-arg", 'notebook=["6 * 7"]')
    called = inspect(tools, target, "--method", "tools/call", *cells)
    assert called.returncode == 0, called.stderr
    assert "42" in json.loads(called.stdout)["content"][0]["text"]
    read = inspect(tools, target, "--method", "resources/read", "--uri", "runner://notebooks")
    assert read.returncode == 0, read.stderr
    assert "plan.ipynb" in read.stdout


def test_the_conformance_suite_passes_but_for_what_does_not_apply(
    tools: Tools, server: Agents
) -> None:
    """`not_applicable.yaml` says why; what is in it and passes is a failure too."""
    script = tools.of("@modelcontextprotocol/conformance", "conformance")
    baseline = ("--expected-failures", str(FOLDER / "not_applicable.yaml"))
    ended = tools.run(script, "server", "--url", f"{server.url}/mcp", *baseline)
    assert ended.returncode == 0, ended.stdout[-5000:]
