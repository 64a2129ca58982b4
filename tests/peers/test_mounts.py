"""Disks and mounts in trouble: full, read-only, gone. Nothing is lost, and all is said.

Tests that need the same mounts share a program (`SharedPrograms`).
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import requests

from tests.conftest import Program, code, end, notebook, programs, tool, wait_for
from tests.peers.conftest import (
    Make,
    Mounts,
    await_health,
    await_note,
    await_trouble,
    fill,
    health,
    visible,
)
from tests.standing import HELD

ONE = notebook(code("1", "results"))
QUICK = {
    "limits": {"free_mb": 0},
    "intake": {"poll_seconds": 0.3, "rescan_seconds": 1},
    "kernels": {"warm": 0, "preload": []},
}
WITH_GATEWAY = {**QUICK, "gateway": {"enabled": True, "port": 0}}


@dataclass(frozen=True)
class Mounted:
    """A running program, and the mounts that its folders are."""

    program: Program
    mounts: Mounts
    points: tuple[Path, ...]

    def is_as_it_was(self) -> bool:
        """Whether another test may have it."""
        process = self.program.process
        runs = process is not None and process.poll() is None
        same = self.mounts.points == self.points and not visible(self.program.inbox)
        return runs and same and not health(self.program).reasons

    def tidy(self) -> None:
        """Empty outbox and library."""
        for folder in (self.program.outbox, self.program.library):
            for path in folder.iterdir() if folder.exists() else ():
                if path.name not in HELD:
                    path.unlink() if path.is_file() else shutil.rmtree(path)

    def close(self) -> None:
        process = self.program.process
        if process is not None and process.poll() is None:
            end(process)
        self.mounts.close()


Lay = Callable[[Program, Mounts], None]
"""Prepares the folders of a program that is not started yet."""


class SharedPrograms:
    """One program for each way to lay its folders; one that a test left otherwise is replaced."""

    def __init__(self, make: Make) -> None:
        self._make = make
        self._mounted: dict[Lay, Mounted] = {}

    def get(self, lay: Lay, settings: dict[str, object]) -> Mounted:
        if lay not in self._mounted:
            program, mounts = self._make(settings), Mounts()
            lay(program, mounts)
            self._mounted[lay] = Mounted(program, mounts, mounts.points)
            program.start()
        return self._mounted[lay]

    def give_back(self, lay: Lay) -> None:
        mounted = self._mounted[lay]
        if mounted.is_as_it_was():
            mounted.tidy()
        else:
            self._mounted.pop(lay).close()

    def close(self) -> None:
        for mounted in self._mounted.values():
            mounted.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedPrograms]:
    make = programs(tmp_path_factory.mktemp("mounted"))
    made = SharedPrograms(next(make))
    yield made
    made.close()
    next(make, None)


def lay_each(program: Program, mounts: Mounts) -> None:
    """Each folder is small, and a mount of its own; the library a bind mount, others tmpfs."""
    mounts.tmpfs(program.inbox, 1024)
    mounts.tmpfs(program.outbox, 1024)
    mounts.tmpfs(program.root / "state", 16 * 1024)
    mounts.bind(program.root / "elsewhere-notebooks", program.library)


@pytest.fixture
def mounted(shared: SharedPrograms, why_no_mounts: str | None) -> Iterator[Mounted]:
    """One job at a time, and a gateway."""
    if why_no_mounts is not None:
        pytest.skip(why_no_mounts)
    yield shared.get(lay_each, {**WITH_GATEWAY, "execution": {"concurrency": 1}})
    shared.give_back(lay_each)


BOUND = ("inbox", "outbox", "notebooks")


def lay_bound(program: Program, mounts: Mounts) -> None:
    """Each on the same disk as everything else, as a bind mount."""
    for name in BOUND:
        mounts.bind(program.root / f"elsewhere-{name}", program.root / name)


@pytest.fixture
def bound(shared: SharedPrograms, why_no_mounts: str | None) -> Iterator[Mounted]:
    if why_no_mounts is not None:
        pytest.skip(why_no_mounts)
    yield shared.get(lay_bound, QUICK)
    shared.give_back(lay_bound)


def lay_fuse(program: Program, mounts: Mounts) -> None:
    for name in ("inbox", "outbox"):
        mounts.bindfs(program.root / f"real-{name}", program.root / name)


@pytest.fixture
def on_fuse(shared: SharedPrograms, why_no_mounts: str | None) -> Iterator[Mounted]:
    """Inbox and outbox are file systems in user space."""
    if why_no_mounts is not None:
        pytest.skip(why_no_mounts)
    patient = {"poll_seconds": 0.3, "rescan_seconds": 1, "broken_seconds": 90}
    yield shared.get(lay_fuse, {**WITH_GATEWAY, "intake": patient})
    shared.give_back(lay_fuse)


def lay_ordinary(program: Program, _: Mounts) -> None:
    """Started by root, it has no more rights than others, if root may give them up here."""
    rights = "-fowner,-dac_override,-dac_read_search,-linux_immutable"
    prefix = (tool("setpriv"), f"--bounding-set={rights}", f"--inh-caps={rights}")
    if subprocess.run([*prefix, "true"], capture_output=True).returncode == 0:
        program.prefix = prefix


@pytest.fixture
def ordinary(shared: SharedPrograms) -> Iterator[Program]:
    """A program that is stopped by the rights of files and folders."""
    yield shared.get(lay_ordinary, QUICK).program
    shared.give_back(lay_ordinary)


def waits_for(file: Path) -> dict[str, object]:
    """A notebook that runs until a file is there."""
    return notebook(
        f"import os, time\nopen('alive', 'w')\nwhile not os.path.exists({str(file)!r}): "
        "time.sleep(0.02)",
        code("'x' * 3000", "results"),
    )


def test_a_full_outbox_shows_nothing_partial(mounted: Mounted) -> None:
    """The outcome stays sealed, health is red; space freed, it is published."""
    program = mounted.program
    ballast = fill(program.outbox)
    program.drop("full.ipynb", notebook(code("'x' * 3000", "results")))
    await_trouble(program, "No space left on device")
    assert visible(program.outbox) == ["ballast.tmp"]
    ballast.unlink()
    report = program.await_report("full")
    assert report["status"] == "succeeded"
    assert len(report["results"]["cell_1"]["text/plain"]) > 3000
    assert visible(program.outbox) == ["full.ipynb", "full.result.json"]
    await_health(program)


def test_files_that_do_not_fit_are_published_when_they_do(mounted: Mounted) -> None:
    """They wait in the state folder, also over a restart."""
    program = mounted.program
    ballast = fill(program.outbox, leave_kib=100)
    program.drop("files.ipynb", notebook("open('large.bin', 'wb').write(bytes(200_000))"))
    await_trouble(program, "No space left on device")
    assert visible(program.outbox) == ["ballast.tmp"]
    assert program.stop() == 0
    program.start()
    await_trouble(program, "No space left on device")
    ballast.unlink()
    report = program.await_report("files")
    assert [file["bytes"] for file in report["files"]] == [200_000]
    assert (program.outbox / "files.files" / "large.bin").stat().st_size == 200_000
    await_health(program)


def test_a_full_state_leaves_requests_in_the_inbox(mounts: Mounts, make_program: Make) -> None:
    """Claiming stops while there still is space for what was accepted."""
    program = make_program({**QUICK, "limits": {"free_mb": 4}})
    mounts.tmpfs(program.root / "state", 16 * 1024)
    program.start()
    ballast = fill(program.root / "state", 3 * 1024)
    await_trouble(program, "requests stay in the inbox")
    dropped = program.drop("stays.ipynb", ONE)
    program.drop("nobody.cancel", b"")
    wait_for(lambda: not (program.inbox / "nobody.cancel").exists())
    wait_for(lambda: not list(program.inbox.glob(".claim-*")))
    assert dropped.exists()
    ballast.unlink()
    assert program.await_report("stays")["status"] == "succeeded"
    await_health(program)


@pytest.mark.parametrize("step", ["accept", "start", "publish"])
def test_a_state_that_is_full_keeps_what_it_accepted(mounted: Mounted, step: str) -> None:
    """Whatever comes next cannot be written; once it can, there is one result."""
    program, job, following = mounted.program, f"job-{step}", f"next-{step}"
    state, go, mark = program.root / "state", program.root / f"go-{step}", len(program.log)
    ballast = {}
    if step == "accept":
        ballast[state] = fill(state)
    program.drop(f"{job}.ipynb", waits_for(go))
    if step == "accept":
        await_trouble(program, "cannot take requests")
        assert program.report(job) is None
        ballast.pop(state).unlink()
    wait_for(lambda: list(state.glob("work/*/alive")), 60)
    if step == "start":
        program.drop(f"{following}.ipynb", ONE)
        wait_for(lambda: f"accepted {following!r}" in program.log)
        ballast[state] = fill(state)
    elif step == "publish":
        ballast[program.outbox] = fill(program.outbox)
    go.touch()
    if step == "start":
        wait_for(lambda: "cannot record the ends of runs" in program.log[mark:])
    elif step == "publish":
        await_trouble(program, "cannot publish")
        ballast[state] = fill(state)
    if step != "accept":
        assert program.report(job) is None
    for file in ballast.values():
        file.unlink()
    names = [job, following] if step == "start" else [job]
    for name in names:
        assert program.await_report(name)["status"] == "succeeded"
    await_health(program)
    listed = program.run("jobs", "--json", "-n", "100").stdout.splitlines()
    assert sorted(n for n in (json.loads(line)["name"] for line in listed) if step in n) == names


def test_a_folder_may_be_read_only_for_a_while(mounted: Mounted) -> None:
    """Each in turn: it is said, and all goes on by itself when it can be written again."""
    program = mounted.program
    (program.library / "lib.ipynb").write_text(json.dumps(ONE))
    for name in ("inbox", "outbox", "state", "notebooks"):
        be_read_only(mounted.mounts, program, name, f"during-{name}")
        assert program.await_report(f"during-{name}")["status"] == "succeeded"
        await_health(program)


def be_read_only(mounts: Mounts, program: Program, name: str, request: str) -> None:
    """Until the trouble with a request is told, if there has to be any."""
    folder = program.root / name
    mounts.cover_read_only(folder)
    if name == "inbox":
        await_trouble(program, "the inbox cannot be written")
        mounts.unmount(folder, lazy=True)
        program.drop(f"{request}.json", {"notebook": "lib.ipynb"})
        return
    program.drop(f"{request}.json", {"notebook": "lib.ipynb"})
    if name == "notebooks":
        assert program.await_report(request)["status"] == "succeeded"
    else:
        await_trouble(program, f"the {name} cannot be written")
        if name == "outbox":
            await_trouble(program, f"{request} stays in the inbox")
        assert program.report(request) is None
    mounts.unmount(folder, lazy=True)


def test_an_outbox_on_another_device_is_not_filled_underneath(mounted: Mounted) -> None:
    """It comes back as another device than it was."""
    program, mounts = mounted.program, mounted.mounts
    lose_the_outbox(mounted, lambda: mounts.tmpfs(program.outbox, 1024))


def test_an_outbox_on_the_same_device_is_not_filled_underneath(bound: Mounted) -> None:
    """A bind mount that goes leaves the same device there."""
    program, mounts = bound.program, bound.mounts
    elsewhere = program.root / "elsewhere-outbox"
    lose_the_outbox(bound, lambda: mounts.bind(elsewhere, program.outbox))


def lose_the_outbox(mounted: Mounted, mount: Callable[[], Path]) -> None:
    """Take it away while a job runs, and bring it back."""
    program, mounts, mark = mounted.program, mounted.mounts, len(mounted.program.log)
    go = program.root / "go"
    program.drop("loses.ipynb", waits_for(go))
    wait_for(lambda: list((program.root / "state").glob("work/*/alive")), 60)
    mounts.unmount(program.outbox, lazy=True)
    go.touch()
    waiting = program.drop("waits.ipynb", ONE)
    await_trouble(program, "which is not mounted now")
    wait_for(lambda: "cannot publish" in program.log[mark:])
    assert waiting.exists()
    assert list(program.outbox.iterdir()) == []
    mount()
    report = program.await_report("loses")
    assert report["status"] == "succeeded"
    assert [file["path"] for file in report["files"]] == ["loses.files/alive"]
    assert (program.outbox / "loses.files" / "alive").exists()
    assert program.await_report("waits")["status"] == "succeeded"
    await_health(program)
    mounts.unmount(program.outbox, lazy=True)
    assert list(program.outbox.iterdir()) == []
    mount()
    await_health(program)


def test_an_inbox_that_is_unmounted_is_waited_for(mounted: Mounted) -> None:
    """Its empty mount point is not taken for it, though it is a folder like any other."""
    program, mounts = mounted.program, mounted.mounts
    mounts.unmount(program.inbox, lazy=True)
    await_trouble(program, "which is not mounted now")
    beneath = program.drop("beneath.ipynb", ONE)
    (program.root / "own.ipynb").write_text(json.dumps(ONE))
    refused = program.run("run", "own.ipynb")
    assert refused.returncode == 70
    assert "may be a lost mount" in " ".join(refused.stderr.split())
    answered = requests.post(f"{program.url}/run", json={"notebook": ONE}, timeout=60)
    assert answered.status_code == 503
    assert "lost mount" in answered.json()["message"]
    mounts.tmpfs(program.inbox, 1024)
    program.drop("after.ipynb", ONE)
    assert program.await_report("after")["status"] == "succeeded"
    await_health(program)
    mounts.unmount(program.inbox, lazy=True)
    assert list(program.inbox.iterdir()) == [beneath]
    assert program.report("beneath") is None
    beneath.unlink()
    mounts.tmpfs(program.inbox, 1024)
    await_health(program)


def test_inbox_subfolder_and_outbox_may_be_mounts_of_their_own(bound: Mounted) -> None:
    """No rename leads from one mount to another, not even between two of one disk."""
    program, mounts = bound.program, bound.mounts
    mounts.bind(program.root / "b", program.inbox / "sub")
    mounts.tmpfs(program.inbox / "small", 256)
    names = ("top", "sub/one", "small/two")
    for name in names:
        program.drop(f"{name}.ipynb", notebook(code("open('file', 'w').write('x')", "results")))
    for name in names:
        assert program.await_report(name)["status"] == "succeeded"
        assert (program.outbox / f"{name}.files" / "file").read_text() == "x"
    wait_for(lambda: not visible(program.inbox))
    assert list(program.inbox.rglob(".claim-*")) == []
    for name in ("small", "sub"):
        mounts.unmount(program.inbox / name, lazy=True)
    await_health(program)


def test_a_mount_that_is_late_at_the_start_is_waited_for(bound: Mounted) -> None:
    """The next start knows where a folder lay; nothing is made where it should be mounted."""
    program, mounts = bound.program, bound.mounts
    assert program.stop() == 0
    for name in BOUND:
        mounts.unmount(program.root / name)
    program.launch()
    for name in BOUND:  # it looks for one after the other
        folder = program.root / name
        waits = f"waiting: {folder} was on the mount {folder}"
        wait_for(lambda waits=waits: waits in program.log)  # type: ignore[misc]
        assert list(folder.iterdir()) == []
        if name == BOUND[0]:
            refused = program.run("doctor", "--json")
            assert refused.returncode == 1
            for lost in BOUND:
                told = f"{program.root / lost} was on the mount {program.root / lost}, which is not"
                assert told in refused.stdout
        mounts.bind(program.root / f"elsewhere-{name}", folder)
    program.drop("late.ipynb", ONE)
    assert program.await_report("late")["status"] == "succeeded"
    await_health(program)


def test_a_folder_that_was_moved_on_purpose_can_be_accepted(bound: Mounted) -> None:
    """The message says how, and it is remembered."""
    program, mark = bound.program, len(bound.program.log)
    assert program.stop() == 0
    bound.mounts.unmount(program.outbox, lazy=True)
    program.launch()
    wait_for(lambda: "--accept-folders" in program.log[mark:])
    assert program.stop() == 0
    program.arguments = ("--accept-folders",)
    program.start()
    assert program.stop() == 0
    program.arguments = ()
    program.start()
    program.drop("moved.ipynb", ONE)
    assert program.await_report("moved")["status"] == "succeeded"


def test_requests_that_name_a_lost_library_wait_for_it(mounted: Mounted) -> None:
    """They are not refused for a notebook that is there; others go on."""
    program, mounts = mounted.program, mounted.mounts
    (program.library / "lib.ipynb").write_text(json.dumps(ONE))
    mounts.unmount(program.library, lazy=True)
    await_trouble(program, "the library")
    waiting = program.drop("named.json", {"notebook": "lib.ipynb"})
    program.drop("own.ipynb", ONE)
    assert program.await_report("own")["status"] == "succeeded"
    assert waiting.exists()
    mounts.bind(program.root / "elsewhere-notebooks", program.library)
    assert program.await_report("named")["status"] == "succeeded"
    await_health(program)


def test_what_a_fuse_mount_does_not_tell_is_polled(on_fuse: Mounted) -> None:
    """Files that somebody drops on its other side, one of them slowly."""
    program = on_fuse.program
    real = program.root / "real-inbox"
    assert "polling the inbox every 0.3 s (fuse mount)" in program.log
    raw = json.dumps(ONE).encode()
    (real / "quick.ipynb").write_bytes(raw)
    with (real / "slow.ipynb").open("wb") as file:
        file.write(raw[:100])
        file.flush()
        assert program.await_report("quick")["status"] == "succeeded"
        assert (real / "slow.ipynb").exists()
        file.write(raw[100:])
    assert program.await_report("slow")["status"] == "succeeded"
    told = json.loads(program.run("doctor", "--json").stdout)
    watching = [found["message"] for found in told["findings"] if found["check"] == "watching"]
    assert "polling every 0.3 s, because the fuse mount" in watching[0]
    assert told["healthy"]


def test_a_fuse_mount_below_a_local_inbox_is_polled_too(mounted: Mounted) -> None:
    """Also one that comes while the runner is there; its leases would lie."""
    program = mounted.program
    real = program.root / "real"
    assert "polling" not in program.log
    mounted.mounts.bindfs(real, program.inbox / "nas")
    wait_for(lambda: "polling the inbox every 0.3 s (fuse mount)" in program.log)
    (real / "far.ipynb").write_bytes(json.dumps(ONE).encode())
    assert program.await_report("nas/far")["status"] == "succeeded"
    mounted.mounts.unmount(program.inbox / "nas", lazy=True)
    await_health(program)


@pytest.mark.parametrize("name", ["inbox", "outbox"])
def test_a_folder_without_any_rights_is_told_and_tried_again(ordinary: Program, name: str) -> None:
    """Mode 000, for a user who is stopped by it."""
    program, mark = ordinary, len(ordinary.log)
    folder = program.root / name
    if name == "inbox":
        program.drop(f"job-{name}.ipynb", ONE)
        program.await_report(f"job-{name}")
        folder.chmod(0)
    else:
        folder.chmod(0)
        program.drop(f"job-{name}.ipynb", ONE)
    try:
        wait_for(lambda: "cannot take requests" in program.log[mark:])
        assert "Permission denied" in program.log[mark:]
    finally:
        folder.chmod(0o755)
    program.drop(f"again-{name}.ipynb", ONE)
    for job in ("job", "again"):
        assert program.await_report(f"{job}-{name}")["status"] == "succeeded"
    await_health(program)


def test_a_drop_that_cannot_be_taken_is_quiet_and_named(ordinary: Program) -> None:
    """Someone else's file under the sticky bit, an immutable one, a folder without rights.

    They are tried after growing pauses, health names them, and all other drops go on as ever. When
    their rights are mended they are taken; no claim folder stays behind.
    """
    program = ordinary
    if not program.prefix:
        pytest.skip("nobody can be anybody else here")
    program.inbox.chmod(0o1777)
    os.chown(program.inbox, 1, 1)
    closed = program.inbox / "closed"
    closed.mkdir()
    stuck = ["sticky.ipynb", "closed/inside.ipynb"]
    for name in stuck:
        path = program.drop(name, ONE)
        os.chown(path, 2, 2)
        path.chmod(0o644)
    closed.chmod(0o555)
    os.chown(closed, 2, 2)
    with (program.inbox / "fixed.ipynb").open("w") as file:  # nobody takes it meanwhile
        json.dump(ONE, file)
        file.flush()
        can_be_immutable = _set_immutable(program.inbox / "fixed.ipynb", "+i")
    if not can_be_immutable:
        program.await_report("fixed")
    else:
        stuck.append("fixed.ipynb")
    for name in stuck:
        await_note(program, f"{name!r} stays in the inbox: it can be read and not be taken away")
    program.drop("other.ipynb", ONE)
    assert program.await_report("other")["status"] == "succeeded"
    tries, deadline = set(), time.monotonic() + 4
    while time.monotonic() < deadline:
        tries.add(program.inbox.stat().st_mtime_ns)
        time.sleep(0.01)
    assert len(tries) < 12
    for name in stuck:
        assert program.log.count(f"{name!r} stays in the inbox") == 1
    listed = json.loads(program.run("inbox", "--json").stdout)["files"]
    assert {one["path"] for one in listed if one["reason"] == "not_removable"} == set(stuck)
    if can_be_immutable:
        assert _set_immutable(program.inbox / "fixed.ipynb", "-i")
    program.inbox.chmod(0o777)
    closed.chmod(0o777)
    for name in stuck:
        assert program.await_report(name.removesuffix(".ipynb"))["status"] == "succeeded"
    wait_for(lambda: list(program.inbox.rglob(".claim-*")) == [])
    wait_for(lambda: json.loads(program.run("inbox", "--json").stdout)["files"] == [])


def _set_immutable(path: Path, flag: str) -> bool:
    return subprocess.run([tool("chattr"), flag, path], capture_output=True).returncode == 0


def test_an_rclone_mount_gives_its_drops(mounts: Mounts, make_program: Make) -> None:
    """Files get another inode number at each rename there; settings and subfolders too."""
    program = make_program(QUICK)
    real = program.root / "real"
    mounts.rclone(real, program.inbox)
    program.start()
    assert "polling the inbox every 0.3 s (fuse.rclone mount)" in program.log
    program.drop("mine.ipynb", ONE)
    (real / "sub").mkdir()
    (real / "sub" / "theirs.ipynb").write_bytes(json.dumps(ONE).encode())
    (real / "set.json").write_text('{"timeout_seconds": 50}')
    (real / "set.ipynb").write_bytes(json.dumps(ONE).encode())
    for name in ("mine", "sub/theirs", "set"):
        assert program.await_report(name)["status"] == "succeeded"
    wait_for(lambda: visible(program.inbox) == [])
    wait_for(lambda: list(real.rglob(".claim-*")) == [])
    assert program.log.count("polling the inbox") == 1


def test_a_mount_in_a_work_folder_is_left_alone(standing: Program, mounts: Mounts) -> None:
    """What lies on it is somebody's: it is neither published nor removed. The runner takes down
    what a run has left behind, and a folder that stays keeps no start from coming up."""
    program = standing
    theirs = mounts.tmpfs(program.root / "theirs", 256)
    (theirs / "precious").write_text("kept")
    mount = f"import subprocess\nsubprocess.run(['mount', '--bind', {str(theirs)!r}, 'here'])"
    program.drop(
        "mounts.ipynb",
        notebook(f"import os\nos.mkdir('here')\nopen('own', 'w').write('x')\n{mount}"),
    )
    report = program.await_report("mounts")
    assert [file["path"] for file in report["files"]] == ["mounts.files/own"]
    assert "'here' was not published: something is mounted there" in " ".join(report["warnings"])
    wait_for(lambda: not list((program.root / "state" / "work").iterdir()))
    assert (theirs / "precious").read_text() == "kept"
    assert str(program.root / "state") not in Path("/proc/self/mountinfo").read_text()


def test_a_folder_that_cannot_be_removed_keeps_no_start_from_coming_up(
    make_program: Make, immutable: Callable[[Path], None]
) -> None:
    """It is told, with what to do, and goes when it can."""
    program = make_program(QUICK)
    left = program.root / "state" / "work" / ("ab" * 16)
    left.mkdir(parents=True)
    (left / "stays").touch()
    immutable(left / "stays")
    program.start()
    program.drop("job.ipynb", ONE)
    assert program.await_report("job")["status"] == "succeeded"
    wait_for(lambda: any("cannot be removed" in note for note in health(program).notes))
    assert not health(program).reasons
    assert any("chattr -i" in note for note in health(program).notes)
    assert "chattr -i" in program.run("doctor").stdout


def test_a_name_whose_history_is_in_the_way_waits_alone(mounted: Mounted) -> None:
    """Health says which and what to do; others run, also after a restart; mended, it goes on."""
    program = mounted.program
    program.drop("stray.ipynb", ONE)
    first = program.await_report("stray")["job_id"]
    history = program.outbox / ".history"
    history.mkdir(exist_ok=True)
    (history / "stray").write_text("somebody's")
    again = program.drop("stray.ipynb", ONE)
    await_trouble(program, "stray stays in the inbox")
    assert program.stop() == 0
    program.start()
    program.drop("beside.ipynb", ONE)
    assert program.await_report("beside")["status"] == "succeeded"
    assert again.exists()
    (history / "stray").unlink()
    wait_for(lambda: (program.report("stray") or {}).get("job_id") not in (None, first))
    await_health(program)


def test_a_dead_mount_is_told_and_holds_up_no_word(on_fuse: Mounted) -> None:
    """Health, metrics and doctor keep their shape, whatever the outbox's server does not say."""
    program = on_fuse.program
    server = next(
        process
        for process in psutil.process_iter(["cmdline"])
        if "bindfs" in " ".join(process.info["cmdline"] or ())
        and str(program.outbox) in (process.info["cmdline"] or ())
    )
    server.suspend()
    try:
        is_told_everywhere(program, "the outbox does not answer")
    finally:
        server.resume()
    await_health(program)
    server.kill()
    is_told_everywhere(program, "the outbox cannot be used")


def is_told_everywhere(program: Program, reason: str) -> None:
    await_trouble(program, reason)
    answered = requests.get(f"{program.url}/healthz", timeout=60)
    assert answered.status_code == 503
    assert any(reason in told for told in answered.json()["reasons"])
    plain = {"Accept": "text/plain"}
    scraped = requests.get(f"{program.url}/metrics", headers=plain, timeout=60)
    assert "inbox_runner_healthy 0" in scraped.text
    said = program.run("health")
    assert said.returncode == 1
    assert reason in said.stdout
    assert "outbox" in program.run("doctor").stdout
