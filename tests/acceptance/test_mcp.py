"""Promises of the tools for agents, by the official client: the runner's side, and the door."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
import requests

from runner.contract.request import Request
from runner.system.extras import advice_on
from tests.agents import (
    Agents,
    agents,
    ask,
    connected,
    environment,
    job_of,
    pictures,
    text,
)
from tests.conftest import Json, Program, code, notebook, programs, wait_for

from mcp import Client, StdioServerParameters  # isort: skip
from mcp.shared.exceptions import MCPError  # isort: skip
from mcp_types import TextResourceContents  # isort: skip

NAMES = {
    *("list_notebooks", "read_notebook", "read_cell", "insert_cell", "edit_cell", "run_cells"),
    *("execute_code", "list_variables", "list_kernels", "control_kernel"),
    *("run_notebook", "get_job", "list_jobs", "cancel_job", "check_notebook"),
}
NOWHERE = "http://127.0.0.1:9"
"""No Jupyter: the port of `discard`, where nobody listens."""
SLOW = notebook("print('here')\nimport time\ntime.sleep(600)", "1")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """One program with a library for all tests that leave it as it was."""
    making = programs(tmp_path_factory.mktemp("mcp"))
    found = next(making)().start()
    (found.library / "reports").mkdir(parents=True)
    library = notebook(
        code("region = 'EU'\nfactor = 2", "parameters"), code("region, factor", "results")
    )
    (found.library / "reports" / "daily report.ipynb").write_text(json.dumps(library))
    yield found
    next(making, None)


@pytest.fixture(scope="module")
def server(program: Program) -> Iterator[Agents]:
    """One server on the program's folders, without a Jupyter."""
    with agents(program.root, ROOM_URL=NOWHERE) as found:
        yield found


def resource(server: Agents, uri: str) -> str:
    result = ask(server.url, lambda client: client.read_resource(uri))
    (content,) = result.contents
    assert isinstance(content, TextResourceContents)
    return content.text


# The tools


def test_a_run_whose_kernel_dies_is_tried_again(server: Agents, tmp_path: Path) -> None:
    """As often as its agent said."""
    died = tmp_path / "died"
    cells = [
        f"import os, pathlib; died = pathlib.Path({str(died)!r})",
        "if not died.exists():\n    died.touch()\n    os.kill(os.getpid(), 9)",
        "'once more'",
    ]
    result = server.call("run_notebook", notebook=cells, retries=1)
    assert job_of(result)["status"] == "succeeded"
    assert died.exists()


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_the_tools_have_the_names_that_clients_know(server: Agents, mode: str) -> None:
    """With both forms of the protocol; each says what it does and what it may change."""
    tools = ask(server.url, lambda client: client.list_tools(), mode=mode).tools
    assert {tool.name for tool in tools} == NAMES
    for tool in tools:
        assert tool.description is not None
        assert "    " not in tool.description
        assert tool.annotations is not None
        assert tool.annotations.read_only_hint is not None
        assert tool.output_schema is None


def test_the_tools_say_what_a_run_may_need(server: Agents) -> None:
    """The keys of `resources`, so that a model needs no manual."""
    tools = ask(server.url, lambda client: client.list_tools()).tools
    for tool in tools:
        if tool.name in ("run_notebook", "check_notebook"):
            needs = tool.input_schema["properties"]["resources"]
            assert set(needs["properties"]) == {"memory_mb", "gpus", "labels"}
            keys = Request.model_fields.keys() - {"id", "submitted_by"}
            assert keys <= tool.input_schema["properties"].keys()


def test_an_agent_limits_the_memory_of_a_run(server: Agents) -> None:
    """And reads in the error whose limit it was."""
    wanted = {"notebook": ["kept = b'x' * (400 * 2**20)"], "resources": {"memory_mb": 200}}
    assert "would run it" in text(server.call("check_notebook", **wanted))
    result = server.call("run_notebook", **wanted)
    assert result.is_error
    assert "out_of_memory: " in text(result)
    assert "200 MB (resources.memory_mb)" in text(result)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_notebook_of_the_library_runs_with_parameters(server: Agents, mode: str) -> None:
    """Its result comes back as text and as a value."""
    asked = {"notebook": "reports/daily report.ipynb", "parameters": {"region": "US"}}
    result = ask(server.url, lambda client: client.call_tool("run_notebook", asked), mode=mode)
    assert not result.is_error, result
    found = job_of(result)
    assert found["status"] == "succeeded"
    assert found["results"] == {"cell_3": {"application/json": ["US", 2]}}


def test_cells_are_a_notebook_too(server: Agents) -> None:
    """A text is a code cell; no kernelspec and no format are needed."""
    cells = ["x = 6", code("x * 7", "results")]
    result = server.call("run_notebook", notebook=cells, name="agent/answer")
    assert job_of(result)["name"] == "agent/answer"
    assert job_of(result)["results"]["cell_2"]["application/json"] == 42
    whole = server.call("run_notebook", notebook=notebook(code("'whole'", "results")))
    assert job_of(whole)["results"]["cell_1"]["application/json"] == "whole"


def test_without_results_a_model_sees_what_the_cells_showed(server: Agents) -> None:
    """Of a list of texts the last one gives the result."""
    plain = [code("print('first')"), code("import matplotlib.pyplot as p; p.plot([1]); p.show()")]
    result = server.call("run_notebook", notebook=notebook(*plain))
    assert "Outputs of its cells:\nfirst\n[picture 1]" in text(result)
    assert len(pictures(result)) == 1
    again = server.call("get_job", job_id=job_of(result)["job_id"])
    assert text(again) == text(result)
    texts = server.call("run_notebook", notebook=["print('not this')", "6 * 7"])
    assert job_of(texts)["results"] == {"cell_2": {"application/json": 42}}


def test_a_failed_run_is_an_error_with_its_cell_and_traceback(server: Agents) -> None:
    """In text, too; and without the codes of a terminal."""
    result = server.call("run_notebook", notebook=["good = 1", "raise ValueError('such a day')"])
    assert result.is_error
    found = job_of(result)
    assert found["status"] == "failed"
    assert "papermill_execution_error: In cell" in text(result)
    assert "Cell 1 of the notebook:" in text(result)
    assert "ValueError: such a day" in text(result)
    assert "raise ValueError" in text(result)
    assert "\x1b" not in text(result)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"notebook": "none.ipynb"}, "runner://notebooks"),
        ({"notebook": "../secret.ipynb"}, "without `..`"),
        ({"notebook": {"cells": 5}}, "invalid_notebook"),
        ({"notebook": [7]}, "invalid_notebook"),
        ({"notebook": ["1"], "parameters": {"my rate": 1}}, "my rate"),
        ({"notebook": ["1"], "timeout_seconds": 1e9}, "limits.max_run_seconds"),
        ({"notebook": ["1"], "resources": {"memory_mb": 10**6}}, "limits.memory_mb"),
        ({"notebook": ["1"], "resources": {"labels": ["ssd"]}}, "needs a cluster"),
        ({"notebook": ["1"], "resources": {"gpu": 1}}, "gpu"),
        ({"notebook": ["1"], "retries": 11}, "`retries`"),
        ({"notebook": ["1"], "name": "../x"}, "name"),
        ({"notebook": ["#" * 8_000_000]}, ""),
    ],
)
def test_what_cannot_run_is_an_error_that_says_why(
    server: Agents, arguments: Json, said: str
) -> None:
    """So that a model can put it right."""
    if said:
        result = server.call("run_notebook", **arguments)
        assert result.is_error
        assert said in text(result)
    else:
        with pytest.raises(Exception):  # noqa: B017, PT011 - HTTP 413
            server.call("run_notebook", **arguments)


def test_null_is_an_argument_left_out(server: Agents) -> None:
    """Models that have to name every argument write it for those that they do not mean."""
    left_out = dict.fromkeys(("parameters", "timeout_seconds", "name", "kernel", "wait_seconds"))
    result = server.call("run_notebook", notebook=["6 * 7"], **left_out)
    assert job_of(result)["status"] == "succeeded"
    assert not server.call("list_jobs", status=None, limit=None).is_error
    refused = text(server.call("run_notebook", notebook=None))
    assert "notebook\n  Field required" in refused
    assert "https://" not in refused


def test_an_argument_that_a_tool_does_not_have_is_told(server: Agents) -> None:
    """It may be a misspelt one; but n8n adds some of its own to every call."""
    result = server.call("run_notebook", notebook=["6 * 7"], params={"a": 1}, toolCallId="call_1")
    assert job_of(result)["status"] == "succeeded"
    note = text(result).splitlines()[-1]
    assert "no such argument: `params`, `toolCallId`. It has: `notebook`, `parameters`" in note
    assert "no such argument" not in text(server.call("run_notebook", notebook=["1"]))


def test_large_results_are_cut_and_kept(server: Agents) -> None:
    """A model sees the beginning and what is left out; the resource has all of it."""
    cells = [
        "import scrapbook as sb, pandas as pd",
        "sb.glue('table', pd.DataFrame({'n': range(1000)}), 'pandas')",
        "sb.glue('long', 'x' * 100_000)",
    ]
    result = server.call("run_notebook", notebook=cells)
    found = job_of(result)
    assert found["status"] == "succeeded", found
    assert len(text(result)) < 20_000
    assert len(found["results"]["table"]["data"]) == 20
    assert "table: 980 of 1000 rows" in text(result)
    uri = f"runner://jobs/{found['job_id']}"
    executed = f"{uri}/notebook"
    assert f"All of it: {uri}, and its /notebook" in text(result)
    whole = json.loads(resource(server, uri))
    assert len(whole["result"]["results"]["table"]["data"]) == 1000
    assert whole["result"]["submitted_by"] == "mcp"
    assert json.loads(resource(server, executed))["cells"][0]["outputs"] == []


def test_a_picture_among_the_results_is_a_picture(server: Agents) -> None:
    """Not a wall of base64 in text."""
    cells: list[object] = [
        code("import matplotlib.pyplot as plt\nplt.plot([1, 2]); plt.show()", "results")
    ]
    result = server.call("run_notebook", notebook=cells)
    (picture,) = pictures(result)
    assert picture.mime_type == "image/png"
    assert len(text(result)) < 5_000


def test_a_long_run_tells_progress_and_gives_back_its_job(server: Agents) -> None:
    """Whoever asks again finds it, and may end it."""
    said: list[str | None] = []

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        said.append(message)

    async def run(client: Client) -> Any:
        asked = {"notebook": SLOW, "wait_seconds": 4}
        return await client.call_tool("run_notebook", asked, progress_callback=tell)

    result = ask(server.url, run, mode="legacy")
    assert not result.is_error
    found = job_of(result)
    assert found["status"] == "running"
    assert "get_job" in text(result)
    assert any("cell 1 of 2" in (line or "") for line in said), said
    job_id = found["job_id"]
    asked = server.call("get_job", job_id=job_id)
    assert job_of(asked)["status"] == "running"
    assert "cell 1 of 2" in text(asked)
    assert "asked to end" in text(server.call("cancel_job", job_id=job_id))
    ended = server.call("get_job", job_id=job_id, wait_seconds=60)
    assert job_of(ended)["status"] == "cancelled"
    assert "over already" in text(server.call("cancel_job", job_id=job_id))


def test_jobs_are_listed_the_newest_first(server: Agents) -> None:
    """By name and status."""
    for number in range(2):
        server.call("run_notebook", notebook=[f"{number}"], name="listed")
    listed = text(server.call("list_jobs", name="listed", status="succeeded", limit=5))
    newest, oldest = (line.split(": succeeded, ")[1] for line in listed.splitlines())
    assert newest > oldest
    assert "larger `limit`" in text(server.call("list_jobs", limit=1))
    assert server.call("list_jobs", status="unheard").is_error


@pytest.mark.parametrize("job_id", ["0" * 32, "short", "../../etc"])
def test_an_unknown_job_is_an_error(server: Agents, job_id: str) -> None:
    """Whatever is asked of it."""
    for tool in ("get_job", "cancel_job"):
        result = server.call(tool, job_id=job_id)
        assert result.is_error
        assert "not_found" in text(result)


def test_a_notebook_is_checked_without_running(server: Agents, program: Program) -> None:
    """With every reason for which it would be refused."""
    good = server.call("check_notebook", notebook="reports/daily report.ipynb")
    assert text(good) == "Nothing to refuse: the runner would run it."
    odd = text(server.call("check_notebook", notebook=["1"], parameters={"n": 1}))
    assert "would run it" in odd
    assert "warning: " in odd
    assert "no cell tagged" in odd
    bad = text(
        server.call("check_notebook", notebook=["import not_a_module_of_ours"], timeout_seconds=1e9)
    )
    kinds = [line.partition(":")[0] for line in bad.splitlines()]
    assert kinds == ["invalid_request", "missing_dependencies"]


def test_the_library_and_the_jobs_are_resources(server: Agents) -> None:
    """With templates for one of each; nothing outside of the library."""

    async def templates(client: Client) -> set[str]:
        found = await client.list_resource_templates()
        return {one.uri_template for one in found.resource_templates}

    assert "runner://jobs/{job_id}" in ask(server.url, templates)
    library = json.loads(resource(server, "runner://notebooks"))
    assert library["is_complete"] is True
    (uri,) = [one["uri"] for one in library["notebooks"]]
    assert json.loads(resource(server, uri))["cells"]
    assert "jobs" in json.loads(resource(server, "runner://jobs"))

    async def is_refused(client: Client, uri: str) -> bool:
        try:
            await client.read_resource(uri)
        except MCPError:
            return True
        return False

    for wrong in ("runner://notebooks/../ledger", "runner://jobs/nope", "runner://else"):
        assert ask(server.url, partial(is_refused, uri=wrong))


def test_many_clients_at_once_each_get_their_own(server: Agents) -> None:
    """Jobs and answers are not mixed up."""
    found: dict[int, int] = {}

    async def one(number: int) -> None:
        asked = {"notebook": [code(f"{number}", "results")]}
        async with connected(server.url) as client:
            result = await client.call_tool("run_notebook", asked)
        found[number] = job_of(result)["results"]["cell_1"]["application/json"]

    async def all_of_them() -> None:
        async with anyio.create_task_group() as group:
            for number in range(8):
                group.start_soon(one, number)

    anyio.run(all_of_them)
    assert found == {number: number for number in range(8)}


def test_a_run_is_waited_for_without_a_ledger(program: Program, tmp_path: Path) -> None:
    """Where the state is not shared with this server, in- and outbox are enough for a run."""
    folders = ("--inbox", str(program.inbox), "--outbox", str(program.outbox))
    library = ("--notebooks", str(program.library), "--state", str(tmp_path / "none"))
    with agents(tmp_path, *folders, *library, ROOM_URL=NOWHERE) as alone:
        result = alone.call("run_notebook", notebook=[code("1", "results")])
        assert job_of(result)["status"] == "succeeded"
        job_id = job_of(result)["job_id"]
        assert job_of(alone.call("get_job", job_id=job_id))["status"] == "succeeded"
        assert alone.call("list_jobs").is_error


# The live notebooks, without a Jupyter


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("insert_cell", {"source": "1"}),
        ("edit_cell", {"cell": 0, "action": "delete"}),
        ("run_cells", {}),
        ("read_notebook", {}),
        ("read_cell", {"cell": 0}),
        ("execute_code", {"code": "1"}),
        ("list_variables", {}),
        ("list_kernels", {}),
        ("control_kernel", {"action": "restart"}),
        ("list_notebooks", {}),
    ],
)
def test_without_jupyter_a_tool_says_where_it_looked(
    server: Agents, tool: str, arguments: Json
) -> None:
    """And what to do."""
    result = server.call(tool, **arguments)
    assert result.is_error
    assert NOWHERE in text(result)
    assert "ROOM_URL" in text(result)


def test_health_is_red_while_jupyter_is_away(server: Agents) -> None:
    """With the reason; the runner beside it is well."""
    answered = requests.get(f"{server.url}/health", timeout=30)
    assert answered.status_code == 503
    found = answered.json()
    assert found["status"] == "unhealthy"
    assert NOWHERE in found["reasons"][0]
    assert found["runner"]["status"] == "healthy"


# The door


def test_a_plain_post_lists_the_tools(server: Agents) -> None:
    """As n8n and curl ask, without the protocol's handshake, whatever type they call it."""
    for kind in ("application/json", "text/plain", "application/x-www-form-urlencoded"):
        answered = requests.post(
            f"{server.url}/",
            '{"method": "tools/list", "params": {}}',
            headers={"Content-Type": kind},
            timeout=30,
        )
        assert answered.status_code == 200
        assert {tool["name"] for tool in answered.json()["result"]["tools"]} == NAMES
    assert requests.post(f"{server.url}/", "{", timeout=30).status_code == 400
    assert requests.post(f"{server.url}/", "[" * 100_000, timeout=30).status_code == 413
    other = requests.post(f"{server.url}/", '{"method": "tools/call"}', timeout=30)
    assert other.status_code == 404
    assert "/mcp" in other.json()["error"]["message"]


def test_the_address_says_which_tools_are_listed(server: Agents) -> None:
    """`?only=`, for clients that need one group; in both forms of the protocol."""

    async def listed(group: str, mode: str) -> set[str]:
        async with Client(f"{server.url}/mcp?only={group}", mode=mode) as client:
            return {tool.name for tool in (await client.list_tools()).tools}

    for mode in ("auto", "legacy"):
        runs = anyio.run(listed, "runs", mode)
        notebooks = anyio.run(listed, "notebooks", mode)
        assert "run_notebook" in runs
        assert "read_cell" in notebooks
        assert runs | notebooks == NAMES
        assert not runs & notebooks
    body = '{"method": "tools/list"}'
    plain = requests.post(f"{server.url}/?only=runs", body, timeout=30).json()
    assert {tool["name"] for tool in plain["result"]["tools"]} == runs
    wrong = requests.post(f"{server.url}/mcp?only=else", body, timeout=30)
    assert wrong.status_code == 400
    assert "notebooks, runs" in wrong.json()["error"]["message"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "mcp:4040"}, 200),
        ({"Host": "jupyter-mcp-server:4040"}, 200),
        ({"Host": "nas.local"}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
def test_only_known_hosts_and_no_foreign_pages_get_in(
    server: Agents, headers: dict[str, str], status: int
) -> None:
    """At every address."""
    for path in ("/", "/mcp"):
        answered = requests.post(
            f"{server.url}{path}",
            json={"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}},
            headers={"Accept": "application/json, text/event-stream", **headers},
            timeout=30,
        )
        assert answered.status_code == status, answered.text


def test_a_token_is_demanded_and_more_hosts_are_let_in(tmp_path: Path) -> None:
    """On everything but health; and it is not logged."""
    given = {"ROOM_URL": NOWHERE, "MCP_TOKEN": "s3cret", "MCP_ALLOWED_HOSTS": "nas"}
    with agents(tmp_path, "--host", "0.0.0.0", **given) as found:
        assert requests.get(f"{found.url}/health", timeout=30).status_code == 503
        body = '{"method": "tools/list"}'
        for token, status in ((None, 401), ("wrong", 401), ("s3cret", 200)):
            sent = {"Host": "nas:4040"} | ({"Authorization": f"Bearer {token}"} if token else {})
            answered = requests.post(f"{found.url}/", body, headers=sent, timeout=30)
            assert answered.status_code == status
        tools = ask(found.url, lambda client: client.list_tools(), token="s3cret").tools
        assert len(tools) == len(NAMES)
        with pytest.raises(BaseException):  # noqa: B017, PT011 - a group of whatever it was
            ask(found.url, lambda client: client.list_tools(), token="wrong")
        assert "s3cret" not in found.log


def refused_start(root: Path, *arguments: str, **given: str) -> str:
    """What it says instead of starting."""
    done = subprocess.run(
        [sys.executable, "-m", "runner", "mcp", *arguments],
        cwd=root,
        env=environment(given),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 70
    assert "Traceback" not in done.stderr
    return done.stderr


def test_it_is_open_to_nobody_by_chance(tmp_path: Path) -> None:
    """Other addresses demand a token, or a word that says so."""
    said = refused_start(tmp_path, "--host", "0.0.0.0", "--port", "0")
    assert "MCP_TOKEN" in said


def test_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    """With what to change."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert "MCP_PORT" in refused_start(tmp_path, MCP_PORT=str(port))


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    """The base program needs none of its packages."""
    (tmp_path / "mcp").mkdir()
    (tmp_path / "mcp" / "__init__.py").write_text("raise ModuleNotFoundError(name='mcp')")
    said = refused_start(tmp_path, PYTHONPATH=str(tmp_path))
    assert advice_on("mcp") in said


# Beginning and end


def test_it_starts_before_everything_else(tmp_path: Path) -> None:
    """No inbox, no state, no Jupyter: it lists its tools, and a run says what is missing.

    Without a runner a run is queued, until one starts.
    """
    with agents(tmp_path, ROOM_URL=NOWHERE) as found:
        tools = ask(found.url, lambda client: client.list_tools()).tools
        assert {tool.name for tool in tools} == NAMES
        result = found.call("run_notebook", notebook=["1"])
        assert result.is_error
        assert "inbox" in text(result)
        assert json.loads(resource(found, "runner://notebooks"))["notebooks"] == []
        assert not (tmp_path / "inbox").exists()
        for folder in ("inbox", "outbox"):
            (tmp_path / folder).mkdir()
        waits = found.call("run_notebook", notebook=["1"], wait_seconds=0)
        assert job_of(waits)["status"] == "queued"
        assert "runner serve" in text(waits)


def test_a_client_of_before_a_restart_goes_on(tmp_path: Path) -> None:
    """Nothing is kept between its requests."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    async def use() -> None:
        with agents(tmp_path, "--port", str(port), ROOM_URL=NOWHERE) as first:
            context = connected(first.url, mode="legacy")
            client = await context.__aenter__()
            assert (await client.list_tools()).tools
        with agents(tmp_path, "--port", str(port), ROOM_URL=NOWHERE):
            assert (await client.call_tool("list_jobs", {})).is_error
            await context.__aexit__(None, None, None)

    anyio.run(use)


def test_it_ends_at_once_with_a_client_in_the_middle(program: Program) -> None:
    """With 0 and without a traceback; the run goes on."""
    found = Agents(program.root, {"ROOM_URL": NOWHERE}).start()
    assert found.process is not None

    async def use() -> None:
        async with anyio.create_task_group() as group:

            async def wait_long() -> None:
                asked = {"notebook": SLOW, "name": "ended", "wait_seconds": 600}
                with suppress(Exception):  # the server ends in the middle
                    async with connected(found.url) as client:
                        await client.call_tool("run_notebook", asked)

            group.start_soon(wait_long)
            status = program.outbox / "ended.status.json"
            while not status.exists():
                await anyio.sleep(0.1)
            assert found.process is not None
            found.process.send_signal(signal.SIGTERM)
            with anyio.fail_after(20):
                while found.process.poll() is None:
                    await anyio.sleep(0.05)
            group.cancel_scope.cancel()

    try:
        anyio.run(use)
        assert found.process.returncode == 0
        assert "Traceback" not in found.log
    finally:
        found.process.kill()
        program.run("cancel", "ended")


# Over stdin and stdout


def stdio(root: Path) -> StdioServerParameters:
    return StdioServerParameters(
        command=sys.executable,
        args=["-m", "runner", "mcp", "--stdio"],
        cwd=root,
        env=environment({"ROOM_URL": NOWHERE}),
    )


def test_the_same_tools_over_stdin_and_stdout(program: Program) -> None:
    """As Claude Desktop starts it."""

    async def use() -> tuple[set[str], Any]:
        async with Client(stdio(program.root)) as client:
            tools = (await client.list_tools()).tools
            asked = {"notebook": [code("print('not on the wire')\n1", "results")]}
            return {tool.name for tool in tools}, await client.call_tool("run_notebook", asked)

    names, result = anyio.run(use)
    assert names == NAMES
    assert job_of(result)["status"] == "succeeded"


def test_nothing_but_the_protocol_is_on_stdout(tmp_path: Path) -> None:
    """And a signal ends it at once."""
    with (tmp_path / "err").open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "runner", "mcp", "--stdio"],
            cwd=tmp_path,
            env=environment({"ROOM_URL": NOWHERE}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=err,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    hello = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        },
    }
    process.stdin.write(json.dumps(hello).encode() + b"\n")
    process.stdin.flush()
    answered = json.loads(process.stdout.readline())
    assert answered["result"]["serverInfo"]["name"] == "jupyter-mcp-server"
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert process.stdout.read() == b""


def test_nothing_of_a_server_is_left(server: Agents) -> None:
    """After all that clients have asked: no thread, no file and no connection a call."""
    server.call("list_jobs")
    assert server.process is not None
    place = Path(f"/proc/{server.process.pid}")
    if not place.exists():
        pytest.skip("there is no /proc")

    def held() -> int:
        return len(os.listdir(place / "fd"))

    def threads() -> int:
        return len(os.listdir(place / "task"))

    before = held(), threads()
    for _ in range(10):
        server.call("list_jobs", limit=1)
        server.call("list_notebooks")
    wait_for(lambda: held() <= before[0] + 2 and threads() <= before[1] + 2)
