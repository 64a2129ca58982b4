"""The tools for agents beside a real JupyterLab, and beside a person who has the notebook open."""

import json
import os
import re
import shutil
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
import requests
from mcp_tokens import MOST_ANSWER_TOKENS, answer_tokens

from tests.agents import Agents, agents, ask, cell_of, connected, job_of, pictures, text
from tests.conftest import Json, Program, programs, wait_for
from tests.peers.lab import Lab, lab

from jupyter_nbmodel_client import (  # isort: skip
    NbModelClient,
    get_jupyter_notebook_websocket_url,
)
from jupyter_kernel_client.wsclient import KernelWebSocketClient  # isort: skip
from mcp import Client  # isort: skip


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    making = programs(tmp_path_factory.mktemp("program"))
    yield next(making)().start()
    next(making, None)


@pytest.fixture(scope="module")
def jupyter(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Over the program's folder, so that the library is its `notebooks`."""
    with lab(tmp_path_factory.mktemp("lab"), program.root) as found:
        yield found


@pytest.fixture(scope="module")
def server(program: Program, jupyter: Lab) -> Iterator[Agents]:
    given = {"ROOM_URL": jupyter.url, "JUPYTER_TOKEN": jupyter.token, "ROOM_ID": "default.ipynb"}
    with agents(program.root, **given) as found:
        yield found


@pytest.fixture(scope="module")
def common_kernel(jupyter: Lab) -> str:
    """The id of a kernel that tests share, see `in_common_kernel`."""
    made = requests.post(
        f"{jupyter.url}/api/kernels", json={"name": "python3"}, headers=jupyter.headers, timeout=60
    )
    return str(made.json()["id"])


@pytest.fixture
def notebook(request: pytest.FixtureRequest) -> str:
    """A path of its own for each test; nothing is there yet."""
    name = "".join(char if char.isalnum() else "_" for char in request.node.name)
    return f"notebooks/{name}.ipynb"


@pytest.fixture
def in_common_kernel(jupyter: Lab, notebook: str, common_kernel: str) -> None:
    """What `notebook` runs, a kernel runs that has run others': its names and numbers go on."""
    body = {"path": notebook, "name": "", "type": "notebook", "kernel": {"id": common_kernel}}
    url = f"{jupyter.url}/api/sessions"
    requests.post(url, json=body, headers=jupyter.headers, timeout=60).raise_for_status()


def run(server: Agents, notebook: str, source: str, **given: object) -> Any:
    return server.call("insert_cell", source=source, notebook=notebook, **given)


def sources(jupyter: Lab, notebook: str) -> list[str]:
    return ["".join(cell["source"]) for cell in on_disk(jupyter, notebook)["cells"]]


def on_disk(jupyter: Lab, notebook: str) -> Json:
    """Jupyter writes in place: a look may come in the middle."""

    def whole() -> Json | None:
        with suppress(ValueError):
            found: Json = json.loads((jupyter.folder / notebook).read_text())
            return found
        return None

    read: Json = wait_for(whole, 10)
    return read


@asynccontextmanager
async def person(jupyter: Lab, notebook: str) -> AsyncIterator[NbModelClient]:
    """Somebody else who has the notebook open."""
    url = get_jupyter_notebook_websocket_url(jupyter.url, notebook, jupyter.token)
    async with NbModelClient(url) as client:
        yield client


@contextmanager
def persons_cell(jupyter: Lab, notebook: str, source: str) -> Iterator[None]:
    """Code that somebody else runs in a notebook's kernel; it has begun."""
    sessions = requests.get(f"{jupyter.url}/api/sessions", headers=jupyter.headers, timeout=30)
    [kernel] = [one["kernel"]["id"] for one in sessions.json() if one["path"] == notebook]
    socket = jupyter.url.replace("http", "ws", 1) + f"/api/kernels/{kernel}/channels"
    client = KernelWebSocketClient(endpoint=socket, headers=jupyter.headers)
    client.start_channels()
    try:
        asked = client.execute(source)
        while client.get_iopub_msg(timeout=30)["parent_header"].get("msg_id") != asked:
            pass
        yield
    finally:
        client.stop_channels()


async def sees(what: Any, seconds: float = 30) -> None:
    with anyio.fail_after(seconds):
        while not what():
            await anyio.sleep(0.02)


def printed(cell: Any) -> str:
    return "".join(output.get("text", "") for output in cell.get("outputs", []))


def test_health_is_green(server: Agents) -> None:
    """Jupyter answers, and takes the token."""
    answered = requests.get(f"{server.url}/health", timeout=30)
    assert answered.status_code == 200
    assert answered.json()["status"] == "healthy"
    assert answered.json()["runner"]["status"] == "healthy"


def test_a_cell_is_added_run_and_kept(server: Agents, jupyter: Lab, notebook: str) -> None:
    """What it printed and gave comes back; variables stay; it is on the disk when it returns."""
    result = run(server, notebook, "x = 6\nprint('hello')\nx * 7")
    assert not result.is_error, result
    found = cell_of(result)
    assert (found["status"], found["cell_index"], found["count"]) == ("ok", "0", 1)
    assert found["output"] == "hello\n42"
    assert cell_of(run(server, notebook, "x + 1"))["output"] == "7"
    cells = on_disk(jupyter, notebook)["cells"]
    assert ["".join(cell["source"]) for cell in cells] == [
        "x = 6\nprint('hello')\nx * 7",
        "x + 1",
    ]
    assert cells[1]["execution_count"] == 2
    assert cells[1]["outputs"][0]["data"]["text/plain"] in ("7", ["7"])


@pytest.mark.usefixtures("in_common_kernel")
def test_a_second_client_sees_the_edits_arrive(server: Agents, jupyter: Lab, notebook: str) -> None:
    """The cell while it runs, its output as it is printed, and its end."""
    run(server, notebook, "import os, time")
    flag = jupyter.folder / "go-on"
    wait = f"while not os.path.exists({str(flag)!r}): time.sleep(0.05)"

    async def use() -> None:
        async with (
            person(jupyter, notebook) as other,
            connected(server.url) as client,
            anyio.create_task_group() as group,
        ):
            assert len(other) == 1
            asked = {
                "notebook": notebook,
                "source": f"print(0, flush=True)\n{wait}\nprint(1)",
            }
            done = anyio.Event()

            async def call() -> None:
                result = await client.call_tool("insert_cell", asked)
                assert cell_of(result)["status"] == "ok"
                done.set()

            group.start_soon(call)
            await sees(lambda: len(other) == 2)
            await sees(lambda: printed(other[1]).startswith("0"))
            assert not done.is_set()
            assert other[1]["execution_state"] == "running"
            flag.touch()
            await done.wait()
            await sees(lambda: printed(other[1]) == "0\n1\n")
            await sees(lambda: other[1]["execution_state"] == "idle")
            asked = {"notebook": notebook, "source": "# Done", "kind": "markdown"}
            await client.call_tool("insert_cell", asked)
            await sees(lambda: len(other) == 3 and other[2]["source"] == "# Done")

    anyio.run(use)


@pytest.mark.usefixtures("in_common_kernel")
def test_what_a_person_types_is_seen_and_kept(server: Agents, jupyter: Lab, notebook: str) -> None:
    """Before it is saved, too; and both share one kernel."""
    run(server, notebook, "shared = 'by the agent'")
    sessions = requests.get(f"{jupyter.url}/api/sessions", headers=jupyter.headers, timeout=30)
    (session,) = [one for one in sessions.json() if one["path"] == notebook]
    assert session["kernel"]["name"] == "python3"

    async def use() -> None:
        async with person(jupyter, notebook) as other, connected(server.url) as client:
            other.add_code_cell("by_person = shared.upper()")
            said = ""
            with anyio.fail_after(30):
                while "2 cells" not in said:
                    asked = {"notebook": notebook}
                    said = text(await client.call_tool("read_notebook", asked))
            assert said.endswith("by_person = shared.upper()")
            assert "python3, kernel idle" in said
            between = {"notebook": notebook, "source": "1", "at": 1}
            result = cell_of(await client.call_tool("insert_cell", between))
            assert result["cell_index"] == "1"
            await sees(lambda: len(other) == 3)
            assert other[2]["source"] == "by_person = shared.upper()"

    anyio.run(use)


@pytest.mark.usefixtures("in_common_kernel")
def test_a_cell_that_raised_is_an_error_with_its_traceback(server: Agents, notebook: str) -> None:
    """Without the codes of a terminal; it stays in the notebook, and the kernel goes on."""
    result = run(server, notebook, "print('before')\n1 / 0")
    assert result.is_error
    assert cell_of(result)["status"] == "error"
    said = text(result)
    assert "before" in said
    assert "ZeroDivisionError: division by zero" in said
    assert "----> 2 1 / 0" in said
    assert f"\nCell [0] {cell_of(result)['cell_id']}, line 2\n" in said
    assert "\x1b" not in said
    assert not run(server, notebook, "1").is_error
    read = server.call("read_cell", cell=0, notebook=notebook)
    assert "ZeroDivisionError" in text(read)
    assert f"\nCell [0] {cell_of(result)['cell_id']}, line 2\n" in text(read)


@pytest.mark.usefixtures("in_common_kernel")
def test_a_plot_comes_back_as_a_picture(server: Agents, notebook: str) -> None:
    """From the cell, and when it is read again."""
    result = run(
        server,
        notebook,
        "import matplotlib.pyplot as plt\nplt.plot([1, 2]); plt.show()",
        timeout_seconds=120,
    )
    (picture,) = pictures(result)
    assert picture.mime_type == "image/png"
    assert len(text(result)) < 2_000
    past = server.call("read_cell", cell=-1, first_picture=2, notebook=notebook)
    assert past.is_error
    assert "has one picture: `first_picture` goes from 1 to 1." in text(past)
    again = server.call("read_cell", cell=-1, notebook=notebook)
    assert pictures(again)[0].data == picture.data


@pytest.mark.usefixtures("in_common_kernel")
def test_a_cell_past_its_time_is_interrupted(server: Agents, jupyter: Lab, notebook: str) -> None:
    """It keeps what it printed, and the kernel its variables."""
    run(server, notebook, "import time; kept = 1")
    result = run(
        server,
        notebook,
        "print('so far', flush=True)\nfor _ in range(600): time.sleep(0.1)",
        timeout_seconds=4,
    )
    assert result.is_error
    found = cell_of(result)
    assert found["status"] == "timed_out"
    assert "interrupted" in found["said"]
    assert found["output"].startswith("so far")
    assert cell_of(run(server, notebook, "kept"))["output"] == "1"
    cell = on_disk(jupyter, notebook)["cells"][1]
    assert cell["outputs"][0]["text"] in ("so far\n", ["so far\n"])


def test_a_kernel_that_dies_is_told_and_replaced(server: Agents, notebook: str) -> None:
    """At once, and not when time is up."""
    result = run(server, notebook, "import os; os.kill(os.getpid(), 9)", timeout_seconds=110)
    assert result.is_error
    assert cell_of(result)["status"] == "kernel_died"
    assert cell_of(run(server, notebook, "'alive'"))["output"] == "'alive'"


@pytest.mark.usefixtures("in_common_kernel")
def test_code_waits_for_a_busy_kernel_though_nobody_asks(
    server: Agents, jupyter: Lab, notebook: str
) -> None:
    """It runs once the kernel is free, as its answer said."""
    first = run(server, notebook, "import os, time\nran = []")
    assert cell_of(first)["status"] == "ok", text(first)
    free = jupyter.folder / "free"
    with persons_cell(
        jupyter, notebook, f"while not os.path.exists({str(free)!r}): time.sleep(0.05)"
    ):
        late = run(server, notebook, "ran.append('late')", wait_seconds=11)
        assert "waits for its turn; its kernel is busy with other code, such as a p" in text(late)
        again = text(server.call("read_cell", cell=-1, notebook=notebook))
        assert "waits for its turn; its kernel is busy" in again
        began = time.monotonic()
        threading.Timer(3, free.touch).start()
        waited = run(server, notebook, "ran.append('behind it')\nran", wait_seconds=60)
    assert cell_of(waited)["output"] == "['late', 'behind it']"
    took = time.monotonic() - began
    seconds = float(cell_of(waited)["said"].split()[2])
    assert seconds < took - 2, "from when the kernel had it"


@pytest.mark.usefixtures("in_common_kernel")
def test_a_cell_that_asks_for_input_does_not_hang(server: Agents, notebook: str) -> None:
    """Nobody is there to type."""
    result = run(server, notebook, "input('name? ')", timeout_seconds=100)
    assert cell_of(result)["status"] == "error"
    assert "StdinNotImplementedError" in text(result)


@pytest.mark.usefixtures("in_common_kernel")
def test_large_output_is_cut_for_the_model_only(
    server: Agents, jupyter: Lab, notebook: str
) -> None:
    """The notebook has all of it."""
    result = run(server, notebook, "print('x' * 50_000)")
    assert len(text(result)) < 10_000
    cell = cell_of(result)["cell_id"]
    assert "characters left out" in text(result)
    assert f'(read_cell(cell="{cell}", detail="full", notebook="{notebook}"))' in text(result)
    assert "x" * 50_000 in text(call_suggested(server, result))
    cell = on_disk(jupyter, notebook)["cells"][0]
    assert len("".join(cell["outputs"][0]["text"])) == 50_001


SLEEPS = "print('begun', flush=True)\nfor _ in range(600): time.sleep(0.1)"


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.usefixtures("in_common_kernel")
def test_a_cancel_interrupts_its_cell(
    server: Agents, jupyter: Lab, notebook: str, mode: str
) -> None:
    """The notebook keeps what it printed, and the kernel its variables.

    With a handshake, as most clients do it yet, the client goes on and posts a notification.
    """
    assert cell_of(run(server, notebook, "import time; kept = 1"))["status"] == "ok"

    async def give_up() -> None:
        async with connected(server.url, mode=mode) as client, person(jupyter, notebook) as other:
            with anyio.CancelScope() as call:
                async with anyio.create_task_group() as group:
                    asked = {"notebook": notebook, "source": SLEEPS}
                    group.start_soon(client.call_tool, "insert_cell", asked)
                    await sees(lambda: len(other) == 2 and printed(other[1]) == "begun\n")
                    call.cancel()
            await sees(lambda: other[1]["execution_state"] == "idle")
            assert other[1]["outputs"][-1]["ename"] == "KeyboardInterrupt"
            asked = {"notebook": notebook, "source": "kept"}
            assert cell_of(await client.call_tool("insert_cell", asked))["output"] == "1"

    anyio.run(give_up)


@pytest.mark.usefixtures("in_common_kernel")
def test_a_client_that_leaves_interrupts_its_cell(
    server: Agents, jupyter: Lab, notebook: str
) -> None:
    """A closed connection is a cancel, with a session or without; others' calls go on."""
    assert cell_of(run(server, notebook, "import time"))["status"] == "ok"
    headers = {
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2025-06-18",
    }
    asked = {"name": "insert_cell", "arguments": {"notebook": notebook, "source": SLEEPS}}

    def post(method: str, params: Json, **more: str) -> requests.Response:
        number = {"id": 1} if method == "tools/call" else {}
        body = {"jsonrpc": "2.0", "method": method, "params": params, **number}
        sent = {**headers, **more}
        return requests.post(f"{server.url}/mcp", json=body, headers=sent, stream=True, timeout=60)

    async def leave() -> None:
        async with person(jupyter, notebook) as other:
            call = await anyio.to_thread.run_sync(post, "tools/call", asked)
            await sees(lambda: len(other) == 2 and printed(other[1]) == "begun\n")
            for session in ({}, {"Mcp-Session-Id": "of another client"}):
                cancel = partial(post, "notifications/cancelled", {"requestId": 1}, **session)
                assert (await anyio.to_thread.run_sync(cancel)).status_code == 202
            await anyio.sleep(1)
            assert other[1]["execution_state"] == "running"
            call.close()
            await sees(lambda: other[1]["execution_state"] == "idle")
            assert other[1]["outputs"][-1]["ename"] == "KeyboardInterrupt"

    anyio.run(leave)


@pytest.mark.usefixtures("in_common_kernel")
def test_a_long_cell_goes_on_and_is_asked_for_again(
    server: Agents, jupyter: Lab, notebook: str
) -> None:
    """The answer has what it printed so far, and how to ask."""
    run(server, notebook, "import os, time")
    flag = jupyter.folder / "finish"
    source = f"print(0, flush=True)\nwhile not os.path.exists({str(flag)!r}):"
    long = f"{source} time.sleep(0.05)\nprint(1)"
    begun = run(server, notebook, long, wait_seconds=10)
    assert not begun.is_error
    found = cell_of(begun)
    assert (found["status"], found["output"]) == ("running", "0")
    assert f'read_cell(cell="{found["cell_id"]}"' in found["said"]
    again = server.call("read_cell", cell=found["cell_id"], notebook=notebook)
    assert cell_of(again)["status"] == "running"
    threading.Timer(1, flag.touch).start()
    ended = call_suggested(server, again)
    assert cell_of(ended)["status"] == "ok"
    assert cell_of(ended)["output"] == "0\n1"


def begin_long(server: Agents, jupyter: Lab, notebook: str) -> tuple[str, Path]:
    """A cell that runs until a file is there; its id, and that file."""
    run(server, notebook, "import os, time\nran = []")
    flag = jupyter.folder / f"{Path(notebook).stem}.over"
    wait = f"while not os.path.exists({str(flag)!r}): time.sleep(0.05)"
    long = cell_of(run(server, notebook, wait, wait_seconds=1, timeout_seconds=100))["cell_id"]
    wait_for(partial(is_running, server, notebook, long))
    return long, flag


def is_running(server: Agents, notebook: str, cell: str) -> bool:
    """A kernel on a busy machine takes its time until it answers."""
    return bool(
        cell_of(server.call("read_cell", cell=cell, notebook=notebook))["status"] == "running"
    )


def test_a_cell_behind_a_long_one_keeps_its_turn_and_follows_its_edits(
    server: Agents, jupyter: Lab, notebook: str
) -> None:
    """Though nobody asks meanwhile; what was removed is told."""
    long, flag = begin_long(server, jupyter, notebook)
    kept = run(server, notebook, "ran.append('kept')", wait_seconds=11)
    assert f"waits for its turn; {long} runs before it" in text(kept)
    for detail in ("brief", "full"):
        listed = text(server.call("read_notebook", notebook=notebook, detail=detail))
        assert re.search(rf" {long} #\w+ code, running", listed)
        assert re.search(rf" {cell_of(kept)['cell_id']} #\w+ code, waits for its turn", listed)
    changed, removed = (
        cell_of(run(server, notebook, f"ran.append({number})", wait_seconds=0))["cell_id"]
        for number in (1, 2)
    )
    read = cell_of(run(server, notebook, "ran.append(3)", run=False))
    fixed = read["cell_id"]
    seen = {"if_unchanged": read["hash"], "wait_seconds": 0}
    assert not server.call("run_cells", cell=fixed, notebook=notebook, **seen).is_error
    edits = {"action": "overwrite", "notebook": notebook}
    server.call("edit_cell", cell=changed, source="ran.append('changed')", **edits)
    server.call("edit_cell", cell=fixed, source="ran.append('never')", **edits)
    assert not server.call("edit_cell", cell=removed, action="delete", notebook=notebook).is_error
    flag.touch()
    assert cell_of(run(server, notebook, "ran"))["output"] == "['kept', 'changed']"
    assert "waits" not in text(server.call("read_notebook", notebook=notebook))
    told = text(server.call("read_cell", cell=fixed, notebook=notebook))
    assert "the last call to run it did not: the cell has changed while it waited" in told
    gone = server.call("read_cell", cell=removed, notebook=notebook)
    assert gone.is_error
    assert f"{removed!r} is not in {notebook!r} any more" in text(gone)
    [last] = re.findall(r'read_cell\(cell="(run-\w+)"', text(gone))
    told = text(server.call("read_cell", cell=last, notebook=notebook))
    assert f"[gone] {removed}" in told
    assert "was removed before its turn, and not run" in told


def call_suggested(server: Agents, result: Any) -> Any:
    """What an answer suggests, as it stands there."""
    [(tool, arguments)] = re.findall(r"(read_cell|run_cells)\((.+?)\)", text(result))
    given = re.findall(r'(\w+)=("[^"]*"|\d+)', arguments)
    return server.call(tool, **{name: json.loads(value) for name, value in given})


def test_what_waits_is_withdrawn_by_an_interrupt_and_told(
    server: Agents, jupyter: Lab, notebook: str
) -> None:
    """By the interrupt's own answer, and by each one's next."""
    long, _ = begin_long(server, jupyter, notebook)
    cell = cell_of(run(server, notebook, "ran.append(1)", wait_seconds=0))["cell_id"]
    code = text(
        server.call("execute_code", code="ran.append(2)", notebook=notebook, wait_seconds=0)
    )
    [own] = re.findall(r'read_cell\(cell="(run-\w+)"', code)
    done = text(server.call("control_kernel", action="interrupt", notebook=notebook))
    assert done.endswith(f"its variables are kept; not run any more: {cell}, {own}")
    for name in (cell, own):
        told = text(server.call("read_cell", cell=name, notebook=notebook))
        assert "control_kernel: interrupt came before its turn" in told
    assert "KeyboardInterrupt" in text(
        server.call("read_cell", cell=long, notebook=notebook, wait_seconds=60)
    )
    assert cell_of(run(server, notebook, "ran"))["output"] == "[]"
    withdrawn = server.call("read_cell", cell=cell, notebook=notebook)
    assert cell_of(call_suggested(server, withdrawn))["status"] == "ok"


@pytest.mark.parametrize("action", ["restart", "shut_down"])
def test_a_cell_that_loses_its_kernel_is_over_at_once(
    server: Agents, notebook: str, action: str
) -> None:
    """It says by what, and new code does not wait; the next answer tells of variables, once."""
    begun = run(server, notebook, "import time; x = 1; time.sleep(60)", wait_seconds=2)
    cell = cell_of(begun)["cell_id"]
    wait_for(partial(is_running, server, notebook, cell))
    server.call("control_kernel", action=action, notebook=notebook)
    ended = text(server.call("read_cell", cell=cell, notebook=notebook))
    words = {"restart": "restarted", "shut_down": "shut down"}
    assert f"its last run had no end: the kernel was {words[action]}" in ended
    read = text(server.call("read_notebook", notebook=notebook))
    assert f"[0] {cell}" in read
    assert ", running" not in read
    start = time.monotonic()
    first = text(server.call("execute_code", code="2", notebook=notebook))
    assert time.monotonic() - start < 40, "the cell would have slept for a minute"
    assert first.count("variables of earlier cells are gone") == 1
    assert "gone" not in text(server.call("list_variables", notebook=notebook))
    server.call("control_kernel", action="restart", notebook=notebook)
    listed = text(server.call("list_variables", notebook=notebook))
    assert listed.count("variables of earlier cells are gone") == 1
    assert "gone" not in text(run(server, notebook, "3"))
    left = text(server.call("execute_code", code="exit()", notebook=notebook))
    assert "it ended its kernel: variables are gone" in left


def test_what_waits_too_long_is_withdrawn_and_told(
    program: Program, jupyter: Lab, notebook: str
) -> None:
    """After the setting's time, and in words that stay true when the other code is over."""
    given = {"ROOM_URL": jupyter.url, "JUPYTER_TOKEN": jupyter.token}
    with agents(program.root, **given, INBOX_RUNNER__MCP__CELL_SECONDS="10") as other:
        long, flag = begin_long(other, jupyter, notebook)
        late = cell_of(run(other, notebook, "ran.append(1)", wait_seconds=0))["cell_id"]

        def told() -> str:
            return text(other.call("read_cell", cell=late, notebook=notebook))

        wait_for(lambda: "waits for its turn" not in told())
        flag.touch()
        after = rf"the last call to run it did not: its turn had not come after \d+ s: {long} ran"
        assert re.search(f"{after} before it; it stays in the notebook: run_cells", told())
        assert cell_of(run(other, notebook, "ran"))["output"] == "[]"


@pytest.mark.usefixtures("in_common_kernel")
def test_cells_are_edited_by_their_ids(server: Agents, jupyter: Lab, notebook: str) -> None:
    """Each way; places change, ids do not."""
    first = cell_of(run(server, notebook, "naïve = '😀'\nn = 1"))
    second = cell_of(run(server, notebook, "n + 1", run=False))
    title = server.call("insert_cell", source="# T", kind="markdown", at=0, notebook=notebook)
    assert cell_of(title)["cell_index"] == "0"
    for at, index in ((-2, "2"), (4, "4"), (-1, "4"), (-5, "0")):
        given = {"source": "#", "kind": "raw", "at": at, "notebook": notebook}
        placed = cell_of(server.call("insert_cell", **given))
        assert placed["cell_index"] == index
        if at != -2:
            server.call("edit_cell", cell=placed["cell_id"], action="delete", notebook=notebook)
    server.call("edit_cell", cell=2, action="delete", notebook=notebook)
    past = server.call("insert_cell", source="#", kind="raw", at=9, notebook=notebook)
    assert "`at` goes from 0 to 3" in text(past)

    def edit(cell: object, action: str, **given: object) -> str:
        result = server.call("edit_cell", cell=cell, action=action, notebook=notebook, **given)
        assert not result.is_error, text(result)
        return text(result)

    one = first["cell_id"]
    changed = edit(one, "replace", find="n = 1", replace="n = 20", if_unchanged=first["hash"])
    assert "-n = 1\n+n = 20" in changed
    assert "😀" in sources(jupyter, notebook)[1]
    assert "+m = n" in edit(second["cell_id"], "overwrite", source="m = n\nm + 1")
    ran = server.call("run_cells", cell=one, and_below=True, notebook=notebook)
    assert [line for line in text(ran).splitlines() if "ran after" not in line] == ["21"]
    alone = server.call("run_cells", cell=-1, notebook=notebook)
    assert cell_of(alone)["output"] == "21"
    assert cell_of(alone)["cell_id"] == second["cell_id"]
    assert "[0]" in edit(second["cell_id"], "move", to=0)
    assert sources(jupyter, notebook)[0] == "m = n\nm + 1"
    assert "[1]" in edit(second["cell_id"], "move", to=one)
    assert sources(jupyter, notebook)[:2] == ["# T", "m = n\nm + 1"]
    edit(second["cell_id"], "move", to=0)
    edit(0, "clear_output")
    assert on_disk(jupyter, notebook)["cells"][0]["outputs"] == []
    assert "0 cells" in edit("all", "clear_output")
    assert "2 cells are left" in edit(one, "delete")
    assert sources(jupyter, notebook) == ["m = n\nm + 1", "# T"]


def test_a_cell_is_tagged_as_a_warning_of_a_job_wants_it(
    server: Agents, jupyter: Lab, notebook: str
) -> None:
    """When it is made, or later; other metadata stay."""
    path = f"tagged/{Path(notebook).name}"
    run(server, path, "n = 1")
    server.call("insert_cell", notebook=path, source="n * 2", tags=["results"])
    job = {"notebook": path, "parameters": {"n": 3}}
    assert "Tag the cell with the defaults" in text(server.call("run_notebook", **job))
    tagged = server.call("edit_cell", notebook=path, cell=0, action="tag", tags=["parameters"])
    assert text(tagged).endswith("has the tags parameters")
    assert "code, In[1], tagged parameters" in text(server.call("read_notebook", notebook=path))
    ran = server.call("run_notebook", **job)
    assert job_of(ran)["results"] == {"cell_3": {"application/json": 6}}, text(ran)
    assert "Warnings" not in text(ran)
    server.call("edit_cell", notebook=path, cell=0, action="tag", tags=[])
    assert on_disk(jupyter, path)["cells"][0]["metadata"].get("tags") == []


def test_an_edit_refuses_what_has_changed(server: Agents, jupyter: Lab, notebook: str) -> None:
    """And a cell, a text or an argument that is not there; with what there is."""
    cell = cell_of(run(server, notebook, "a = a_long_name = 1", run=False))

    def refused(action: str, cell: object = cell["cell_id"], **given: object) -> str:
        result = server.call("edit_cell", cell=cell, action=action, notebook=notebook, **given)
        assert result.is_error
        return text(result)

    for action in ("delete", "overwrite", "replace", "move", "clear_output"):
        said = refused(action, if_unchanged="#000000")
        assert "has changed since you read it" in said
        assert "a = a_long_name = 1" in said
    run_it = server.call("run_cells", cell=0, if_unchanged="000000", notebook=notebook)
    assert "has changed" in text(run_it)
    assert "2 times" in refused("replace", find=" = ", replace="")
    assert "not in the cell" in refused("replace", find="b", replace="")
    assert "`source` is missing" in refused("overwrite")
    assert "`to` is missing" in refused("move")
    assert "has no cell 'zzzzzzzz'" in refused("delete", "zzzzzzzz")
    assert "from 0 to 0" in refused("delete", 5)
    assert sources(jupyter, notebook) == ["a = a_long_name = 1"]


def test_a_notebook_is_read_by_pages(server: Agents, jupyter: Lab, notebook: str) -> None:
    """Each cell with id and hash; in brief a line, in full with outputs; every cut is told."""
    cells = [
        {"cell_type": "code", "id": f"cell{n}", "metadata": {}, "execution_count": n + 1}
        | {"source": f"print({n})\n# more", "outputs": []}
        for n in range(5)
    ]
    cells[1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "1\n"}]
    content = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (jupyter.folder / notebook).write_text(json.dumps(content))
    page = text(server.call("read_notebook", notebook=notebook, start=1, limit=2)).splitlines()
    assert re.fullmatch(
        r"\[1\] cell1 #\w{6} code, In\[2\], 1 output: print\(1\) \(\+1 lines\)", page[1]
    )
    assert page[3] == "(2 more cells: start=3)"
    full = text(server.call("read_notebook", notebook=notebook, detail="full", limit=2))
    assert "print(1)\n# more\nOutput:\n1\n(3 more cells: start=2)" in full
    past = server.call("read_notebook", notebook=notebook, start=5)
    assert past.is_error
    assert "has 5 cells: `start` goes from 0 to 4." in text(past)


def test_pictures_that_are_left_out_are_told_with_the_call_that_gives_them(
    server: Agents, jupyter: Lab, notebook: str
) -> None:
    """Of a notebook that is read in full: `first_picture` is no argument there."""
    dot = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"
    dot += "AAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
    many = "from IPython.display import Image, display\nimport base64\n"
    many += f"for _ in range(6): display(Image(base64.b64decode({dot!r})))"
    cell = cell_of(run(server, notebook, many))["cell_id"]
    told = server.call("read_notebook", notebook=notebook, detail="full")
    call = f'(read_cell(cell="{cell}", first_picture=5, notebook="{notebook}"))'
    assert call in text(told)
    rest = server.call("read_cell", cell=cell, first_picture=5, notebook=notebook)
    assert len(pictures(rest)) == 2


def test_code_of_a_cell_that_was_edited_since_says_to_run_it_again(
    server: Agents, notebook: str
) -> None:
    """Where a traceback has its old lines."""
    old = "def f(x):\n    return 1 / x\ndef g(x):\n    return f(x)"
    cell = cell_of(run(server, notebook, old))["cell_id"]
    source = old.replace("1 / x", "2 / x")
    server.call("edit_cell", notebook=notebook, cell=cell, action="overwrite", source=source)
    failed = text(run(server, notebook, "g(0)"))
    again = f"Cell [0] {cell} as it was before its change (run [0] again), line"
    assert failed.count(again) == 2
    assert "Code that no cell has now" not in failed


def test_a_huge_source_is_a_short_line_and_cut_where_it_is_read(
    server: Agents, notebook: str
) -> None:
    """With its size."""
    assert not run(server, notebook, f"x = '{'y' * 3_000_000}'", run=False).is_error
    _, line = text(server.call("read_notebook", notebook=notebook)).splitlines()
    assert line.endswith("yyy… (3000006 characters)")
    assert len(line) < 200
    for tool, arguments in (("read_notebook", {}), ("read_cell", {"cell": 0})):
        read = text(server.call(tool, notebook=notebook, detail="full", **arguments))
        assert "characters left out" in read
        assert len(read) < 80_000


@pytest.mark.usefixtures("in_common_kernel")
def test_all_cells_run_until_one_raises(server: Agents, jupyter: Lab, notebook: str) -> None:
    """Where no cell is named; text and empty cells are passed over."""
    for kind, source in (
        ("code", "n = 1"),
        ("markdown", "# text"),
        ("code", " "),
        ("code", "print(n + 1)"),
        ("code", "n / 0"),
        ("code", "print('never')"),
    ):
        run(server, notebook, source, kind=kind, run=False)
    result = server.call("run_cells", notebook=notebook)
    assert result.is_error
    head = r"^\S+ \[(\d)\] \S+ #\w+: (ran|raised an error|was not run)"
    assert re.findall(head, text(result), re.M) == [
        ("0", "ran"),
        ("3", "ran"),
        ("4", "raised an error"),
        ("5", "was not run"),
    ]
    assert "\n2\n" in text(result)
    assert "never" not in text(result)
    below = server.call("run_cells", notebook=notebook, cell=-2, and_below=True)
    assert re.findall(r"\[(\d)\]", text(below))[0] == "4"
    empty = run(server, "notebooks/empty_of_code.ipynb", "# text", kind="markdown")
    assert not empty.is_error
    none = server.call("run_cells", notebook="notebooks/empty_of_code.ipynb")
    assert none.is_error
    assert "There is no code to run." in text(none)


@pytest.mark.usefixtures("in_common_kernel")
def test_one_cell_of_a_run_is_read_and_waited_for_alone(
    server: Agents, jupyter: Lab, notebook: str
) -> None:
    """A line tells how the others are; at its end it is told, though the run goes on."""
    flags = [jupyter.folder / f"{Path(notebook).stem}.{number}" for number in (1, 2)]
    waits = [f"while not os.path.exists({str(flag)!r}): time.sleep(0.05)" for flag in flags]
    cells = [
        cell_of(run(server, notebook, source, run=False))["cell_id"]
        for source in ("import os, time", f"{waits[0]}\nprint('one')", waits[1], "print('last')")
    ]
    begun = text(server.call("run_cells", notebook=notebook, wait_seconds=3))
    assert all(cell in begun for cell in cells)
    [of_run] = set(re.findall(r"run-\w+", begun))

    def read(cell: str, seconds: float = 0) -> list[str]:
        given = {"notebook": notebook, "wait_seconds": seconds}
        return text(server.call("read_cell", cell=cell, **given)).splitlines()

    wait_for(lambda: "still running" in read(cells[1])[0])
    first, others = read(cells[1])
    assert f'ask again: read_cell(cell="{cells[1]}"' in first
    assert f"(the other cells of {of_run}: 1 ok, 2 waiting; read_cell(cell" in others
    title = server.call("insert_cell", source="# T", kind="markdown", at=0, notebook=notebook)
    assert not title.is_error
    last, _ = read(cells[3])
    assert f"[4] {cells[3]}" in last
    assert f"waits for its turn; {cells[1]} runs before it, for " in last
    threading.Timer(1, flags[0].touch).start()
    ended, output, others = read(cells[1], 60)
    assert f"[2] {cells[1]}" in ended
    assert ": ran after" in ended
    assert output == "one"
    assert "1 ok" in others
    threading.Timer(1, flags[1].touch).start()
    ended, output, _ = read(cells[3], 60)
    assert ": ran after" in ended
    assert output == "last"
    assert "Output:" in read(cells[1])


def test_a_misspelt_path_is_an_error_and_a_new_notebook_is_told(
    server: Agents, jupyter: Lab
) -> None:
    """With the path that was probably meant."""
    made = server.call("insert_cell", source="1", run=False, notebook="spelling/quarterly.ipynb")
    assert "the notebook is new" in text(made)
    for wrong in ("spelling/quartely.ipynb", "quarterly.ipynb"):
        missing = server.call("read_notebook", notebook=wrong)
        assert missing.is_error
        assert "Did you mean spelling/quarterly.ipynb" in text(missing)
    asked = {"source": "1", "run": False, "notebook": "spelling/quartely.ipynb"}
    assert "Did you mean" in text(server.call("insert_cell", **asked))
    assert not (jupyter.folder / "spelling/quartely.ipynb").exists()
    assert "the notebook is new" in text(server.call("insert_cell", **asked, make=True))
    refused = server.call("insert_cell", source="1", notebook="spelling/other.ipynb", at=3)
    assert refused.is_error
    assert "Nothing was done" in text(refused)
    assert not (jupyter.folder / "spelling/other.ipynb").exists()


def test_copies_in_the_outbox_are_not_listed(server: Agents, program: Program) -> None:
    """Unless their folder is named."""
    server.call("run_notebook", notebook=["1"], name="copied")
    listed = text(server.call("list_notebooks"))
    assert "outbox/copied.ipynb" not in listed
    assert "outbox are not listed" in listed
    assert "outbox/copied.ipynb" in text(server.call("list_notebooks", folder="outbox"))


def test_kernels_are_listed_controlled_and_chosen(
    server: Agents, jupyter: Lab, notebook: str
) -> None:
    """Where the kernel is a new one, the answer says that variables are gone."""

    def control(action: str, **given: object) -> str:
        return text(server.call("control_kernel", action=action, notebook=notebook, **given))

    run(server, notebook, "x = 1")
    wait_for(lambda: f"python3 idle: {notebook}" in text(server.call("list_kernels")))
    assert "Installed: python3 (python)" in text(server.call("list_kernels"))
    assert "nothing was running" in control("interrupt")
    assert cell_of(run(server, notebook, "x"))["said"].count("gone") == 0
    assert "variables are gone" in control("restart")
    assert "NameError" in text(run(server, notebook, "x"))
    sessions = requests.get(f"{jupyter.url}/api/sessions", headers=jupyter.headers, timeout=30)
    [session] = [one for one in sessions.json() if one["path"] == notebook]
    restart = f"{jupyter.url}/api/kernels/{session['kernel']['id']}/restart"
    requests.post(restart, headers=jupyter.headers, timeout=30)
    assert "variables of earlier cells are gone" in text(run(server, notebook, "1"))
    assert "gone" not in text(run(server, notebook, "1"))
    culled = f"{jupyter.url}/api/sessions/{session['id']}"
    requests.delete(culled, headers=jupyter.headers, timeout=30)
    assert "variables of earlier cells are gone" in text(run(server, notebook, "1"))
    assert "runs in python3 now" in control("choose", kernel="python3")
    assert "Did you mean 'python3'" in control("choose", kernel="pyton3")
    assert "running a cell starts a new one" in control("shut_down")
    assert "No kernel runs" in control("interrupt")
    assert "`kernel` is for choose" in control("restart", kernel="python3")


def test_code_runs_without_a_cell_and_variables_are_read(server: Agents, notebook: str) -> None:
    """The notebook is not touched, nor the kernel's history and names."""
    run(
        server,
        notebook,
        "import pandas as pd\ndf = pd.DataFrame({'a': range(50)})\nlong = 'x' * 999",
    )
    done = server.call("execute_code", code="y = 5\ny * 2", notebook=notebook)
    assert text(done).splitlines()[1:] == ["10"]
    listed = text(server.call("list_variables", notebook=notebook)).splitlines()
    assert "y: int = 5" in listed
    assert any(
        line.startswith("df: pandas.") and "(50, 1) = columns a int64" in line for line in listed
    )
    assert any(line.startswith("long: str of 999 = 'xxx") and len(line) < 120 for line in listed)
    assert len(listed) == 3
    one = text(server.call("list_variables", name="df", notebook=notebook))
    assert len(one.splitlines()) == 12
    missing = server.call("list_variables", name="z", notebook=notebook)
    assert missing.is_error
    assert text(missing) == "There is no variable 'z'; without `name` all are listed."
    read = text(server.call("read_notebook", notebook=notebook))
    assert ": 1 cells" in read
    assert cell_of(run(server, notebook, "y"))["count"] == 2
    server.call("execute_code", code="def late():\n    1 / 0", notebook=notebook)
    counted = cell_of(run(server, notebook, "'the cell of that count'"))
    raised = server.call("execute_code", code="late()", notebook=notebook)
    assert raised.is_error
    assert "ZeroDivisionError" in text(raised)
    assert counted["cell_id"] not in text(raised)
    assert "\nThe code of this call, line 1\n" in text(raised)
    assert "\nCode that no cell has now (In[3]), line 2, in late()\n" in text(raised)


def test_the_answer_to_one_and_one_is_short(server: Agents, notebook: str) -> None:
    """By each way to ask."""
    run(server, notebook, "0")
    for tool, cost in anyio.run(answer_tokens, server.url, notebook).items():
        assert cost <= MOST_ANSWER_TOKENS, tool


@pytest.mark.usefixtures("in_common_kernel")
def test_names_of_tools_before_are_answered(server: Agents, notebook: str) -> None:
    """For clients that have learnt them."""
    asked = {"cell_source": "40 + 2", "notebook": notebook, "cell_index": -1}
    assert cell_of(server.call("insert_execute_code_cell", **asked))["output"] == "42"
    text_cell = {"cell_source": "# T", "notebook": notebook}
    assert not server.call("append_markdown_cell", **text_cell).is_error
    assert "2 cells" in text(server.call("get_notebook_info", notebook=notebook))
    assert "# T" in text(server.call("read_cell", cell_index=1, notebook=notebook))


@pytest.mark.usefixtures("in_common_kernel")
def test_many_agents_on_one_notebook_lose_nothing(
    server: Agents, jupyter: Lab, notebook: str
) -> None:
    """Edits go one at a time, and so do cells that run."""
    run(server, notebook, "total = 0")

    async def add(number: int) -> None:
        async with connected(server.url) as client:
            note = {"notebook": notebook, "source": f"note {number}", "kind": "markdown"}
            assert not (await client.call_tool("insert_cell", note)).is_error
            asked = {"notebook": notebook, "source": f"total += {number}\ntotal"}
            assert not (await client.call_tool("insert_cell", asked)).is_error

    async def all_of_them() -> None:
        async with anyio.create_task_group() as group:
            for number in range(1, 6):
                group.start_soon(add, number)

    anyio.run(all_of_them)
    assert cell_of(run(server, notebook, "total"))["output"] == "15"
    present = sources(jupyter, notebook)
    assert len(present) == 12
    assert {f"note {number}" for number in range(1, 6)} < set(present)


def test_the_default_notebook_is_made_with_a_kernelspec(server: Agents, jupyter: Lab) -> None:
    """No name means ROOM_ID; folders above it are made as well."""
    placed = cell_of(server.call("insert_cell", source="# Title", kind="markdown"))
    assert (placed["notebook"], placed["cell_index"]) == ("default.ipynb", "0")
    assert on_disk(jupyter, "default.ipynb")["metadata"]["kernelspec"]["name"] == "python3"
    run(server, "deep/er/made.ipynb", "1")
    made = "deep/er/made.ipynb (kernel idle)"
    # JupyterLab hears of a kernel's rest a moment after who has waited for its answer.
    wait_for(lambda: text(server.call("list_notebooks", folder="deep")) == made)
    listed = text(server.call("list_notebooks")).splitlines()
    assert {"default.ipynb", made} <= set(listed)


def test_a_persons_notebook_without_a_kernelspec_gets_one(
    server: Agents, jupyter: Lab, notebook: str
) -> None:
    """JupyterLab's own empty notebook has none; its metadata is kept otherwise."""
    bare = {"cells": [], "metadata": {"mine": 1}, "nbformat": 4, "nbformat_minor": 5}
    (jupyter.folder / notebook).write_text(json.dumps(bare))
    run(server, notebook, "1")
    metadata = on_disk(jupyter, notebook)["metadata"]
    assert metadata["kernelspec"]["name"] == "python3"
    assert metadata["mine"] == 1


def test_a_notebook_made_by_an_agent_runs_in_the_runner_unchanged(
    server: Agents, program: Program, jupyter: Lab, notebook: str
) -> None:
    """By a drop as it lies on the disk, out of the library, and by its path in JupyterLab."""
    server.call("insert_cell", source="# By an agent", kind="markdown", notebook=notebook)
    run(server, notebook, "answer = 6 * 7")
    glued = run(server, notebook, "import scrapbook as sb; sb.glue('answer', answer)")
    assert cell_of(glued)["output"] == "answer = 42"
    draft = program.root / "draft.ipynb"
    shutil.copy(jupyter.folder / notebook, draft)
    draft.rename(program.inbox / "dropped.ipynb")
    report = program.await_report("dropped")
    assert report["status"] == "succeeded"
    assert report["results"] == {"answer": 42}
    assert report["kernel"] == {"name": "python3", "requested": "python3"}
    for path in (notebook.removeprefix("notebooks/"), notebook):
        result = server.call("run_notebook", notebook=path)
        assert job_of(result)["results"] == {"answer": 42}, result
        cell = server.call("get_job", job_id=job_of(result)["job_id"], cell=-1)
        assert text(cell).endswith("\nOutput:\nanswer = 42")
        assert "would run it" in text(server.call("check_notebook", notebook=path))


def test_a_failed_run_is_repaired_by_the_path_that_its_answer_names(
    server: Agents, jupyter: Lab, notebook: str
) -> None:
    """A library's path is known to the tools on JupyterLab, which shows its folder too."""
    run(server, notebook, "1 / 0")
    wait_for(lambda: sources(jupyter, notebook) == ["1 / 0"])
    path = notebook.removeprefix("notebooks/")
    failed = text(server.call("run_notebook", notebook=path))
    assert f"Notebook: {path} of the library" in failed
    assert f"{notebook}: 1 cells" in text(server.call("read_notebook", notebook=path))
    overwrite = {"cell": 0, "action": "overwrite", "source": "6 * 7"}
    for tool, given in (
        ("edit_cell", overwrite),
        ("run_cells", {}),
        ("insert_cell", {"source": "7 * 7"}),
        ("control_kernel", {"action": "choose", "kernel": "python3"}),
    ):
        refused = server.call(tool, notebook=path, **given)
        assert refused.is_error
        assert f"Did you mean {notebook}?" in text(refused)
    assert sources(jupyter, notebook) == ["1 / 0"]
    assert not (jupyter.folder / path).exists()
    assert not server.call("edit_cell", notebook=notebook, **overwrite).is_error
    assert "42" in text(server.call("run_cells", notebook=notebook))
    own = run(server, path, "1", make=True)
    assert (cell_of(own)["notebook"], (jupyter.folder / path).exists()) == (path, True)


def test_a_path_of_jupyterlab_leads_to_the_library(
    server: Agents, jupyter: Lab, notebook: str
) -> None:
    """Where its runs and its parameters are asked for, and where JupyterLab has it not."""
    run(server, notebook, "1")
    path = notebook.removeprefix("notebooks/")
    wait_for(lambda: sources(jupyter, notebook) == ["1"])
    for spelling in (path, notebook):
        job_id = job_of(server.call("run_notebook", notebook=spelling))["job_id"]
        assert job_id in text(server.call("list_jobs", notebook=notebook))
        told = text(server.call("list_library", path=notebook))
        assert told.startswith(path)
        assert job_id in told


def test_runs_of_a_notebook_that_was_sent_are_found_by_its_path(
    server: Agents, notebook: str
) -> None:
    """Though the library has none of it."""
    path = f"elsewhere/{Path(notebook).name}"
    run(server, path, "1")
    job_id = job_of(server.call("run_notebook", notebook=path))["job_id"]
    assert f"{job_id} {path} in JupyterLab: succeeded" in text(
        server.call("list_jobs", notebook=path)
    )
    none = text(server.call("list_jobs", notebook=f"x/{path}"))
    assert none.startswith("There are no such jobs; the library has no such notebook")
    assert f"in JupyterLab. Did you mean {path}" in none
    unsent = f"elsewhere/unsent_{Path(notebook).name}"
    run(server, unsent, "1", run=False, make=True)
    assert "JupyterLab has it; no run" in text(server.call("list_jobs", notebook=unsent))


def test_a_notebook_runs_by_its_path_in_jupyterlab_beside_its_neighbours(
    server: Agents, jupyter: Lab, notebook: str
) -> None:
    """As a notebook of the library does, with the edit of a moment ago."""
    run(server, notebook, "1 / 0", run=False)
    (jupyter.folder / "notebooks" / "neighbour.py").write_text("VALUE = 'of the neighbour'")
    failed = text(server.call("run_notebook", notebook=notebook))
    assert f"Notebook: {notebook.removeprefix('notebooks/')} of the library" in failed
    source = "from neighbour import VALUE; VALUE"
    server.call("edit_cell", notebook=notebook, cell=0, action="overwrite", source=source)
    assert "of the neighbour" in text(server.call("run_notebook", notebook=notebook))


def write_aside(jupyter: Lab, notebook: str, *sources: str) -> None:
    """Change the file behind JupyterLab's back."""
    content = on_disk(jupyter, notebook)
    cell: Json = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
    cells = [{**cell, "id": f"own{n}", "source": one} for n, one in enumerate(sources)]
    (jupyter.folder / notebook).write_text(json.dumps({**content, "cells": cells}))


def test_a_change_of_the_file_on_disk_loses_no_cell(
    server: Agents, jupyter: Lab, notebook: str
) -> None:
    """JupyterLab reads the file anew in place of saving: the cell comes once more."""
    run(server, notebook, "x = 1")
    write_aside(jupyter, notebook, "y = 2", "z = 3")
    added = run(server, notebook, "x + 1")
    assert cell_of(added)["output"] == "2", text(added)
    assert sources(jupyter, notebook) == ["y = 2", "z = 3", "x + 1"]
    write_aside(jupyter, notebook, "y = 4")
    edit = {"notebook": notebook, "cell": "own1", "action": "overwrite", "source": "z = 5"}
    refused = server.call("edit_cell", **edit)
    assert refused.is_error
    assert "has no cell 'own1'" in text(refused) or "read it anew" in text(refused)
    (jupyter.folder / notebook).unlink()
    again = run(server, notebook, "x + 2")
    assert "the notebook is new" in text(again)
    assert cell_of(again)["output"] == "3", text(again)
    assert sources(jupyter, notebook) == ["x + 2"]


def test_a_change_of_the_file_on_disk_loses_no_outputs(
    server: Agents, jupyter: Lab, notebook: str
) -> None:
    """Of cells that are there before and after it."""
    run(server, notebook, "41 + 1", run=False)
    content = on_disk(jupyter, notebook)
    extra = {"cell_type": "raw", "id": "extra", "metadata": {}, "source": "more"}
    server.call("run_cells", notebook=notebook)
    changed = {**content, "cells": [*content["cells"], extra]}
    for _ in range(4):  # JupyterLab looks at the file once a second
        (jupyter.folder / notebook).write_text(json.dumps(changed))
        assert cell_of(server.call("run_cells", notebook=notebook))["output"] == "42"
        cells = on_disk(jupyter, notebook)["cells"]
        assert [cell["id"] for cell in cells] == [content["cells"][0]["id"], "extra"]
        assert cells[0]["outputs"][0]["data"]["text/plain"] == ["42"]


def test_a_file_that_is_no_notebook_is_told(server: Agents, jupyter: Lab, notebook: str) -> None:
    """By every tool that would open it."""
    (jupyter.folder / notebook).write_text("{no JSON")
    for tool, arguments in (("read_notebook", {}), ("insert_cell", {"source": "1"})):
        result = server.call(tool, notebook=notebook, **arguments)
        assert result.is_error
        said = text(result)
        assert f"JupyterLab cannot read {notebook!r} as a notebook: " in said
        assert "JSON" in said
        assert said.endswith("Mend or remove the file on disk.")


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("read_cell", {"cell": 99, "notebook": "default.ipynb"}, "an index goes from"),
        ("read_cell", {"cell": 0, "notebook": "none.ipynb"}, "There is no notebook"),
        ("read_cell", {"cell": True}, "`cell` must be a text or a whole number, not true or"),
        ("read_notebook", {"limit": True}, "`limit` must be a whole number, not true or false"),
        ("read_notebook", {"notebook": "../x.ipynb"}, "no path"),
        ("read_notebook", {"notebook": " "}, "`notebook` is empty"),
        ("insert_cell", {"notebook": "/srv/x.ipynb", "source": ""}, "it is absolute"),
        ("insert_cell", {"notebook": "~/x.ipynb", "source": ""}, "`~` is no folder there"),
        ("insert_cell", {"notebook": "a\\x.ipynb", "source": ""}, "folders are parted by `/`"),
        ("insert_cell", {"notebook": "a\n.ipynb", "source": ""}, "it has control characters"),
        ("insert_cell", {"notebook": f"{'a' * 250}.ipynb", "source": ""}, "255 bytes at most"),
        ("control_kernel", {"notebook": "defualt.ipynb", "action": "interrupt"}, "mean default"),
        ("control_kernel", {"notebook": "defualt.ipynb", "action": "restart"}, "mean default"),
        ("list_variables", {"notebook": "defualt.ipynb"}, "Did you mean default.ipynb"),
        ("list_notebooks", {"folder": "/etc"}, "it is absolute"),
        ("read_notebook", {"notebook": "x.txt"}, ".ipynb"),
        ("list_notebooks", {"folder": "nowhere"}, "There is no folder 'nowhere' in JupyterLab"),
        ("insert_cell", {"source": "1", "at": 50}, "`at` goes from 0 to"),
        ("insert_cell", {"source": "1", "at": "", "run": False}, "has no cell ''"),
        ("insert_cell", {"source": "1", "run": False, "timeout_seconds": -1}, "above 0"),
        ("run_cells", {"cell": 0, "if_unchanged": ""}, "`if_unchanged` '' is no hash of a cell"),
        ("run_cells", {"cell": 0}, "There is no code to run. [0]"),
        ("insert_cell", {"source": "1", "timeout_seconds": 0}, "above 0"),
        ("run_notebook", {"notebook": "none.ipynb"}, "nor in JupyterLab"),
    ],
)
def test_a_call_that_cannot_be_says_what_to_give_instead(
    server: Agents, tool: str, arguments: Json, said: str
) -> None:
    """In one sentence, and as an error."""
    result = server.call(tool, **arguments)
    assert result.is_error
    assert said in text(result)


@pytest.mark.usefixtures("in_common_kernel")
def test_nothing_is_left_of_a_call(server: Agents, jupyter: Lab, notebook: str) -> None:
    """No connection and no thread; the library's own thread looks up every ten seconds."""
    assert server.process is not None
    place = f"/proc/{server.process.pid}"
    if not os.path.exists(place):
        pytest.skip("there is no /proc")

    def held() -> int:
        return len(os.listdir(f"{place}/fd")) + len(os.listdir(f"{place}/task"))

    run(server, notebook, "1")
    before = held()
    for number in range(5):
        run(server, notebook, f"{number}")
        server.call("read_notebook", notebook=notebook)
    wait_for(lambda: held() <= before + 2, 60)


def test_a_wrong_token_is_told(server: Agents, jupyter: Lab, program: Program) -> None:
    """By health, with the setting to change."""
    given = {"ROOM_URL": jupyter.url, "ROOM_TOKEN": "wrong", "JUPYTER_TOKEN": jupyter.token}
    with agents(program.root, **given) as other:
        answered = requests.get(f"{other.url}/health", timeout=30)
        assert answered.status_code == 503
        assert "ROOM_TOKEN" in answered.json()["reasons"][0]
        assert "wrong" not in other.log


def test_jupyter_that_goes_away_is_told(server: Agents, jupyter: Lab, notebook: str) -> None:
    """In the middle of a cell, and afterwards; the runner's tools go on. It is the last test."""
    run(server, notebook, "import time")

    async def use() -> Any:
        async with connected(server.url) as client, anyio.create_task_group() as group:
            results: list[Any] = []

            async def call() -> None:
                asked = {
                    "notebook": notebook,
                    "source": "print('go', flush=True)\ntime.sleep(600)",
                    "timeout_seconds": 100,
                }
                results.append(await client.call_tool("insert_cell", asked))

            group.start_soon(call)
            async with person(jupyter, notebook) as other:
                await sees(lambda: len(other) == 2 and printed(other[1]) == "go\n")
            with anyio.fail_after(90):
                await anyio.to_thread.run_sync(jupyter.stop)
                while not results:
                    await anyio.sleep(0.1)
        return results[0]

    result = anyio.run(use)
    assert result.is_error
    # A server that is told to end interrupts its kernels first.
    assert cell_of(result)["status"] in ("kernel_died", "error")
    assert cell_of(result)["output"].startswith("go")
    again = server.call("read_notebook")
    assert again.is_error
    assert "ROOM_URL" in text(again)
    assert requests.get(f"{server.url}/health", timeout=30).status_code == 503
    assert not server.call("run_notebook", notebook=["1"]).is_error

    async def names(client: Client) -> int:
        return len((await client.list_tools()).tools)

    assert ask(server.url, names)
    with suppress(OSError):
        (jupyter.folder / notebook).unlink()
