"""Disks and mounts in trouble: full, read-only, gone. Nothing is lost, and all is said."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import requests

from tests.conftest import Program, code, notebook, tool, wait_for
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

ONE = notebook(code("1", "results"))
QUICK = {
    "limits": {"free_mb": 0},
    "intake": {"poll_seconds": 0.3, "rescan_seconds": 1},
    "kernels": {"warm": 0, "preload": []},
}


def waits_for(file: Path) -> dict[str, object]:
    """A notebook that runs until a file is there."""
    return notebook(
        f"import os, time\nopen('alive', 'w')\nwhile not os.path.exists({str(file)!r}): "
        "time.sleep(0.02)",
        code("'x' * 3000", "results"),
    )


def test_a_full_outbox_shows_nothing_partial(mounts: Mounts, make_program: Make) -> None:
    """64 KiB of it: the outcome stays sealed, health is red; space freed, it is published."""
    program = make_program(QUICK)
    mounts.tmpfs(program.outbox, 64)
    program.start()
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


def test_files_that_do_not_fit_are_published_when_they_do(
    mounts: Mounts, make_program: Make
) -> None:
    """They wait in the state folder, also over a restart."""
    program = make_program(QUICK)
    mounts.tmpfs(program.outbox, 512)
    program.start()
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
def test_a_state_that_is_full_keeps_what_it_accepted(
    mounts: Mounts, make_program: Make, step: str
) -> None:
    """Whatever comes next cannot be written; once it can, there is one result."""
    program = make_program({**QUICK, "execution": {"concurrency": 1}})
    state = mounts.tmpfs(program.root / "state", 16 * 1024)
    mounts.tmpfs(program.outbox, 1024)
    program.start()
    go = program.root / "go"
    ballast = {}
    if step == "accept":
        ballast[state] = fill(state)
    program.drop("job.ipynb", waits_for(go))
    if step == "accept":
        await_trouble(program, "cannot take requests")
        assert program.report("job") is None
        ballast.pop(state).unlink()
    wait_for(lambda: list(state.glob("work/*/alive")), 60)
    if step == "start":
        program.drop("next.ipynb", ONE)
        wait_for(lambda: "accepted 'next'" in program.log)
        ballast[state] = fill(state)
    elif step == "publish":
        ballast[program.outbox] = fill(program.outbox)
    go.touch()
    if step == "start":
        wait_for(lambda: "cannot seal" in program.log)
    elif step == "publish":
        await_trouble(program, "cannot publish")
        ballast[state] = fill(state)
    if step != "accept":
        assert program.report("job") is None
    for file in ballast.values():
        file.unlink()
    assert program.await_report("job")["status"] == "succeeded"
    if step == "start":
        assert program.await_report("next")["status"] == "succeeded"
    await_health(program)
    listed = program.run("jobs", "--json").stdout.splitlines()
    names = sorted(json.loads(line)["name"] for line in listed)
    assert names == (["job", "next"] if step == "start" else ["job"])


def test_a_folder_may_be_read_only_for_a_while(mounts: Mounts, make_program: Make) -> None:
    """Each in turn: it is said, and all goes on by itself when it can be written again."""
    program = make_program(QUICK)
    names = ("inbox", "outbox", "state", "notebooks")
    for name in names:
        mounts.bind(program.root / f"elsewhere-{name}", program.root / name)
    program.start()
    (program.library / "lib.ipynb").write_text(json.dumps(ONE))
    for name in names:
        program.drop(f"before-{name}.ipynb", ONE)
        program.await_report(f"before-{name}")
        be_read_only(mounts, program, name, f"during-{name}")
        assert program.await_report(f"during-{name}")["status"] == "succeeded"
        await_health(program)


def be_read_only(mounts: Mounts, program: Program, name: str, request: str) -> None:
    """Until the trouble with a request is told, if there has to be any."""
    folder = program.root / name
    mounts.cover_read_only(folder)
    if name == "inbox":
        await_trouble(program, "the inbox cannot be written")
        mounts.unmount(folder)
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
    mounts.unmount(folder)


@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
def test_an_outbox_that_is_unmounted_is_not_filled_underneath(
    mounts: Mounts, make_program: Make, kind: str
) -> None:
    """A tmpfs comes back as another device, a bind mount goes and leaves the same one there."""
    program = make_program(QUICK)

    def mount() -> None:
        if kind == "tmpfs":
            mounts.tmpfs(program.outbox, 1024)
        else:
            mounts.bind(program.root / "elsewhere", program.outbox)

    mount()
    program.start()
    go = program.root / "go"
    program.drop("job.ipynb", waits_for(go))
    wait_for(lambda: list((program.root / "state").glob("work/*/alive")), 60)
    mounts.unmount(program.outbox)
    go.touch()
    waiting = program.drop("waits.ipynb", ONE)
    await_trouble(program, "which is not mounted now")
    wait_for(lambda: "cannot publish" in program.log)
    assert waiting.exists()
    assert list(program.outbox.iterdir()) == []
    mount()
    report = program.await_report("job")
    assert report["status"] == "succeeded"
    assert [file["path"] for file in report["files"]] == ["job.files/alive"]
    assert (program.outbox / "job.files" / "alive").exists()
    assert program.await_report("waits")["status"] == "succeeded"
    await_health(program)
    mounts.unmount(program.outbox)
    assert list(program.outbox.iterdir()) == []


def test_an_inbox_that_is_unmounted_is_waited_for(mounts: Mounts, make_program: Make) -> None:
    """Its empty mount point is not taken for it, though it is a folder like any other."""
    program = make_program({**QUICK, "gateway": {"enabled": True, "port": 0}})
    mounts.tmpfs(program.inbox, 1024)
    program.start()
    program.drop("before.ipynb", ONE)
    program.await_report("before")
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


@pytest.mark.parametrize("name", ["inbox", "outbox", "notebooks"])
def test_a_mount_that_is_late_at_the_start_is_waited_for(
    mounts: Mounts, make_program: Make, name: str
) -> None:
    """The next start knows where a folder lay; nothing is made where it should be mounted."""
    program = make_program(QUICK)
    folder, elsewhere = program.root / name, program.root / "elsewhere"
    mounts.bind(elsewhere, folder)
    program.start()
    assert program.stop() == 0
    mounts.unmount(folder)
    program.launch()
    wait_for(lambda: f"waiting: {folder} was on the mount {folder}" in program.log)
    assert list(folder.iterdir()) == []
    refused = program.run("doctor")
    assert refused.returncode == 1
    assert "which is not mounted now" in refused.stdout
    mounts.bind(elsewhere, folder)
    program.drop("job.ipynb", ONE)
    assert program.await_report("job")["status"] == "succeeded"


def test_a_folder_that_was_moved_on_purpose_can_be_accepted(
    mounts: Mounts, make_program: Make
) -> None:
    """The message says how, and it is remembered."""
    program = make_program(QUICK)
    mounts.bind(program.root / "elsewhere", program.outbox)
    program.start()
    assert program.stop() == 0
    mounts.unmount(program.outbox)
    program.launch()
    wait_for(lambda: "--accept-folders" in program.log)
    assert program.stop() == 0
    program.arguments = ("--accept-folders",)
    program.start()
    assert program.stop() == 0
    program.arguments = ()
    program.start()
    program.drop("job.ipynb", ONE)
    assert program.await_report("job")["status"] == "succeeded"


def test_requests_that_name_a_lost_library_wait_for_it(mounts: Mounts, make_program: Make) -> None:
    """They are not refused for a notebook that is there; others go on."""
    program = make_program(QUICK)
    mounts.bind(program.root / "elsewhere", program.library)
    (program.library / "lib.ipynb").write_text(json.dumps(ONE))
    program.start()
    mounts.unmount(program.library)
    await_trouble(program, "the library")
    waiting = program.drop("named.json", {"notebook": "lib.ipynb"})
    program.drop("own.ipynb", ONE)
    assert program.await_report("own")["status"] == "succeeded"
    assert waiting.exists()
    mounts.bind(program.root / "elsewhere", program.library)
    assert program.await_report("named")["status"] == "succeeded"
    await_health(program)


def test_inbox_subfolder_and_outbox_may_be_mounts_of_their_own(
    mounts: Mounts, make_program: Make
) -> None:
    """No rename leads from one mount to another, not even between two of one disk."""
    program = make_program(QUICK)
    mounts.bind(program.root / "a", program.inbox)
    mounts.bind(program.root / "b", program.inbox / "sub")
    mounts.tmpfs(program.inbox / "small", 256)
    mounts.bind(program.root / "c", program.outbox)
    program.start()
    for name in ("top", "sub/one", "small/two"):
        program.drop(f"{name}.ipynb", notebook(code("open('file', 'w').write('x')", "results")))
    for name in ("top", "sub/one", "small/two"):
        assert program.await_report(name)["status"] == "succeeded"
        assert (program.outbox / f"{name}.files" / "file").read_text() == "x"
    wait_for(lambda: not visible(program.inbox))
    assert list(program.inbox.rglob(".claim-*")) == []


def test_what_a_fuse_mount_does_not_tell_is_polled(mounts: Mounts, make_program: Make) -> None:
    """Files that somebody drops on its other side, one of them slowly."""
    patient = {"poll_seconds": 0.3, "rescan_seconds": 1, "broken_seconds": 90}
    program = make_program({**QUICK, "intake": patient})
    real = program.root / "real"
    mounts.bindfs(real, program.inbox)
    program.start()
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


def test_a_fuse_mount_below_a_local_inbox_is_polled_too(mounts: Mounts, make_program: Make) -> None:
    """Also one that comes while the runner is there; its leases would lie."""
    program = make_program(QUICK)
    real = program.root / "real"
    program.start()
    assert "polling" not in program.log
    mounts.bindfs(real, program.inbox / "nas")
    wait_for(lambda: "polling the inbox every 0.3 s (fuse mount)" in program.log)
    (real / "far.ipynb").write_bytes(json.dumps(ONE).encode())
    assert program.await_report("nas/far")["status"] == "succeeded"


@pytest.mark.parametrize("name", ["inbox", "outbox"])
def test_a_folder_without_any_rights_is_told_and_tried_again(make_program: Make, name: str) -> None:
    """Mode 000, for a user who is stopped by it."""
    program = make_program(QUICK)
    rights = "-dac_override,-dac_read_search"
    prefix = (tool("setpriv"), f"--bounding-set={rights}", f"--inh-caps={rights}")
    if subprocess.run([*prefix, "true"], capture_output=True).returncode == 0:
        program.prefix = prefix
    program.start()
    folder = program.root / name
    if name == "inbox":
        program.drop("job.ipynb", ONE)
        program.await_report("job")
        folder.chmod(0)
    else:
        folder.chmod(0)
        program.drop("job.ipynb", ONE)
    try:
        wait_for(lambda: "cannot take requests" in program.log)
        assert "Permission denied" in program.log
    finally:
        folder.chmod(0o755)
    program.drop("again.ipynb", ONE)
    for job in ("job", "again"):
        assert program.await_report(job)["status"] == "succeeded"
    await_health(program)


def test_a_drop_that_cannot_be_taken_is_quiet_and_named(make_program: Make) -> None:
    """Someone else's file under the sticky bit, an immutable one, a folder without rights.

    They are tried after growing pauses, health names them, and all other drops go on as ever. When
    their rights are mended they are taken; no claim folder stays behind.
    """
    program = make_program(QUICK)
    rights = "-fowner,-dac_override,-dac_read_search,-linux_immutable"
    program.prefix = (tool("setpriv"), f"--bounding-set={rights}", f"--inh-caps={rights}")
    if subprocess.run([*program.prefix, "true"], capture_output=True).returncode:
        pytest.skip("nobody can be anybody else here")
    program.start()
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


def test_a_mount_in_a_work_folder_is_left_alone(mounts: Mounts, make_program: Make) -> None:
    """What lies on it is somebody's: it is neither published nor removed. The runner takes down
    what a run has left behind, and a folder that stays keeps no start from coming up."""
    program = make_program(QUICK)
    theirs = mounts.tmpfs(program.root / "theirs", 256)
    (theirs / "precious").write_text("kept")
    program.start()
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


def test_a_name_whose_history_is_in_the_way_waits_alone(make_program: Make) -> None:
    """Health says which and what to do; others run, also after a restart; mended, it goes on."""
    program = make_program(QUICK)
    program.start()
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
    (history / "stray").rename(program.root / "moved")
    wait_for(lambda: (program.report("stray") or {}).get("job_id") not in (None, first))
    await_health(program)


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_a_dead_mount_is_told_and_holds_up_no_word(
    mounts: Mounts, make_program: Make, how: str
) -> None:
    """Health, metrics and doctor keep their shape, whatever the outbox's server does not say."""
    program = make_program({**QUICK, "gateway": {"enabled": True, "port": 0}})
    mounts.bindfs(program.root / "real", program.outbox)
    program.start()
    server = next(
        process
        for process in psutil.process_iter(["cmdline"])
        if "bindfs" in " ".join(process.info["cmdline"] or ())
        and str(program.outbox) in (process.info["cmdline"] or ())
    )
    server.suspend() if how == "stopped" else server.kill()
    try:
        told = "does not answer" if how == "stopped" else "cannot be used"
        await_trouble(program, f"the outbox {told}")
        answered = requests.get(f"{program.url}/healthz", timeout=60)
        assert answered.status_code == 503
        assert any(f"the outbox {told}" in reason for reason in answered.json()["reasons"])
        plain = {"Accept": "text/plain"}
        scraped = requests.get(f"{program.url}/metrics", headers=plain, timeout=60)
        assert "inbox_runner_healthy 0" in scraped.text
        said = program.run("health")
        assert said.returncode == 1
        assert f"the outbox {told}" in said.stdout
        assert "outbox" in program.run("doctor").stdout
    finally:
        if how == "stopped":
            server.resume()
