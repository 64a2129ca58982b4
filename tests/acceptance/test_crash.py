"""Nothing is lost, whatever ends the program, and nothing is left behind."""

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from functools import partial

import psutil

from tests.conftest import Program, Serving, alive, code, notebook, wait_for

ONE = notebook(code("1", "results"))
LONG = notebook(
    "import scrapbook as sb, os; sb.glue('pid', os.getpid())",
    "import time\nopen('alive', 'w').write('x')\ntime.sleep(60)",
)
Make = Callable[..., Program]


def running(program: Program, name: str) -> None:
    """Until it says so itself; it is the only one that does."""
    wait_for(lambda: f"started '{name}'" in program.log)
    work = program.root / "state" / "work"
    wait_for(lambda: list(work.glob("*/alive")))


def test_kill_9_in_mid_run_loses_nothing(serving: Serving) -> None:
    """The job that ran is interrupted, or ran again where that was asked for; all others finish.

    No process of the old daemon is alive.
    """
    program = serving({"execution": {"concurrency": 2}})
    told = "open('made.txt', 'w').write('so far')\nprint('half way')"
    program.drop("long.ipynb", notebook(told, *(one["source"] for one in LONG["cells"])))
    again = notebook(
        "import os, time\nif os.environ['RUNNER_NAME'] and not os.path.exists"
        f"({str(program.root / 'second')!r}):\n    open('alive', 'w')\n    time.sleep(60)",
        code("'second run'", "results"),
    )
    program.drop("again.json", {"notebook": again, "retries": 1})
    work = program.root / "state" / "work"
    wait_for(lambda: len(list(work.glob("*/alive"))) == 2)
    status = program.outbox / "long.status.json"
    wait_for(lambda: status.exists() and json.loads(status.read_text())["cell"] == 3)
    assert "half way" in status.read_text()
    for number in range(10):
        program.drop(f"n{number}.ipynb", ONE)
    wait_for(lambda: not list(program.inbox.glob("*.ipynb")))
    old = program.processes()
    assert len(old) >= 5
    assert program.process is not None
    program.process.kill()
    program.process.wait()
    seen = json.loads(status.read_text())["elapsed_seconds"]
    (program.root / "second").touch()
    program.start()
    report = program.await_report("long")
    assert report["error_type"] == "interrupted"
    assert abs(report["duration_seconds"] - seen) < 0.06
    assert report["host"] == socket.gethostname()
    assert report["cells"] == {"total": 3, "executed": 3}
    assert "Code cell 3 of 3 was running. The outputs of its cells are lost" in report["message"]
    assert "half way" in report["warnings"][0]
    assert "long.files/made.txt" in [file["path"] for file in report["files"]]
    retried = program.await_report("again")
    assert retried["status"] == "succeeded"
    assert retried["attempt"] == 2
    for number in range(10):
        assert program.await_report(f"n{number}")["status"] == "succeeded"
    wait_for(lambda: not alive(old))
    wait_for(lambda: not list(work.iterdir()))


def test_kill_9_of_everything_leaves_nothing_to_the_next_start(standing: Program) -> None:
    """Where the preload server dies with its daemon, the next start ends what they left."""
    program = standing
    source = (
        "import subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'],"
        " start_new_session=True)\nopen('alive', 'w')\nimport time; time.sleep(60)"
    )
    program.drop("long.ipynb", notebook(source))
    running(program, "long")
    old = program.processes()
    assert program.process is not None
    program.process.send_signal(signal.SIGSTOP)
    servers = [p for p in old if p.ppid() == program.process.pid]
    for process in servers:
        process.kill()
    program.process.kill()
    program.process.wait()
    program.start()
    assert program.await_report("long")["error_type"] == "interrupted"
    wait_for(lambda: not alive(old))


def test_a_kernel_that_kills_itself_or_its_parent_hurts_nobody_else(standing: Program) -> None:
    """`kernel_died`, quickly, with what was glued before; other jobs go on."""
    program = standing
    glue = "import scrapbook as sb, os, signal; sb.glue('before', 1)"
    program.drop("other.ipynb", notebook("import time; time.sleep(3)", code("1", "results")))
    program.drop("exits.ipynb", notebook(glue, "os._exit(0)"))
    kills = "import time; os.kill(os.getppid(), signal.SIGKILL); time.sleep(60)"  # it dies with it
    program.drop("kills.ipynb", notebook(glue, kills))
    program.drop("faults.ipynb", notebook(glue, "import ctypes; ctypes.string_at(0)"))
    for name, says in (("exits", "os._exit()"), ("faults", "Look for a newer version of it")):
        report = program.await_report(name)
        assert report["error_type"] == "kernel_died", report
        assert report["results"] == {"before": 1}
        assert report["cell_index"] == 1
        assert says in report["message"]
    assert program.await_report("kills")["error_type"] == "kernel_died"
    assert program.await_report("other")["status"] == "succeeded"


def test_a_notebook_that_ignores_signals_is_dead_by_its_deadline(standing: Program) -> None:
    """SIGINT and SIGTERM are ignored, SIGKILL is not; partial results are kept."""
    program = standing
    stubborn = (
        "import signal, scrapbook as sb\nsb.glue('before', 1)\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: pass"
    )
    program.drop("stubborn.json", {"notebook": notebook(stubborn), "timeout_seconds": 6})
    report = program.await_report("stubborn")
    assert report["error_type"] == "timeout"
    assert report["results"] == {"before": 1}
    assert report["duration_seconds"] < 6 + 10


def test_input_is_an_error_at_once(standing: Program) -> None:
    """Nobody is there to answer."""
    program = standing
    program.drop("asks.ipynb", notebook("input('name? ')"))
    assert program.await_report("asks")["ename"] == "StdinNotImplementedError"


def test_a_running_and_a_waiting_job_can_be_cancelled(serving: Serving) -> None:
    """By name, or one job by its id; the partial notebook is kept."""
    program = serving({"execution": {"concurrency": 1}})
    program.drop("long.ipynb", LONG)
    running(program, "long")
    program.drop("waits.ipynb", ONE)
    wait_for(lambda: "accepted 'waits'" in program.log)
    waits = json.loads(program.run("jobs", "--json", "--name", "waits").stdout)
    program.drop("anything.cancel", waits["job_id"] + "\n")
    report = program.await_report("waits")
    assert report["error_type"] == "cancelled"
    assert report["attempt"] == 0
    program.drop("long.cancel", b"")
    report = program.await_report("long", 45)  # by itself it would end after a minute
    assert report["status"] == "cancelled"
    assert isinstance(report["results"]["pid"], int)
    executed = json.loads((program.outbox / "long.ipynb").read_bytes())
    assert any(cell.get("outputs") for cell in executed["cells"])
    assert not list(program.inbox.glob("*.cancel"))


def test_sigterm_drains_and_then_interrupts(serving: Serving) -> None:
    """What ends in time is published as usual, the rest as interrupted; exit code 0."""
    program = serving({"shutdown_seconds": 5, "execution": {"concurrency": 2}})
    begun, go = program.root / "begun", program.root / "go"
    waits = (
        f"import os, time\nopen({str(begun)!r}, 'w')\n"
        f"while not os.path.exists({str(go)!r}): time.sleep(0.02)"
    )
    program.drop("long.ipynb", LONG)
    program.drop("short.ipynb", notebook(waits, code("1", "results")))
    running(program, "long")
    wait_for(begun.exists)
    assert program.process is not None
    program.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "SIGTERM" in program.log)
    go.touch()
    program.drop("after.ipynb", ONE)
    assert program.process.wait(60) == 0
    short, long = program.report("short"), program.report("long")
    assert short is not None
    assert short["status"] == "succeeded"
    assert long is not None
    assert long["error_type"] == "interrupted"
    assert "pid" in long["results"]
    assert (program.inbox / "after.ipynb").exists()
    program.start()
    assert program.await_report("after")["status"] == "succeeded"


def test_a_second_sigterm_interrupts_what_runs(serving: Serving) -> None:
    """Its result is there before the end. Until then health is red: a request that comes then
    waits for the next start."""
    program = serving({"shutdown_seconds": 90})
    program.drop("long.ipynb", LONG)
    running(program, "long")
    assert program.process is not None
    program.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "SIGTERM" in program.log)
    wait_for(lambda: "it is stopping" in (program.root / "state" / "pulse.json").read_text())
    program.process.send_signal(signal.SIGTERM)
    assert program.process.wait(60) == 0
    report = program.report("long")
    assert report is not None
    assert report["error_type"] == "interrupted"
    assert "Traceback" not in program.log
    wait_for(lambda: not program.processes())


def test_a_third_sigterm_stops_at_once(serving: Serving) -> None:
    """Whatever the notebook does; the run is interrupted at the next start."""
    program = serving({"shutdown_seconds": 90})
    stubborn = (
        "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "open('alive', 'w')\nwhile True: pass"
    )
    program.drop("stubborn.ipynb", notebook("import os; os.getpid()", stubborn))
    running(program, "stubborn")
    assert program.process is not None
    for said in ("waiting up to", "interrupting 1 running job", "stopping at once"):
        program.process.send_signal(signal.SIGTERM)
        wait_for(partial(program.says, said))
    assert program.process.wait(60) == 0
    assert program.report("stubborn") is None
    assert "Traceback" not in program.log
    wait_for(lambda: not program.processes())
    program.start()
    assert program.await_report("stubborn")["error_type"] == "interrupted"


def test_a_second_runner_refuses_and_says_who_is_there(standing: Program) -> None:
    """On the same inbox with a state of its own, and on the same state."""
    program = standing
    assert program.process is not None
    for arguments in ([], ["--state", str(program.root / "elsewhere")]):
        second = program.run("serve", *arguments)
        assert second.returncode == 70
        assert f"pid {program.process.pid}" in second.stderr
        assert "Traceback" not in second.stderr


def test_drops_before_the_start_are_found(make_program: Make) -> None:
    """And a claim that an earlier runner left half-way is carried on under its id."""
    one = make_program()
    job_id = os.urandom(16).hex()
    claim = one.inbox / "sub" / f".claim-{job_id}"
    claim.mkdir(parents=True)
    (claim / "claimed.ipynb").write_text(json.dumps(ONE))
    empty = one.inbox / f".claim-{os.urandom(16).hex()}"
    empty.mkdir()
    (empty / "early.yaml").write_text("parameters: {a: 1}\n")
    one.drop("before.ipynb", ONE)
    one.start()
    assert one.await_report("before")["status"] == "succeeded"
    assert one.await_report("sub/claimed")["job_id"] == job_id
    wait_for(lambda: (one.inbox / "early.yaml").exists())
    wait_for(lambda: not list(one.inbox.glob("**/.claim-*")))


def test_the_inbox_may_be_deleted_and_made_anew(serving: Serving) -> None:
    """The runner waits, watches again, and makes no folder of its own."""
    program = serving({"intake": {"rescan_seconds": 60}})
    program.drop("first.ipynb", ONE)
    program.await_report("first")
    (program.inbox / ".runner.lock").unlink()
    (program.inbox / "README.md").unlink()
    program.inbox.rmdir()
    wait_for(lambda: "cannot take requests" in program.log)
    assert not program.inbox.exists()
    program.inbox.mkdir()
    wait_for(lambda: "taking requests again" in program.log)
    program.drop("second.ipynb", ONE)
    assert program.await_report("second", 45)["status"] == "succeeded"


def test_an_outbox_that_is_gone_is_waited_for(standing: Program) -> None:
    """The result stays sealed, and is published once the outbox is there again."""
    program, mark = standing, len(standing.log)
    go = program.root / "go"
    waits = f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.02)"
    program.drop("late.ipynb", notebook(waits, code("1", "results")))
    wait_for(lambda: "started 'late'" in program.log[mark:])
    program.outbox.rename(program.root / "away")
    go.touch()
    wait_for(lambda: "cannot publish" in program.log[mark:])
    assert not program.outbox.exists()
    (program.root / "away").rename(program.outbox)
    assert program.await_report("late")["status"] == "succeeded"


def test_no_secret_of_the_runner_reaches_a_notebook(serving: Serving) -> None:
    """The environment is an allow-list, plus what `kernels.pass_environment` names."""
    program = serving(
        {"kernels": {"pass_environment": ["WANTED"]}},
        WANTED="yes",
        GATEWAY_TOKEN="hunter2",
        AWS_SECRET_ACCESS_KEY="hunter2",
    )
    program.drop("env.ipynb", notebook(code("import os; dict(os.environ)", "results")))
    shown = program.await_report("env")["results"]["cell_1"]["text/plain"]
    assert "hunter2" not in shown
    assert "'WANTED': 'yes'" in shown


def test_a_kernel_that_cannot_start_has_a_limit_of_its_own(serving: Serving) -> None:
    """`kernel_startup`, within `limits.kernel_start_seconds`; a cold start is limited too."""
    data = {
        "argv": [sys.executable, "-c", "import time; time.sleep(99)", "{connection_file}"],
        "display_name": "never",
        "language": "python",
    }
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        spec = os.path.join(folder, "kernels", "never")
        os.makedirs(spec)
        with open(os.path.join(spec, "kernel.json"), "w") as file:
            json.dump(data, file)
        program = serving(
            {
                "kernels": {"allowed": ["never", "python3"]},
                "limits": {"kernel_start_seconds": 2},
            },
            JUPYTER_PATH=folder,
        )
        meta = {"kernelspec": {"name": "never", "display_name": "n", "language": "python"}}
        program.drop("never.ipynb", notebook("1", metadata=meta))
        report = program.await_report("never")
    assert report["error_type"] == "kernel_startup"
    assert "2 s" in report["message"]


def test_a_cold_start_takes_the_same_way(serving: Serving) -> None:
    """`kernels.start: cold` gives the same result and the same clean environment."""
    program = serving({"kernels": {"start": "cold"}}, GATEWAY_TOKEN="secret")
    cells = [code("import os; {'env': 'GATEWAY_TOKEN' in os.environ}", "results")]
    program.drop("cold.ipynb", notebook(*cells))
    report = program.await_report("cold")
    assert report["results"]["cell_1"]["application/json"] == {"env": False}
    program.drop("died.ipynb", notebook("import os; os._exit(1)"))
    assert program.await_report("died")["error_type"] == "kernel_died"


def test_the_daemon_is_idle_when_there_is_nothing_to_do(serving: Serving) -> None:
    """It does not wake itself by its own reads: few context switches in two seconds."""
    program = serving()
    program.drop("Untitled.ipynb", notebook(""))
    assert program.process is not None
    process = psutil.Process(program.process.pid)

    def is_idle() -> bool:
        """A daemon that wakes itself is so at no time, one that still starts is so later."""
        before = process.num_ctx_switches().voluntary
        time.sleep(2)
        return process.num_ctx_switches().voluntary - before < 100

    wait_for(is_idle)


def test_lines_of_a_megabyte_are_no_trouble(serving: Serving) -> None:
    """They pass the output limit like any other text, and neither loop nor block the deadline."""
    program = serving({"limits": {"output_mb": 5}})
    few = "for _ in range(3): print('x' * 1_000_000, flush=True)"
    program.drop("few.ipynb", notebook(few))
    program.drop("many.ipynb", notebook("for _ in range(60): print('x' * 1_000_000, flush=True)"))
    assert program.await_report("few")["status"] == "succeeded"
    outputs = json.loads((program.outbox / "few.ipynb").read_bytes())["cells"][0]["outputs"]
    assert len(outputs) == 1
    assert len("".join(outputs[0]["text"])) == 3 * 1_000_001
    assert program.await_report("many")["error_type"] == "output_limit"


def test_a_limit_that_passes_between_two_cells_ends_the_run_all_the_same(standing: Program) -> None:
    """A kernel that has nothing to do ignores an interrupt; the run ends nevertheless."""
    program = standing
    for number in range(5):
        many = notebook(*["x = 1"] * 400)
        request = {"notebook": many, "timeout_seconds": 0.1 + number / 50}
        program.drop(f"many{number}.json", request)
    for number in range(5):
        report = program.await_report(f"many{number}")
        assert report["error_type"] == "timeout", report
        assert report["cells"]["executed"] < 400


def test_a_status_file_of_no_open_job_goes_at_the_start(make_program: Make) -> None:
    """The state folder was lost or restored; what the runner did not surely write itself stays."""
    program = make_program()
    status = {"job_id": "1" * 32, "name": "lost", "status": "queued", "elapsed_seconds": 1.0}
    stale = {"lost": status, "a/b": {**status, "name": "a/b", "status": "running", "cell": 1}}
    foreign = {
        "other": status,
        "mine": {"name": "mine", "status": "queued"},
        "done": {**status, "name": "done", "status": "succeeded"},
        "id": {**status, "name": "id", "job_id": "1"},
        "text": "queued",
        "x.files/mine": {**status, "name": "x.files/mine"},
    }
    for name, content in {**stale, **foreign}.items():
        file = program.outbox / f"{name}.status.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))
    program.start()
    wait_for(lambda: not any((program.outbox / f"{one}.status.json").exists() for one in stale))
    assert all((program.outbox / f"{one}.status.json").exists() for one in foreign)
