"""Holds unit tests to what they are: nothing of them changes a disk, waits, or starts or calls
anything. What they read are files of this checkout."""

import os
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
EVENTS = (
    *("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate"),
    *("shutil.copyfile", "shutil.move", "shutil.rmtree", "tempfile.mkstemp", "tempfile.mkdtemp"),
    *("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn"),
    *("socket.connect", "socket.bind", "socket.getaddrinfo"),
)
"""What Python tells its audit hooks of (docs.python.org/3/library/audit_events.html)."""
OF_TOOLS = ("__pycache__", ".hypothesis")
"""Folders into which Python and hypothesis write while a test runs."""


class Impure(AssertionError):
    """A unit test did what belongs into `tests/integration`."""


class Guard:
    """What the hook asks; a hook can never be taken away again."""

    is_up = False


def _watch(event: str, details: tuple[Any, ...]) -> None:
    if not Guard.is_up:
        return
    if event == "open":
        path, _, flags = details
        is_known = isinstance(path, int) or any(folder in str(path) for folder in OF_TOOLS)
        if isinstance(flags, int) and flags & WRITES and not is_known:
            raise Impure(f"a unit test writes {path}")
    elif event == "socket.__new__":
        if details[1] != socket.AF_UNIX:  # of which an event loop makes itself a pair
            raise Impure("a unit test makes a socket")
    elif event in EVENTS and not any(folder in str(details) for folder in OF_TOOLS):
        raise Impure(f"a unit test does {event}{details}")


sys.addaudithook(_watch)


def _pause(seconds: float) -> None:
    raise Impure(f"a unit test waits for {seconds} s")


@pytest.fixture(autouse=True)
def pure(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The guard, while the test runs."""
    monkeypatch.setattr(time, "sleep", _pause)
    Guard.is_up = True
    yield
    Guard.is_up = False


@pytest.fixture
def tmp_path() -> None:
    """There is none here."""
    raise Impure("a unit test has no folder; this one belongs into tests/integration")
