"""A real JupyterLab over a folder."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests.conftest import free_port, wait_for


@dataclass
class Lab:
    """One server, with collaboration where that is installed."""

    port: int
    token: str
    folder: Path
    """Its root."""
    process: "subprocess.Popen[bytes]"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"token {self.token}"}

    def is_up(self) -> bool:
        try:
            return requests.get(f"{self.url}/api/status", headers=self.headers, timeout=10).ok
        except requests.RequestException:  # it may also take its time
            return False

    def stop(self) -> None:
        """With the kernels that it has, which it ends first.

        Some of its ends are none: it waits for ever for messages to a dead kernel to be sent.
        """
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextmanager
def lab(place: Path, folder: Path) -> Iterator[Lab]:
    """JupyterLab in `folder`; `place` is for its own files. A skip where it is not installed."""
    if importlib.util.find_spec("jupyterlab") is None:
        assert not os.environ.get("ALL_TESTS"), "jupyterlab is not installed"
        pytest.skip("jupyterlab is not installed (the extra `lab`)")
    port = free_port()
    token = os.urandom(16).hex()
    folders = {f"JUPYTER_{kind}_DIR": str(place / kind) for kind in ("CONFIG", "DATA", "RUNTIME")}
    with (place / "jupyter.log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
                *("--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}"),
                *("--ServerApp.port_retries=0", f"--IdentityProvider.token={token}"),
                f"--ServerApp.root_dir={folder}",
            ],
            env={**os.environ, **folders},
            cwd=place,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    made = Lab(port, token, folder, process)
    try:
        wait_for(lambda: made.is_up() or process.poll() is not None, 90)
        assert process.poll() is None, (place / "jupyter.log").read_text()
        yield made
    finally:
        if process.poll() is None:
            made.stop()
