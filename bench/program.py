"""The real program on folders of its own, for the benchmarks.

Starts it and ends it. Measures nothing.
"""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Running:
    """The program while it runs, and the port of its gateway."""

    root: Path
    process: "subprocess.Popen[bytes]"
    port: int


@contextmanager
def program(
    root: Path, *command: str, environment: Mapping[str, str] | None = None, **settings: Any
) -> Iterator[Running]:
    """`runner COMMAND` with a gateway, on the folders below `root`."""
    for name in ("inbox", "outbox", "state", "notebooks"):
        (root / name).mkdir(exist_ok=True)
    (root / "config.yaml").write_text(json.dumps({"gateway": {"port": 0}, **settings}))
    with (root / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "runner", *command],
            cwd=root,
            stdout=log,
            stderr=log,
            env=None if environment is None else dict(environment),
        )
    try:
        yield Running(root, process, _port(root / "log", process))
    finally:
        process.terminate()
        process.wait(60)


def _port(log: Path, process: "subprocess.Popen[bytes]") -> int:
    while process.poll() is None:
        found = re.search(r"gateway at http://\S+:(\d+)", log.read_text())
        if found:
            return int(found[1])
        time.sleep(0.05)
    raise SystemExit(log.read_text())
