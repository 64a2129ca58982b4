"""A real Syncthing that sends data files into a folder of the inbox."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import Program, code, notebook, programs, wait_for
from tests.peers.syncthing import two

MEGABYTES = int(os.environ.get("TEST_UPLOAD_MB", "20"))
SLOW = MEGABYTES * 1000 // 4
"""Kilobytes a second, so that a file is on its way for a while."""
LINE = b"2026-001,12.50,some text that fills the line\n"
DIGEST = "import hashlib\nhashlib.sha256(open(path, 'rb').read()).hexdigest()"


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    with contextmanager(programs)(tmp_path) as make:
        one = make()
        rules = one.root / "notebooks" / "rules"
        rules.mkdir(parents=True)
        (rules / "sync.yaml").write_text(
            "pattern: 'sync/**'\nnotebook: digest.ipynb\nparameters: {path: '{{ file }}'}\n"
        )
        digest = notebook(code("path = ''", "parameters"), code(DIGEST, "results"))
        (one.root / "notebooks" / "digest.ipynb").write_text(json.dumps(digest))
        yield one.start()


def content(version: int) -> bytes:
    """A CSV; another one for each version."""
    lines = MEGABYTES * 1_000_000 // len(LINE)
    return b"%d\n" % version + LINE * lines


def digests(program: Program) -> list[str]:
    """What the notebook saw, of each job; all must be over."""
    jobs = [json.loads(line) for line in program.run("jobs", "--json").stdout.splitlines()]
    assert {job["status"] for job in jobs} <= {"succeeded"}, jobs
    shown = [json.loads(program.run("show", job["job_id"], "--json").stdout) for job in jobs]
    return sorted(one["results"]["cell_3"]["text/plain"].strip("'") for one in shown)


def sha(*contents: bytes) -> list[str]:
    return sorted(hashlib.sha256(raw).hexdigest() for raw in contents)


def kept(program: Program) -> int:
    return len(list(program.inbox.glob(".done/*/sync/*.csv")))


def await_kept(program: Program, count: int) -> None:
    """Until so many files were taken, and their jobs are over."""
    wait_for(lambda: kept(program) == count, 120)
    wait_for(lambda: not (program.inbox / "rules").exists())
    wait_for(lambda: program.run("jobs", "--json").stdout.count("succeeded") == count)


def test_each_version_is_one_job_in_a_folder_that_only_receives(
    program: Program, tmp_path: Path
) -> None:
    """With all its bytes. The sender keeps its file; "Revert Local Changes" brings it again."""
    first, second = content(1), content(2)
    sent, received = tmp_path / "sent", program.inbox / "sync"
    with two(tmp_path, sent, received, kind="receiveonly", kilobytes=SLOW) as (sender, receiver):
        (sent / "a.csv").write_bytes(first)
        sender.post("scan")
        wait_for(lambda: list(received.glob(".syncthing.a.csv.tmp")), 60)
        await_kept(program, 1)
        assert digests(program) == sha(first)
        receiver.post("scan")
        wait_for(lambda: receiver.status()["receiveOnlyChangedDeletes"] == 1)
        sender.post("scan")
        assert (sent / "a.csv").exists()
        (sent / "a.csv").write_bytes(second)
        sender.post("scan")
        await_kept(program, 2)
        assert digests(program) == sha(first, second)
        receiver.post("scan")
        receiver.post("revert")
        await_kept(program, 3)
        assert digests(program) == sha(first, second, second)
        assert os.listdir(received) == [".stfolder"]
        assert (sent / "a.csv").read_bytes() == second


def test_a_folder_that_also_sends_takes_the_file_from_its_sender(
    program: Program, tmp_path: Path
) -> None:
    """That it was taken counts as a deletion, which goes back; it is one job all the same."""
    raw = content(1)
    sent, received = tmp_path / "sent", program.inbox / "sync"
    with two(tmp_path, sent, received, kind="sendreceive") as (sender, receiver):
        (sent / "a.csv").write_bytes(raw)
        sender.post("scan")
        await_kept(program, 1)
        receiver.post("scan")
        wait_for(lambda: not (sent / "a.csv").exists())
        assert digests(program) == sha(raw)
