"""A real Samba server over the inbox, and smbclient on its other side."""

import json
import os
import pwd
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import Json, Program, code, free_port, notebook, programs, tool, wait_for

CONFIG = """
[global]
    server role = standalone server
    interfaces = 127.0.0.1
    bind interfaces only = yes
    smb ports = {port}
    disable netbios = yes
    map to guest = Bad User
    guest account = {user}
    load printers = no
    disable spoolss = yes
    private dir = {folder}/private
    lock directory = {folder}/lock
    state directory = {folder}/state
    cache directory = {folder}/cache
    pid directory = {folder}/pid
    ncalrpc dir = {folder}/ncalrpc
    log file = {folder}/log
[inbox]
    path = {inbox}
    guest ok = yes
    read only = no
    force user = {user}
"""


def answer(number: int) -> Json:
    return notebook(code(f"{number}", "results"))


class Share:
    """The inbox as a Windows machine sees it."""

    def __init__(self, port: int, work: Path) -> None:
        self._port = port
        self._work = work

    def command(self, command: str) -> list[str]:
        return [tool("smbclient"), "//127.0.0.1/inbox", "-p", str(self._port), "-N", "-c", command]

    def do(self, command: str) -> None:
        done = subprocess.run(
            self.command(command), cwd=self._work, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def put(self, content: Json, name: str) -> None:
        (self._work / "local").write_text(json.dumps(content))
        self.do(f"put local {name}")

    def is_up(self) -> bool:
        asked = subprocess.run(self.command("ls"), capture_output=True, timeout=60)
        return asked.returncode == 0


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    settings = {"intake": {"broken_seconds": 3600}, "limits": {"notebook_mb": 100}}
    with contextmanager(programs)(tmp_path_factory.mktemp("shared")) as make:
        yield make(settings).start()


@pytest.fixture(scope="module")
def share(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Share]:
    """Its server runs in the foreground, on loopback, with every file below a temporary folder."""
    server, _ = tool("smbd"), tool("smbclient")
    work = tmp_path_factory.mktemp("client")
    folder = work / "samba"
    for name in ("private", "lock", "state", "cache", "pid", "ncalrpc"):
        (folder / name).mkdir(parents=True, mode=0o755)
    port = free_port()
    user = pwd.getpwuid(os.geteuid()).pw_name
    settings = folder / "smb.conf"
    settings.write_text(CONFIG.format(port=port, user=user, folder=folder, inbox=program.inbox))
    with (folder / "out").open("wb") as log:
        process = subprocess.Popen(
            [server, "--foreground", "--no-process-group", "--configfile", settings],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # at its end it signals all of its process group
        )
    try:
        made = Share(port, work)
        wait_for(lambda: made.is_up() or process.poll() is not None, 60)
        assert process.poll() is None, (folder / "out").read_text()
        yield made
    finally:
        process.terminate()
        process.wait(30)


def test_a_put_is_run(program: Program, share: Share) -> None:
    """In the inbox, and in a folder that was made over the share."""
    share.put(answer(1), "new.ipynb")
    share.do("mkdir sub")
    share.put(answer(2), "sub/new.ipynb")
    assert value(program.await_report("new")) == "1"
    assert value(program.await_report("sub/new")) == "2"


def test_a_large_put_starts_its_notebook_once(program: Program, share: Share) -> None:
    """A rule takes the file when all of it has come."""
    rules = program.root / "notebooks" / "rules"
    rules.mkdir(parents=True)
    size = notebook(
        code("path = ''", "parameters"), code("open(path).read().count('x')", "results")
    )
    (program.root / "notebooks" / "size.ipynb").write_text(json.dumps(size))
    (rules / "put.yaml").write_text(
        "pattern: 'put-*.csv'\nnotebook: size.ipynb\nparameters: {path: '{{ file }}'}\n"
    )
    count = int(os.environ.get("TEST_UPLOAD_MB", "30")) * 1_000_000 + 1
    (share._work / "local").write_bytes(b"x" * count)
    share.do("put local put-large.csv")
    report = program.await_report("rules/put/put-large")
    assert report["results"]["cell_3"]["text/plain"] == str(count)
    jobs = program.run("jobs", "--json", "--name", "rules/put/put-large").stdout.splitlines()
    assert len(jobs) == 1


def test_the_last_of_many_puts_is_what_the_outbox_shows(program: Program, share: Share) -> None:
    """An overwrite passes through no bytes at all; every run has all of one content."""
    for number in range(8):
        share.put(answer(number), "again.ipynb")
    wait_for(lambda: value(program.report("again")) == "7")
    listed = program.run("jobs", "--json", "--name", "again").stdout.splitlines()
    jobs = [json.loads(line) for line in listed]
    assert {job["status"] for job in jobs} == {"succeeded"}


def test_a_file_that_was_overwritten_before_the_start_runs_once(
    program: Program, share: Share
) -> None:
    """With what was put last."""
    assert program.stop() == 0
    share.put(notebook(code("1", "results"), "#" * 100_000), "twice.ipynb")
    share.put(answer(2), "twice.ipynb")
    program.start()
    assert value(program.await_report("twice")) == "2"
    assert len(program.run("jobs", "--json", "--name", "twice").stdout.splitlines()) == 1


def test_a_temporary_name_is_left_alone_until_its_rename(program: Program, share: Share) -> None:
    """As careful clients save."""
    share.put(answer(1), "safe.ipynb.tmp")
    share.put(answer(2), "other.ipynb")
    assert value(program.await_report("other")) == "2"
    assert (program.inbox / "safe.ipynb.tmp").exists()
    share.do("rename safe.ipynb.tmp safe.ipynb")
    assert value(program.await_report("safe")) == "1"


def test_a_put_that_is_cut_in_the_middle_is_never_run(program: Program, share: Share) -> None:
    """The client is killed half-way; the next put, which is whole, is one correct run."""
    raw = json.dumps(notebook(code("1", "results"), "#" * 24_000_000)).encode()
    client = subprocess.Popen(
        share.command("put - cut.ipynb"), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    assert client.stdin is not None
    try:
        client.stdin.write(raw[:-100])
        client.stdin.flush()
        cut = program.inbox / "cut.ipynb"
        wait_for(lambda: cut.exists() and cut.stat().st_size > 1000)
    finally:
        client.kill()
        client.wait()
    share.put(answer(2), "beside.ipynb")
    assert value(program.await_report("beside")) == "2"
    assert 0 < cut.stat().st_size < len(raw)
    assert program.report("cut") is None
    share.put(answer(3), "cut.ipynb")
    assert value(program.await_report("cut")) == "3"
    listed = program.run("jobs", "--json", "--name", "cut").stdout.splitlines()
    assert len(listed) == 1


def value(report: Json | None) -> str | None:
    """What the one tagged cell gave."""
    if report is None:
        return None
    found = report["results"]["cell_1"]["text/plain"]
    return str(found)
