"""A real n8n for tests: installed by npm into a cache, started, driven by its REST interface."""

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import Json, free_port, wait_for

PINNED: Mapping[str, Mapping[str, str]] = json.loads(
    (Path(__file__).parent / "n8n" / "package.json").read_text()
)["config"]
"""Of each series: the versions of n8n, of a Node it runs on, and of what stands in for others."""
CACHE = "INBOX_RUNNER_TEST_CACHE"
INSTALL = "INSTALL_PEERS"
INSTALL_SECONDS = 3600
START_SECONDS = 900
"""A first start makes the database; with a cold disk and others at work that takes minutes."""
OWNER = {"email": "a@example.com", "firstName": "A", "lastName": "B", "password": "Secret12345"}
ENDED = ("success", "error", "crashed")
_ARCHITECTURES = {"x86_64": "x64", "aarch64": "arm64"}


class N8n:
    """One n8n with an owner who is logged in."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = requests.Session()

    def set_up(self) -> None:
        """Make the owner, as the first visitor does."""
        wait_for(self._is_up, START_SECONDS)
        self._call("POST", "/owner/setup", OWNER)

    def run(self, workflow: Json, seconds: float = 300) -> "Execution":
        """Import a workflow, press its button, and wait for its end."""
        saved = self._call("POST", "/workflows", workflow)
        body = {"workflowData": saved, "triggerToStartFrom": {"name": "Start"}}
        started = self._call("POST", f"/workflows/{saved['id']}/run", body)
        path = f"/executions/{started['executionId']}"
        waits = {node["name"] for node in saved["nodes"] if node["type"].endswith(".wait")}

        def ended() -> Execution | None:
            found = self._call("GET", path)
            if found["status"] not in ENDED or found["data"] in ("", "[]"):
                return None
            # Its status is there before what was executed is: it may have that of the wait alone.
            execution = Execution(found)
            return None if execution.last in waits else execution

        whole: Execution = wait_for(ended, seconds)
        return whole

    def credential(self, kind: str, name: str, content: Json) -> Json:
        """Store a credential; gives how nodes refer to it."""
        made = self._call("POST", "/credentials", {"name": name, "type": kind, "data": content})
        return {kind: {"id": made["id"], "name": name}}

    def _call(self, method: str, path: str, body: Json | None = None) -> Any:
        answer = self._session.request(method, f"{self._url}/rest{path}", json=body, timeout=60)
        assert answer.ok, (method, path, answer.status_code, answer.text[:2000])
        return answer.json()["data"]

    def _is_up(self) -> bool:
        try:
            # Before its database is ready it answers with a page.
            answer = requests.get(f"{self._url}/rest/settings", timeout=30)
            return answer.ok and "data" in answer.json()
        except (requests.RequestException, ValueError):
            return False


class Execution:
    """What became of one run of a workflow."""

    def __init__(self, found: Json) -> None:
        self.status: str = found["status"]
        self._result: Json = _unflattened(found["data"])["resultData"]

    @property
    def last(self) -> str | None:
        """The node that ran last."""
        return self._result.get("lastNodeExecuted")

    @property
    def error(self) -> Json:
        """Of the node that ended it, as n8n shows it."""
        found: Json = self._result["error"]
        return found

    def items(self, node: str) -> list[Json]:
        """What the last run of a node gave."""
        found: list[Json] = self._result["runData"][node][-1]["data"]["main"][0]
        return found

    def runs(self, node: str) -> int:
        """How often a node ran."""
        return len(self._result["runData"].get(node, ()))

    def __repr__(self) -> str:
        return json.dumps(self._result, default=str)[:5000]


@contextmanager
def serving_n8n(series: str, folder: Path) -> Iterator[N8n]:
    """A started n8n of a series (`n8n1`, `n8n2`); skips where it is not installed."""
    pinned = PINNED[series]
    node = node_of(pinned["node"])
    installed = _installed(series, pinned, node)
    port, broker = free_port(), free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("N8N_")},
        "PATH": f"{node / 'bin'}:{os.environ['PATH']}",
        "N8N_USER_FOLDER": str(folder),
        "N8N_LISTEN_ADDRESS": "127.0.0.1",
        "N8N_PORT": str(port),
        "N8N_RUNNERS_BROKER_PORT": str(broker),
        "N8N_SECURE_COOKIE": "false",
        "N8N_DIAGNOSTICS_ENABLED": "false",
        "N8N_VERSION_NOTIFICATIONS_ENABLED": "false",
        "N8N_TEMPLATES_ENABLED": "false",
        "N8N_DYNAMIC_BANNERS_ENABLED": "false",
    }
    with (folder / "n8n.log").open("wb") as log:
        process = subprocess.Popen(
            [node / "bin" / "node", installed / "node_modules/n8n/bin/n8n", "start"],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        n8n = N8n(f"http://127.0.0.1:{port}")
        n8n.set_up()
        yield n8n
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _installed(series: str, pinned: Mapping[str, str], node: Path) -> Path:
    package = {
        "private": True,
        "dependencies": {"n8n": pinned["n8n"]},
        # The one comes from a host that not every machine reaches, the other is compiled for long.
        "overrides": {name: one for name, one in pinned.items() if name not in ("n8n", "node")},
    }
    return cached(series, package, node)


def node_of(version: str) -> Path:
    """A Node that n8n runs on, with its headers, as npm has it."""
    machine = _ARCHITECTURES.get(platform.machine())
    if platform.system() != "Linux" or machine is None:
        pytest.skip("no Node is pinned for this machine")
    name = f"node-linux-{machine}"
    package = {"private": True, "dependencies": {name: version}}
    return cached("node", package, None) / "node_modules" / name


def cached(name: str, package: Json, node: Path | None) -> Path:
    """The folder in which npm has installed this package; installs it where it may."""
    content = json.dumps(package, indent=2)
    base = os.environ.get(CACHE) or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    digest = hashlib.sha256(content.encode()).hexdigest()[:12]
    folder = Path(base) / "inbox-runner-tests" / f"{name}-{digest}"
    done = folder / ".installed"
    if done.exists():
        return folder
    if not os.environ.get(INSTALL):
        pytest.skip(f"{name} is not installed; `make peers` does it, in some minutes")
    npm = shutil.which("npm") or pytest.skip("npm is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    environment = dict(os.environ)
    if node is not None:  # what is compiled has to fit the Node that runs it
        path = f"{node / 'bin'}:{os.environ['PATH']}"
        environment |= {"PATH": path, "npm_config_nodedir": str(node)}
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if done.exists():
            return folder
        (folder / "package.json").write_text(content)
        ended = subprocess.run(
            [npm, "install", "--no-audit", "--no-fund"],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
        )
        if ended.returncode:
            pytest.skip(f"npm could not install {name}: {ended.stderr[-2000:]}")
        done.write_text(time.strftime("%Y-%m-%d\n"))
    return folder


def _unflattened(text: str) -> Any:
    """What n8n stores an execution as: a list in which every text stands for a place in it."""
    stored: list[Any] = json.loads(text)
    made: dict[int, Any] = {}

    def value(at: Any) -> Any:
        if not isinstance(at, str):
            return at
        index = int(at)
        if index in made:
            return made[index]
        found = stored[index]
        if isinstance(found, dict):
            filled: Json = {}
            made[index] = filled
            filled |= {key: value(inner) for key, inner in found.items()}
            return filled
        if isinstance(found, list):
            listed: list[Any] = []
            made[index] = listed
            listed.extend(value(inner) for inner in found)
            return listed
        return found

    return value("0")
