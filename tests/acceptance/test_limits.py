"""Hostile notebooks in the real program: they cost themselves their run, and nobody else."""

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import requests

from runner.execution.limits.hold import SPARE_FILES
from tests.conftest import Json, Program, Serving, code, notebook, programs, tool, wait_for
from tests.integration.test_limits import BOMB

ONE = notebook(code("1", "results"))
WAITING = 12
"""Clients at the same time."""


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A program with limits of every kind and a gateway; each test leaves it at rest."""
    make = programs(tmp_path_factory.mktemp("limited"))
    limits = {"processes": 80, "memory_mb": 500, "open_files": 300, "files": 20, "files_mb": 1}
    gateway = {"enabled": True, "port": 0}
    settings = {"gateway": gateway, "execution": {"concurrency": 2}, "limits": limits}
    yield next(make)(settings).start()
    next(make, None)


def test_a_fork_bomb_hurts_nobody_else(limited: Program) -> None:
    """Another job runs beside it, the daemon goes on, and nothing of the bomb is left."""
    program = limited
    program.drop("other.ipynb", notebook("import time; time.sleep(3)", code("1", "results")))
    program.drop("bomb.ipynb", notebook(BOMB.format(then="os.setsid()")))
    report = program.await_report("bomb")
    assert report["error_type"] == "kernel_died"
    assert "80" in report["message"]
    assert "limits.processes" in report["message"]
    assert program.await_report("other")["status"] == "succeeded"
    program.drop("next.ipynb", ONE)
    assert program.await_report("next")["status"] == "succeeded"
    assert program.process is not None
    assert program.process.poll() is None


def test_a_job_out_of_memory_hurts_nobody_else(limited: Program) -> None:
    """`out_of_memory`, with what was glued before; the other one does not notice."""
    program = limited
    program.drop("beside.ipynb", notebook("import time; time.sleep(3)", code("1", "results")))
    child = "kept = b'x' * (200 * 2**20); import time; time.sleep(60)"
    program.drop(
        "greedy.ipynb",
        notebook(
            "import scrapbook; scrapbook.glue('before', 1)",
            "import subprocess, sys, time\n"
            f"for _ in range(4): subprocess.Popen([sys.executable, '-c', {child!r}])\n"
            "time.sleep(50)",
        ),
    )
    report = program.await_report("greedy")
    assert report["error_type"] == "out_of_memory"
    assert "500 MB (limits.memory_mb); its peak was" in report["message"]
    assert report["results"] == {"before": 1}
    assert report["cell_index"] == 1
    assert program.await_report("beside")["status"] == "succeeded"


def test_every_form_says_how_much_memory_a_run_may_hold(limited: Program) -> None:
    """400 MB are too much for 200 and 50 are not, though all others may hold 500."""
    program = limited
    cells = [code("size = 0", "parameters"), code("kept = b'x' * (size * 2**20); size", "results")]
    (program.library / "holds.ipynb").write_text(json.dumps(notebook(*cells)))
    for form, report in _in_every_form(program).items():
        assert report["host"] == socket.gethostname()
        assert report["error_type"] == "out_of_memory", (form, report)
        assert "200 MB (resources.memory_mb)" in report["message"]
    program.drop("less.json", asking(50))
    assert program.await_report("less")["status"] == "succeeded"


def asking(size: int) -> Json:
    parameters, resources = {"size": size}, {"memory_mb": 200}
    return {"notebook": "holds.ipynb", "parameters": parameters, "resources": resources}


def _in_every_form(program: Program) -> dict[str, Json]:
    """The reports of one notebook that was asked for in each form, by the form."""
    text = "parameters: {size: 400}\nresources:\n  memory_mb: 200\n"
    program.drop("yaml.yaml", f"notebook: holds.ipynb\n{text}")
    program.drop("json.json", asking(400))
    program.drop("settings.yaml", text)
    program.drop("settings.ipynb", (program.library / "holds.ipynb").read_bytes())
    answer = requests.post(f"{program.url}/run", json=asking(400), timeout=120)
    done = program.run("run", "holds.ipynb", "-p", "size", "400", "--memory-mb", "200")
    assert done.returncode == 1, done.stderr
    dropped = {name: program.await_report(name) for name in ("yaml", "json", "settings")}
    return {**dropped, "http": answer.json(), "command line": json.loads(done.stdout)}


def test_what_one_machine_cannot_give_is_refused_in_every_form(limited: Program) -> None:
    """With the reason, and on no host; no retry and no worker would change it."""
    program = limited
    (program.library / "one.ipynb").write_text(json.dumps(ONE))
    cases: list[tuple[Json, tuple[str, ...], str]] = [
        ({"memory_mb": 501}, ("--memory-mb", "501"), "above the limit of 500 (limits.memory_mb)"),
        ({"gpus": 1}, ("--gpus", "1"), "`resources.gpus` needs a cluster (execution.executor"),
        ({"labels": ["ssd"]}, ("--label", "ssd"), "`resources.labels` needs a cluster"),
    ]
    for number, (resources, options, said) in enumerate(cases):
        asked = {"notebook": "one.ipynb", "resources": resources}
        program.drop(f"json{number}.json", asked)
        program.drop(f"yaml{number}.yaml", json.dumps(asked))
        answer = requests.post(f"{program.url}/run", json=asked, timeout=120)
        assert answer.status_code == 400
        assert said in answer.json()["message"]
        for command in ("run", "check"):
            done = program.run(command, "one.ipynb", *options)
            assert (done.returncode, said in done.stdout) == (3, True), done
        for name in (f"json{number}", f"yaml{number}"):
            report = program.await_report(name)
            assert report["error_type"] == "invalid_request"
            assert said in report["message"]
            assert report["host"] is None
    program.drop("typo.json", {"notebook": "one.ipynb", "resources": {"gpu": 1}})
    assert "`resources.gpu`" in program.await_report("typo")["message"]


def test_the_settings_reach_a_forked_kernel(limited: Program) -> None:
    """It was forked ahead of its order."""
    has_its_limits(limited)
    limited.drop("huge.ipynb", notebook("kept = bytearray(4 * 1024**3)"))
    assert limited.await_report("huge")["error_type"] == "out_of_memory"


def test_the_settings_reach_a_cold_kernel(serving: Serving) -> None:
    """It is started as Jupyter starts one."""
    has_its_limits(
        serving({"kernels": {"start": "cold"}, "limits": {"open_files": 300, "memory_mb": 500}})
    )


def has_its_limits(program: Program) -> None:
    source = (
        "import resource, pathlib\n"
        "[*resource.getrlimit(resource.RLIMIT_NOFILE),"
        " resource.getrlimit(resource.RLIMIT_DATA)[1],"
        " int(pathlib.Path('/proc/self/oom_score_adj').read_text())]"
    )
    program.drop("asks.ipynb", notebook(code(source, "results")))
    report = program.await_report("asks")
    limits = [300, 300 + SPARE_FILES, -1, 500]
    assert report["results"]["cell_1"]["application/json"] == limits


def test_memory_is_given_back_after_large_results(serving: Serving, tmp_path: Path) -> None:
    """By daemon and gateway, however many megabytes have passed through; so is the ledger's.

    Also where many have waited for one of them at the same time, each in a thread of the gateway.
    """
    program = serving({"gateway": {"enabled": True, "port": 0}, "kernels": {"preload": []}})
    source = "import json; print(json.dumps([[n, 'x' * 80, n / 7] for n in range(40_000)]))"
    assert program.process is not None
    assert program.url  # from then on there is a gateway
    daemon = psutil.Process(program.process.pid)
    [gateway] = program.children(" gateway")
    before = {one: _resident(one) for one in (daemon, gateway)}
    large = notebook(code(source, "results"))
    for _ in range(2):
        answer = requests.post(f"{program.url}/run", json=large, timeout=180)
        assert answer.json()["status"] == "succeeded", answer.text[:500]
        assert len(answer.content) > 4_000_000
        job_id = answer.json()["job_id"]
        assert requests.get(f"{program.url}/jobs/{job_id}", timeout=60).ok

    go = str(tmp_path / "go")
    awaited = f"import os, time\nwhile not os.path.exists({go!r}): time.sleep(0.05)"
    both = notebook(awaited, code(source, "results"))
    job_id = requests.post(f"{program.url}/run?wait=0", json=both, timeout=60).json()["job_id"]

    def wait(_: int) -> int:
        return len(requests.get(f"{program.url}/jobs/{job_id}?wait=120", timeout=180).content)

    with ThreadPoolExecutor(WAITING) as clients:
        sizes = clients.map(wait, range(WAITING))
        wait_for(lambda: gateway.num_threads() > WAITING)
        (tmp_path / "go").touch()
        assert min(sizes) > 4_000_000
    for one, size in before.items():
        wait_for(lambda one=one, size=size: _resident(one) < size + 30 * 2**20)  # type: ignore[misc]
    assert (program.root / "state" / "ledger.sqlite3").stat().st_size < 30 * 2**20


def _resident(process: psutil.Process) -> int:
    about = process.memory_info()
    return int(about.rss - about.shared)


def test_too_much_for_the_machine_is_said_at_the_start(limited: Program, serving: Serving) -> None:
    """A warning, and no more than that: not all runs take what they may."""
    assert "MB each" not in limited.log
    much = serving({"limits": {"memory_mb": 10_000_000}, "execution": {"concurrency": 3}})
    assert "3 runs at a time of up to 10000000 MB each" in much.log


def test_files_are_published_within_their_caps_however_many_there_are(limited: Program) -> None:
    """Ten thousand, one that is larger than the disk, one that grows, links, and deep folders.

    A result stays small, and what does not belong to the run is not in it.
    """
    program = limited
    secret = program.root / "secret"
    secret.write_text("secret")
    source = (
        "import os, subprocess, sys\n"
        "for n in range(10_000): open(f'n{n:05}', 'w').close()\n"
        "with open('a-sparse', 'wb') as file: file.truncate(10 * 2**40)\n"
        f"os.symlink({str(secret)!r}, 'a-link')\nos.symlink('.', 'a-loop')\nos.mkfifo('a-pipe')\n"
        "subprocess.Popen([sys.executable, '-c', \"file = open('b-grows', 'wb')\\n"
        "while True: file.write(b'x' * 1000)\"])\n"
        "for n in range(1500):\n    os.mkdir('deep'); os.chdir('deep')"
    )
    program.drop("many.ipynb", notebook(source))
    report = program.await_report("many")
    assert report["status"] == "succeeded"
    assert len(report["files"]) <= 20
    assert len(json.dumps(report)) < 20_000
    assert any("more of 10" in warning for warning in report["warnings"])
    published = program.outbox / "many.files"
    assert {path.name for path in published.iterdir()} <= {"b-grows"} | {
        f"n{n:05}" for n in range(10_000)
    }
    program.drop("after.ipynb", ONE)
    assert program.await_report("after")["status"] == "succeeded"
    wait_for(lambda: not list((program.root / "state" / "work").iterdir()))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can start it as another user")
def test_an_ordinary_user_has_a_limit_of_the_system_against_fork_bombs(
    make_program: Callable[..., Program],
) -> None:
    """Far above the run's own, so that it comes to a stand while it is ended (setrlimit(2))."""
    program = make_program({"limits": {"processes": 20}})
    os.chown(program.root, 65534, 65534)
    reads = "+dac_read_search"  # this Python may lie in a folder of root's
    user = ("--reuid=65534", "--regid=65534", "--clear-groups")
    program.prefix = (tool("setpriv"), *user, f"--inh-caps={reads}", f"--ambient-caps={reads}")
    program.environment = {"HOME": str(program.root)}
    program.start()
    asked = "import os, resource\n[os.getuid(), *resource.getrlimit(resource.RLIMIT_NPROC)]"
    program.drop("limit.ipynb", notebook(code(asked, "results")))
    shown = program.await_report("limit")["results"]["cell_1"]["application/json"]
    assert shown[0] == 65534
    assert 1024 + 20 < shown[1] == shown[2] < 3000


def test_a_notebook_that_drops_notebooks_fills_the_queue_and_no_more(serving: Serving) -> None:
    """What is above `limits.queue` stays in the inbox; and a cancel is heard all the same."""
    program = serving({"limits": {"queue": 5}, "execution": {"concurrency": 1}})
    inbox, go = str(program.inbox), program.root / "go"
    source = (
        "import json, os, time\n"
        "made = {'cells': [{'cell_type': 'code', 'source': 'import time; time.sleep(600)',"
        " 'metadata': {}}]}\n"
        f"os.chdir({inbox!r})\n"
        "for n in range(40):\n"
        "    with open(f'.{n}.tmp', 'w') as file: json.dump(made, file)\n"
        "    os.rename(file.name, f'child{n}.ipynb')\n"
        f"while not os.path.exists({str(go)!r}): time.sleep(0.05)"
    )
    program.drop("parent.ipynb", notebook(source))
    wait_for(lambda: len(list(program.inbox.glob("child*.ipynb"))) >= 30)

    def queued() -> list[str]:
        listed = program.run("jobs", "--json", "-n", "100", "--status", "queued").stdout
        return [json.loads(line)["name"] for line in listed.splitlines()]

    names = wait_for(queued)
    until = time.monotonic() + 3
    while program.report("parent") is None:
        names = queued() or names
        assert len(names) <= 5
        if time.monotonic() > until:
            go.touch()
    program.drop(f"{names[-1]}.cancel", b"")
    assert program.await_report(names[-1])["error_type"] == "cancelled"


def test_a_notebook_that_drops_notebooks_is_held_to_a_rate(serving: Serving) -> None:
    """Where there is one: the rest stays in the inbox, and health says why."""
    program = serving({"intake": {"per_minute": 2}})
    child = json.dumps(notebook("1"))
    program.drop(
        "parent.ipynb",
        notebook(
            f"for n in range(3):\n    path = {str(program.inbox)!r} + f'/child{{n}}.ipynb'\n"
            f"    with open(path, 'w') as file: file.write({child!r})"
        ),
    )
    assert program.await_report("parent")["status"] == "succeeded"
    wait_for(lambda: len(list(program.outbox.glob("child*.result.json"))) == 1)
    assert len(list(program.inbox.glob("child*.ipynb"))) == 2
    pulse = program.root / "state" / "pulse.json"
    wait_for(lambda: "intake.per_minute" in " ".join(json.loads(pulse.read_bytes())["notes"]))


def test_a_runner_whose_kernels_still_come_up_ends_at_once(
    make_program: Callable[..., Program],
) -> None:
    """At any moment after its start: importing, rehearsing, forking kernels, waiting."""
    program = make_program({"execution": {"concurrency": 4}})
    for pause in (0.0, 1.0, 3.0):
        program.start()
        time.sleep(pause)
        began = time.monotonic()
        assert program.stop(signal.SIGTERM) == 0
        took = time.monotonic() - began
        assert took < 20, f"{pause} s after the start"  # a run would be given 30
        wait_for(lambda: not program.processes())


def test_a_stubborn_import_does_not_keep_a_runner_from_its_end(
    make_program: Callable[..., Program], tmp_path: Path
) -> None:
    """A preloaded module that never comes back."""
    program = make_program(
        {"kernels": {"preload": ["sleeps"], "pass_environment": ["PYTHONPATH"]}},
        PYTHONPATH=str(tmp_path),
    )
    here = tmp_path / "here"
    (tmp_path / "sleeps.py").write_text(
        f"import time\nopen({str(here)!r}, 'w').close()\ntime.sleep(600)\n"
    )
    program.start()
    wait_for(here.exists)
    began = time.monotonic()
    assert program.stop(signal.SIGTERM) == 0
    assert time.monotonic() - began < 20  # a run would be given 30
    wait_for(lambda: not program.processes())
