"""Promises of the server for agents as a party to the protocol: what it announces, it has."""

import json
import ssl
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import anyio
import pytest
import requests

from runner import __version__
from runner.mcp.discovery import CARD_PATHS, DESCRIPTION
from runner.mcp.jupyter.api import JupyterAway, Server
from runner.mcp.progress import Progress
from runner.mcp.runs import watching
from runner.mcp.runs.library_tools import ToolChanges
from runner.mcp.runs.tasks import EXTENSION
from tests.agents import Agents, agents, ask, connected, environment, text
from tests.conftest import Json, Program, notebook, programs, wait_for

from mcp import Client, StdioServerParameters  # isort: skip
from mcp.client.subscriptions import ResourceUpdated  # isort: skip
from mcp_types import ResourceUpdatedNotification, TextResourceContents  # isort: skip

NOWHERE = "http://127.0.0.1:9"
"""No Jupyter."""
TOKEN = "s3cret"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    making = programs(tmp_path_factory.mktemp("protocol"))
    yield next(making)().start()
    next(making, None)


@pytest.fixture(scope="module")
def server(program: Program) -> Iterator[Agents]:
    with agents(program.root, ROOM_URL=NOWHERE) as found:
        yield found


def over_stdio(root: Path) -> StdioServerParameters:
    return StdioServerParameters(
        command=sys.executable,
        args=["-m", "runner", "mcp", "--stdio"],
        cwd=root,
        env=environment({"ROOM_URL": NOWHERE}),
    )


def waiting_for(flag: Path) -> Json:
    """A notebook that ends once a file is there."""
    source = f"import os, time\nwhile not os.path.exists({str(flag)!r}): time.sleep(0.05)"
    return notebook("1", source)


@pytest.mark.parametrize("way", ["auto", "legacy", "stdio"])
def test_only_what_is_there_is_announced(server: Agents, program: Program, way: str) -> None:
    """No prompts, no news of resources; other news where something carries them."""

    async def look(client: Client) -> Any:
        return client.server_capabilities

    async def look_over_stdio() -> Any:
        async with Client(over_stdio(program.root), mode="legacy") as client:
            return client.server_capabilities

    found = (
        anyio.run(look_over_stdio) if way == "stdio" else ask(server.url, look, mode=way)
    ).model_dump(by_alias=True, exclude_none=True)
    assert set(found) <= {"tools", "resources", "extensions"}
    assert set(found.get("extensions", {})) == ({EXTENSION} if way == "auto" else set())
    assert bool(found["tools"].get("listChanged")) is (way == "auto")
    assert not found["resources"].get("listChanged")
    assert found["resources"].get("subscribe") is (way != "legacy")


def test_a_watched_job_is_told_of_until_it_is_over(
    server: Agents, program: Program, tmp_path: Path
) -> None:
    """By the stream of the newer protocol."""
    flag = tmp_path / "go"

    async def watch() -> list[Any]:
        async with connected(server.url) as client:
            asked = {"notebook": waiting_for(flag), "wait_seconds": 0}
            said = text(await client.call_tool("run_notebook", asked))
            job_id = said.split()[1].rstrip(":")
            uri = f"runner://jobs/{job_id}"
            states: list[Any] = []
            async with client.listen(resource_subscriptions=[uri]) as news:
                with anyio.fail_after(60):
                    async for event in news:
                        assert event == ResourceUpdated(uri=uri)
                        (content,) = (await client.read_resource(uri)).contents
                        assert isinstance(content, TextResourceContents)
                        record = json.loads(content.text)
                        states.append((record["status"], record.get("progress")))
                        flag.touch()
                        if record["status"] == "succeeded":
                            return states
        return states

    states = anyio.run(watch)
    assert states[-1][0] == "succeeded"
    assert len(states) > 1, "its progress is news as well"


def test_only_a_change_of_a_watched_job_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it is looked at; its end is the last one."""
    monkeypatch.setattr(watching, "LOOK_SECONDS", 0.001)
    running, job_id = {"status": "running", "progress": {"cell": 1}}, "1" * 32
    further = {**running, "progress": {"cell": 2}}
    looks = [running, running, further, further, further, {"status": "succeeded", "result": {}}]
    told: list[str] = []

    class Seen:
        async def show(self, _: str) -> Json:
            return looks.pop(0)

    async def tell(uri: str) -> None:
        told.append(uri)

    looking = watching.Watching(Seen(), None)  # type: ignore[arg-type]
    anyio.run(looking._look, [f"runner://jobs/{job_id}"], tell)
    assert told == [f"runner://jobs/{job_id}"] * 2
    assert looks == []


def test_over_stdio_a_job_is_watched_in_the_older_way(program: Program, tmp_path: Path) -> None:
    """`resources/subscribe`, and no more once it is taken back."""
    flag = tmp_path / "go"
    updated: list[str] = []

    async def note(message: object) -> None:
        if isinstance(message, ResourceUpdatedNotification):
            updated.append(str(message.params.uri))

    async def watch() -> None:
        server = over_stdio(program.root)
        async with Client(server, mode="legacy", message_handler=note) as client:
            asked = {"notebook": waiting_for(flag), "wait_seconds": 0}
            said = text(await client.call_tool("run_notebook", asked))
            uri = f"runner://jobs/{said.split()[1].rstrip(':')}"
            await client.session.subscribe_resource(uri)
            flag.touch()
            with anyio.fail_after(60):
                while not updated:
                    await anyio.sleep(0.05)
            assert set(updated) == {uri}
            await client.session.unsubscribe_resource(uri)

    anyio.run(watch)


def test_what_changes_right_after_a_client_listens_is_told() -> None:
    """The folder was looked at before the client heard that it listens."""
    there: list[Any] = []
    heard: list[object] = []

    class Changes(ToolChanges):
        def _look(self) -> list[Any]:
            return list(there)

    async def listen() -> None:
        changes = Changes(None)  # type: ignore[arg-type]
        await changes.prepare()
        leave = changes.subscribe(heard.append)
        there.append("a new tool")
        with anyio.fail_after(60):
            while not heard:
                await anyio.sleep(0.05)
        leave()

    anyio.run(listen)


def test_certificates_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often Jupyter is asked; to read them takes longer than its answer."""
    real, read = ssl.create_default_context, []

    def create(*arguments: Any, **given: Any) -> ssl.SSLContext:
        read.append(arguments)
        return real(*arguments, **given)

    monkeypatch.setattr(ssl, "create_default_context", create)
    jupyter = Server(NOWHERE, None, "ROOM_URL")

    async def ask_often() -> None:
        for _ in range(3):
            with pytest.raises(JupyterAway):
                await jupyter.ask("GET", "status")

    anyio.run(ask_often)
    assert len(read) <= 1


def test_progress_increases_whatever_a_run_does() -> None:
    """A cell that takes long, and a run that begins again: the protocol allows no step back."""
    said: list[float] = []

    class Context:
        async def report_progress(self, value: float, total: float | None, _: str) -> None:
            said.append(value)

    async def tell() -> None:
        progress = Progress(Context())  # type: ignore[arg-type]
        for done in (0, 0, 2, 2, 2, 0, 1, 3, 3):
            await progress.tell(done, 4, "")
        for _ in range(1000):
            await progress.tell(3, 4, "")

    anyio.run(tell)
    assert said == sorted(set(said))
    assert said[-1] < 4
    assert said[2] == 2


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("run_notebook", {}, "`notebook` is missing."),
        ("run_notebook", {"notebook": 5}, "must be a text or an object or a list, not 5."),
        ("get_job", {"job_id": "x", "wait_seconds": "soon"}, "`wait_seconds` must be a number,"),
        ("get_job", {"job_id": "x", "wait_seconds": -1}, "greater than or equal to 0, not -1."),
        (
            "run_notebook",
            {"notebook": ["1"], "resources": {"memory_mb": "a", "cores": 2}},
            "`resources.memory_mb` must be a whole number, not 'a'. "
            "`resources.cores` is not known there",
        ),
        ("edit_cell", {"cell": 1, "action": "swap"}, "`action` must be 'replace', 'overwrite', "),
        ("run_notebok", {}, "There is no tool `run_notebok`. Did you mean `run_notebook`?"),
    ],
)
def test_wrong_arguments_are_told_in_plain_words(
    server: Agents, tool: str, arguments: Json, words: str
) -> None:
    """Which one, what it must be, and what came; nothing of the library that checks them."""
    result = server.call(tool, **arguments)
    assert result.is_error
    assert words in text(result)
    for word in ("pydantic", "validation", "input_value", "Arguments", "type="):
        assert word not in text(result)


OAUTH = (
    "/.well-known/oauth-protected-resource",
    "/.well-known/oauth-protected-resource/mcp",
    "/.well-known/oauth-authorization-server",
    "/.well-known/openid-configuration/mcp",
    "/mcp/.well-known/openid-configuration",
    "/register",
    "/authorize",
)


def test_who_looks_for_oauth_is_told_that_there_is_none(program: Program) -> None:
    """With 404 also where a token is wanted: 401 would send a client looking for more of it."""
    with agents(program.root, ROOM_URL=NOWHERE, MCP_TOKEN=TOKEN) as guarded:
        for path, method in product(OAUTH, ("GET", "POST")):
            answered = requests.request(method, f"{guarded.url}{path}", json={}, timeout=30)
            assert answered.status_code == 404, path
            assert "Authorization: Bearer TOKEN" in answered.json()["error_description"]
        assert requests.post(f"{guarded.url}/mcp", json={}, timeout=30).status_code == 401


def test_the_card_says_where_the_server_is(server: Agents) -> None:
    """As its client names it; and the file for registries says the same."""
    cards = [requests.get(f"{server.url}{path}", timeout=30).json() for path in CARD_PATHS]
    assert cards[0] == cards[1]
    (remote,) = cards[0]["remotes"]
    assert remote == {"type": "streamable-http", "url": f"{server.url}/mcp"}
    file = json.loads((Path(__file__).parents[2] / "server.json").read_text())
    assert (file["name"], file["version"]) == (cards[0]["name"], cards[0]["version"])
    assert file["version"] == __version__
    assert file["description"] == DESCRIPTION
    assert len(DESCRIPTION) <= 100, "registries take no more"


VERSION = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": VERSION,
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {"extensions": {EXTENSION: {}}},
}


def request(server: Agents, method: str, target: str, /, **params: object) -> Json:
    """What a client that knows tasks sends, and the answer's result or error."""
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": META}}
    headers = {
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": VERSION,
        "Mcp-Method": method,
        "Mcp-Name": target,
    }
    answered = requests.post(f"{server.url}/mcp", json=body, headers=headers, timeout=60)
    lines = [line[6:] for line in answered.text.splitlines() if line.startswith("data: ")]
    found: Json = json.loads(lines[-1] if lines else answered.text)
    result: Json = found["result"] if "result" in found else found["error"]
    return result


def run_as_task(server: Agents, source: Json) -> Json:
    called = {"name": "run_notebook", "arguments": {"notebook": source}}
    return request(server, "tools/call", "run_notebook", **called)


def task(server: Agents, method: str, task_id: str) -> Json:
    return request(server, f"tasks/{method}", task_id, taskId=task_id)


def test_a_long_run_is_a_task_that_outlives_the_server(program: Program, tmp_path: Path) -> None:
    """Where the client knows tasks: its id is the job's, and the ledger keeps it."""
    flag = tmp_path / "go"
    with agents(program.root, ROOM_URL=NOWHERE) as first:
        begun = run_as_task(first, waiting_for(flag))
        assert (begun["resultType"], begun["status"]) == ("task", "working")
        found = task(first, "get", begun["taskId"])
        assert found["status"] == "working"
    with agents(program.root, ROOM_URL=NOWHERE) as second:
        flag.touch()
        found = wait_for(
            lambda: (one := task(second, "get", begun["taskId"]))["status"] != "working" and one
        )
        assert found["status"] == "completed"
        assert begun["taskId"] in found["result"]["content"][0]["text"]
        quick = run_as_task(second, notebook("6 * 7"))
        assert quick["resultType"] == "complete" or quick["status"] == "working"
        assert task(second, "get", "f" * 32)["code"] == -32602


def test_a_task_can_be_cancelled(server: Agents, tmp_path: Path) -> None:
    """As its job is."""
    begun = run_as_task(server, waiting_for(tmp_path / "never"))
    assert task(server, "cancel", begun["taskId"])["resultType"] == "complete"
    wait_for(lambda: task(server, "get", begun["taskId"])["status"] == "cancelled")
