"""Kernels that wait for a notebook: they are there again whatever ends them, and never out of date.

Their loss costs time, never a job.
"""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.conftest import Json, Program, Serving, code, notebook, wait_for

PID = notebook(code("import os\n[os.getpid(), os.getppid()]", "results"))


def warm(program: Program) -> int:
    """How many kernels wait, as the daemon says."""
    try:
        found: int = json.loads((program.root / "state" / "pulse.json").read_bytes())["warm"]
    except FileNotFoundError:
        return 0
    return found


def preload_server(program: Program) -> psutil.Process:
    """The process that everything is forked from: the newest, as the forks of a dead one are the
    daemon's children for a moment.
    """
    found: psutil.Process = wait_for(lambda: program.children("runner.execution.job.preload"))[-1]
    return found


def job_processes(program: Program) -> list[psutil.Process]:
    """Those that run or wait."""
    return _children(preload_server(program))


def kernels(program: Program) -> list[psutil.Process]:
    """Of those job processes. One that ends while we look, as after each run, has none."""
    return [kernel for job in job_processes(program) for kernel in _children(job)]


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


def test_each_notebook_has_a_kernel_that_was_there_before_it(serving: Serving) -> None:
    """And that nobody used before or uses again; there are as many as notebooks at a time."""
    program = serving({"execution": {"concurrency": 2}})
    used = set()
    for number in range(4):
        wait_for(lambda: warm(program) == 2)
        waiting = {kernel.pid for kernel in kernels(program)}
        pair = value(program, f"n{number}", PID)
        assert isinstance(pair, list)
        assert pair[0] in waiting
        used.add(str(pair))
    assert len(used) == 4


def test_none_waits_where_none_is_wanted(serving: Serving) -> None:
    """`kernels.warm: 0`, or kernels that are started as Jupyter starts them."""
    for settings in ({"warm": 0}, {"start": "cold"}):
        program = serving({"kernels": settings})
        value(program, "one", PID)
        wait_for(lambda p=program: not job_processes(p))  # type: ignore[misc]
        assert warm(program) == 0


def test_a_waiting_kernel_that_is_killed_is_replaced(serving: Serving) -> None:
    """Its job process ends with it, and another pair takes its place."""
    program = serving({"execution": {"concurrency": 1}})
    wait_for(lambda: warm(program) == 1)
    kernel = wait_for(lambda: kernels(program))[0]
    kernel.kill()
    wait_for(lambda: kernels(program) and kernel not in kernels(program))
    pair = value(program, "one", PID)
    assert isinstance(pair, list)
    assert kernel.pid not in pair


def test_a_notebook_is_run_though_every_waiting_process_dies_under_it(serving: Serving) -> None:
    """Until one has begun it, its order goes to the next."""
    program = serving({"execution": {"concurrency": 2}})
    wait_for(lambda: warm(program) == 2)
    stopped = job_processes(program)
    for process in stopped:
        process.suspend()
    program.drop("one.ipynb", PID)
    wait_for(lambda: "started 'one'" in program.log)
    for process in stopped:
        process.kill()
    report = program.await_report("one")
    assert (report["status"], report["attempt"]) == ("succeeded", 1)


def test_a_preload_server_that_is_killed_is_replaced(serving: Serving) -> None:
    """Before anybody needs it, and a job that comes at once does not notice."""
    program = serving()
    wait_for(lambda: warm(program) > 0)
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


def test_a_running_notebook_outlives_its_preload_server(serving: Serving) -> None:
    """It goes on, and its result comes."""
    program = serving()
    wait_for(lambda: warm(program) > 0)
    program.drop("long.ipynb", notebook("import time; time.sleep(3)", code("40 + 2", "results")))
    wait_for(lambda: "started 'long'" in program.log)
    preload_server(program).kill()
    assert program.await_report("long")["results"]["cell_2"]["application/json"] == 42


@pytest.fixture
def package(tmp_path: Path) -> Callable[[str], Path]:
    """Installs a module of a given version into a folder on the search path."""
    folder = tmp_path / "packages"
    folder.mkdir()

    def install(version: str) -> Path:
        """As pip does: what is new is written beside the old, which then goes."""
        for old in folder.glob("something*"):
            old.unlink()
        (folder / f"something-{version}.dist-info").touch()
        (folder / "something.py").write_text(f"VERSION = {version!r}\n")
        return folder

    return install


VERSION = notebook(code("import something\n[something.VERSION]", "results"))


def test_a_package_that_is_upgraded_is_seen_by_the_next_notebook(
    make_program: Serving, package: Callable[[str], Path]
) -> None:
    """Though the old one was preloaded, and kernels that have it wait; nothing is restarted."""
    folder = package("1.0.0")
    program = make_program({"kernels": {"preload": ["something"]}}, PYTHONPATH=str(folder)).start()
    wait_for(lambda: warm(program) > 0)
    assert value(program, "before", VERSION) == ["1.0.0"]
    wait_for(lambda: warm(program) > 0)
    package("2.0.0")
    assert value(program, "after", VERSION) == ["2.0.0"]
    package("3.0.0")
    wait_for(lambda: program.log.count("installed packages have changed") >= 2)
    wait_for(lambda: warm(program) > 0)
    assert value(program, "later", VERSION) == ["3.0.0"]


def test_sighup_imports_everything_anew_and_ends_no_running_notebook(
    make_program: Serving, package: Callable[[str], Path]
) -> None:
    """For what no folder's time tells, such as a module that is edited in place."""
    folder = package("1.0.0")
    program = make_program({"kernels": {"preload": ["something"]}}, PYTHONPATH=str(folder)).start()
    wait_for(lambda: warm(program) > 0)
    program.drop("long.ipynb", notebook("import time; time.sleep(4)", code("1", "results")))
    wait_for(lambda: "started 'long'" in program.log)
    old = preload_server(program)
    (folder / "something.py").write_text("VERSION = 'edited'\n")
    assert program.process is not None
    program.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "SIGHUP" in program.log)
    assert value(program, "edited", VERSION) == ["edited"]
    assert program.await_report("long")["status"] == "succeeded"
    wait_for(lambda: not old.is_running())


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import os; os._exit(3)", "goes without"),
        ("raise RuntimeError('broken')", "not preloaded: bad (broken)"),
    ],
)
def test_a_module_that_cannot_be_preloaded_costs_no_job(
    source: str, said: str, make_program: Serving, tmp_path: Path
) -> None:
    """One that fails is skipped; one that ends the server is left out of the next."""
    folder = tmp_path / "packages"
    folder.mkdir()
    (folder / "bad.py").write_text(source)
    settings = {"kernels": {"preload": ["bad", "no_such_module"]}}
    program = make_program(settings, PYTHONPATH=str(folder)).start()
    assert value(program, "one", PID)
    assert said in program.log
    wait_for(lambda: warm(program) > 0)


def test_modules_are_preloaded_again_once_the_one_that_failed_is_mended(
    make_program: Serving, tmp_path: Path
) -> None:
    """Health says what is missing until then; a SIGHUP tries it again."""
    folder = tmp_path / "packages"
    folder.mkdir()
    (folder / "bad.py").write_text("import os; os._exit(3)")
    program = make_program({"kernels": {"preload": ["bad"]}}, PYTHONPATH=str(folder)).start()
    loaded = notebook(code("import sys; 'bad' in sys.modules", "results"))
    assert value(program, "before", loaded) is False
    wait_for(lambda: "without bad (kernels.preload)" in program.run("health").stdout)
    (folder / "bad.py").write_text("")
    assert program.process is not None
    program.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "SIGHUP" in program.log)
    assert value(program, "after", loaded) is True
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
