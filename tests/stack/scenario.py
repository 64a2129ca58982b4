"""What a person does with the whole stack, whether Docker or `make stack` runs it.

Each promise is a test; the two modules beside this one say how the stack comes up.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.agents import ask
from tests.conftest import Json, code, free_port, notebook, wait_for

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 120
TOKEN = "changeme"  # the one that JupyterLab has where nobody chose another
TOOLS = {
    *("insert_cell", "edit_cell", "read_notebook", "read_cell"),
    *("list_notebooks", "run_notebook", "get_job", "list_jobs", "cancel_job", "check_notebook"),
}
SCIENCE = "pandas numpy scipy matplotlib seaborn plotly sklearn requests yaml pyarrow".split()


@dataclass
class Stack:
    """A stack that is up, as it is reached from outside."""

    folder: Path
    """Holds inbox, outbox and notebooks."""
    ports: dict[str, int]
    """Of `jupyter`, `gateway` and `mcp`."""
    kill_runner: Callable[[], None]
    jupyter_root: str = ""
    """Where JupyterLab has these folders, below what its file browser shows."""

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def drop(self, name: str, content: Json) -> None:
        """As a program on the host does."""
        temp = self.folder / "inbox" / f".{name}.tmp"
        temp.write_text(json.dumps(content))
        temp.rename(self.folder / "inbox" / f"{name}.ipynb")

    def report(self, name: str) -> Json | None:
        for suffix in (".result.json", ".error.json"):
            path = self.folder / "outbox" / f"{name}{suffix}"
            if path.exists():
                found: Json = json.loads(path.read_text())
                return found
        return None

    def await_report(self, name: str) -> Json:
        found: Json = wait_for(lambda: self.report(name), PATIENCE_SECONDS)
        return found

    def post(self, content: object) -> requests.Response:
        return requests.post(f"{self.url('gateway')}/run", json=content, timeout=PATIENCE_SECONDS)

    def contents(self, path: str, **body: Any) -> requests.Response:
        """JupyterLab's contents API: PUT with a body, GET without."""
        return requests.request(
            "PUT" if body else "GET",
            f"{self.url('jupyter')}/api/contents/{self.jupyter_root}{path}",
            json=body or None,
            headers={"Authorization": f"token {TOKEN}"},
            timeout=PATIENCE_SECONDS,
        )


def folders(root: Path) -> Path:
    """Inbox, outbox and notebooks, as a clone of the project has them."""
    for name in ("inbox", "outbox", "notebooks"):
        (root / name).mkdir()
    return root


def free_ports(*names: str) -> dict[str, int]:
    """Ports of 127.0.0.1 that nobody listens on now."""
    return {name: free_port() for name in names}


def is_up(url: str) -> bool:
    try:
        return requests.get(url, timeout=10).ok
    except requests.RequestException:
        return False


class Scenario:
    """Collected below each module that has a fixture `stack`."""

    @pytest.mark.parametrize(
        ("name", "path"), [("jupyter", "/api"), ("gateway", "/"), ("mcp", "/health")]
    )
    def test_every_service_is_healthy(self, stack: Stack, name: str, path: str) -> None:
        """Where its health check looks."""
        wait_for(lambda: is_up(stack.url(name) + path), PATIENCE_SECONDS)

    def test_a_browser_finds_the_page(self, stack: Stack) -> None:
        """With its style sheet; templates and files are part of what is installed."""
        page = requests.get(f"{stack.url('gateway')}/", headers={"Accept": "text/html"}, timeout=60)
        assert page.headers["Content-Type"].startswith("text/html")
        [sheet] = re.findall(r'rel="stylesheet" href="([^"]+)"', page.text)
        style = requests.get(f"{stack.url('gateway')}{sheet}", timeout=60)
        assert style.headers["Content-Type"].startswith("text/css")

    def test_a_dropped_notebook_comes_back(self, stack: Stack) -> None:
        """From the folders of the host to the folders of the host."""
        stack.drop("dropped", notebook(code("6 * 7", "results")))
        report = stack.await_report("dropped")
        assert report["results"]["cell_1"]["application/json"] == 42
        assert (stack.folder / "outbox" / "dropped.ipynb").exists()
        assert not (stack.folder / "inbox" / "dropped.ipynb").exists()

    def test_a_posted_notebook_comes_back(self, stack: Stack) -> None:
        """With what data science needs: the same that JupyterLab has."""
        source = f"import importlib\n[importlib.import_module(n).__name__ for n in {SCIENCE}]"
        answer = stack.post({"notebook": notebook(code(source, "results"))})
        assert answer.status_code == 200, answer.text
        assert answer.json()["results"]["cell_1"]["application/json"] == SCIENCE

    def test_a_notebook_of_the_library_runs_where_it_lies(self, stack: Stack) -> None:
        """The gateway and the runner see the same one, and its neighbours are found."""
        (stack.folder / "notebooks" / "beside.py").write_text("VALUE = 5\n")
        asked = notebook(code("import beside\nbeside.VALUE", "results"))
        (stack.folder / "notebooks" / "uses.ipynb").write_text(json.dumps(asked))
        answer = stack.post({"notebook": "uses.ipynb"})
        assert answer.status_code == 200, answer.text
        assert answer.json()["results"]["cell_1"]["application/json"] == 5

    def test_the_official_client_lists_the_tools_and_runs_a_notebook(self, stack: Stack) -> None:
        """Over the protocol, and over the same folders."""
        listed = ask(stack.url("mcp"), lambda client: client.list_tools())
        assert {tool.name for tool in listed.tools} >= TOOLS
        given = {"notebook": notebook(code("'by an agent'", "results")), "name": "agent"}
        answered = ask(stack.url("mcp"), lambda client: client.call_tool("run_notebook", given))
        assert not answered.is_error, answered
        assert "by an agent" in str(stack.await_report("agent")["results"])

    def test_an_agent_writes_into_a_notebook_in_jupyterlab(self, stack: Stack) -> None:
        """The services find each other, with the tokens that they have by default."""
        given = {
            "source": "print(20 + 3)",
            "notebook": f"{stack.jupyter_root}notebooks/live.ipynb",
        }
        answered = ask(stack.url("mcp"), lambda client: client.call_tool("insert_cell", given))
        assert not answered.is_error, answered
        assert "23" in str(answered.content)

    def test_a_notebook_saved_in_jupyterlab_comes_back_there(self, stack: Stack) -> None:
        """The inbox and the outbox are folders of its file browser."""
        content = notebook(code("'saved'", "results"))
        # It looks at the file once more when it is written, and the runner may be quicker.
        stack.contents("inbox/saved.ipynb", type="notebook", format="json", content=content)
        assert stack.await_report("saved")["status"] == "succeeded"
        shown = stack.contents("outbox/saved.ipynb").json()
        assert shown["content"]["cells"][0]["outputs"][0]["data"]["text/plain"] == "'saved'"

    def test_what_the_runner_ran_is_trusted_in_jupyterlab(self, stack: Stack) -> None:
        """So that its plots and tables are shown; what lies elsewhere is not."""
        stack.drop("trusted", notebook(code("from IPython.display import HTML\nHTML('<b>x</b>')")))
        stack.await_report("trusted")
        [ours] = stack.contents("outbox/trusted.ipynb").json()["content"]["cells"]
        assert ours["metadata"]["trusted"] is True
        copy = stack.folder / "notebooks" / "foreign.ipynb"
        copy.write_bytes((stack.folder / "outbox" / "trusted.ipynb").read_bytes())
        [foreign] = stack.contents("notebooks/foreign.ipynb").json()["content"]["cells"]
        assert foreign["metadata"]["trusted"] is False

    def test_jupyterlab_exports_what_came_out(self, stack: Stack) -> None:
        """By nbconvert's own server extension."""
        stack.drop("exported", notebook(code("'as html'", "results")))
        stack.await_report("exported")
        url = f"{stack.url('jupyter')}/nbconvert/html/{stack.jupyter_root}outbox/exported.ipynb"
        page = requests.get(url, headers={"Authorization": f"token {TOKEN}"}, timeout=60)
        assert page.ok
        assert "as html" in page.text

    def test_a_killed_runner_is_started_again(self, stack: Stack) -> None:
        """What ran then is interrupted, what comes then runs."""
        stack.drop("torn", notebook("import time; time.sleep(600)"))
        wait_for(lambda: not (stack.folder / "inbox" / "torn.ipynb").exists(), PATIENCE_SECONDS)
        status = stack.folder / "outbox" / "torn.status.json"
        wait_for(lambda: "running" in _text(status), PATIENCE_SECONDS)
        stack.kill_runner()
        assert stack.await_report("torn")["error_type"] == "interrupted"
        stack.drop("after", notebook(code("1", "results")))
        assert stack.await_report("after")["status"] == "succeeded"
        wait_for(lambda: is_up(f"{stack.url('gateway')}/"), PATIENCE_SECONDS)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""
