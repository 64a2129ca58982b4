"""All four on one machine, by `make stack`: the same scenario as with Docker."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import wait_for
from tests.stack.scenario import PATIENCE_SECONDS, ROOT, Scenario, Stack, folders, free_ports, is_up


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """As a person starts it, on folders of its own and on free ports."""
    if importlib.util.find_spec("jupyterlab") is None:
        assert not os.environ.get("ALL_TESTS"), "the extras `lab` and `mcp` are not installed"
        pytest.skip("the extras `lab` and `mcp` are not installed")
    folder = folders(tmp_path_factory.mktemp("stack"))
    ports = free_ports("jupyter", "gateway", "mcp")
    state = folder / "state"
    names = {name: str(folder / name) for name in ("inbox", "outbox", "notebooks", "state")}
    jupyter = {f"JUPYTER_{kind}_DIR": str(folder / kind.lower()) for kind in ("CONFIG", "DATA")}
    environment = {
        **{f"INBOX_RUNNER__{name.upper()}": path for name, path in names.items()},
        **{f"{name.upper()}_PORT": str(port) for name, port in ports.items()},
        **jupyter,
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
    }
    with (folder / "stack.log").open("wb") as log:
        process = subprocess.Popen(
            ["make", "-C", str(ROOT), "stack", f"PYTHON={sys.executable}"],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    there = Stack(folder, ports, lambda: os.kill(_owner(state), signal.SIGKILL))
    try:
        urls = [f"{there.url('jupyter')}/api", f"{there.url('gateway')}/"]
        urls.append(f"{there.url('mcp')}/health")

        def are_up() -> bool:
            assert process.poll() is None, (folder / "stack.log").read_text()
            return all(is_up(url) for url in urls)

        wait_for(are_up, 2 * PATIENCE_SECONDS)
        yield there
    finally:
        left = _end(process)
    assert not left, (folder / "stack.log").read_text()


def _end(process: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    """As Ctrl-C does; gives what does not end by it, ended."""
    if process.poll() is not None:
        return []
    tree = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    process.wait(60)
    _, left = psutil.wait_procs(tree, 30)
    for one in left:
        one.kill()
    return left


def _owner(state: Path) -> int:
    """The daemon's pid, as its lock says."""
    return int(json.loads((state / ".runner.lock").read_text())["pid"])


class TestStack(Scenario):
    """Without Docker."""
