"""Files that start notebooks: each once, by the real program, as the document shows."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
import requests

from tests.conftest import Program, code, notebook, programs, wait_for

DOCUMENT = Path(__file__).parents[2] / "docs" / "rules.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")
EXAMPLES = {
    re.search(r"notebooks/rules/(\S+)", one)[1]: one  # type: ignore[index]
    for one in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
}
SHELL = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
SUM = "lambda name: sum(map(float, open(name).read().split()[1:]))"
READ = f"({SUM})(path)"
READ_ALL = f"sorted(map({SUM}, paths))"


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    for make in programs(tmp_path):
        one = make({"gateway": {"enabled": True, "port": 0}})
        rules = one.root / "notebooks" / "rules"
        rules.mkdir(parents=True)
        for name, text in EXAMPLES.items():
            (rules / name).write_text(text)
        invoice = notebook(code("path = ''", "parameters"), code(READ, "results"))
        (one.root / "notebooks" / "invoice.ipynb").write_text(json.dumps(invoice))
        batch = notebook(code("paths = []", "parameters"), code(READ_ALL, "results"))
        (one.root / "notebooks" / "measurements.ipynb").write_text(json.dumps(batch))
        yield one.start()


def value_of(report: dict[str, object]) -> object:
    results = report["results"]
    assert isinstance(results, dict), report
    (result,) = results.values()
    return result["application/json"]


def reports(program: Program, pattern: str) -> list[dict[str, object]]:
    found = [json.loads(path.read_bytes()) for path in program.outbox.glob(pattern)]
    return sorted(found, key=lambda one: str(one["name"]))


def health(program: Program) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "runner", "health"],
        cwd=program.root,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    return done.stdout + done.stderr


def told(program: Program, path: str) -> Any:
    """Return what is said of a file that stays in the inbox."""
    files = requests.get(f"{program.url}/inbox", timeout=90).json()["files"]
    return next((one for one in files if one["path"] == path), {"reason": None})


def test_a_file_starts_its_notebook_as_the_document_shows(program: Program) -> None:
    """And lies in `.done` then; a retry takes it again."""
    (program.root / "2026-001.csv").write_text("amount\n1.5\n2\n")
    *commands, read = SHELL[0].strip().splitlines()
    subprocess.run(["sh", "-ec", "\n".join(commands)], cwd=program.root, check=True, timeout=30)
    check = [sys.executable, "-m", "runner", "check", "notebooks/rules/invoices.yaml"]
    done = subprocess.run(check, cwd=program.root, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.strip()) == (0, "nothing to refuse"), done.stdout
    report = program.await_report("rules/invoices/2026-001")
    assert (report["status"], value_of(report)) == ("succeeded", 3.5)
    shown = subprocess.run(["sh", "-ec", read], cwd=program.root, capture_output=True, check=True)
    assert json.loads(shown.stdout) == report
    assert report["parameters"] == {"path": "invoices/2026-001.csv"}
    assert str(report["submitted_by"]).startswith("rule:invoices@")
    (kept,) = wait_for(lambda: list(program.inbox.glob(".done/*/invoices/2026-001.csv")))
    assert kept.read_text() == "amount\n1.5\n2\n"
    wait_for(lambda: not list(program.inbox.glob(".rule-*")))


def test_a_batch_is_one_job(program: Program) -> None:
    """All that came within the time, with their folders."""
    come = program.root / "measurements"
    for folder in ("a", "b"):
        (come / folder).mkdir(parents=True)
    for number, name in enumerate(("a/1.csv", "b/1.csv", "2.CSV"), 1):
        (come / name).write_text(f"amount\n{number}\n")
    come.rename(program.inbox / "measurements")
    report = program.await_report("rules/measurements")
    assert value_of(report) == [1.0, 2.0, 3.0]
    assert len(report["inputs"]) == 3


def test_a_file_that_is_being_written_is_waited_for(program: Program) -> None:
    """As long as somebody has it open."""
    (program.inbox / "invoices").mkdir()
    with (program.inbox / "invoices" / "slow.csv").open("w") as file:
        file.write("amount\n1\n")
        file.flush()
        (program.inbox / "invoices" / "quick.csv").write_text("amount\n7\n")
        assert value_of(program.await_report("rules/invoices/quick")) == 7.0
        assert program.report("rules/invoices/slow") is None
        file.write("2\n")
    assert value_of(program.await_report("rules/invoices/slow")) == 3.0


def test_the_jobs_of_a_paused_rule_wait(program: Program) -> None:
    """By the page's button, until it is pressed again; the command line tells."""
    form = {"name": "rule:invoices", "from": "rules"}
    origin = {"Origin": program.url or ""}
    answer = requests.post(f"{program.url}/ui/pause", form, headers=origin, timeout=90)
    assert answer.url == f"{program.url}/ui/rules"
    assert "by page; jobs wait" in answer.text
    lines = program.run("rules", "--json").stdout.splitlines()
    assert {(one["name"], one["state"]) for one in map(json.loads, lines)} == {
        ("invoices", "paused"),
        ("measurements", "on"),
    }
    (program.inbox / "invoices").mkdir()
    (program.inbox / "invoices" / "held.csv").write_text("amount\n4\n")
    wait_for(lambda: list(program.inbox.glob(".done/*/invoices/held.csv")))

    def ask(path: str) -> Any:
        return requests.get(f"{program.url}{path}", timeout=90).json()

    listed = wait_for(lambda: ask("/jobs?name=rules/invoices/held")["jobs"])
    one = ask(f"/jobs/{listed[0]['job_id']}")
    assert one["status"] == "queued"
    assert "jobs of the rule 'invoices' are paused by page" in one["waits_for"]
    assert program.run("resume", "rule:invoices").returncode == 0
    assert value_of(program.await_report("rules/invoices/held")) == 4.0
    assert re.search(r"^invoices\s+on", program.run("rules").stdout, re.MULTILINE)


def test_what_is_wrong_is_said_and_stops_nothing_else(program: Program) -> None:
    """Two rules for one file, a wrong file, one that is too large: the others go on."""
    rules = program.root / "notebooks" / "rules"
    other = EXAMPLES["invoices.yaml"].replace("invoices/*.csv", "**/double*")
    (rules / "other.yaml").write_text(other)
    (rules / "wrong.yaml").write_text("pattern: '*.ipynb'\nnotebook: invoice.ipynb\n")
    (program.inbox / "invoices").mkdir()
    wait_for(lambda: "the rule wrong takes no file: `pattern` is '*.ipynb'" in health(program))
    (program.inbox / "invoices" / "double.csv").write_text("amount\n1\n")
    (program.inbox / "invoices" / "single.csv").write_text("amount\n2\n")
    with (program.inbox / "invoices" / "large.csv").open("wb") as file:
        file.truncate(300 * 2**20)
    assert value_of(program.await_report("rules/invoices/single")) == 2.0
    wait_for(lambda: "the rules invoices and other match one file" in health(program))
    listed = requests.get(f"{program.url}/rules", timeout=90).json()["rules"]
    states = {one["name"]: one["state"] for one in listed}
    assert states == dict.fromkeys(("invoices", "other", "wrong"), "wrong") | {"measurements": "on"}
    both = "the rules invoices and other match one file (invoices/double.csv); change one of them"
    assert [one["error"] for one in listed if one["name"] in ("invoices", "other")] == [both, both]
    wait_for(lambda: told(program, "invoices/large.csv")["reason"] == "rule_stays")
    wait_for(lambda: told(program, "invoices/double.csv")["reason"] == "rule_stays")
    double = told(program, "invoices/double.csv")
    assert double["needs_care"] is True
    assert "the rules invoices and other match it" in double["text"]
    assert "invoices and other match it" in requests.get(f"{program.url}/ui/inbox", timeout=90).text
    assert "limits.inputs_mb" in told(program, "invoices/large.csv")["text"]
    assert listed[0]["last"] == {"job_id": ANY, "status": "succeeded"}
    html = requests.get(f"{program.url}/ui/rules", timeout=90).text
    assert "invoices/*.csv" in html
    assert "files with this ending are requests" in html
    wait_for(lambda: "no job was made of invoices/large.csv" in health(program))
    assert (program.inbox / "invoices" / "large.csv").exists()
    (rules / "other.yaml").unlink()
    assert value_of(program.await_report("rules/invoices/double")) == 1.0


def test_files_wait_until_their_rule_can_start_its_notebook(program: Program) -> None:
    """Each of them, without a job; health and the inbox say why. One that is off has its files."""
    rules, library = program.root / "notebooks" / "rules", program.root / "notebooks"
    (rules / "gone.yaml").write_text("pattern: 'gone/*.txt'\nnotebook: later.ipynb\n")
    misfit = EXAMPLES["invoices.yaml"].replace("invoices/", "misfit/") + "  kind: 3\n"
    (rules / "misfit.yaml").write_text(misfit.replace("invoice.ipynb", "typed.ipynb"))
    off = EXAMPLES["invoices.yaml"].replace("invoices/", "off/")
    (rules / "off.yaml").write_text(f"{off}enabled: false\n")
    typed = notebook(code("path = ''\nkind: str = 'a'", "parameters"), code("1", "results"))
    (library / "typed.ipynb").write_text(json.dumps(typed))
    for name in ("gone/a.txt", "misfit/b.csv", "off/c.csv"):
        (program.inbox / name).parent.mkdir()
        (program.inbox / name).write_text("amount\n1\n")
    why = "until then its files stay in the inbox"
    wait_for(lambda: health(program).count(why) == 2)
    said = health(program)
    assert "the rule gone takes no file: " in said
    assert "`kind` is 3; it must be a text" in said
    wait_for(lambda: told(program, "gone/a.txt")["reason"] == "rule_stays")
    assert "the rule gone does not take it" in told(program, "gone/a.txt")["text"]
    wait_for(lambda: told(program, "off/c.csv")["reason"] == "rule_off")
    listed = requests.get(f"{program.url}/rules", timeout=90).json()["rules"]
    states = {one["name"]: one["state"] for one in listed}
    assert (states["gone"], states["misfit"], states["off"]) == ("wrong", "wrong", "disabled")
    assert not list(program.outbox.glob("rules/*/[abc].*"))
    (library / "later.ipynb").write_text(json.dumps(typed))
    (rules / "misfit.yaml").write_text(misfit.replace(" 3", " c").replace("invoice.", "typed."))
    assert program.await_report("rules/gone/a")["status"] == "succeeded"
    assert program.await_report("rules/misfit/b")["status"] == "succeeded"
    assert (program.inbox / "off" / "c.csv").exists()


def test_what_strangers_put_there_harms_nothing(program: Program) -> None:
    """Folders with our names, links, pipes, caches, batches that do not fit: the others go on."""
    outside = program.root / "precious"
    outside.mkdir()
    (outside / "a.txt").write_text("x")
    (program.inbox / f".rule-{'0' * 32}").symlink_to(outside)
    pipe = program.inbox / f".rule-{'1' * 32}"
    pipe.mkdir()
    os.mkfifo(pipe / ".of")
    strange = program.inbox / f".rule-{'x' * 230}"
    strange.mkdir()
    (strange / ".of").write_text("invoices")
    folder = program.inbox / "invoices"
    (program.inbox / "measurements" / "__pycache__").mkdir(parents=True)
    cached = program.inbox / "measurements" / "__pycache__" / "only.csv"
    cached.write_text("amount\n1\n")
    for name, content in {"a.csv": 1, "A.csv": 2, "b\x01.csv": 3}.items():
        (program.inbox / "measurements" / name).write_text(f"amount\n{content}\n")
    folder.mkdir()
    (folder / "ok.csv").write_text("amount\n5\n")
    assert value_of(program.await_report("rules/invoices/ok")) == 5.0
    wait_for(lambda: len(list(program.outbox.glob("**/measurements*.result.json"))) >= 1)
    assert os.listdir(outside) == ["a.txt"]
    assert cached.exists()
    wait_for(lambda: "Its name cannot go along" in health(program))


def test_a_file_is_one_job_though_its_rule_changes(program: Program) -> None:
    """It was submitted, and then cannot go to its last place; the rule breaks, and is mended."""
    (program.inbox / ".done").write_text("in the way")
    (program.inbox / "invoices").mkdir()
    (program.inbox / "invoices" / "a.csv").write_text("amount\n1\n")
    program.await_report("rules/invoices/a")
    rule = program.root / "notebooks" / "rules" / "invoices.yaml"
    rule.write_text("pattern: [oops\n")
    wait_for(lambda: "the rule invoices takes no file" in health(program))
    (program.inbox / ".done").unlink()
    rule.write_text(EXAMPLES["invoices.yaml"])
    wait_for(lambda: list(program.inbox.glob(".done/*/invoices/a.csv")))
    wait_for(lambda: not list(program.inbox.glob(".rule-*")))
    (program.inbox / "invoices" / "b.csv").write_text("amount\n2\n")
    program.await_report("rules/invoices/b")
    jobs = requests.get(f"{program.url}/jobs?name=rules/invoices/a", timeout=90).json()["jobs"]
    assert len(jobs) == 1


def test_each_file_is_one_job_whatever_is_killed(program: Program) -> None:
    """The process that takes them is killed again and again amid its work."""
    (program.inbox / "invoices").mkdir()
    count = 16
    for number in range(count):
        (program.inbox / "invoices" / f"{number:02}.csv").write_text(f"amount\n{number}\n")
        if number % 8 == 7:
            wait_for(lambda: reports(program, "rules/invoices/*.result.json"))
            (child,) = wait_for(lambda: program.children("submit"))
            os.kill(child.pid, signal.SIGKILL)

    def over() -> bool:
        return len(reports(program, "rules/invoices/*.result.json")) == count

    wait_for(over, 120)
    wait_for(lambda: not list(program.inbox.glob(".rule-*")))
    values = [value_of(one) for one in reports(program, "rules/invoices/*.result.json")]
    assert values == [float(number) for number in range(count)]
    assert list((program.outbox / ".history").glob("rules/invoices/**/*.json")) == []
    assert len(list(program.inbox.glob(".done/*/invoices/*.csv"))) == count
