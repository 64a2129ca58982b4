"""Bad input gets a clear error and loses nothing; what is no request is left alone."""

import json
import os
import re
import time
import unicodedata
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from runner.daemon.loop import TIDY_SECONDS
from tests.conftest import Program, Serving, code, notebook, programs, wait_for

ONE = notebook(code("1", "results"))
QUICK = {"intake": {"broken_seconds": 1, "quiet_seconds": 1, "rescan_seconds": 0.5}}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """One program for all tests here that only drop something, each under names of its own."""
    for make in programs(tmp_path_factory.mktemp("bad")):
        yield make(QUICK).start()


@pytest.fixture
def own_program(serving: Serving) -> Program:
    """One for a test that looks at everything there is."""
    return serving(QUICK)


def errors_of(program: Program, name: str) -> tuple[str, str]:
    report = program.await_report(name)
    assert report["status"] == "rejected", report
    return report["error_type"], report["message"]


def test_a_misspelt_notebook_is_named(standing: Program) -> None:
    """As settings it would wait for ever for a notebook that nobody drops."""
    standing.drop("misspelt.yaml", "notebok: loan.ipynb\nparameters: {years: 3}\n")
    report = standing.await_report("misspelt")
    assert report["error_type"] == "invalid_request"
    assert "did you mean `notebook`?" in report["message"]


def test_what_is_not_json_is_an_invalid_notebook(program: Program) -> None:
    """The bytes come back as they were dropped."""
    program.drop("broken.ipynb", b'{"cells": [')
    error_type, message = errors_of(program, "broken")
    assert error_type == "invalid_notebook"
    assert "not JSON" in message
    assert (program.outbox / "broken.ipynb").read_bytes() == b'{"cells": ['


@pytest.mark.parametrize(
    "content",
    [b"[1, 2]", b'{"a": 1}', b'{"cells": 3}', b"7", b""],
)
def test_json_that_is_no_notebook_is_an_invalid_notebook(program: Program, content: bytes) -> None:
    """Whatever else it is."""
    name = f"other-{os.urandom(4).hex()}"
    program.drop(f"{name}.ipynb", content)
    assert errors_of(program, name)[0] == "invalid_notebook"


def test_an_old_notebook_is_upgraded_and_runs(program: Program) -> None:
    """nbformat 3, with worksheets and `input`."""
    cell = {"cell_type": "code", "input": ["print(6*7)"], "language": "python", "outputs": []}
    old = {
        "nbformat": 3,
        "nbformat_minor": 0,
        "metadata": {"name": "old"},
        "worksheets": [{"cells": [cell], "metadata": {}}],
    }
    program.drop("old.ipynb", old)
    assert program.await_report("old")["status"] == "succeeded"
    executed = json.loads((program.outbox / "old.ipynb").read_bytes())
    assert executed["cells"][0]["outputs"][0]["text"] == ["42\n"]


def test_a_byte_order_mark_does_no_harm(program: Program) -> None:
    """Editors on Windows write one."""
    program.drop("bom.ipynb", b"\xef\xbb\xbf" + json.dumps(ONE).encode())
    assert program.await_report("bom")["status"] == "succeeded"


def test_deep_json_is_an_error_and_not_a_crash(program: Program) -> None:
    """100,000 levels."""
    program.drop("deep.ipynb", b"[" * 100_000 + b"]" * 100_000)
    assert errors_of(program, "deep")[0] == "invalid_notebook"


def test_a_notebook_over_the_limit_moves_aside_unread(program: Program) -> None:
    """6 MB, and a sparse file of 10 GB: kept in the inbox, and the error says where."""
    program.drop("large.ipynb", json.dumps(ONE).encode() + b" " * (6 * 1024 * 1024))
    sparse = program.inbox / ".sparse.tmp"
    with sparse.open("wb") as file:
        file.truncate(10 * 1024**3)
    sparse.rename(program.inbox / "sparse.ipynb")
    for name in ("large", "sparse"):
        error_type, message = errors_of(program, name)
        assert error_type == "notebook_too_large"
        kept = list((program.inbox / ".refused").glob(f"{name}-*.ipynb"))
        assert len(kept) == 1
        assert kept[0].relative_to(program.inbox).as_posix() in message
        assert not (program.outbox / f"{name}.ipynb").exists()


def test_another_language_is_refused(program: Program) -> None:
    """By the name of its kernel."""
    meta = {"kernelspec": {"name": "ir", "display_name": "R", "language": "R"}}
    program.drop("r.ipynb", notebook("print('hi')", metadata=meta))
    error_type, message = errors_of(program, "r")
    assert error_type == "kernel_not_allowed"
    assert "`ir`" in message


def test_a_python_kernel_that_is_not_here_is_replaced(program: Program) -> None:
    """The result's `kernel` says both."""
    meta = {"kernelspec": {"name": "conda-x", "display_name": "x", "language": "python"}}
    program.drop("conda.ipynb", notebook(code("1", "results"), metadata=meta))
    report = program.await_report("conda")
    assert report["kernel"] == {"name": "python3", "requested": "conda-x"}


def test_an_unknown_key_is_named(program: Program) -> None:
    """In a settings file, and in a request."""
    program.drop("keys.yaml", "parametres: {a: 1}\n")
    program.drop("keys.ipynb", ONE)
    error_type, message = errors_of(program, "keys")
    assert error_type == "invalid_request"
    assert "`parametres`" in message
    assert (program.outbox / "keys.ipynb").read_bytes() == json.dumps(ONE).encode()


def test_a_library_notebook_that_is_not_there_is_named(program: Program) -> None:
    """And so is a way out of the library, by `..` or by a link."""
    program.drop("gone.yaml", "notebook: reports/gone.ipynb\n")
    assert "reports/gone.ipynb" in errors_of(program, "gone")[1]
    program.drop("out.yaml", "notebook: ../secret.ipynb\n")
    assert errors_of(program, "out")[0] == "invalid_request"
    (program.root / "secret.ipynb").write_text(json.dumps(ONE))
    (program.library / "link.ipynb").symlink_to(program.root / "secret.ipynb")
    program.drop("link.yaml", "notebook: link.ipynb\n")
    assert errors_of(program, "link")[0] == "invalid_request"


@pytest.mark.parametrize("name", ["a=1\nimport os", "class", "1a", "a b", ""])
def test_parameter_names_that_are_code_are_refused(program: Program, name: str) -> None:
    """papermill would write them into the notebook as they stand."""
    job = f"code-{os.urandom(4).hex()}"
    program.drop(f"{job}.json", {"notebook": ONE, "parameters": {name: 1}})
    assert errors_of(program, job)[0] == "invalid_parameters"


@pytest.mark.parametrize("settings", ["", "# parameters:\n", "parameters:\ntimeout_seconds: ~\n"])
def test_settings_that_say_nothing_mean_the_defaults(program: Program, settings: str) -> None:
    """They are taken together with their notebook, and nothing is wrong with them."""
    name = f"silent-{len(settings)}"
    program.drop(f"{name}.yaml", settings)
    program.drop(f"{name}.ipynb", ONE)
    report = program.await_report(name)
    assert report["status"] == "succeeded"
    assert report["parameters"] == {}
    assert not (program.inbox / f"{name}.yaml").exists()


def test_a_request_without_its_notebook_is_explained(program: Program) -> None:
    """Alone it can be no settings: its key says that it is a request."""
    program.drop("which.yaml", "notebook:\n")
    error_type, message = errors_of(program, "which")
    assert error_type == "invalid_request"
    assert "`notebook` is empty" in message


def test_two_settings_files_are_refused_and_kept(program: Program) -> None:
    """Nobody can tell which one was meant."""
    program.drop("two.yaml", "parameters: {a: 1}\n")
    program.drop("two.json", {"parameters": {"a": 2}})
    program.drop("two.ipynb", ONE)
    error_type, message = errors_of(program, "two")
    assert error_type == "invalid_request"
    kept = [program.inbox / place for place in re.findall(r"'(\.refused/.*?)'", message)]
    wait_for(lambda: len(kept) == 2 and all(path.is_file() for path in kept))
    texts = {path.suffix: path.read_text() for path in kept}
    assert texts[".yaml"] == "parameters: {a: 1}\n"
    assert json.loads(texts[".json"]) == {"parameters": {"a": 2}}


def test_settings_that_cannot_be_read_are_kept(program: Program) -> None:
    """Whoever wrote them need not write them again."""
    program.drop("misspelt.yaml", "parametres: {a: 1}\n")
    program.drop("misspelt.ipynb", ONE)
    _, message = errors_of(program, "misspelt")
    [place] = re.findall(r"'(\.refused/.*?)'", message)
    wait_for(lambda: (program.inbox / place).is_file())
    assert (program.inbox / place).read_text() == "parametres: {a: 1}\n"


def test_a_time_limit_above_the_maximum_is_refused(program: Program) -> None:
    """Rather than cut in silence."""
    program.drop("forever.json", {"notebook": ONE, "timeout_seconds": 1e6})
    error_type, message = errors_of(program, "forever")
    assert error_type == "invalid_request"
    assert "timeout_seconds" in message


STRANGE = [
    "new\nline",
    "{pm}",
    "{0}",
    "-x",
    "n" * 249,
    unicodedata.normalize("NFC", "café"),
    unicodedata.normalize("NFD", "café"),
    "Twin",
    "twin",
    "CON",
    "a:b?",
    os.fsdecode(b"latin\xe9"),
    "with space",
]


def test_strange_names_give_distinct_and_safe_outputs(own_program: Program) -> None:
    """A name with a newline, of 250 bytes, no UTF-8, format fields, twins in case and NFC."""
    program = own_program
    program.drop("first.ipynb", ONE)
    program.await_report("first")
    for number, name in enumerate(STRANGE):
        temp = program.inbox / f".{number}.tmp"
        temp.write_text(json.dumps(notebook(code(str(number), "results"))))
        temp.rename(program.inbox / f"{name}.ipynb")
    longest = {"notebook": notebook(code(str(len(STRANGE)), "results"))}
    program.drop(f"{'m' * 250}.json", longest)
    outputs = wait_for(lambda: _reports(program.outbox, len(STRANGE) + 2))
    values = sorted(
        report["results"]["cell_1"]["application/json"]
        for report in outputs.values()
        if report["name"] != "first"
    )
    assert values == list(range(len(STRANGE) + 1))
    for path, report in outputs.items():
        assert path.name == f"{report['name']}.result.json"
        assert path.name.isprintable()
        assert len(path.name.encode()) <= 255
    assert (program.outbox / "with space.result.json").exists()


def test_the_same_id_with_the_same_bytes_is_one_job(own_program: Program) -> None:
    """Dropped twice, and fifty times at once under other names; other bytes are refused."""
    program = own_program
    job_id = os.urandom(16).hex()
    request = {"notebook": ONE, "id": job_id}
    program.drop("same.json", request)
    first = program.await_report("same")
    program.drop("same.json", request)
    wait_for(lambda: not (program.inbox / "same.json").exists())
    other = os.urandom(16).hex()
    for number in range(50):
        program.drop(f"many/n{number}.json", {"notebook": ONE, "id": other})
    wait_for(lambda: not list((program.inbox / "many").glob("*.json")))
    wait_for(lambda: list(program.outbox.glob("many/*.result.json")))
    time.sleep(1)
    listed = program.run("jobs", "--json", "-n", "100").stdout.splitlines()
    ids = [json.loads(line)["job_id"] for line in listed]
    assert sorted(ids) == sorted([job_id, other])
    assert program.report("same") == first
    program.drop("clash.json", {"notebook": notebook("2"), "id": job_id})
    error_type, message = errors_of(program, "clash")
    assert error_type == "invalid_request"
    assert job_id in message


def test_what_is_no_request_is_left_alone(own_program: Program) -> None:
    """Documents, temp files, links, folders and pipes with the right suffix, fresh notebooks.

    `runner inbox` lists them with their reasons. A notebook of prose runs, once it is quiet.
    """
    program = own_program
    kept = [
        "README.md",
        "notes.md",
        "data.csv",
        ".hidden.ipynb",
        "~lock.ipynb",
        "a.ipynb.part",
        "b.ipynb.tmp",
        "._c.ipynb",
        ".ipynb_checkpoints/d.ipynb",
        "@eaDir/e.ipynb",
        "list.json",
        "alone.yaml",
    ]
    for name in kept:
        path = program.inbox / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("[]" if name == "list.json" else "parameters: {}\n")
    secret = program.root / "secret.ipynb"
    secret.write_text(json.dumps(ONE))
    (program.inbox / "link.ipynb").symlink_to(secret)
    (program.inbox / "loop.ipynb").symlink_to(program.inbox / "loop.ipynb")
    (program.inbox / "folder.ipynb").mkdir()
    os.mkfifo(program.inbox / "pipe.ipynb")
    program.drop("Untitled1.ipynb", notebook(""))
    program.drop("last.ipynb", ONE)
    program.await_report("last")
    time.sleep(2.5)
    assert [path.name for path in program.outbox.glob("*.json")] == ["last.result.json"]
    stay = [*kept, "link.ipynb", "folder.ipynb", "pipe.ipynb"]
    for name in stay:
        assert os.path.lexists(program.inbox / name), name

    def reasons() -> dict[str, str]:
        listed = json.loads(program.run("inbox", "--json").stdout)
        return {one["path"]: one["reason"] for one in listed["files"]}

    expected = {
        ("notes.md", "other"),
        ("data.csv", "data"),
        (".hidden.ipynb", "hidden"),
        ("a.ipynb.part", "unfinished"),
        (".ipynb_checkpoints/", "hidden"),
        ("@eaDir/", "system"),
        ("list.json", "no_request"),
        ("alone.yaml", "settings"),
        ("link.ipynb", "link"),
        ("pipe.ipynb", "no_file"),
        ("Untitled1.ipynb", "untitled"),
    }
    wait_for(lambda: reasons().items() >= expected)
    assert "README.md" not in reasons()
    program.drop("prose.ipynb", notebook({"cell_type": "markdown", "source": "x", "metadata": {}}))
    prose = program.await_report("prose")
    assert (prose["status"], prose["cells"]) == ("succeeded", {"total": 0, "executed": 0})
    program.drop("Untitled1.ipynb", ONE)
    assert program.await_report("Untitled1")["status"] == "succeeded"


def test_late_settings_never_wait_for_the_next_drop(program: Program) -> None:
    """They go to their job's history, and the result says so."""
    go = program.root / "go"
    waits = f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.05)"
    program.drop("late.ipynb", notebook(waits, code("1", "results")))
    wait_for(lambda: not (program.inbox / "late.ipynb").exists())
    program.drop("late.yaml", "parameters: {a: 1}\n")
    wait_for(lambda: not (program.inbox / "late.yaml").exists())
    go.touch()
    report = program.await_report("late")
    assert report["parameters"] == {}
    assert any("late.yaml" in warning for warning in report["warnings"])
    kept = program.outbox / ".history" / "late" / report["job_id"] / "late.yaml"
    wait_for(kept.exists)
    assert kept.read_text() == "parameters: {a: 1}\n"


@pytest.mark.parametrize("mode", ["events", "poll"])
def test_settings_for_the_next_run_are_not_those_of_the_last(serving: Serving, mode: str) -> None:
    """First a run without settings, then settings and, last, the notebook: as the README says.

    However soon after the run, and whether it is over or not.
    """
    program = serving({**QUICK, "intake": {"mode": mode, "poll_seconds": 0.2}})
    loan = notebook(
        code("a = 1", "parameters"), code("import time; time.sleep(a % 2 * 3); a", "results")
    )
    program.drop("over.ipynb", loan)
    first = program.await_report("over")
    assert first["results"]["cell_2"]["application/json"] == 1
    program.drop("over.yaml", "parameters: {a: 20}\n")
    program.drop("slow.ipynb", loan)
    wait_for(lambda: not (program.inbox / "slow.ipynb").exists())
    time.sleep(2.5)
    program.drop("slow.yaml", "parameters: {a: 20}\n")
    time.sleep(1.5)
    for name in ("over", "slow"):
        assert (program.inbox / f"{name}.yaml").exists()
        program.drop(f"{name}.ipynb", loan)
    for name in ("over", "slow"):
        report = wait_for(partial(with_parameters, program, name))
        assert report["results"]["cell_3"]["application/json"] == 20
        assert not (program.inbox / f"{name}.yaml").exists()


def with_parameters(program: Program, name: str) -> dict[str, Any] | None:
    """The report of a run that had some."""
    report = program.report(name)
    return report if report is not None and report["parameters"] else None


def test_a_slow_writer_gives_one_correct_run(program: Program) -> None:
    """A file that is written in place with a pause is taken when it is whole, and not before."""
    raw = json.dumps(notebook(code("42", "results"))).encode()
    with (program.inbox / "slow.ipynb").open("wb") as file:
        file.write(raw[: len(raw) // 2])
        file.flush()
        time.sleep(3)
        file.write(raw[len(raw) // 2 :])
        file.flush()
        time.sleep(1)
        assert (program.inbox / "slow.ipynb").exists()
    report = program.await_report("slow")
    assert report["results"]["cell_1"]["application/json"] == 42


def test_who_reads_a_slow_file_is_no_orphan(program: Program) -> None:
    """Two looks for orphans later the process that reads is still there: a file may take longer."""
    asked = {"notebook": ONE, "parameters": {"n": int("1" * 600)}, "x": None}
    program.drop("digits.json", json.dumps(asked) + " " * 50_000)
    program.await_report("digits")
    (reading,) = program.children("runner.inbox.reader")
    time.sleep(2 * TIDY_SECONDS + 0.2)
    assert reading.is_running(), program.log
    assert "without a parent" not in program.log


def test_files_that_lie_in_the_way_are_never_overwritten(program: Program) -> None:
    """What the ledger does not know moves to `.history/NAME/unknown-TIME/`."""
    (program.outbox / "mine.ipynb").write_text("precious")
    program.drop("mine.ipynb", ONE)
    program.await_report("mine")
    kept = list((program.outbox / ".history" / "mine").glob("unknown-*/mine.ipynb"))
    assert [path.read_text() for path in kept] == ["precious"]


def _reports(outbox: Path, count: int) -> dict[Path, Any] | None:
    found = list(outbox.glob("*.result.json"))
    if len(found) < count:
        return None
    return {path: json.loads(path.read_bytes()) for path in found}
