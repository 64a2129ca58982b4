"""`scripts/start.py`, which is `make run`, where something is wrong from the start."""

import os
import signal
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from tests.conftest import wait_for
from tests.stack.scenario import ROOT, folders, free_ports


def environment(tmp_path: Path, **changes: str) -> dict[str, str]:
    """Folders of its own, which win over the checkout's config.yaml."""
    folder = folders(tmp_path)
    names = ("inbox", "outbox", "notebooks", "state")
    port = str(free_ports("gateway")["gateway"])
    own = {f"INBOX_RUNNER__{name.upper()}": str(folder / name) for name in names}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, **own, "GATEWAY_PORT": port, "PATH": path, **changes}


def test_a_wrong_setting_is_one_sentence(tmp_path: Path) -> None:
    """Whoever else reads the settings leaves it to the runner to tell."""
    done = subprocess.run(
        [sys.executable, "scripts/start.py", "run"],
        env=environment(tmp_path, INBOX_RUNNER__LIMITS__RUN_SECS="5"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 70
    assert "did you mean `run_seconds`" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_a_runner_that_was_killed_starts_again_and_says_so(tmp_path: Path) -> None:
    """The line stands between the two starts."""
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "scripts/start.py", "run"],
            env=environment(tmp_path),
            cwd=ROOT,
            stdout=log,
            stderr=log,
        )
    said = (tmp_path / "log").read_text
    try:
        wait_for(lambda: "watching" in said())
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
        for child in map(int, children.split()):
            os.kill(child, signal.SIGKILL)
        wait_for(lambda: said().count("watching") == 2)
    finally:
        process.terminate()
        process.wait(90)
    assert "runner was ended by SIGKILL; it starts again" in said()


def test_the_page_of_another_runner_is_not_told_as_ours(tmp_path: Path) -> None:
    """Where its port is taken, it has no address; both say how to give another port."""
    (tmp_path / "healthz").write_text("papermill-gateway")
    answer = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    other = ThreadingHTTPServer(("127.0.0.1", 0), answer)
    Thread(target=other.serve_forever, daemon=True).start()
    port = other.server_port
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "scripts/start.py", "run"],
            env=environment(tmp_path, GATEWAY_PORT=str(port)),
            cwd=ROOT,
            stdout=log,
            stderr=log,
        )
    said = (tmp_path / "log").read_text
    try:
        wait_for(lambda: "Ctrl-C ends it" in said() and "Error" in said())
    finally:
        process.terminate()
        process.wait(90)
        other.shutdown()
        other.server_close()
    assert f"http://127.0.0.1:{port}" not in said()
    assert f"none: {port} is taken; GATEWAY_PORT={port + 1} make run" in said()
    assert "the page and HTTP have no address" in said()
