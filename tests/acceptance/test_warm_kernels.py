"""Kernels that wait for a notebook: they are there again whatever ends them, and never out of date.

Their loss costs time, never a job.
"""

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from runner.state.ledger_reader import LedgerReader
from tests.conftest import Json, Program, Serving, code, notebook, programs, wait_for

PID = notebook(code("import os\n[os.getpid(), os.getppid()]", "results"))


def warm(program: Program) -> int:
    """How many kernels wait, as the daemon says."""
    try:
        found: int = json.loads((program.root / "state" / "pulse.json").read_bytes())["warm"]
    except FileNotFoundError:
        return 0
    return found


def preload_server(program: Program) -> psutil.Process:
    """The process that everything is forked from, once it is alone.

    The forks of a dead one are the daemon's children for a moment.
    """

    def alone() -> list[psutil.Process]:
        found = program.children("runner.execution.forking.preload")
        return found if len(found) == 1 else []

    (server,) = wait_for(alone)
    assert isinstance(server, psutil.Process)
    return server


def job_processes(program: Program) -> list[psutil.Process]:
    """Those that run or wait."""
    return _children(preload_server(program))


def kernels(program: Program) -> list[psutil.Process]:
    """Those that the zygotes of these job processes have forked."""
    zygotes = [zygote for job in job_processes(program) for zygote in _children(job)]
    return [kernel for zygote in zygotes for kernel in _children(zygote)]


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children()
    except psutil.NoSuchProcess:
        return []


def value(program: Program, name: str, content: Json) -> object:
    """What the one tagged cell of a notebook gave."""
    program.drop(f"{name}.ipynb", content)
    report = program.await_report(name)
    assert report["status"] == "succeeded", report
    first = next(iter(report["results"].values()))
    return first["application/json"]


@pytest.fixture(scope="module")
def pair_program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    make = programs(tmp_path_factory.mktemp("pair"))
    yield next(make)({"execution": {"concurrency": 2}}).start()
    next(make, None)


@pytest.fixture
def pair(pair_program: Program) -> Program:
    """A program of two notebooks at a time, with two kernels that wait."""
    wait_for(lambda: warm(pair_program) == 2 == len(kernels(pair_program)))
    return pair_program


def test_each_notebook_has_a_kernel_that_was_there_before_it(pair: Program) -> None:
    """And that nobody used before or uses again; there are as many as notebooks at a time."""
    program = pair
    used = set()
    for number in range(4):
        wait_for(lambda: warm(program) == 2)
        waiting = {kernel.pid for kernel in kernels(program)}
        pids = value(program, f"n{number}", PID)
        assert isinstance(pids, list)
        assert pids[0] in waiting
        used.add(str(pids))
    assert len(used) == 4


def test_none_waits_where_none_is_wanted(serving: Serving) -> None:
    """`kernels.warm: 0`, or kernels that are started as Jupyter starts them."""
    for settings in ({"warm": 0}, {"start": "cold"}):
        program = serving({"kernels": settings})
        value(program, "one", PID)
        wait_for(lambda p=program: not job_processes(p))  # type: ignore[misc]
        assert warm(program) == 0


def test_a_waiting_kernel_that_is_killed_is_replaced(pair: Program) -> None:
    """Its job process ends with it, and another pair takes its place."""
    waiting = kernels(pair)
    for kernel in waiting:
        kernel.kill()
    wait_for(lambda: kernels(pair) and not set(waiting) & set(kernels(pair)))
    pids = value(pair, "replaced", PID)
    assert isinstance(pids, list)
    assert not {kernel.pid for kernel in waiting} & set(pids)


def test_a_notebook_is_run_though_every_waiting_process_dies_under_it(pair: Program) -> None:
    """Until one has begun it, its order goes to the next."""
    program = pair
    stopped = job_processes(program)
    for process in stopped:
        process.suspend()
    program.drop("given-on.ipynb", PID)
    wait_for(lambda: "started 'given-on'" in program.log)
    for process in stopped:
        with suppress(psutil.NoSuchProcess):  # the daemon ends those that it needs no more
            process.kill()
    report = program.await_report("given-on")
    assert (report["status"], report["attempt"]) == ("succeeded", 1)


def test_a_preload_server_that_is_killed_is_replaced(pair: Program) -> None:
    """Before anybody needs it, and a job that comes at once does not notice."""
    program = pair
    for number in range(2):
        old = preload_server(program)
        old.kill()
        assert value(program, f"at-once{number}", PID)
        assert preload_server(program).pid != old.pid
    wait_for(lambda: warm(program) > 0)
    old = preload_server(program)
    old.kill()
    wait_for(lambda: "the preload server is gone" in program.log.rpartition("at-once1")[2])
    wait_for(lambda: warm(program) > 0 and preload_server(program).pid != old.pid)


def test_a_folder_in_tmp_that_is_cleaned_away_costs_no_job(pair: Program) -> None:
    """It is made anew, private as it was: by the servers that live, and by the next one."""
    program = pair
    with closing(LedgerReader(program.root / "state")) as ledger:
        folder = Path(str(ledger.fact("runtime_folder")))
    wait_for(lambda: warm(program) > 0)
    for killed in (False, True):
        shutil.rmtree(folder)
        if killed:
            preload_server(program).kill()
        for number in range(4):
            assert value(program, f"cleaned{killed}{number}", PID)
        assert folder.stat().st_mode & 0o777 == 0o700
    wait_for(lambda: warm(program) > 0 and not zombies(program))


def zombies(program: Program) -> list[psutil.Process]:
    """What has ended, and nobody has taken note of."""
    assert program.process is not None
    found = []
    for one in psutil.Process(program.process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if one.status() == psutil.STATUS_ZOMBIE:
                found.append(one)
    return found


def test_a_running_notebook_outlives_its_preload_server(pair: Program, tmp_path: Path) -> None:
    """It goes on, and its result comes."""
    program, go = pair, str(tmp_path / "go")
    awaits = (
        f"import os, time\nopen('alive', 'w')\nwhile not os.path.exists({go!r}): time.sleep(0.05)"
    )
    program.drop("long.ipynb", notebook(awaits, code("40 + 2", "results")))
    wait_for(lambda: list(program.root.glob("state/work/*/alive")))
    preload_server(program).kill()
    (tmp_path / "go").touch()
    assert program.await_report("long")["results"]["cell_2"]["application/json"] == 42


@dataclass(frozen=True)
class Packaged:
    """A program that preloads a module `something`, and the folder where that lies."""

    folder: Path
    program: Program

    def install(self, version: str) -> None:
        """As pip does: the old goes with its bytecode, which is told apart by size and second."""
        shutil.rmtree(self.folder / "__pycache__", ignore_errors=True)
        for old in self.folder.glob("something*"):
            old.unlink()
        (self.folder / f"something-{version}.dist-info").touch()
        (self.folder / "something.py").write_text(f"VERSION = {version!r}\n")

    def send(self, number: int) -> None:
        assert self.program.process is not None
        self.program.process.send_signal(number)


@pytest.fixture(scope="module")
def packaged_program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Packaged]:
    folder = tmp_path_factory.mktemp("packages")
    make = programs(tmp_path_factory.mktemp("packaged"))
    program = next(make)({"kernels": {"preload": ["something"]}}, PYTHONPATH=str(folder))
    packaged = Packaged(folder, program)
    packaged.install("1.0.0")
    program.start()
    yield packaged
    next(make, None)


@pytest.fixture
def packaged(packaged_program: Packaged) -> Packaged:
    """With a kernel that waits."""
    wait_for(lambda: warm(packaged_program.program) > 0)
    return packaged_program


VERSION = notebook(code("import something\n[something.VERSION]", "results"))


def test_a_package_that_is_upgraded_is_seen_by_the_next_notebook(packaged: Packaged) -> None:
    """Though the old one was preloaded, and kernels that have it wait; nothing is restarted."""
    program, mark = packaged.program, len(packaged.program.log)
    text = (packaged.folder / "something.py").read_text()
    assert value(program, "before", VERSION) == [text.split("'")[1]]
    wait_for(lambda: warm(program) > 0)
    packaged.install("2.0.0")
    assert value(program, "after", VERSION) == ["2.0.0"]
    packaged.install("3.0.0")
    wait_for(lambda: program.log[mark:].count("installed packages have changed") >= 2)
    wait_for(lambda: warm(program) > 0)
    assert value(program, "later", VERSION) == ["3.0.0"]


def test_sighup_imports_everything_anew_and_ends_no_running_notebook(packaged: Packaged) -> None:
    """For what no folder's time tells, such as a module that is edited in place."""
    program = packaged.program
    program.drop("long.ipynb", notebook("import time; time.sleep(4)", code("1", "results")))
    wait_for(lambda: "started 'long'" in program.log)
    old = preload_server(program)
    (packaged.folder / "something.py").write_text("VERSION = 'edited'\n")
    packaged.send(signal.SIGHUP)
    wait_for(lambda: "SIGHUP" in program.log)
    assert value(program, "edited", VERSION) == ["edited"]
    assert program.await_report("long")["status"] == "succeeded"
    wait_for(lambda: not old.is_running())


def test_modules_that_cannot_be_preloaded_cost_no_job(
    make_program: Serving, tmp_path: Path
) -> None:
    """After one that ends the server, the next goes without any; one that fails is skipped.

    Health says what is missing until it is mended; a SIGHUP tries it again.
    """
    folder = tmp_path / "packages"
    folder.mkdir()
    (folder / "ends.py").write_text("import os; os._exit(3)")
    (folder / "fails.py").write_text("raise RuntimeError('broken')")
    preload = ["ends", "fails", "no_such_module"]
    program = make_program({"kernels": {"preload": preload}}, PYTHONPATH=str(folder)).start()
    loaded = notebook(code("import sys; 'ends' in sys.modules", "results"))
    assert value(program, "before", loaded) is False
    assert "goes without" in program.log
    wait_for(lambda: warm(program) > 0)
    missing = f"without {', '.join(preload)} (kernels.preload)"
    wait_for(lambda: missing in " ".join(program.run("health").stdout.split()))
    (folder / "ends.py").write_text("")
    assert program.process is not None
    program.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "SIGHUP" in program.log)
    assert value(program, "after", loaded) is True
    assert "not preloaded: fails (broken)" in program.log
    wait_for(lambda: "kernels.preload" not in program.run("health").stdout)


def test_a_closed_terminal_ends_a_runner_that_was_started_in_it(make_program: Serving) -> None:
    """Its SIGHUP is no wish for another preload server: nobody could stop the runner later."""
    program = make_program()
    leader, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "runner", "serve"],
        cwd=program.root,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        preexec_fn=lambda: _control(terminal),
    )
    os.close(terminal)
    try:
        wait_for(lambda: warm(program) > 0)
        os.close(leader)
        assert process.wait(60) == 0
    finally:
        process.kill()


def _control(terminal: int) -> None:
    import fcntl
    import termios

    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
