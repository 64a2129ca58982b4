"""Promises of the tools for agents, by the official client: the runner's side, and the door."""

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import anyio
import pytest
import requests

from runner.config import Settings
from runner.contract.request import Request
from runner.jobs.submissions import Submitted
from runner.mcp.runs.jobs import Jobs
from runner.mcp.runs.tools import WAITING_KEYS
from runner.state.contents import Acceptance
from runner.state.ledger import Ledger
from runner.system.extras import advice_on
from runner.system.files.disk import Disk
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
from tests.conftest import Json, Program, code, free_port, notebook, programs, wait_for

from mcp import Client, StdioServerParameters  # isort: skip
from mcp.shared.exceptions import MCPError  # isort: skip
from mcp_types import CallToolResult, TextResourceContents  # isort: skip

NAMES = {
    *("list_notebooks", "read_notebook", "read_cell", "insert_cell", "edit_cell", "run_cells"),
    *("execute_code", "list_variables", "list_kernels", "control_kernel"),
    *("run_notebook", "get_job", "list_jobs", "cancel_job", "check_notebook", "list_library"),
    "schedules",
}
DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNgYGAAAAAEAAH2FzhVAAAAAElFTkSuQmCC"
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
        {"cell_type": "markdown", "source": "# Daily report"},
        code("region = 'EU'  # where\nfactor: int = 2", "parameters"),
        code("region, factor", "results"),
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


def test_schedules_are_listed_run_and_paused(program: Program, server: Agents) -> None:
    """By one tool; what cannot be is told with what to do instead."""
    folder = program.library / "schedules" / "team"
    folder.mkdir(parents=True)
    yearly = (
        "cron: '@yearly'\ntimezone: Australia/Lord_Howe\nnotebook: reports/daily report.ipynb\n"
    )
    (folder / "ä 1.yaml").write_text(f"{yearly}parameters: {{region: US}}")
    (folder / "bad.yaml").write_text("cron: never")
    (folder.parent / "gone.yaml").write_text("cron: '@yearly'\nnotebook: reports/gone.ipynb\n")

    def said(**arguments: str) -> str:
        return text(ask(server.url, lambda client: client.call_tool("schedules", arguments)))

    missing, wrong, line = said().splitlines()
    assert missing.startswith("gone: wrong: ")
    assert "\nIt will be rejected at once: " in said(action="run", name="gone")
    assert line.startswith(
        "team/ä 1: on, At 00:00, on day 1 of the month, only in January (Australia/Lord_Howe), "
        "reports/daily report.ipynb; next "
    )
    assert wrong.startswith("team/bad: wrong: `cron` is 'never'")
    assert "paused (by mcp)" in said(action="pause", name="team/ä 1")
    assert ": on, " in said(action="resume", name="team/ä 1")
    one = said(name="team/ä 1").splitlines()
    assert one[1] == "  region: US"
    assert one[2].count("-01-01T00:00:00+11:00") == 5
    assert ", wait_seconds=50) waits for its end" in said(action="run", name="team/ä 1")
    report = program.await_report("schedules/team/ä 1")
    assert report["parameters"] == {"region": "US"}
    assert report["submitted_by"].endswith(" by mcp")
    newest = said(name="team/ä 1").splitlines()[3]
    assert newest.startswith(f"newest job: {report['job_id']} schedules/team/ä 1 (reports/")
    assert ": succeeded, 20" in newest
    assert "did you mean 'team/ä 1'" in said(action="run", name="team/a 1")
    assert "needs the `name`" in said(action="pause")


def growth(title: str, *tags: str) -> Json:
    """A typed notebook with a heading, whose cell of parameters has these tags too."""
    source = "from typing import Literal\nyears: Literal[1, 3] = 3  # how long\nregion: str"
    heading = {"cell_type": "markdown", "source": f"# {title}\n\nGrows a sum.", "metadata": {}}
    return notebook(heading, code(source, "parameters", *tags), code("[years, region]", "results"))


def test_a_marked_notebook_is_a_tool_with_types(program: Program, server: Agents) -> None:
    """By a tag, its title or its file; clients that listen hear of it."""
    folder = program.library / "marked"
    folder.mkdir()

    async def use(client: Client) -> list[Any]:
        before = {tool.name for tool in (await client.list_tools()).tools}
        async with client.listen(tools_list_changed=True) as changes:
            (folder / "Tagged one.ipynb").write_text(json.dumps(growth("Growth", "tool")))
            (folder / "titled.ipynb").write_text(json.dumps(growth("Tool: Growth")))
            (folder / "by file.ipynb").write_text(json.dumps(growth("Growth")))
            (folder / "by file.parameters.yaml").write_text(
                "tool: true\nproperties: {region: {enum: [EU]}}\n"
            )
            (folder / "unmarked.ipynb").write_text(json.dumps(growth("Growth")))
            with anyio.fail_after(60):
                async for _ in changes:
                    names = {tool.name for tool in (await client.list_tools()).tools}
                    if len(names - before) == 3:
                        break
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        return [
            before,
            tools,
            await client.call_tool(
                "marked_tagged_one", {"years": 1, "region": "EU", "toolCallId": "x"}
            ),
            await client.call_tool("marked_by_file", {"years": 7, "region": "US"}),
        ]

    before, tools, done, wrong = ask(server.url, use)
    shutil.rmtree(folder)
    assert before == NAMES
    assert tools.keys() - NAMES == {"marked_tagged_one", "marked_titled", "marked_by_file"}
    tool = tools["marked_titled"]
    assert tool.title == "Growth"
    assert tool.description.startswith("# Growth\n\nGrows a sum.")
    assert tool.input_schema == {
        "type": "object",
        "properties": {
            "years": {"type": "integer", "enum": [1, 3], "description": "how long", "default": 3},
            "region": {"type": "string"},
        },
        "required": ["region"],
    }
    assert tools["marked_by_file"].input_schema["properties"]["region"]["enum"] == ["EU"]
    assert '[1,"EU"]' in text(done)
    assert "no such parameter: `toolCallId`" in text(done)
    assert wrong.is_error
    assert "invalid_parameters: `years` is 7; it must be 1 or 3." in text(wrong)
    assert '`region` is "US"; it must be "EU".' in text(wrong)
    assert {one.name for one in ask(server.url, lambda client: client.list_tools()).tools} == NAMES


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_changes_of_the_list_are_promised_where_they_are_told(server: Agents, mode: str) -> None:
    """The protocol with a handshake has no stream for them over HTTP."""

    async def promised(client: Client) -> bool:
        tools = client.server_capabilities.tools
        assert tools is not None
        return bool(tools.list_changed)

    assert ask(server.url, promised, mode=mode) is (mode == "auto")


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
            keys = Request.model_fields.keys() - {"id", "submitted_by", *WAITING_KEYS}
            keys -= {"callback", "report"} if tool.name == "check_notebook" else set()
            assert keys <= tool.input_schema["properties"].keys()
        if tool.name == "run_notebook":
            says = tool.input_schema["properties"]["waiting"]["description"]
            assert all(f"`{key}`" in says for key in WAITING_KEYS)


def test_an_agent_says_when_its_job_starts(server: Agents) -> None:
    """A job of its own passes no person's; a key that is none is refused with those that are."""
    later = {"not_before": "2999-01-01T00:00:00Z"}
    said = text(server.call("run_notebook", notebook=["1"], waiting=later, wait_seconds=0))
    job_id = re.search("[0-9a-f]{32}", said)
    assert job_id is not None
    # Once the daemon has taken it: until then it waits for that.
    wait_for(partial(says, server, job_id[0], "waits for its earliest start, 2999-01-01"))
    server.call("cancel_job", job_id=job_id[0])
    wrong = text(server.call("run_notebook", notebook=["1"], waiting={"not_bfore": "x"}))
    assert "Unknown key `waiting.not_bfore`" in wrong


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
    said = re.sub(r"\] \S+:", "] ID:", text(result))
    assert "Outputs of its cells:\n[0] ID:\nfirst\n[1] ID:\n[picture 1]" in said
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
    assert "papermill_execution_error: ValueError: such a day" in text(result)
    assert re.search(r"^Cell \[1\] \S+, line 1$", text(result), re.M)
    assert "Variables then: good int" in text(result)
    row = text(server.call("list_jobs", status="failed", limit=1))
    assert "; papermill_execution_error in [1]: ValueError: such a day" in row
    assert "ValueError: such a day" in text(result)
    assert "raise ValueError" in text(result)
    assert "\x1b" not in text(result)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"notebook": "none.ipynb"}, "list_library"),
        ({"notebook": "daily report"}, "did you mean 'reports/daily report.ipynb'?"),
        ({"notebook": "../secret.ipynb"}, "without `..`"),
        ({"notebook": {"cells": 5}}, "invalid_notebook"),
        ({"notebook": [7]}, "invalid_notebook"),
        ({"notebook": [{"kind": "raw", "source": ""}]}, "cell 0 has the `cell_type` None"),
        ({"notebook": []}, "The list of cells is empty"),
        ({"notebook": f"{'x' * 300}.ipynb"}, "a name has 255 bytes at most"),
        ({"notebook": ["1"], "timeout_seconds": "nan"}, "must be a finite number"),
        ({"notebook": ["1"], "parameters": {"my rate": 1}}, "my rate"),
        (
            {"notebook": "reports/daily report.ipynb", "parameters": {"facter": 3}},
            "(did you mean `factor`?). It has `region`, `factor`. Nothing was submitted.",
        ),
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
    assert "`notebook` is missing" in refused
    assert "https://" not in refused


def test_an_argument_that_a_tool_does_not_have_is_told(server: Agents) -> None:
    """It may be a misspelt one; but n8n adds some of its own to every call."""
    result = server.call("run_notebook", notebook=["6 * 7"], values={"a": 1}, toolCallId="call_1")
    assert job_of(result)["status"] == "succeeded"
    note = text(result).splitlines()[-1]
    assert "no such argument: `values`, `toolCallId`. It has: `notebook`, `parameters`" in note
    refused = server.call("run_notebook", notebook=["6 * 7"], parametrs={"a": 1})
    assert refused.is_error
    assert "no argument `parametrs`, did you mean `parameters`? Nothing was done." in text(refused)
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
    assert "table: 20 of 1000 rows shown" in text(result)
    uri = f"runner://jobs/{found['job_id']}"
    executed = f"{uri}/notebook"
    assert f"All of it: {uri}, and its /notebook" in text(result)
    whole = json.loads(resource(server, uri))
    assert len(whole["result"]["results"]["table"]["data"]) == 1000
    assert whole["result"]["submitted_by"] == "mcp"
    assert json.loads(resource(server, executed))["cells"][0]["outputs"] == []


def test_a_picture_among_the_results_is_a_picture(server: Agents) -> None:
    """Not a wall of base64 in text."""
    plot = "import matplotlib.pyplot as plt\nfor n in (1, 2): plt.plot([1, n]); plt.show()"
    result = server.call("run_notebook", notebook=[code(plot, "results")])
    (picture,) = pictures(result)
    assert picture.mime_type == "image/png"
    assert len(text(result)) < 5_000
    assert re.search(r"Pictures in cells: \[0\] \S+ \(2, 1 of them here\)", text(result))


def test_a_long_run_tells_progress_and_gives_back_its_job(server: Agents) -> None:
    """Whoever asks again finds it, and may end it."""
    said: list[str | None] = []

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        said.append(message)

    async def run(client: Client) -> Any:
        asked = {"notebook": SLOW, "wait_seconds": 10}
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
    over = text(server.call("cancel_job", job_id=job_id))
    assert f'is over already: cancelled. get_job("{job_id}") gives its result.' in over


def test_jobs_are_listed_the_newest_first(server: Agents) -> None:
    """By name and status, page by page, with parameters and what they gave."""
    cells = [code("n = 0", "parameters"), code("n * 2", "results")]
    for number in range(3):
        server.call(
            "run_notebook",
            notebook=notebook(*cells),
            parameters={"n": number},
            name="monthly/listed",
        )
    newest = text(server.call("list_jobs", name="monthly/listed", status="succeeded", limit=2))
    lines = newest.splitlines()
    assert [line.split("; ", 1)[1] for line in lines[:2]] == [
        'parameters {"n":2}; 4',
        'parameters {"n":1}; 2',
    ]
    assert lines[2] == f'(older ones: before="{lines[1][:32]}")'
    older = text(server.call("list_jobs", name="monthly/listed", before=lines[1][:32]))
    assert older.endswith('parameters {"n":0}; 0')
    assert job_of(server.call("get_job", job_id="monthly/listed"))["job_id"] == lines[0][:32]
    assert "is over already" in text(server.call("cancel_job", job_id=" monthly/listed"))
    misspelt = text(server.call("get_job", job_id="Monthly/listd"))
    assert "There is no job of the id or name 'Monthly/listd'" in misspelt
    assert "Did you mean 'monthly/listed'" in misspelt
    assert older[:32] not in newest
    assert "Names with that in them: monthly/listed." in text(
        server.call("list_jobs", name="listed")
    )
    assert server.call("list_jobs", status="unheard").is_error
    for pattern in ("monthly/*", "monthly/l"):
        assert lines[0][:32] in text(server.call("list_jobs", name=pattern, limit=1))


def test_jobs_of_a_name_are_not_mixed_with_those_of_longer_names(server: Agents) -> None:
    """So that the one before is an earlier run of the same; the others are named."""
    for name in ("exact/mine", "exact/mine2", "exact/mine"):
        server.call("run_notebook", notebook=["1"], name=name)
    lines = lines_of_jobs(server, "exact/mine")
    assert [line.split()[1] for line in lines[:-1]] == ["exact/mine:"] * 2
    assert lines[-1] == '(name="exact/mine*" lists these too: exact/mine2)'
    both = lines_of_jobs(server, "exact/mine*")
    assert [line.split()[1] for line in both] == ["exact/mine:", "exact/mine2:", "exact/mine:"]
    assert len(lines_of_jobs(server, "exact/min")) == 3


def test_a_callback_that_does_not_come_through_is_told(tmp_path: Path) -> None:
    """In a line of the job's answer: where to, how often, and why."""
    for make in programs(tmp_path):
        program = make({"callbacks": {"allowed": ["127.0.0.1"]}}).start()
        with agents(program.root, ROOM_URL=NOWHERE) as found:
            given = {"notebook": ["1"], "callback": "http://127.0.0.1:9/here"}
            job_id = job_of(found.call("run_notebook", **given))["job_id"]
            said = r"\nCallback not delivered: http://127\.0\.0\.1:9/here, (one|\d+) attempts?: "
            wait_for(partial(says, found, job_id, said))


def says(server: Agents, job_id: str, pattern: str) -> bool:
    return re.search(pattern, text(server.call("get_job", job_id=job_id))) is not None


def test_jobs_are_listed_by_notebook_and_time(server: Agents) -> None:
    """Without a name, runs of a library notebook have nothing else in common."""
    path = "reports/daily report.ipynb"
    first = job_of(server.call("run_notebook", notebook=path, parameters={"factor": 5}))["job_id"]
    said = text(server.call("list_jobs", notebook=path, limit=1))
    assert said.startswith(f"{first} {path}: succeeded, 20")
    assert 'parameters {"factor":5}; ["EU",5]' in said
    assert first in text(server.call("list_jobs", notebook=path, since="2026-01-01T00:00:00Z"))
    said = text(server.call("list_jobs", notebook="daily report"))
    missing = "There are no such jobs; the library has no such notebook"
    assert said == f"{missing} (did you mean '{path}'?)."
    assert text(server.call("list_jobs", notebook="none.ipynb")) == f"{missing}."
    later = {"notebook": path, "since": "2999-01-01"}
    assert text(server.call("list_jobs", **later)) == "There are no such jobs."
    before = {"notebook": path, "before": "2026-01-01"}
    assert text(server.call("list_jobs", **before)) == "There are no such jobs."
    wrong = server.call("list_jobs", since="yesterday")
    assert wrong.is_error
    assert "2026-11-27T06:00:00Z" in text(wrong)
    assert text(server.call("list_jobs", notebook="x" * 300)) == f"{missing}."
    for odd in (
        server.call("list_jobs", name="nosuch.ipynb"),
        server.call("get_job", job_id="nosuch.ipynb"),
    ):
        assert 'list_jobs(notebook="nosuch.ipynb")' in text(odd)
    for tool in ("get_job", "cancel_job"):
        assert f'list_jobs(notebook="{path}")' in text(
            server.call(tool, job_id=path.removesuffix(".ipynb"))
        )


@pytest.mark.parametrize("cells", [[""], [{"cell_type": "markdown", "source": "# T"}]])
def test_a_run_without_code_says_that_nothing_ran(server: Agents, cells: list[Json]) -> None:
    """It succeeds all the same."""
    said = text(server.call("run_notebook", notebook=cells))
    assert "succeeded" in said
    assert "No cell had code: nothing ran." in said


def test_an_unknown_key_of_an_argument_is_told_with_the_known_ones(server: Agents) -> None:
    """As a file in the inbox is answered."""
    wrong = text(server.call("run_notebook", notebook=["1"], resources={"memory": 5}))
    assert "`resources.memory` is not known there (did you mean `memory_mb`?)" in wrong
    assert "its keys are: memory_mb, gpus, labels." in wrong


def test_the_library_is_listed_with_parameters_and_last_runs(server: Agents) -> None:
    """All that a call of run_notebook needs; a part of a path narrows it."""
    path = "reports/daily report.ipynb"
    run = job_of(server.call("run_notebook", notebook=path))
    said = text(server.call("list_library", path="DAILY"))
    head, *parameters = said.splitlines()
    assert head.startswith(f"{path}: Daily report (last run 20")
    assert head.endswith(f": succeeded, {run['job_id']})")
    assert parameters == [
        "  region: probably a text, default 'EU' (where)",
        "  factor: a whole number, default 2",
        "(probably: a guess by the default, not checked; all other types are)",
    ]
    past = server.call("list_library", path="DAILY", start=1)
    assert past.is_error
    assert "has 1 notebooks: `start` goes from 0 to 0." in text(past)
    assert "without `path` all are listed" in text(server.call("list_library", path="nothing"))


def test_cells_of_a_run_are_read_one_by_one(server: Agents) -> None:
    """By id, or by the index that the notebook asked for has; more pictures page by page."""
    plot = "import matplotlib.pyplot as plt\nfor n in range(6): plt.plot([n]); plt.show()"
    cells = [
        code("n = 0", "parameters"),
        code(plot),
        code("n", "results"),
        code("print('x' * 9000)"),
    ]
    result = server.call("run_notebook", notebook=notebook(*cells), parameters={"n": 3})
    job_id = job_of(result)["job_id"]
    found = re.search(r"Pictures in cells: \[1\] (\S+) \(6\)", text(result))
    assert found is not None, text(result)
    assert re.search(r"\(cell_4 is \[2\] \S+\)", text(result))
    assert pictures(result) == []
    cell = server.call("get_job", job_id=job_id, cell=1)
    assert len(pictures(cell)) == 4
    assert "[2 more pictures, left out; first_picture=5 goes on]" in text(cell)
    assert "(first_picture=5 gives more; all: " in text(cell)
    assert text(cell).startswith(f"[1] {found[1]} code, In[3]\nimport matplotlib")
    defaults = text(server.call("get_job", job_id=job_id, cell=0))
    assert 'n = 0\n(the run set {"n":3} after it)' in defaults
    rest = server.call("get_job", job_id=job_id, cell=found[1], first_picture=5)
    assert len(pictures(rest)) == 2
    assert "[picture 5]\n[picture 6]" in text(rest)
    for wanted, first, said in (
        (1, 7, "has 6 pictures: `first_picture` goes from 1 to 6."),
        (2, 2, "has no pictures; leave out `first_picture`."),
        (None, 2, "counts the pictures of one `cell`"),
    ):
        past = server.call("get_job", job_id=job_id, cell=wanted, first_picture=first)
        assert past.is_error
        assert said in text(past)
    assert "x" * 9000 not in text(server.call("get_job", job_id=job_id, cell=-1))
    assert "x" * 9000 in text(server.call("get_job", job_id=job_id, cell=-1, detail="full"))
    missing = server.call("get_job", job_id=job_id, cell=9)
    assert missing.is_error
    assert "from 0 to 3" in text(missing)


def test_a_job_that_did_not_run_offers_no_outputs_of_another(
    program: Program, server: Agents
) -> None:
    """Those that its notebook was saved with: neither of one refused nor of one cancelled."""
    picture = {"output_type": "display_data", "metadata": {}, "data": {"image/png": DOT}}
    typed = code("n: int = 1", "parameters")
    saved = {**code("print(n)"), "outputs": [picture], "execution_count": 2}
    (program.library / "saved.ipynb").write_text(json.dumps(notebook(typed, saved)))

    def check(said: CallToolResult, job_id: str) -> None:
        assert "It did not run." in text(said)
        assert "Pictures" not in text(said)
        cell = server.call("get_job", job_id=job_id, cell=1)
        assert cell.is_error
        assert "did not run, so that no cell has outputs" in text(cell)
        assert pictures(cell) == []

    refused = server.call("run_notebook", notebook="saved.ipynb", parameters={"n": "many"})
    check(refused, job_of(refused)["job_id"])
    later = {"not_before": "2999-01-01T00:00:00Z"}
    job_id = job_of(
        server.call("run_notebook", notebook="saved.ipynb", waiting=later, wait_seconds=0)
    )["job_id"]
    server.call("cancel_job", job_id=job_id)
    check(server.call("get_job", job_id=job_id, wait_seconds=60), job_id)
    (program.library / "saved.ipynb").unlink()


def test_without_a_runner_every_tool_says_that_requests_wait(tmp_path: Path) -> None:
    """They are found by id and name, and listed; whoever cancels one sees that, too."""
    for folder in ("inbox", "outbox", "state"):
        (tmp_path / folder).mkdir()
    Ledger(tmp_path / "state").close()
    nobody = "no runner watches the inbox"
    with agents(tmp_path, ROOM_URL=NOWHERE) as alone:
        sent = alone.call("run_notebook", notebook=["1"], name="plans/a", wait_seconds=0)
        job_id = job_of(sent)["job_id"]
        listed = text(alone.call("list_jobs", status="queued"))
        assert listed.startswith(f"{job_id} plans/a: queued (submitted; no runner has accepted it)")
        for said in (
            text(sent),
            listed,
            text(alone.call("list_jobs", name="plans/*")),
            text(alone.call("get_job", job_id=job_id)),
            text(alone.call("get_job", job_id="plans/a")),
            text(alone.call("cancel_job", job_id="plans/a")),
            resource(alone, "runner://inbox"),
        ):
            assert nobody in said, said
        assert "Nobody has looked" in resource(alone, "runner://inbox")
        for said in (text(alone.call("get_job", job_id=job_id)), text(alone.call("list_jobs"))):
            assert "queued" in said
            assert "is being cancelled" in said
        assert "no such jobs" in text(alone.call("list_jobs", name="plan?"))
        assert "no such jobs" in text(alone.call("list_jobs", notebook="plans/a.ipynb"))


def test_a_job_behind_an_older_one_of_its_name_says_so(server: Agents) -> None:
    """Also where it is cancelled, for it ends after that."""
    older, waiting = (
        job_of(
            server.call(
                "run_notebook",
                notebook=["import time; time.sleep(60)"],
                name="same",
                wait_seconds=0,
            )
        )["job_id"]
        for _ in range(2)
    )
    why = f"waits for the end of an older job of its name, {older}"
    wait_for(lambda: why in text(server.call("get_job", job_id=waiting)))
    [line] = [one for one in lines_of_jobs(server, "same") if one.startswith(waiting)]
    assert why in line
    assert why in text(server.call("cancel_job", job_id=waiting))
    wait_for(lambda: "is being cancelled, waits" in text(server.call("get_job", job_id=waiting)))
    assert why in text(server.call("get_job", job_id=waiting))
    server.call("cancel_job", job_id=older)
    assert ": cancelled" in text(server.call("get_job", job_id=waiting, wait_seconds=60))


def lines_of_jobs(server: Agents, name: str) -> list[str]:
    return text(server.call("list_jobs", name=name)).splitlines()


def test_without_a_runner_pages_of_jobs_lose_none(tmp_path: Path) -> None:
    """A page has no more than was asked for: those that nobody has accepted come first."""
    for folder in ("inbox", "outbox", "state"):
        (tmp_path / folder).mkdir()
    ledger = Ledger(tmp_path / "state")
    try:
        for count in range(3):
            job_id, at = f"{count:032x}", f"2026-01-0{count + 1}T00:00:00.000+00:00"
            ledger.accept(Acceptance(job_id, f"old/{count}", "{}", b"{}", "a", "b", at))
    finally:
        ledger.close()
    with agents(tmp_path, ROOM_URL=NOWHERE) as alone:
        for count in range(3):
            alone.call("run_notebook", notebook=["1"], name=f"new/{count}", wait_seconds=0)
        names: list[str] = []
        before: dict[str, str] = {}
        for size in (2, 2, 2):
            said = text(alone.call("list_jobs", limit=2, **before))
            page = re.findall(r"^[0-9a-f]{32} (\S+):", said, re.MULTILINE)
            assert len(page) == size, said
            names += page
            more = re.search(r'before="(\w+)"', said)
            before = {"before": more[1]} if more else {}
        assert not before
    assert names == [f"new/{count}" for count in (2, 1, 0)] + [
        f"old/{count}" for count in (2, 1, 0)
    ]


def test_without_a_runner_files_that_are_no_requests_are_told_as_such(tmp_path: Path) -> None:
    """With the reason that a running one gives: starting it changes nothing about them."""
    for folder in ("inbox", "outbox", "state"):
        (tmp_path / folder).mkdir()
    Ledger(tmp_path / "state").close()
    good = {"good.json": {"notebook": "a.ipynb"}, "cells.json": notebook("1")}
    odd: dict[str, Any] = {"empty.json": {}, "list.json": [1, 2], "lone.yaml": {"parameters": {}}}
    for name, content in {**good, **odd}.items():
        (tmp_path / "inbox" / name).write_text(json.dumps(content))
    with ZipFile(tmp_path / "inbox" / "data.zip", "w") as archive:
        archive.writestr("table.csv", "a,b")
    with ZipFile(tmp_path / "inbox" / "whole.zip", "w") as archive:
        archive.writestr("whole.ipynb", json.dumps(notebook("1")))
    with agents(tmp_path, ROOM_URL=NOWHERE) as alone:
        said = text(alone.call("list_jobs"))
        [taken] = [line for line in said.splitlines() if "`runner serve` runs them" in line]
        [left] = [line for line in said.splitlines() if "no runner would take them" in line]
        for name in (*good, "whole.zip"):
            assert name in taken
            assert name not in left
        for name in (*odd, "data.zip"):
            assert name in left
            assert name not in taken
        rows = json.loads(resource(alone, "runner://inbox"))["files"]
        assert {one["path"]: one["reason"] for one in rows} == {
            **dict.fromkeys((*good, "whole.zip"), "no_runner"),
            "empty.json": "settings",
            "list.json": "no_request",
            "lone.yaml": "settings",
            "data.zip": "data",
        }
        only = text(alone.call("get_job", job_id="list"))
        assert "no runner would take it: it asks for nothing: a list, not a mapping" in only


def test_without_a_runner_dropped_files_are_told_by_name(tmp_path: Path) -> None:
    """They have no id, and nobody has looked at them: what is left alone is not among them."""
    for folder in ("inbox", "inbox/plans", "inbox/with.job", "outbox", "state"):
        (tmp_path / folder).mkdir()
    Ledger(tmp_path / "state").close()
    for name in (
        "plans/a.ipynb",
        "b.yaml",
        "with.job/in.ipynb",
        ".hidden.ipynb",
        "notes.txt",
        "c.ipynb.part",
    ):
        (tmp_path / "inbox" / name).write_text(json.dumps(notebook("1")))
    with agents(tmp_path, ROOM_URL=NOWHERE) as alone:
        said = text(alone.call("list_jobs"))
        for name in ("plans/a.ipynb", "b.yaml", "with.job", "no runner is up"):
            assert name in said
        for name in ("in.ipynb", ".hidden", "notes", "c.ipynb"):
            assert name not in said
        only = text(alone.call("list_jobs", name="plans/*", status="queued"))
        assert "plans/a.ipynb" in only
        assert "b.yaml" not in only
        assert "plans" not in text(alone.call("list_jobs", status="failed"))
        assert "waits in the inbox" in text(alone.call("get_job", job_id="plans/a"))
        listed = json.loads(resource(alone, "runner://inbox"))
        assert {one["path"] for one in listed["files"]} == {
            "plans/a.ipynb",
            "b.yaml",
            "with.job",
        }
        assert listed["count"] == 3
        for file in (tmp_path / "state").iterdir():
            file.unlink()  # as before the first start of a runner
        assert "plans/a.ipynb" in text(alone.call("list_jobs"))


def test_a_job_that_ends_after_the_last_look_is_looked_at_again(program: Program) -> None:
    """A look under another name sees nothing, as one before the job's report is there does."""
    cells = {"notebook": notebook("1"), "id": "ab" * 16}
    program.drop("looked/at.json", json.dumps(cells))
    program.await_report("looked/at")
    folders = {name: program.root / name for name in ("inbox", "outbox", "state")}
    settings = Settings.model_validate({**folders, "notebooks": program.library})

    async def tell(progress: object) -> None:
        """Ignore it."""

    async def wait() -> Json:
        jobs = Jobs(settings, asyncio.Event(), Disk())
        return await jobs.wait(Submitted("ab" * 16, "elsewhere"), 0, tell)

    record = anyio.run(wait)
    assert record["result"]["status"] == "succeeded"


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
    by_jupyter = server.call("check_notebook", notebook="notebooks/reports/daily report.ipynb")
    assert text(by_jupyter) == text(good)
    assert text(server.call("check_notebook", notebook=["1"], kernel="")) == text(good)
    wrong = text(
        server.call(
            "check_notebook", notebook="reports/daily report.ipynb", parameters={"facter": 1}
        )
    )
    assert wrong.startswith("invalid_parameters: `facter` is no parameter of the notebook")
    assert "would run it" not in wrong
    assert "warning" not in wrong
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
    port = free_port()

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
