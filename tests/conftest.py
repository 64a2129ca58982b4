"""Fixtures for all tests: notebooks by a line, and the real program on folders of its own."""

import gc
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis
import psutil
import pytest

from runner.system.processes.process_tree import INSTANCE
from tests.forked_command import COMMANDS, forked_command
from tests.zygote import OF_PYTHON, Forked, forked

# Also a busy one; and what failed once is kept as a test, not in a folder.
hypothesis.settings.register_profile("any machine", deadline=None, database=None)
hypothesis.settings.load_profile("any machine")

Json = dict[str, Any]

PYTHON3 = {
    "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
    "language_info": {"name": "python"},
}


def code(source: str, *tags: str) -> Json:
    """A code cell."""
    return {"cell_type": "code", "source": source, "metadata": {"tags": list(tags)}}


def notebook(*cells: str | Json, metadata: Json | None = None) -> Json:
    """A notebook of these cells; text is the source of a code cell."""
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": PYTHON3 if metadata is None else metadata,
        "cells": [
            {"id": f"c{index}", "outputs": [], "execution_count": None, **cell}
            if cell["cell_type"] == "code"
            else {"id": f"c{index}", **cell}
            for index, cell in enumerate(code(c) if isinstance(c, str) else c for c in cells)
        ],
    }


def wait_for(what: Callable[[], Any], seconds: float = 90, pause: float = 0.02) -> Any:
    """What `what` gives once it is true; fails when it does not become so.

    A longer `pause` is for looks that take long, at what stays true.
    """
    deadline = time.monotonic() + seconds
    while True:
        found = what()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"did not become true within {seconds} s")
        time.sleep(pause)


def free_port() -> int:
    """A port of 127.0.0.1 for a server that starts in a while.

    It lies below those that Linux gives to connections (32768 and up, ip(7)); else one of them
    may have it by then.
    """
    while True:
        port = random.randint(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def tool(name: str) -> str:
    """The path of a program that the project does not bring along, or a skip; never in CI."""
    found = shutil.which(name)
    if found is None and os.environ.get("ALL_TESTS"):
        raise AssertionError(f"{name} is not there, and ALL_TESTS allows no skip")
    return found or pytest.skip(f"{name} is not installed")


@pytest.fixture
def immutable() -> Iterator[Callable[[Path], None]]:
    """Makes files that nobody may change or remove, root neither; afterwards they are as before."""
    chattr, made = tool("chattr"), list[Path]()

    def make(path: Path) -> None:
        done = subprocess.run([chattr, "+i", path], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"nothing can be made immutable here: {done.stderr.strip()}")
        made.append(path)

    yield make
    for path in made:
        subprocess.run([chattr, "-i", path], check=False, capture_output=True)


AS_INSTALLED: Json = {"kernels": {}}
"""Settings of a program that preloads what it does at home."""


SERVE = ("-m", "runner", "serve", "-v")


@dataclass
class Program:
    """`runner serve` on the folders below `root`, as a user starts it.

    Nothing is preloaded, so that each of some hundred programs is up in a second instead of four,
    unless a test says what it wants of `kernels`, or `AS_INSTALLED`.
    """

    root: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | Forked | None = None
    prefix: Sequence[str] = ()
    """A command that starts another one, such as `setpriv`, before ours."""
    arguments: Sequence[str] = ()
    python: str = sys.executable

    def __post_init__(self) -> None:
        gateway = {"enabled": False, **self.settings.get("gateway", {})}
        settings = {"kernels": {"preload": []}, **self.settings, "gateway": gateway}
        (self.root / "config.yaml").write_text(json.dumps(settings))

    @property
    def inbox(self) -> Path:
        return self.root / "inbox"

    @property
    def outbox(self) -> Path:
        return self.root / "outbox"

    @property
    def library(self) -> Path:
        return self.root / "notebooks"

    @property
    def log(self) -> str:
        return (self.root / "serve.log").read_text()

    def start(self, command: Sequence[str] = SERVE) -> "Program":
        before = self.launch(command)
        process = self.process
        assert process is not None
        wait_for(lambda: "watching" in self.log[before:] or process.poll() is not None)
        assert process.poll() is None, self.log
        return self

    def launch(self, command: Sequence[str] = SERVE) -> int:
        """Start it without waiting until it is ready; gives where its log begins.

        Only as it usually is, it has its imports already, see `tests/zygote.py`.
        """
        environment = {**os.environ, **self.environment}
        with (self.root / "serve.log").open("ab") as log:
            before = log.tell()
            if self.may_be_forked and command == SERVE:
                arguments = (*command[2:], *self.arguments)
                self.process = forked(self.root, environment, arguments, Path(log.name))
                return before
            self.process = subprocess.Popen(
                [*self.prefix, self.python, *command, *self.arguments],
                cwd=self.root,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return before

    @property
    def may_be_forked(self) -> bool:
        """Whether it is the Python of the tests, and nothing else, that this program runs in."""
        changed = any(name.startswith(OF_PYTHON) for name in self.environment)
        return not (self.prefix or changed or self.python != sys.executable)

    def says(self, text: str) -> bool:
        return text in self.log

    @property
    def url(self) -> str:
        """Where the newest gateway listens, once it says so."""
        wait_for(lambda: self.addresses())
        return self.addresses()[-1]

    def addresses(self) -> list[str]:
        return re.findall(r"gateway at (http://\S+)", self.log)

    def stop(self, number: int = signal.SIGTERM, seconds: float = 60) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(seconds)

    def run(self, *arguments: str, seconds: float = 90) -> "subprocess.CompletedProcess[str]":
        """Another `runner` command in the same folder; see `forked_command` for most of them."""
        if arguments and arguments[0] in COMMANDS and "PYTHONPATH" not in self.environment:
            return forked_command(self.root, self.environment, arguments, seconds)
        return subprocess.run(
            [sys.executable, "-m", "runner", *arguments],
            cwd=self.root,
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
        )

    def drop(self, name: str, content: Json | bytes | str) -> Path:
        """Put a file into the inbox the way a careful program does: whole, by rename."""
        raw = (
            content
            if isinstance(content, bytes)
            else (content.encode() if isinstance(content, str) else json.dumps(content).encode())
        )
        target = self.inbox / name
        target.parent.mkdir(parents=True, exist_ok=True)
        temp = target.parent / f".{os.urandom(8).hex()}.tmp"
        temp.write_bytes(raw)
        temp.rename(target)
        return target

    def report(self, name: str) -> Json | None:
        for suffix in (".result.json", ".error.json"):
            path = self.outbox / f"{name}{suffix}"
            try:
                found: Json = json.loads(path.read_bytes(), parse_constant=_no_constant)
            except FileNotFoundError:
                continue
            return found
        return None

    def await_report(self, name: str, seconds: float = 90) -> Json:
        try:
            found: Json = wait_for(lambda: self.report(name), seconds)
        except AssertionError:
            raise AssertionError(f"no report of {name!r}; the log:\n{self.log}") from None
        return found

    def children(self, word: str) -> list[psutil.Process]:
        """The daemon's own, oldest first, with this word in their name or command line."""
        assert self.process is not None
        found = []
        for child in psutil.Process(self.process.pid).children():
            with suppress(psutil.NoSuchProcess):  # a zombie too
                if word in " ".join([child.name(), *child.cmdline()]):
                    found.append((child.create_time(), child.pid, child))
        return [child for *_, child in sorted(found)]

    def processes(self) -> list[psutil.Process]:
        """Everything alive that this program's kernels and servers are, by the mark they carry."""
        mark = self._mark()
        return [] if mark is None else [p for p in psutil.process_iter() if _is_marked(p, mark)]

    def _mark(self) -> str | None:
        import sqlite3

        ledger = self.root / "state" / "ledger.sqlite3"
        if not ledger.exists():
            return None
        with sqlite3.connect(ledger) as db:
            # One that was killed early may have made the file and no table in it yet.
            if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'facts'").fetchone():
                return None
            row = db.execute("SELECT value FROM facts WHERE key = 'instance'").fetchone()
        return str(row[0]) if row else None


def end(process: "subprocess.Popen[bytes] | Forked") -> None:
    """Stop at once: the second signal does. Two that are pending together would count as one."""
    for patience in (2, 60):
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue
        return
    process.kill()
    raise AssertionError("the program did not stop")


def alive(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Those of them that are neither gone nor dead, whatever becomes of them while we look."""
    found = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _is_marked(process: psutil.Process, mark: str) -> bool:
    try:
        alive = process.status() != psutil.STATUS_ZOMBIE
        return alive and process.environ().get(INSTANCE) == mark
    except (psutil.Error, OSError):
        return False


def _no_constant(name: str) -> None:
    raise AssertionError(f"{name} is no strict JSON")


MACHINE = ("tests/stack", "tests/peers/test_mounts.py", "tests/integration/test_watch.py")
"""Tests that use the machine as a whole: its engine, its mounts, its limits. First, one by one."""
LONGEST = (
    "tests/acceptance/test_cluster.py",
    "tests/acceptance/test_page.py",
    "tests/peers/test_mcp_jupyter.py",
    "tests/acceptance/test_gateway.py",
    "tests/integration/test_limits.py",
)
"""Files of two minutes and more. One that begins late is waited for in the end."""
SINGLY = "tests/faults"
"""Tests that share nothing, so that each goes to whatever process is free: they fill the end."""
ROOMS = (
    *MACHINE,
    *LONGEST,
    "tests/peers",
    "tests/acceptance",
    "tests/integration",
    "tests/unit",
    SINGLY,
)


def _group(nodeid: str) -> str:
    """What one process works off: a file, all that uses the machine as a whole, or one test."""
    if nodeid.startswith(MACHINE):
        return "machine"
    return nodeid if nodeid.startswith(SINGLY) else nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """For several processes (`-n 2`): each file's fixtures are made once.

    xdist 3.8 has marks for this, which pytest 9.2 does not see.
    """
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

    class Groups(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return _group(nodeid)

    return Groups(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The slow groups first where several processes share them, so that these end together."""
    if hasattr(config, "workerinput"):
        rooms = [*ROOMS, ""]
        items.sort(
            key=lambda item: next(n for n, room in enumerate(rooms) if item.nodeid.startswith(room))
        )


def pytest_collection_finish() -> None:
    """What is imported by now stays until the end: the collector need not look at it again."""
    gc.collect()
    gc.freeze()


Serving = Callable[..., Program]


@pytest.fixture
def make_program(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """Makes a program that is not started yet; afterwards nothing of it is left running."""
    yield from programs(tmp_path)


def programs(folder: Path) -> Iterator[Callable[..., Program]]:
    """What the fixture does, for fixtures of other scopes."""
    made: list[Program] = []

    def make(settings: Mapping[str, Any] | None = None, **environment: str) -> Program:
        root = folder / f"program{len(made)}"
        root.mkdir()
        made.append(Program(root, settings or {}, environment))
        return made[-1]

    yield make
    left: list[psutil.Process] = []
    for one in made:
        if one.process is not None and one.process.poll() is None:
            end(one.process)
        deadline = time.monotonic() + 60
        while one.processes() and time.monotonic() < deadline:
            time.sleep(0.05)
        left.extend(one.processes())
    for process in left:
        process.kill()
    assert not left, f"left running: {left}"


@pytest.fixture(scope="session")
def standing_program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Who keeps the program of `standing`."""
    from tests.standing import Standing

    with contextmanager(programs)(tmp_path_factory.mktemp("standing")) as make:
        yield Standing(make)


@pytest.fixture
def standing(standing_program: Any) -> Iterator[Program]:
    """A program with the usual settings that runs, for tests that only give it work.

    They share it, so that what it said and knows may be of other tests; its folders are empty.
    """
    yield standing_program.get()
    standing_program.tidy()


@pytest.fixture
def serving(make_program: Callable[..., Program]) -> Serving:
    """Makes a program and starts it."""

    def make(settings: Mapping[str, Any] | None = None, **environment: str) -> Program:
        return make_program(settings, **environment).start()

    return make


def results_in_order(reports: Sequence[Json]) -> list[str]:
    """Job ids by the time they were accepted."""
    return [r["job_id"] for r in sorted(reports, key=lambda r: r["accepted_at"])]
