"""What the doctor tries, what it says, and that it leaves nothing behind."""

import errno
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from runner.cli import doctor
from runner.cli.doctor import Finding, Level, examine
from runner.config import Dask, Execution, Kernels, Limits, Settings, Tls
from runner.state.locks import own
from runner.system.extras import advice_on
from runner.system.files.disk import Disk
from tests.conftest import Program, notebook, tool, wait_for

FOLDERS = ("inbox", "outbox", "notebooks", "state")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    for name in FOLDERS:
        (tmp_path / name).mkdir()
    return Settings(
        inbox=tmp_path / "inbox",
        outbox=tmp_path / "outbox",
        notebooks=tmp_path / "notebooks",
        state=tmp_path / "state",
    )


def look(
    settings: Settings, disk: Disk | None = None, **more: Callable[[], float]
) -> list[Finding]:
    """All findings; afterwards the folders are as they were."""
    before = everything(settings)
    found = list(examine(settings, disk or Disk(), **more))
    assert everything(settings) == before
    return found


def everything(settings: Settings) -> list[Path]:
    return sorted(settings.inbox.parent.rglob("*"))


def bad(findings: list[Finding]) -> list[Finding]:
    assert all(f.advice for f in findings if f.level is not Level.OK)
    return [finding for finding in findings if finding.level is not Level.OK]


def test_nothing_is_wrong_with_four_local_folders(settings: Settings) -> None:
    """Each is tried, and each part of the watching."""
    found = look(settings)
    assert bad(found) == []
    for name in FOLDERS:
        assert any(f.check == name and "synced, renamed and removed" in f.message for f in found)
    watching = " ".join(f.message for f in found if f.check == "watching")
    assert "events, because" in watching
    assert "an event came" in watching
    assert "a lease tells" in watching


class Refusing(Disk):
    """One kind of call fails below one folder."""

    def __init__(self, call: str, folder: Path, number: int) -> None:
        self._call, self._folder, self._number = call, folder, number

    def _check(self, call: str, path: Path) -> None:
        if call == self._call and path.is_relative_to(self._folder):
            raise OSError(self._number, os.strerror(self._number), str(path))

    def make_folder(self, path: Path) -> bool:
        self._check("make_folder", path)
        return super().make_folder(path)

    def write(self, path: Path, content: bytes, why: str | None = None) -> None:
        if why is not None:
            self._check("write", path)
        super().write(path, content, why)

    def rename(self, old: Path, new: Path) -> None:
        self._check("rename", old)
        super().rename(old, new)

    def sync_folder(self, path: Path, why: str) -> None:
        self._check("sync_folder", path)
        super().sync_folder(path, why)


@pytest.mark.parametrize(
    ("call", "number", "said", "advice"),
    [
        (
            "make_folder",
            errno.EACCES,
            "cannot make a folder in {folder}: Permission denied",
            "change the mode",
        ),
        ("make_folder", errno.EROFS, "Read-only file system", "Mount it for writing"),
        ("write", errno.ENOSPC, "write and sync a file (fsync) in {folder}: No space", "Make room"),
        (
            "rename",
            errno.EPERM,
            "rename a file in {folder}: Operation not permitted",
            "change the mode",
        ),
        (
            "sync_folder",
            errno.EINVAL,
            "sync a folder (fsync) in {folder}: Invalid",
            "The runner is user",
        ),
    ],
)
@pytest.mark.parametrize("name", ["outbox", "state"])
def test_a_step_that_fails_is_named_with_what_to_do(
    settings: Settings, name: str, call: str, number: int, said: str, advice: str
) -> None:
    """And nothing of it stays."""
    (found,) = bad(look(settings, Refusing(call, getattr(settings, name), number)))
    assert found.level is Level.PROBLEM
    assert found.check == name
    assert said.format(folder=getattr(settings, name)) in found.message
    assert advice in (found.advice or "")


def test_a_runner_that_got_its_inbox_later_is_one_runner(settings: Settings) -> None:
    """It takes its state first; a second may pass, or a day until a lost mount is back."""
    for folder in (settings.state, settings.inbox):
        folder.mkdir(exist_ok=True)
    first = own([settings.state], "runner serve", "2026-11-27T02:23:10+00:00")
    later = own([settings.inbox], "runner serve", "2026-11-27T02:23:11+00:00")
    try:
        (lock,) = [one for one in examine(settings, Disk()) if one.check == "lock"]
        assert lock.level is Level.OK
        assert "since 2026-11-27T02:23:10" in lock.message
    finally:
        later.release()
        first.release()


class Slow(Disk):
    """So many synced writes into one folder take long."""

    def __init__(self, folder: Path, times: int) -> None:
        self._folder, self._left = folder, times

    def write(self, path: Path, content: bytes, why: str | None = None) -> None:
        if why is not None and path.is_relative_to(self._folder) and self._left:
            self._left -= 1
            time.sleep(doctor.SLOW_SYNC_SECONDS + 0.05)
        super().write(path, content, why)


def test_a_slow_disk_is_told_and_one_that_was_busy_is_not(settings: Settings) -> None:
    """The quickest of some writes counts."""
    assert (
        bad(
            list(
                doctor._canary(settings.state, "state", "ext4", Slow(settings.state, 2), time.time)
            )
        )
        == []
    )
    always = Slow(settings.state, doctor.SYNC_TRIALS)
    (found,) = bad(list(doctor._canary(settings.state, "state", "ext4", always, time.time)))
    assert found.level is Level.WARNING
    assert "a synced write into" in found.message


def test_a_clock_that_differs_is_told(settings: Settings) -> None:
    """A server stamps files with its own."""

    found = bad(look(settings, wall=lambda: time.time() - 90))
    assert {f.check for f in found} == set(FOLDERS)
    assert all("ahead of" in f.message and f.level is Level.WARNING for f in found)


def test_too_little_space_is_a_problem(settings: Settings) -> None:
    """Of all folders but the library."""
    found = bad(look(settings.model_copy(update={"limits": Limits(free_mb=10**9)})))
    assert [f.check for f in found] == ["inbox", "outbox", "state"]
    assert "requests stay in the inbox" in (found[-1].advice or "")


def test_a_kernel_that_is_not_installed_is_told(settings: Settings) -> None:
    """One of them is a warning; none at all is a problem."""
    some = settings.model_copy(update={"kernels": Kernels(allowed=("python3", "no-such"))})
    none = settings.model_copy(update={"kernels": Kernels(allowed=("no-such",))})
    assert [f.level for f in bad(look(some))] == [Level.WARNING]
    (found,) = bad(look(none))
    assert found.level is Level.PROBLEM
    assert "python3" in (found.advice or "")


def test_memory_is_held_against_what_there_is(tmp_path: Path) -> None:
    """The machine's, or less where a container has less."""
    assert doctor._memory(4, 1024, 4096).level is Level.OK
    assert doctor._memory(4, 1024, 4095).level is Level.WARNING
    (tmp_path / "memory.max").write_text(f"{512 * 1024 * 1024}\n")
    assert doctor.machine_memory_mb(tmp_path) == 512
    (tmp_path / "memory.max").write_text("max\n")
    assert doctor.machine_memory_mb(tmp_path) > 512


def test_a_long_folder_for_sockets_is_a_problem() -> None:
    """A socket's path has 107 bytes."""
    assert doctor._sockets("/tmp").level is Level.OK
    assert doctor._sockets("/" + "x" * 100).level is Level.PROBLEM


def test_folders_that_are_not_made_yet_are_no_problem(tmp_path: Path) -> None:
    """The first start makes them; the doctor does not."""
    one = {name: tmp_path / name for name in FOLDERS}
    found = list(examine(Settings(**one), Disk()))
    assert {f.check for f in bad(found)} == set(FOLDERS)
    assert all(f.level is Level.WARNING for f in bad(found))
    assert list(tmp_path.iterdir()) == []


def test_advice_to_change_a_setting_says_when_that_counts(
    make_program: Callable[..., Program],
) -> None:
    """A running runner has read its settings."""
    program = make_program({"kernels": {"allowed": ["none-of-these"]}})
    told = " ".join(program.run("doctor").stdout.split())
    assert "`kernels.allowed`" in told
    assert told.endswith("after a change of them, start it again.")


@pytest.mark.kernels
def test_the_doctor_may_be_asked_while_a_runner_works(
    make_program: Callable[..., Program],
) -> None:
    """It says who holds the lock, disturbs nobody, and ends with 0; in JSON as in words."""
    program = make_program()
    program.start()
    told = program.run("doctor", "--json")
    assert told.returncode == 0, told.stdout
    content = json.loads(told.stdout)
    assert content["healthy"] is True
    (lock,) = [f for f in content["findings"] if f["check"] == "lock"]
    assert program.process is not None
    assert f"pid {program.process.pid}" in lock["message"]
    program.outbox.rename(program.root / "away")
    told = program.run("doctor")
    assert told.returncode == 1
    assert "outbox is not there" in " ".join(told.stdout.split())
    (program.root / "away").rename(program.outbox)
    program.drop("after.ipynb", notebook("1"))
    assert program.await_report("after")["status"] == "succeeded"
    # os.walk: a runner takes away folders of its own, over which rglob would stumble
    seen = [name for _, folders, files in os.walk(program.root) for name in (*folders, *files)]
    assert not [name for name in seen if name.startswith(doctor.CANARY_PREFIX)]


# A cluster

OTHER_TOOLZ = """
from distributed import versions

if not hasattr(versions, "real"):  # a preload is imported twice
    versions.real = versions.get_package_info
    versions.get_package_info = lambda packages: {**versions.real(packages), "toolz": "0.1"}
"""


@contextmanager
def dask(folder: Path, *arguments: str) -> Iterator[Callable[[], str]]:
    """A program of Dask's, with its dashboard left out; gives what it has said so far."""
    pytest.importorskip("distributed", reason="the extra `dask`")
    log = folder / f"{arguments[0]}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "dask", *arguments, "--host", "127.0.0.1"),
                *("--dashboard-address", "127.0.0.1:0", "--no-dashboard"),
            ],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )

    def said() -> str:
        assert process.poll() is None, log.read_text()
        return log.read_text()

    try:
        yield said
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


@contextmanager
def scheduler(folder: Path, *arguments: str) -> Iterator[str]:
    """Gives its address."""
    with dask(folder, "scheduler", "--port", "0", *arguments) as said:
        found = wait_for(lambda: re.search(r"Scheduler at: +(\S+)\n", said()))
        yield found[1]


def asks(settings: Settings, address: str, tls: Tls | None = None) -> list[Finding]:
    """What the doctor says of a cluster at an address."""
    execution = Execution(executor="dask", dask=Dask(address=address, tls=tls))
    found = look(settings.model_copy(update={"execution": execution}))
    assert "memory" not in {f.check for f in found}
    return [f for f in found if f.check == "cluster"]


def test_workers_and_slots_of_a_cluster_are_counted(settings: Settings, tmp_path: Path) -> None:
    """As soon as there is one; until then the doctor says how to start it."""
    with ExitStack() as stack:
        address = stack.enter_context(scheduler(tmp_path))
        (found,) = bad(asks(settings, address))
        assert found.level is Level.PROBLEM
        assert found.message == f"the scheduler at {address} has no worker"
        assert f"runner worker --scheduler {address}" in (found.advice or "")
        worker = ("worker", address, "--no-nanny", "--nthreads", "3")
        said = stack.enter_context(dask(tmp_path, *worker))
        wait_for(lambda: "Registered to" in said())
        (found,) = asks(settings, address)
        assert found.level is Level.OK
        assert found.message.endswith(f"{address} answers; workers: 1, slots: 3")


def test_an_encrypted_scheduler_wants_our_certificate(settings: Settings, tmp_path: Path) -> None:
    """With it the doctor gets in, and sees that other versions run there; without it is told."""
    tls = certificate(tmp_path)
    (tmp_path / "other.py").write_text(OTHER_TOOLZ)
    files = [f"--tls-ca-file={tls.ca_file}", f"--tls-cert={tls.cert_file}"]
    with scheduler(
        tmp_path, "--protocol", "tls", *files, f"--tls-key={tls.key_file}", "--preload", "other.py"
    ) as address:
        nobody, versions = bad(asks(settings, address, tls))
        assert nobody.message == f"the scheduler at {address} has no worker"
        assert versions.level is Level.WARNING
        assert versions.message.endswith("and on the workers: toolz")
        for wrong in (address, address.replace("tls:", "tcp:")):
            (found,) = bad(asks(settings, wrong))
            assert found.level is Level.PROBLEM
            assert "cannot be reached" in found.message
            assert "execution.dask.tls" in (found.advice or "")
        tls.key_file.unlink()
        (found,) = bad(asks(settings, address, tls))
        assert found.message == f"{tls.key_file} cannot be read"


def certificate(folder: Path) -> Tls:
    """One that signs itself, for all of a cluster."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            *(tool("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=cluster", "-keyout", str(key), "-out", str(cert)),
        ],
        capture_output=True,
        check=True,
    )
    return Tls(ca_file=cert, cert_file=cert, key_file=key)


def test_a_scheduler_that_is_not_there_is_a_problem(settings: Settings) -> None:
    """Found out within seconds, and told with the setting to correct."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and nobody listens
        address = f"tcp://127.0.0.1:{bound.getsockname()[1]}"
        (found,) = bad(asks(settings, address))
    assert found.level is Level.PROBLEM
    assert f"the scheduler at {address} cannot be reached: Timed out" in found.message
    assert "execution.dask.address" in (found.advice or "")


def test_a_cluster_needs_its_extra(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is not installed, the doctor says what is."""
    monkeypatch.setitem(sys.modules, "distributed", None)
    (found,) = bad(asks(settings, "tcp://127.0.0.1:8786"))
    assert found.level is Level.PROBLEM
    assert "distributed is not installed" in found.message
    assert found.advice == advice_on("dask")
