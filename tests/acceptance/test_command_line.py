"""The command line as a person or a script uses it."""

import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from runner.contract.outcome import Failure, failed
from runner.contract.states.status import ErrorType
from runner.state.contents import Acceptance, Seal
from runner.state.jobs import State
from runner.state.ledger import Ledger
from runner.state.locks import holder_of
from tests.conftest import Program, Serving, code, notebook, wait_for

Make = Callable[..., Program]

ADD = notebook(
    code("a = 1\nb = 2.5\nname = 'x'", "parameters"),
    code("{'a': a, 'b': b, 'name': name}", "results"),
)


def write(program: Program, name: str, content: object) -> None:
    (program.root / name).write_text(json.dumps(content))


def test_run_submits_to_the_daemon_and_prints_the_result(standing: Program) -> None:
    """Only the result JSON is on stdout; parameters keep their types."""
    program = standing
    write(program, "add.ipynb", ADD)
    (program.root / "more.yaml").write_text("b: 7\nname: from file\n")
    (program.root / "nothing.yaml").write_text("# nothing yet\n")
    files = ("-f", "more.yaml", "-f", "nothing.yaml")
    done = program.run("run", "add.ipynb", *files, "-p", "a", "3", "-p", "b", "0.5")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    value = next(iter(result["results"].values()))["application/json"]
    assert value == {"a": 3, "b": 0.5, "name": "from file"}
    assert program.report("add") == result


@pytest.mark.parametrize("rule", ["warn", "refuse"])
def test_a_value_that_reaches_nothing_is_said(request: pytest.FixtureRequest, rule: str) -> None:
    """With the parameters that there are; by the settings the request is refused."""
    refuses = {"execution": {"unknown_parameters": "refuse"}}
    program: Program = (
        request.getfixturevalue("standing")
        if rule == "warn"
        else request.getfixturevalue("serving")(refuses)
    )
    program.drop("misspelt.json", {"notebook": ADD, "parameters": {"nmae": "x"}})
    program.drop("untagged.json", {"notebook": notebook("1"), "parameters": {"n": 1}})
    told = {name: program.await_report(name) for name in ("misspelt", "untagged")}
    for report in told.values():
        assert report["status"] == ("succeeded" if rule == "warn" else "rejected"), report
        assert report.get("error_type") == (None if rule == "warn" else "invalid_parameters")
    said = {
        name: report["warnings"][0] if rule == "warn" else report["message"]
        for name, report in told.items()
    }
    assert "`nmae` is no parameter of the notebook (did you mean `name`?)" in said["misspelt"]
    assert "no cell tagged `parameters`" in said["untagged"]


def test_a_parameter_means_the_same_in_a_file_and_on_the_command_line(standing: Program) -> None:
    """A postal code, a time and a country stay text; what begins with `-r` always does."""
    program = standing
    expected = {"a": "01234", "b": "10:30", "name": "NO"}
    program.drop("typed.yaml", "parameters: {a: 01234, b: 10:30, name: NO}\nkernel:\nretries: ~\n")
    program.drop("typed.ipynb", ADD)
    dropped = program.await_report("typed")
    write(program, "add.ipynb", ADD)
    pairs = ("-p", "a", "01234", "-p", "b", "10:30", "-p", "name", "NO")
    by_hand = json.loads(program.run("run", "add.ipynb", *pairs).stdout)
    for result in (dropped, by_hand):
        assert result["parameters"] == expected
        assert next(iter(result["results"].values()))["application/json"] == expected
    raw = program.run(
        "run", "add.ipynb", "-p", "a", "1e-3", "-r", "b", "1e-3", "-r", "name", "null"
    )
    assert json.loads(raw.stdout)["parameters"] == {"a": 0.001, "b": "1e-3", "name": "null"}
    wrong = program.run("run", "add.ipynb", "-p", "a", ".inf")
    assert wrong.returncode == 2
    assert "-r a" in wrong.stderr


@contextmanager
def running(program: Program, name: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """`runner run` of a file, and what it says."""
    said = program.root / "run.log"
    command = [sys.executable, "-m", "runner", "run", str(program.root / name), "--keep"]
    with said.open("wb") as log:
        quiet = subprocess.DEVNULL
        process = subprocess.Popen(command, cwd=program.root, stdout=quiet, stderr=log)
    try:
        yield process, said
    finally:
        process.kill()
        process.wait()


def test_run_works_without_a_daemon(make_program: Make) -> None:
    """It is the runner then, for this one job, and leaves other requests alone."""
    one = make_program()
    one.inbox.mkdir()
    one.drop("other.ipynb", ADD)
    write(one, "add.ipynb", ADD)
    done = one.run("run", "add.ipynb", "--keep")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["name"] == "add"
    assert (one.outbox / "add.ipynb").exists()
    assert (one.inbox / "other.ipynb").exists()
    assert not one.processes()


def test_a_restart_finds_no_waiting_run_in_its_way(make_program: Make) -> None:
    """A `runner run` gives its daemon time to come back."""
    one = make_program().start()
    write(one, "add.ipynb", ADD)
    assert one.run("pause").returncode == 0
    with running(one, "add.ipynb") as (waiting, log):
        wait_for(lambda: (one.outbox / "add.status.json").exists())
        one.stop()
        wait_for(lambda: "without another one in 10 s" in log.read_text())
        one.start()
        assert one.run("resume").returncode == 0
        assert waiting.wait(90) == 0


def test_a_start_waits_for_a_run_that_has_the_folders(make_program: Make) -> None:
    """It ends by itself, with its job."""
    one = make_program()
    goes_on = one.root / "on"
    is_on = f"pathlib.Path({str(goes_on)!r}).exists()"
    slow = f"import pathlib, time\nwhile not {is_on}: time.sleep(0.1)"
    write(one, "slow.ipynb", notebook(slow))
    with running(one, "slow.ipynb") as (alone, _):
        wait_for(lambda: holder_of(one.root / "state") is not None)
        before = one.launch()
        wait_for(lambda: "this runner starts when that has ended" in one.log[before:])
        goes_on.touch()
        assert alone.wait(90) == 0
        wait_for(lambda: "watching" in one.log[before:])


@pytest.mark.parametrize("served", [True, False])
def test_exit_codes_tell_what_happened(request: pytest.FixtureRequest, served: bool) -> None:
    """0 succeeded, 1 failed, 2 usage, 3 refused, 4 timeout; with a daemon and without."""
    one: Program = (
        request.getfixturevalue("standing") if served else request.getfixturevalue("make_program")()
    )
    write(one, "fails.ipynb", notebook("1/0"))
    write(one, "slow.ipynb", notebook("import time; time.sleep(30)"))
    write(one, "needs.ipynb", notebook("import no_such_module_y"))
    failed = one.run("run", "fails.ipynb")
    assert failed.returncode == 1
    assert json.loads(failed.stdout)["ename"] == "ZeroDivisionError"
    if served:  # what comes to an end in its run does so without a daemon too
        assert one.run("run", "slow.ipynb", "--timeout", "1").returncode == 4
        refused = one.run("run", "needs.ipynb")
        assert refused.returncode == 3
        assert json.loads(refused.stdout)["missing_modules"] == ["no_such_module_y"]
    assert one.run("run", "gone.ipynb").returncode == 3
    assert one.run("run", "fails.ipynb", "-p", "not a name", "1").returncode == 3
    assert one.run("run").returncode == 2


def test_closed_streams_change_no_exit_code(make_program: Make) -> None:
    """What would be printed goes nowhere; whether it worked is told all the same."""
    one = make_program()
    write(one, "good.ipynb", notebook("1"))
    run = f"{shlex.quote(sys.executable)} -m runner run good.ipynb <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", run], cwd=one.root, check=False).returncode == 0


def test_without_a_runner_nothing_is_said_that_nobody_knows(serving: Serving) -> None:
    """What lies in the inbox, and the effect of a cancel of what is over."""
    program = serving()
    program.drop("done.ipynb", notebook("1"))
    program.await_report("done")
    program.stop()
    program.drop("waits.ipynb", notebook("1"))
    said = program.run("inbox").stderr
    assert "not known" in said
    assert "nothing stays" not in said
    assert "takes effect" not in program.run("cancel", "done").stderr


def test_run_takes_a_notebook_of_the_library_by_its_path(standing: Program) -> None:
    """It runs where it lies, whether named from the library or by the file."""
    program = standing
    folder = program.library / "reports"
    folder.mkdir(parents=True)
    (folder / "data.txt").write_text("beside")
    (folder / "read.ipynb").write_text(
        json.dumps(notebook(code("open('data.txt').read()", "results")))
    )
    for name in ("reports/read.ipynb", "notebooks/reports/read.ipynb"):
        done = program.run("run", name)
        assert done.returncode == 0, done.stderr
        assert "beside" in done.stdout


def test_jobs_show_and_cancel(standing: Program) -> None:
    """The list, one job by name, id or the beginning of its id, and ending one."""
    program = standing
    program.drop("first.ipynb", ADD)
    report = program.await_report("first")
    listed = program.run("jobs")
    assert listed.returncode == 0, listed.stderr
    assert "first" in listed.stdout
    assert "succeeded" in listed.stdout
    for what in ("first", report["job_id"], report["job_id"][:8]):
        assert json.loads(program.run("show", what).stdout)["job_id"] == report["job_id"]
    program.drop("long.ipynb", notebook("import time; time.sleep(60)"))
    wait_for(lambda: '"status": "running"' in program.run("show", "long").stdout)
    cancelled = program.run("cancel", "long")
    assert cancelled.returncode == 0, cancelled.stderr
    assert program.await_report("long", 45)["status"] == "cancelled"
    for command, name in (("show", "nobody"), ("show", "\udcff"), ("cancel", "\udcff")):
        unknown = program.run(command, name)
        assert unknown.returncode == 1
        assert f"there is no job {name!r}" in unknown.stderr
        assert "six digits" not in unknown.stderr
    assert "six digits" in program.run("show", "8e8f").stderr
    odd = program.run("jobs", "--name", "\udcff", "-n", "9" * 30)
    assert odd.returncode == 0, odd.stderr


def test_a_job_is_known_without_its_files_and_by_the_name_of_its_drop(standing: Program) -> None:
    """What the ledger knows is told: its notebook, how it ended, and that its files are gone."""
    program = standing
    write(program, "gone.ipynb", notebook("1"))
    (program.library / "gone.ipynb").write_bytes((program.root / "gone.ipynb").read_bytes())
    program.drop("gone.request.json", {"notebook": "gone.ipynb"})
    program.await_report("gone.request")
    for file in program.outbox.glob("gone.*"):
        file.unlink()
    assert json.loads(program.run("show", "gone.request").stdout)["notebook"] == "gone.ipynb"
    with terminal(80) as (side, read):
        command = [sys.executable, "-m", "runner", "show", "gone.request"]
        shown = subprocess.Popen(command, cwd=program.root, stdout=side, stderr=subprocess.DEVNULL)
        assert shown.wait(60) == 0
        seen = read()
    assert seen.startswith("gone.request succeeded in ")
    assert "Its files are not in the outbox any more." in seen
    assert program.run("pause", "a_b_*").returncode == 0
    program.drop("a:b?.ipynb", notebook("1"))
    wait_for(lambda: program.run("show", "a:b?").returncode == 0)
    with terminal(80) as (side, read):
        command = [sys.executable, "-m", "runner", "show", "a:b?"]
        shown = subprocess.Popen(command, cwd=program.root, stdout=side, stderr=subprocess.DEVNULL)
        assert shown.wait(60) == 0
        seen = read()
    assert "waits for the end of a pause: jobs named 'a_b_*' are paused by cli" in seen
    assert program.run("cancel", "a:b?").returncode == 0
    wait_for(lambda: json.loads(program.run("show", "a:b?").stdout)["status"] == "cancelled")
    assert program.run("resume", "a_b_*").returncode == 0


def test_a_notebook_may_come_through_a_pipe(make_program: Make, tmp_path: Path) -> None:
    """As standard input, or as what a shell makes of `<(command)`; a terminal is none."""
    program = make_program()
    (tmp_path / "n.ipynb").write_text(json.dumps(ADD))
    runner = shlex.join([sys.executable, "-m", "runner"])
    file = shlex.quote(str(tmp_path / "n.ipynb"))
    for line in (f"cat {file} | {runner} run -", f"{runner} run <(cat {file})"):
        done = subprocess.run(
            ["bash", "-c", line], cwd=program.root, capture_output=True, text=True, timeout=90
        )
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)
        assert (result["name"], result["status"]) == ("stdin", "succeeded")
    empty = program.run("check", "-")
    assert empty.returncode == 3
    assert "standard input is no notebook" in empty.stdout
    with terminal(80) as (side, _):
        command = [sys.executable, "-m", "runner", "run", "-"]
        typed = subprocess.run(command, stdin=side, capture_output=True, text=True, timeout=60)
    assert typed.returncode == 2
    assert "standard input is a terminal" in typed.stderr


def test_at_eighty_columns_error_types_and_notebooks_are_whole(make_program: Make) -> None:
    """A run that nobody named is told by its notebook. In a pipe every column keeps its place."""
    program = make_program()
    program.root.joinpath("state").mkdir()
    ledger = Ledger(program.root / "state")
    request = json.dumps({"notebook": "sales/loan.ipynb"})
    outcome = failed(Failure(error_type=ErrorType.PAPERMILL_EXECUTION_ERROR, message="No."))
    name, at = f"http/2026-11-24/{'a' * 32}", "2026-11-24T04:16:00.000+00:00"
    ledger.accept(Acceptance("a" * 32, name, request, b"", "", "", at, "http"))
    ledger.start("a" * 32, at)
    ledger.seal(Seal("a" * 32, outcome, None, (), at), from_state=State.RUNNING)
    ledger.close()
    with terminal(80) as (side, read):
        command = [sys.executable, "-m", "runner", "jobs"]
        subprocess.run(command, cwd=program.root, stdout=side, check=True)
        _, row = read().splitlines()
    assert row.split()[1:] == [
        *("sales/loan.ipynb", "http", "papermill_execution_error", "2026-11-24", "0.0")
    ]
    piped = program.run("jobs").stdout.splitlines()[1].split("\t")
    assert (piped[0], piped[1], piped[7]) == ("a" * 8, name, "sales/loan.ipynb")
    with terminal(80) as (side, read):
        command = [sys.executable, "-m", "runner", "run", "nosuch.ipynb"]
        subprocess.run(command, cwd=program.root, stdout=side, stderr=side, check=False)
        assert read().count("There is no notebook") == 1


def test_the_list_of_jobs_tells_what_it_leaves_out(make_program: Make) -> None:
    """How many there are beside the newest; a name may be a beginning, or a pattern."""
    program = make_program()
    program.root.joinpath("state").mkdir()
    ledger = Ledger(program.root / "state")
    for number in range(25):
        name = f"sales/{number}-report" if number % 2 else f"stock/{number}"
        accepted_at = f"2026-11-24T04:16:{number:02}.000+00:00"
        ledger.accept(Acceptance(f"{number:032x}", name, "{}", b"{}", "", "", accepted_at))
    ledger.close()
    first = program.run("jobs")
    assert first.returncode == 0, first.stderr
    assert len(first.stdout.splitlines()) == 1 + 20
    assert "the newest 20 of 25; --limit N or --all for more" in first.stderr
    for options, count in (
        (("--all",), 25),
        (("-n", "20"), 20),
        (("--name", "stock"), 13),
        (("--name", "sales/1*-report"), 6),
        (("--name", "*/3-*"), 1),
        (("--name", "report"), 0),
    ):
        listed = program.run("jobs", "--json", *options)
        assert len(listed.stdout.splitlines()) == count
        assert "the newest" not in listed.stderr


def test_check_says_all_that_would_be_refused(make_program: Make) -> None:
    """Without running anything, and without a daemon."""
    one = make_program({"limits": {"max_run_seconds": 400}})
    write(one, "good.ipynb", ADD)
    write(one, "bad.ipynb", notebook("import no_such_a\nopen('ran', 'w')"))
    good = one.run("check", "good.ipynb")
    assert (good.returncode, good.stdout) == (0, "")
    odd = one.run("check", "good.ipynb", "-p", "nmae", "x", "-p", "a", "1")
    assert odd.returncode == 0
    assert "warning: `nmae` is no parameter" in odd.stdout
    assert "did you mean `name`?" in odd.stdout
    bad = one.run("check", "bad.ipynb", "--timeout", "500", "--kernel", "python3")
    assert bad.returncode == 3
    assert "missing_dependencies" in bad.stdout
    assert "no_such_a" in bad.stdout
    assert "timeout_seconds" in bad.stdout
    assert not (one.root / "ran").exists()
    often = one.run("check", "good.ipynb", "--retries", "11")
    assert (often.returncode, "`retries`" in often.stdout) == (3, True)


@pytest.mark.parametrize("kind", ["request", "result"])
def test_schema_is_valid_json_schema(make_program: Make, kind: str) -> None:
    """It can be given to any validator, and knows what it describes."""
    one = make_program()
    schema = json.loads(one.run("schema", kind).stdout)
    Draft202012Validator.check_schema(schema)
    if kind == "request":
        validator = Draft202012Validator(schema)
        assert validator.is_valid({"notebook": "a.ipynb", "parameters": {"a": 1}})
        assert not validator.is_valid({"notebuk": "a.ipynb"})


def test_published_reports_fit_the_published_schema(standing: Program) -> None:
    """A result, an error of a cell, and a refusal."""
    program = standing
    schema = json.loads(program.run("schema", "result").stdout)
    program.drop("good.ipynb", ADD)
    program.drop("fails.ipynb", notebook("1/0"))
    program.drop("refused.ipynb", {"cells": 3})
    for name in ("good", "fails", "refused"):
        Draft202012Validator(schema).validate(program.await_report(name))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("limts: {}", "limts"),
        ("limits: {run_seconds: soon}", "limits.run_seconds"),
        ("limits: {run_seconds: 5000}", "max_run_seconds"),
        ("- a list", "mapping"),
        ("a: [", "config.yaml"),
    ],
)
def test_a_wrong_setting_is_one_line(make_program: Make, config: str, said: str) -> None:
    """It names the key; no traceback."""
    one = make_program()
    (one.root / "config.yaml").write_text(config)
    done = one.run("serve")
    assert done.returncode == 70
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_settings_come_from_flag_environment_and_file_in_that_order(make_program: Make) -> None:
    """And relative folders count from the settings file."""
    one = make_program({"outbox": "from-file", "limits": {"run_seconds": 1}})
    one = Program(one.root, one.settings, {"INBOX_RUNNER__LIMITS__RUN_SECONDS": "30"})
    write(one, "slow.ipynb", notebook("import time; time.sleep(2)"))
    done = one.run("run", "slow.ipynb", "--outbox", "from-flag")
    assert done.returncode == 0, done.stderr
    assert (one.root / "from-flag" / "slow.ipynb").exists()
    assert not (one.root / "from-file").exists()


def test_of_a_run_only_the_folder_that_was_named_stays(make_program: Make) -> None:
    """No inbox and no state beside it."""
    one = make_program()
    write(one, "job.ipynb", notebook("6 * 7"))
    before = {path.name for path in one.root.iterdir()}
    done = one.run("run", "job.ipynb", "--outbox", "out")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in one.root.iterdir()} == {*before, "out"}
    assert (one.root / "out" / "job.ipynb").exists()
    assert json.loads(done.stdout)["output_nb"] == "job.ipynb"


def test_a_file_that_is_missing_in_the_empty_folder_of_a_run_is_told_with_what_to_do(
    make_program: Make,
) -> None:
    """Also where it lies beside the notebook."""
    one = make_program()
    (one.root / "sales.csv").write_text("a")
    write(one, "job.ipynb", notebook("open('sales.csv')"))
    done = one.run("run", "job.ipynb")
    assert done.returncode == 1
    message = json.loads(done.stdout)["message"]
    assert "ran in a folder of its own" in message
    assert "--input" in message
    assert "by --input" in " ".join(one.run("run", "-h").stdout.split())
    done = one.run("run", "job.ipynb", "--input", "sales.csv")
    assert done.returncode == 0, done.stdout


def test_progress_is_shown_on_a_terminal(make_program: Make) -> None:
    """A bar by cells with elapsed time, on stderr; stdout stays JSON."""
    one = make_program()
    write(one, "steps.ipynb", notebook(*["import time; time.sleep(0.8)"] * 4))
    main, side = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "runner", "run", "steps.ipynb"],
        cwd=one.root,
        stdout=subprocess.PIPE,
        stderr=side,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"},
    )
    os.close(side)
    seen = b""
    while True:
        try:
            chunk = os.read(main, 4096)
        except OSError:
            break
        if not chunk:
            break
        seen += chunk
    assert process.stdout is not None
    report = json.loads(process.stdout.read())
    assert (report["status"], report["submitted_by"]) == ("succeeded", "cli")
    process.wait(60)
    os.close(main)
    text = re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", seen).decode()
    assert "steps" in text
    assert re.search(r"[123]/4", text)
    assert re.search(r"0:00:0[2-9]", text)


def test_a_run_of_a_file_leaves_nothing_behind(make_program: Make, tmp_path: Path) -> None:
    """It needs no folders; the result says so where the notebook wrote files."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    one = make_program(TMPDIR=str(temporary))
    writes = notebook("open('table.csv', 'w').write('a')", code("6 * 7", "results"))
    write(one, "job.ipynb", writes)
    before = sorted(path.name for path in one.root.iterdir())
    done = one.run("run", "job.ipynb")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["results"]["cell_2"]["application/json"] == 42
    assert (result["output_nb"], result["output_nb_url"]) == (None, None)
    assert [(f["path"], f["url"]) for f in result["files"]] == [("job.files/table.csv", None)]
    assert any("--keep" in warning for warning in result["warnings"])
    assert sorted(path.name for path in one.root.iterdir()) == before
    assert not list(temporary.glob("runner-*"))


@contextmanager
def terminal(columns: int) -> Iterator[tuple[int, Callable[[], str]]]:
    """A terminal's end for a process, and what was written to it until the process is gone."""
    main, side = pty.openpty()
    termios.tcsetwinsize(side, (40, columns))

    def read() -> str:
        os.close(side)
        seen = b""
        with suppress(OSError):
            while chunk := os.read(main, 65536):
                seen += chunk
        return seen.decode()

    try:
        yield side, read
    finally:
        os.close(main)


def test_a_person_sees_a_summary_and_rows_that_fit(standing: Program) -> None:
    """In a terminal of 80 columns: how a run ended and where its files are, a line for each job.

    Nothing of a notebook steers the terminal. In a pipe rows are as long as they are.
    """
    program = standing
    long = ("a long name " * 7).strip()
    write(
        program, "fails.ipynb", notebook(code("'ok'", "results"), "raise OSError('\\x9b2J\\u202e')")
    )
    command = [sys.executable, "-m", "runner"]
    with terminal(80) as (side, read):
        run = [*command, "run", "fails.ipynb", "--name", long]
        process = subprocess.Popen(run, cwd=program.root, stdout=side, stderr=subprocess.DEVNULL)
        process.wait(90)
        seen = read()
    assert process.returncode == 1
    assert "failed in" in seen
    assert "cell 2 of 2 failed" in seen
    assert "OSError" in seen
    assert f"outbox/{long}.error.json" in seen
    assert "\x9b" not in seen
    assert "\u202e" not in seen
    assert seen.count("\n") < 25
    with terminal(80) as (side, read):
        subprocess.run([*command, "show", long], cwd=program.root, stdout=side, check=True)
        seen = read()
    assert "cell 2 of 2 failed" in seen
    assert "Cell In[2], line 1" in seen
    assert "\x9b" not in seen
    with terminal(80) as (side, read):
        subprocess.run([*command, "jobs", "-n", "1"], cwd=program.root, stdout=side, check=True)
        header, row = read().splitlines()
    assert header.startswith("job id")
    assert (len(row) <= 80, row[:8]) == (True, program.await_report(long)["job_id"][:8])
    header, row = program.run("jobs", "-n", "1").stdout.splitlines()
    assert long in row
    assert "papermill_execution_error" in row
    assert "OSError" in next(
        line for line in program.log.splitlines() if f": failed '{long}" in line
    )
    shown = program.run("show", long).stdout
    assert "\x9b" not in shown
    assert "\u202e" not in shown
    assert json.loads(shown)["evalue"] == program.await_report(long)["evalue"]


def _has_loaded(maps: Path, part: str) -> bool:
    return part in maps.read_text()


def test_ctrl_c_while_it_starts_is_no_traceback(make_program: Make) -> None:
    """Whatever it is importing just then."""
    one = make_program()
    for part in ("_pydantic_core", "_sqlite3"):
        one.launch(("-m", "runner", "serve"))
        assert one.process is not None
        maps = Path(f"/proc/{one.process.pid}/maps")
        wait_for(partial(_has_loaded, maps, part))
        one.process.send_signal(signal.SIGINT)
        one.process.wait(90)
    assert "Traceback" not in one.log
    assert "KeyboardInterrupt" not in one.log


def test_a_reader_that_has_enough_ends_a_command_without_a_word(tmp_path: Path) -> None:
    """As Unix tools end where `head` reads them: 141, nothing on stderr."""
    (tmp_path / "state").mkdir()
    ledger = Ledger(tmp_path / "state")
    ledger.accept(Acceptance("1" * 32, "daily", "{}", b"{}", "a", "b", "2026-01-02T03:04:05.000Z"))
    ledger.close()
    commands = (("jobs", "--all"), ("jobs", "--json"), ("schema", "request"), ("--help",))
    for arguments in commands:
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run(
            [sys.executable, "-m", "runner", *arguments],
            cwd=tmp_path,
            stdout=writer,
            stderr=subprocess.PIPE,
        )
        os.close(writer)
        assert (done.returncode, done.stderr) == (141, b""), arguments


def test_a_person_sees_how_far_an_open_job_is(tmp_path: Path) -> None:
    """A line, and what it printed last; `--json` and a pipe have all of it."""
    (tmp_path / "state").mkdir()
    (tmp_path / "outbox").mkdir()
    ledger = Ledger(tmp_path / "state")
    ledger.accept(Acceptance("1" * 32, "daily", "{}", b"{}", "a", "b", "2026-01-02T03:04:05.000Z"))
    ledger.start("1" * 32, "2026-01-02T03:04:06.000Z")
    ledger.close()
    status = {"job_id": "1" * 32, "name": "daily", "status": "running", "cell": 2, "cells": 5}
    content = json.dumps({**status, "log_tail": "".join(f"line {n}\n" for n in range(9))})
    (tmp_path / "outbox" / "daily.status.json").write_text(content)
    command = [sys.executable, "-m", "runner", "show", "daily"]
    with terminal(80) as (side, read):
        shown = subprocess.Popen(command, cwd=tmp_path, stdout=side, stderr=subprocess.DEVNULL)
        lines = read().splitlines()
        assert shown.wait(60) == 0
    first = "daily is running, cell 2 of 5, since 2026-01-02T03:04:06.000Z, job 11111111"
    assert lines == [first, *(f"  line {n}" for n in range(4, 9))]
    piped = subprocess.run(command, cwd=tmp_path, stdout=subprocess.PIPE, check=True)
    assert json.loads(piped.stdout)["cell"] == 2
