"""The program in front of a Dask cluster of real processes, and what becomes of it when they go."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from distributed import Client

import runner
from runner.config import load
from runner.jobs.health import examine
from runner.system.extras import advice_on
from tests.cluster import Cluster, cluster
from tests.conftest import Json, Program, alive, code, notebook, programs, tool, wait_for

LEASE = 5
NOTE = """
import os
fd = os.open({log!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
os.write(fd, (os.environ["RUNNER_NAME"] + "\\n").encode())
os.close(fd)
open({log!r} + "." + os.environ["RUNNER_NAME"], "w").write(str(os.getpid()))
"""
"""Notes that it has begun, whole lines from many processes."""


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Cluster]:
    """A scheduler without workers."""
    (tmp_path / "cluster").mkdir()
    with cluster(tmp_path / "cluster") as made:
        yield made


def settings_of(made: Cluster, **dask: Any) -> Json:
    """As small a lease as a busy machine allows."""
    return {
        "execution": {
            "executor": "dask",
            "dask": {"address": made.address, "lease_seconds": LEASE, **dask},
        }
    }


def seats(program: Program) -> int:
    """How many slots the program says that its cluster has."""
    try:
        found = json.loads((program.root / "state" / "pulse.json").read_bytes())
    except (FileNotFoundError, json.JSONDecodeError):
        return 0
    return sum(worker["slots"] for worker in found["workers"])


def health(program: Program) -> Json:
    """What `runner health` says."""
    return examine(load(program.root / "config.yaml")).content


class Runs:
    """Notes of notebooks that have begun."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "begun.txt"

    @property
    def begun(self) -> Counter[str]:
        return Counter(self.log.read_text().split()) if self.log.exists() else Counter()

    def kernel(self, name: str) -> psutil.Process:
        """The newest one in which a notebook of this name has begun."""
        noted = self.log.with_name(f"{self.log.name}.{name}")
        return psutil.Process(int(wait_for(lambda: noted.exists() and noted.read_text())))

    def note(self) -> str:
        return NOTE.format(log=str(self.log))

    def cells(self, seconds: float = 600) -> Json:
        return notebook(self.note(), f"import time; time.sleep({seconds})")


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


Make = Callable[..., Program]


@dataclass(frozen=True)
class Site:
    """A cluster, and a program in front of it, that several tests share."""

    cluster: Cluster
    program: Program


def sites(folder: Path, **dask: Any) -> Iterator[Site]:
    """One such site, without workers."""
    (folder / "cluster").mkdir()
    with cluster(folder / "cluster") as made, contextmanager(programs)(folder) as make:
        yield Site(made, make(settings_of(made, **dask)).start())


@pytest.fixture(scope="module")
def shared_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """For tests that bring their own workers and end them, see `site`."""
    yield from sites(tmp_path_factory.mktemp("site"), patience_seconds=1)


@pytest.fixture
def site(shared_site: Site) -> Iterator[Site]:
    """Without workers, before and after."""
    yield shared_site
    shared_site.cluster.end_workers()
    wait_for(lambda: seats(shared_site.program) == 0)


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One worker of two slots, for tests that leave it as it was."""
    with contextmanager(sites)(tmp_path_factory.mktemp("steady")) as made:
        made.cluster.add_worker(slots=2)
        wait_for(lambda: seats(made.program) == 2)
        yield made


def test_16_notebooks_while_a_worker_is_killed_and_the_daemon_restarted(
    running: Cluster, make_program: Make, runs: Runs
) -> None:
    """Every request has exactly one result; none runs twice unless it asks for that."""
    first, _ = running.add_worker(), running.add_worker()
    program = make_program(settings_of(running)).start()
    wait_for(lambda: seats(program) == 4)
    names = [f"n{number}" for number in range(16)]
    for number, name in enumerate(names):
        if number % 2:
            program.drop(f"{name}.yaml", "retries: 2")
        program.drop(f"{name}.ipynb", runs.cells(seconds=0.1))

    def results(count: int) -> None:
        wait_for(lambda: sum(1 for name in names if program.report(name)) >= count, 200)

    results(2)
    wait_for(lambda: len(runs.begun) > len([n for n in names if program.report(n)]))
    first.kill()
    results(6)
    assert program.process is not None
    program.process.kill()
    program.process.wait()
    program.start()
    results(16)

    reports = [program.await_report(name) for name in names]
    statuses = Counter(report["status"] for report in reports)
    assert set(statuses) <= {"succeeded", "interrupted"}, statuses
    assert statuses["succeeded"] >= 8, statuses
    for number, report in enumerate(reports):
        begun = runs.begun[report["name"]]
        assert begun <= (report["attempt"] if number % 2 else 1), report
        assert begun >= (report["status"] == "succeeded"), report
    assert not (program.outbox / ".history").exists()
    with closing(sqlite3.connect(program.root / "state" / "ledger.sqlite3")) as db:
        # A report is published before the job is closed.
        query = "SELECT count(*), count(DISTINCT name) FROM jobs WHERE state = 'closed'"
        wait_for(lambda: db.execute(query).fetchone() == (16, 16))
        assert db.execute("SELECT count(*) FROM jobs").fetchone() == (16,)
    assert len({report["host"] for report in reports if report["host"]}) == 1


def test_a_worker_that_is_killed_interrupts_and_only_who_asks_runs_again(
    site: Site, runs: Runs
) -> None:
    """Its nanny, process and kernels go at once, as a machine does. Then another worker comes."""
    worker = site.cluster.add_worker(nanny=True)
    program = site.program
    program.drop("killed-once.ipynb", runs.cells())
    program.drop("killed-again.yaml", "retries: 1")
    program.drop("killed-again.ipynb", runs.cells(seconds=1))
    wait_for(lambda: runs.begun["killed-once"] and runs.begun["killed-again"])
    worker.kill()
    once = program.await_report("killed-once")
    assert once["error_type"] == "interrupted"
    assert "worker" in once["message"]
    site.cluster.add_worker()
    again = program.await_report("killed-again")
    assert (again["status"], again["attempt"]) == ("succeeded", 2)
    assert runs.begun == {"killed-once": 1, "killed-again": 2}


def test_what_dask_does_again_by_itself_does_not_run_again(site: Site, runs: Runs) -> None:
    """The nanny starts the worker's process anew, and the scheduler sends its task once more."""
    for _ in range(2):
        site.cluster.add_worker(slots=1, nanny=True)
    program = site.program
    wait_for(lambda: seats(program) == 2)
    program.drop("dask-job.ipynb", runs.cells())
    wait_for(lambda: runs.begun["dask-job"])
    above = {process.pid for process in runs.kernel("dask-job").parents()}
    [busy] = [one for one in site.cluster.workers if one.process.pid in above]
    busy.worker().kill()
    assert program.await_report("dask-job")["error_type"] == "interrupted"
    program.drop("dask-next.ipynb", runs.cells(seconds=0))
    assert program.await_report("dask-next")["status"] == "succeeded"
    assert runs.begun == {"dask-job": 1, "dask-next": 1}


@contextmanager
def polite_worker(program: Program, seconds: float) -> Iterator["subprocess.Popen[bytes]"]:
    """A `runner worker` of one slot; told to stop, it lets a run go on for `seconds`."""
    log = program.root / "worker.log"
    with log.open("ab") as out:
        worker = subprocess.Popen(
            [program.python, "-m", "runner", "worker", "--slots", "1"],
            cwd=program.root,
            env={**os.environ, "INBOX_RUNNER__SHUTDOWN_SECONDS": str(seconds)},
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        yield worker
    finally:
        if worker.poll() is None:
            worker.terminate()
        assert worker.wait(60) == 0, log.read_text()


def test_a_worker_that_is_told_to_stop_ends_what_it_has_begun(site: Site, runs: Runs) -> None:
    """What comes meanwhile runs elsewhere, and waits until there is an elsewhere."""
    program = site.program
    with polite_worker(program, 60) as worker:
        go = program.root / "go"
        waits = f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.05)"
        program.drop("told-begun.ipynb", notebook(runs.note(), waits))
        wait_for(lambda: runs.begun["told-begun"])
        os.killpg(worker.pid, signal.SIGINT)  # as a terminal does
        wait_for(
            lambda: any("is being stopped" in note for note in health(program).get("notes", []))
        )
        program.drop("told-next.ipynb", runs.cells(seconds=0))
        wait_for(lambda: not (program.inbox / "told-next.ipynb").exists())
        go.touch()
        begun = program.await_report("told-begun")
        assert (begun["status"], begun["attempt"]) == ("succeeded", 1)
        assert worker.wait(60) == 0
    assert program.report("told-next") is None
    site.cluster.add_worker()
    assert program.await_report("told-next")["status"] == "succeeded"
    assert runs.begun == {"told-begun": 1, "told-next": 1}


@pytest.mark.parametrize("again", [False, True])
def test_what_does_not_end_in_time_comes_home_as_far_as_it_got(
    site: Site, runs: Runs, *, again: bool
) -> None:
    """After `shutdown_seconds`, or at the second signal."""
    program, name = site.program, f"long-{again}"
    with polite_worker(program, 600 if again else 1) as worker:
        cells = notebook("print('as far as here')", runs.note(), "import time; time.sleep(600)")
        program.drop(f"{name}.ipynb", cells)
        wait_for(lambda: runs.begun[name])
        worker.terminate()
        if again:
            wait_for(
                lambda: any("is being stopped" in note for note in health(program).get("notes", []))
            )
            worker.terminate()
        report = program.await_report(name)
        assert report["error_type"] == "interrupted"
        assert report["host"]
        assert "as far as here" in (program.outbox / f"{name}.ipynb").read_text()
        assert worker.wait(60) == 0


def test_without_a_scheduler_jobs_wait_and_health_is_red(
    running: Cluster, make_program: Make, runs: Runs
) -> None:
    """`runner worker` comes again when the scheduler does, and so do the jobs."""
    program = make_program(settings_of(running))
    with (program.root / "worker.log").open("ab") as log:
        worker = subprocess.Popen(
            [program.python, "-m", "runner", "worker", "--slots", "1", "--label", "ssd"],
            cwd=program.root,
            stdout=log,
            stderr=log,
        )
    try:
        program.start()
        program.drop("before.ipynb", runs.cells())
        wait_for(lambda: runs.begun["before"])
        assert health(program)["status"] == "healthy"
        running.scheduler.kill()
        assert program.await_report("before")["error_type"] == "interrupted"
        wait_for(lambda: health(program)["status"] == "unhealthy")
        assert any("cannot be reached" in reason for reason in health(program)["reasons"])
        program.drop("after.ipynb", runs.cells(seconds=0))
        wait_for(lambda: not (program.inbox / "after.ipynb").exists())
        running.start_scheduler()
        assert program.await_report("after", 120)["status"] == "succeeded"
        wait_for(lambda: health(program)["status"] == "healthy")
        assert runs.begun == {"before": 1, "after": 1}
        labelled = {"notebook": runs.cells(seconds=0), "resources": {"labels": ["ssd"]}}
        program.drop("labelled.json", labelled)
        assert program.await_report("labelled")["status"] == "succeeded"
    finally:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0, (program.root / "worker.log").read_text()


def test_a_scheduler_that_comes_back_unseen_is_a_new_one(
    running: Cluster, make_program: Make, runs: Runs
) -> None:
    """Dask's client connects again by itself, and has lost what it listened to."""
    running.add_worker()
    program = make_program(settings_of(running)).start()
    program.drop("before.ipynb", runs.cells())
    wait_for(lambda: runs.begun["before"])
    assert program.process is not None
    daemon = psutil.Process(program.process.pid)
    daemon.suspend()
    running.scheduler.kill()
    running.start_scheduler()
    daemon.resume()
    assert program.await_report("before")["error_type"] == "interrupted"
    running.add_worker()
    program.drop("after.ipynb", runs.cells(seconds=0))
    assert program.await_report("after")["status"] == "succeeded"
    assert runs.begun == {"before": 1, "after": 1}


def test_a_worker_ends_what_nobody_waits_for(steady: Site, runs: Runs) -> None:
    """The daemon is killed and does not come back: its run is over when its lease is."""
    program = steady.program
    program.drop("orphan.ipynb", runs.cells())
    kernel = runs.kernel("orphan")
    assert program.process is not None
    program.process.kill()
    program.process.wait()
    wait_for(lambda: not alive([kernel]))
    program.start()
    assert program.await_report("orphan")["error_type"] == "interrupted"
    assert runs.begun == {"orphan": 1}


def test_a_silent_worker_is_given_up_and_ends_its_runs_when_it_speaks_again(
    site: Site, runs: Runs
) -> None:
    """As when the network is cut: the other half must not run it a second time beside."""
    worker = site.cluster.add_worker(slots=1)
    program = site.program
    program.drop("silent-job.ipynb", runs.cells())
    wait_for(lambda: runs.begun["silent-job"])
    process = worker.worker()
    process.suspend()
    try:
        assert program.await_report("silent-job")["error_type"] == "interrupted"
    finally:
        process.resume()
    program.drop("silent-next.ipynb", runs.cells(seconds=0))
    assert program.await_report("silent-next")["status"] == "succeeded"
    assert program.await_report("silent-job")["error_type"] == "interrupted"
    assert runs.begun == {"silent-job": 1, "silent-next": 1}


def test_a_retry_does_not_run_beside_the_attempt_before(
    site: Site, runs: Runs, tmp_path: Path
) -> None:
    """Though the worker's own process stands still, and only its kernels go on."""
    first = site.cluster.add_worker(slots=1)
    program = site.program
    pids = tmp_path / "pids.txt"
    note = f"import os; open({str(pids)!r}, 'a').write(f'{{os.getpid()}}\\n')"
    program.drop("beside-job.yaml", "retries: 1")
    program.drop("beside-job.ipynb", notebook(note, runs.note(), "import time; time.sleep(600)"))
    wait_for(lambda: runs.begun["beside-job"] == 1)
    kernel = psutil.Process(int(pids.read_text()))
    process = first.worker()
    process.suspend()
    try:
        site.cluster.add_worker(slots=1)
        wait_for(lambda: len(pids.read_text().split()) == 2)
        assert not alive([kernel])
    finally:
        process.resume()
    wait_for(lambda: runs.begun["beside-job"] == 2)
    program.drop("beside-job.cancel", "")
    assert program.await_report("beside-job")["attempt"] == 2
    assert runs.begun == {"beside-job": 2}


def test_a_scheduler_that_stands_still_for_a_while_costs_nothing(
    running: Cluster, make_program: Make, runs: Runs
) -> None:
    """Longer than anybody waits for an answer, and shorter than the lease."""
    running.add_worker()
    program = make_program(settings_of(running, lease_seconds=60)).start()
    program.drop("job.ipynb", runs.cells(seconds=12))
    wait_for(lambda: runs.begun["job"])
    scheduler = psutil.Process(running.scheduler.process.pid)
    scheduler.suspend()
    time.sleep(8)
    scheduler.resume()
    assert program.await_report("job")["status"] == "succeeded"


def test_a_scheduler_without_the_runner_is_of_no_use(
    tmp_path: Path, make_program: Make, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads what it passes on. Health says what to do, and jobs wait."""
    (tmp_path / "cluster").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(without_the_runner(tmp_path)))
    with cluster(tmp_path / "cluster") as made:
        monkeypatch.delenv("PYTHONPATH")
        made.add_worker()
        program = make_program(settings_of(made)).start()
        program.drop("job.ipynb", runs.cells(seconds=0))
        wait_for(lambda: "where the scheduler runs" in str(health(program).get("reasons")))
        assert not (program.outbox / "job.error.json").exists()
        made.scheduler.kill()
        made.start_scheduler()
        made.add_worker()
        assert program.await_report("job")["status"] == "succeeded"


def test_a_worker_that_can_begin_nothing_costs_no_job(site: Site, runs: Runs) -> None:
    """Its disk is full, say, or somebody has cleaned up its folder: others take over."""
    first = site.cluster.add_worker()
    program = site.program
    wait_for(lambda: seats(program) == 2)
    shutil.rmtree(first.log.with_suffix(""))
    site.cluster.add_worker()
    wait_for(lambda: seats(program) == 4)
    for number in range(6):
        program.drop(f"full-n{number}.ipynb", runs.cells(seconds=0))
    for number in range(6):
        assert program.await_report(f"full-n{number}")["status"] == "succeeded"
    assert set(runs.begun.values()) == {1}
    assert "No such file" in str(health(program).get("notes", []))


def without_the_runner(folder: Path) -> Path:
    """A folder for PYTHONPATH in which there is no runner."""
    hidden = folder / "hidden" / "runner"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ImportError('there is no runner here')")
    return hidden.parent


def test_a_stopped_daemon_brings_home_what_there_is(
    steady: Site, make_program: Make, runs: Runs
) -> None:
    """SIGTERM: the run is interrupted, and its notebook published as far as it got."""
    program = make_program({**settings_of(steady.cluster), "shutdown_seconds": 0}).start()
    program.drop(
        "job.ipynb", notebook("print('begun')", runs.note(), "import time; time.sleep(600)")
    )
    wait_for(lambda: runs.begun["job"])
    assert program.stop() == 0
    report = program.report("job")
    assert report is not None
    assert report["error_type"] == "interrupted"
    assert "begun" in (program.outbox / "job.ipynb").read_text()


def test_a_job_on_a_worker_can_be_cancelled_and_tells_how_far_it_is(
    steady: Site, runs: Runs
) -> None:
    """By a file in the inbox, like any other; its status file has told of it."""
    program = steady.program
    program.drop("cancel-job.ipynb", notebook("print('so far')", "import time; time.sleep(600)"))
    status = program.outbox / "cancel-job.status.json"
    wait_for(
        lambda: status.exists() and "so far" in json.loads(status.read_text()).get("log_tail", "")
    )
    program.drop("cancel-job.cancel", "")
    assert program.await_report("cancel-job")["error_type"] == "cancelled"


def test_a_full_cluster_queues_in_the_ledger(steady: Site, runs: Runs) -> None:
    """Never more in Dask than there are slots."""
    program = steady.program
    wait_for(lambda: seats(program) == 2)
    for number in range(10):
        program.drop(f"queue-n{number}.ipynb", runs.cells(seconds=0.2))
    most = 0
    with Client(steady.cluster.address, timeout=10) as client:
        while not all(program.report(f"queue-n{number}") for number in range(10)):
            most = max(most, client.run_on_scheduler(_count_tasks))
    assert 1 <= most <= 2
    assert set(runs.begun.values()) == {1}


def _count_tasks(dask_scheduler: Any) -> int:
    return len(dask_scheduler.tasks)


def test_needs_become_dask_resources(site: Site, runs: Runs) -> None:
    """They lead to the worker that has it, hold nobody else up, and are refused if nobody has."""
    site.cluster.add_worker("--name", "plain", slots=1)
    site.cluster.add_worker("--resources", "gpus=1,memory_mb=2000,label:ssd=2", slots=2)
    program = site.program
    wait_for(lambda: seats(program) == 3)
    (gpu,) = [w for w in site.cluster.workers if "--resources" in w.command]
    go = program.root / "go-gpu"
    waits = f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.05)"
    where = code("import os; os.getcwd()", "results")
    for number in range(3):
        wanted = {"gpus": 1, "labels": ["ssd"], "memory_mb": 500}
        held = notebook(runs.note(), waits, where)
        program.drop(f"gpu{number}.json", {"notebook": held, "resources": wanted})
    wait_for(lambda: runs.begun["gpu0"] + runs.begun["gpu1"] + runs.begun["gpu2"])
    for number in range(3):
        program.drop(f"plain{number}.ipynb", notebook(runs.note(), where))
    program.drop("never.json", {"notebook": notebook(where), "resources": {"gpus": 4}})
    for number in range(3):  # they do not wait for the GPU
        assert program.await_report(f"plain{number}")["status"] == "succeeded"
    go.touch()
    for number in range(3):
        report = program.await_report(f"gpu{number}")
        assert report["status"] == "succeeded", report
        assert str(gpu.command[gpu.command.index("--local-directory") + 1]) in str(
            report["results"]
        )
    never = program.await_report("never")
    assert (never["error_type"], never["attempt"]) == ("invalid_request", 0)
    assert "4 GPUs" in never["message"]


def test_a_worker_without_the_runner_is_seen_and_not_used(
    site: Site,
    runs: Runs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The note says which, and why; jobs go to the others."""
    monkeypatch.setenv("PYTHONPATH", str(without_the_runner(tmp_path)))
    site.cluster.add_worker()
    monkeypatch.delenv("PYTHONPATH")
    began = time.monotonic()
    program = site.program
    wait_for(lambda: "no runner here" in str(health(program).get("notes")))
    assert "install inbox-runner there" in str(health(program)["notes"])
    assert health(program)["status"] == "unhealthy"
    site.cluster.add_worker()
    for number in range(4):
        program.drop(f"without-n{number}.ipynb", runs.cells(seconds=0))
        assert program.await_report(f"without-n{number}")["status"] == "succeeded"
    said = site.cluster.workers[0].log.read_text().count("\nImportError: there is no runner here")
    minutes = 1 + (time.monotonic() - began) // 60
    assert 2 <= said <= 2 * minutes, "asked once a minute; Dask tells it twice"


def test_a_worker_of_another_version_is_seen_and_not_used(
    site: Site,
    runs: Runs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both versions are named; it gets nothing, also where it would be the only one."""
    older = tmp_path / "older" / "runner"
    shutil.copytree(Path(runner.__file__).parent, older)
    init = (older / "__init__.py").read_text()
    (older / "__init__.py").write_text(init.replace(runner.__version__, "0.0.1"))
    monkeypatch.setenv("PYTHONPATH", str(older.parent))
    site.cluster.add_worker()
    monkeypatch.delenv("PYTHONPATH")
    program = site.program
    said = f"runs inbox-runner 0.0.1, not {runner.__version__}"
    wait_for(lambda: said in str(health(program).get("notes")))
    assert health(program)["slots"] == 0
    program.drop("version-job.ipynb", runs.cells(seconds=0))
    wait_for(lambda: not (program.inbox / "version-job.ipynb").exists())
    assert health(program)["status"] == "unhealthy"
    assert not runs.begun
    site.cluster.add_worker()
    assert program.await_report("version-job")["status"] == "succeeded"


def test_two_inboxes_share_a_cluster(steady: Site, make_program: Make, runs: Runs) -> None:
    """Neither ends what the other runs, also when one of them comes anew."""
    one, other = steady.program, make_program(settings_of(steady.cluster)).start()
    go = one.root / "go"
    waits = f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.05)"
    one.drop("long.ipynb", notebook(runs.note(), waits))
    wait_for(lambda: runs.begun["long"])
    other.drop("short.ipynb", runs.cells(seconds=0))
    assert other.await_report("short")["status"] == "succeeded"
    other.stop()
    other.start()
    go.touch()
    assert one.await_report("long")["status"] == "succeeded"


def test_everything_can_be_encrypted(tmp_path: Path, make_program: Make, runs: Runs) -> None:
    """Scheduler, worker and runner know each other by certificates; without one, nobody gets in."""
    openssl = tool("openssl")
    make = [
        openssl,
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=c",
    ]
    place = tmp_path / "cluster"
    place.mkdir()
    key, cert = str(place / "key.pem"), str(place / "cert.pem")
    subprocess.run([*make, "-keyout", key, "-out", cert], check=True, capture_output=True)
    options = ("--tls-ca-file", cert, "--tls-cert", cert, "--tls-key", key)
    with cluster(place, options) as made:
        made.add_worker()
        shutil.copy(key, tmp_path / "key.pem")
        program = make_program(settings_of(made))
        tls = {"ca_file": cert, "cert_file": cert, "key_file": "../key.pem"}
        (program.root / "config.yaml").write_text(json.dumps(settings_of(made, tls=tls)))
        program.start()
        program.drop("job.ipynb", runs.cells(seconds=0))
        assert program.await_report("job")["status"] == "succeeded"
        stranger = make_program(settings_of(made)).start()
        wait_for(lambda: health(stranger)["status"] == "unhealthy")
        assert re.search("TLS|reached|encryption", str(health(stranger)["reasons"]))


def test_without_dask_the_settings_say_what_is_missing(make_program: Make, tmp_path: Path) -> None:
    """One line, and no address is one line too."""
    hidden = tmp_path / "hidden" / "distributed"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ModuleNotFoundError('x', name='distributed')")
    program = make_program(
        {"execution": {"executor": "dask", "dask": {"address": "tcp://127.0.0.1:1"}}},
        PYTHONPATH=str(hidden.parent),
    )
    ended = program.run("serve")
    assert ended.returncode == 70
    assert advice_on("dask") in ended.stderr
    other = make_program({"execution": {"executor": "dask"}}).run("serve")
    assert other.returncode == 70
    assert "dask.address is missing" in other.stderr


def test_one_notebook_from_the_command_line_runs_there_too(
    steady: Site, make_program: Make, runs: Runs
) -> None:
    """`runner run` without a daemon."""
    program = make_program(settings_of(steady.cluster))
    (program.root / "job.ipynb").write_text(json.dumps(runs.cells(seconds=0)))
    began = time.monotonic()
    ended = program.run("run", "job.ipynb")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["status"] == "succeeded"
    assert time.monotonic() - began < 90
