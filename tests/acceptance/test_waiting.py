"""Waiting and order as users meet them: a running runner, over HTTP and on the command line."""

import json
import re
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.conftest import Program, code, notebook, programs, wait_for

DOCUMENT = Path(__file__).parents[2] / "docs" / "waiting.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")
EXAMPLES = [json.loads(one) for one in re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)]
(SETTINGS,) = [yaml.safe_load(one) for one in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)]

FLAKY = """
from pathlib import Path
seen = Path(place)
count = int(seen.read_text()) if seen.exists() else 0
seen.write_text(str(count + 1))
if count < 2:
    raise OSError(f"the database is away ({count})")
count
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    for make in programs(tmp_path_factory.mktemp("waiting")):
        one = make({**SETTINGS, "gateway": {"enabled": True, "port": 0}})
        (one.root / "notebooks").mkdir()
        cells = code("amount = 1", "parameters"), code("amount", "results")
        (one.root / "notebooks" / "loan.ipynb").write_text(json.dumps(notebook(*cells)))
        yield one.start()


def post(
    program: Program, request: dict[str, Any], key: str | None = None, **query: Any
) -> requests.Response:
    """`key`: asked again by it, it is the same job."""
    headers = {"Idempotency-Key": key} if key else {}
    url = f"{program.url}/run"
    return requests.post(url, json=request, params=query, headers=headers, timeout=90)


def job(program: Program, job_id: str) -> dict[str, Any]:
    found: dict[str, Any] = requests.get(f"{program.url}/jobs/{job_id}", timeout=90).json()
    return found


def told(program: Program, name: str) -> dict[str, Any]:
    """The status file of a job that waits, which is there a moment after the job."""
    file = program.outbox / f"{name}.status.json"
    wait_for(file.exists)
    found: dict[str, Any] = json.loads(file.read_text())
    return found


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_the_examples_of_the_document_are_taken(program: Program, number: int) -> None:
    """As they stand there; those that need not wait are run at once."""
    assert len(EXAMPLES) == 5
    request = EXAMPLES[number] | ({"not_before": "2026-01-01T06:00+01:00"} if number == 0 else {})
    answer = post(program, request)
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "succeeded"


def test_a_failing_cell_runs_again_after_its_pause(program: Program, tmp_path: Path) -> None:
    """Until it works; the job tells meanwhile when it goes on."""
    cells = code(f"place = {str(tmp_path / 'seen')!r}", "parameters"), code(FLAKY, "results")
    retry = {"times": 5, "delay_seconds": 1, "on": ["papermill_execution_error"]}
    posted = post(program, {"notebook": notebook(*cells), "retry": retry}, wait=0).json()
    held = wait_for(lambda: job(program, posted["job_id"]).get("held_until"))
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", held)
    report = wait_for(lambda: job(program, posted["job_id"]).get("result"))
    assert (report["status"], report["attempt"]) == ("succeeded", 3)
    assert ["the database is away" in one for one in report["warnings"]] == [True, True]
    assert next(iter(report["results"].values()))["text/plain"] == "2"


def test_a_pause_lets_nothing_start_until_it_is_resumed(program: Program) -> None:
    """By any interface; what waits too long expires, and says so to whoever waits for it."""
    assert program.run("pause", "held/*").returncode == 0
    assert requests.post(f"{program.url}/pause", timeout=90).json()["by"] == "http"
    listed = requests.get(f"{program.url}/pauses", timeout=90).json()["pauses"]
    assert [(one["name"], one["by"]) for one in listed] == [("", "http"), ("held/*", "cli")]
    late = post(program, {"notebook": "loan.ipynb", "name": "late", "start_within_seconds": 0.3})
    assert late.status_code == 503
    assert (late.json()["error_type"], late.json()["attempt"]) == ("expired", 0)
    asked = {"notebook": "loan.ipynb", "name": "waits"}
    waits = post(program, asked, "waits", wait=0).json()["job_id"]
    told(program, "waits")
    waiting = post(program, asked, "waits", wait=1)
    assert (waiting.status_code, waiting.json()["job_id"]) == (202, waits)
    assert "the end of a pause: all jobs are paused by http" in waiting.json()["waits_for"]
    held = post(program, {"notebook": "loan.ipynb", "name": "held/one"}, wait=0).json()["job_id"]
    wait_for(lambda: job(program, held)["state"] == "queued")
    health = json.loads(program.run("health").stdout)
    assert health["status"] == "healthy"
    wait_for(lambda: len(json.loads(program.run("health").stdout).get("notes", [])) == 2)
    assert job(program, waits)["status"] == "queued"
    assert "all jobs are paused by http" in job(program, waits)["waits_for"]
    assert told(program, "held/one")["waits_for"].startswith("the end of a pause: ")
    wait_for(lambda: told(program, "waits")["elapsed_seconds"] >= 2)
    left = requests.post(f"{program.url}/resume", timeout=90).json()["pauses"]
    assert [one["name"] for one in left] == ["held/*"]
    assert wait_for(lambda: job(program, waits).get("result"))["status"] == "succeeded"
    assert job(program, held)["status"] == "queued"
    doubtful = program.run("pause", "rule:nosuch")
    assert (doubtful.returncode, "there is no rule 'nosuch' now" in doubtful.stderr) == (0, True)
    resumed = program.run("resume", "rule:nosuch")
    assert resumed.stderr.splitlines()[1:] == ["still paused: held/*"]
    wrong = program.run("resume", "held/")
    assert wrong.returncode == 1
    assert program.run("schedules", "pause", "minut").returncode == 1
    assert "'held/*'" in wrong.stderr
    assert program.run("resume", "held/*").returncode == 0
    assert wait_for(lambda: job(program, held).get("result"))["status"] == "succeeded"
    assert requests.post(f"{program.url}/resume", timeout=90).status_code == 404


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"not_before": "tomorrow"}, "`not_before`: must be a time with its offset"),
        ({"not_before": "2026-12-01T06:00:00"}, "such as 2026-12-01T06:00:00+01:00"),
        ({"priority": 11}, "`priority`"),
        ({"group": "bd"}, "did you mean 'db'?"),
        ({"retry": {}}, "`retry.times` is missing"),
        ({"retry": 3}, "`retry` must be a mapping with the keys: times, delay_seconds"),
        ({"retry": {"times": 1, "on": ["cancelled"]}}, "must be one of interrupted, kernel_died"),
        ({"retry": {"times": 1, "delay_sec": 3}}, "did you mean `delay_seconds`?"),
        ({"retry": {"times": 1}, "retries": 2}, "Give `retries` or `retry`, not both"),
    ],
)
def test_a_wrong_value_is_told(program: Program, keys: dict[str, Any], said: str) -> None:
    """With what would fit."""
    answer = post(program, {"notebook": "loan.ipynb", **keys})
    assert answer.status_code == 400
    assert said in answer.json()["message"]


def test_the_command_line_has_the_same_keys(program: Program) -> None:
    """It waits for the time, and for the result."""
    soon = (datetime.now(UTC) + timedelta(seconds=3)).isoformat()
    keys = ("--not-before", soon, "--priority", "3", "--group", "db", "--start-within", "60")
    ran = program.run("run", "loan.ipynb", *keys, "--json")
    assert ran.returncode == 0, ran.stderr
    assert datetime.fromisoformat(json.loads(ran.stdout)["started_at"]) >= datetime.fromisoformat(
        soon
    )
    row = job(program, json.loads(ran.stdout)["job_id"])
    assert (row["priority"], row["group"], row["held_until"]) == (3, "db", None)
    assert row["start_by"] > soon


def test_a_job_of_the_future_can_be_cancelled(program: Program) -> None:
    """It is over at once."""
    future = {"not_before": "2999-01-01T00:00:00Z", "start_within_seconds": 60}
    job_id = post(program, {"notebook": "loan.ipynb", **future}, wait=0).json()["job_id"]
    row = wait_for(lambda: "held_until" in (row := job(program, job_id)) and row)
    assert (row["held_until"], row["start_by"]) == (
        "2999-01-01T00:00:00.000+00:00",
        "2999-01-01T00:01:00.000+00:00",
    )
    assert row["waits_for"] == "its earliest start, 2999-01-01T00:00:00.000+00:00"
    assert requests.delete(f"{program.url}/jobs/{job_id}", timeout=90).status_code in (200, 202)
    assert wait_for(lambda: job(program, job_id).get("result"))["status"] == "cancelled"


def test_what_waits_and_what_is_paused_survive_a_kill(make_program: Callable[..., Program]) -> None:
    """A job's time, its attempts and the pauses are those of before."""
    program = make_program({"gateway": {"enabled": False}})
    program.run("pause", "later")
    program.drop("later.json", {"notebook": notebook("1")})
    program.drop("timed.json", {"notebook": notebook("1"), "not_before": "2999-01-01T00:00:00Z"})
    program.start()

    def open_jobs() -> dict[str, Any]:
        rows = [json.loads(line) for line in program.run("jobs", "--json").stdout.splitlines()]
        return {row["name"]: (row["status"], row["held_until"]) for row in rows}

    before = wait_for(lambda: len(jobs := open_jobs()) == 2 and jobs)
    assert before == {
        "later": ("queued", None),
        "timed": ("queued", "2999-01-01T00:00:00.000+00:00"),
    }
    program.stop(signal.SIGKILL)
    program.start()
    program.drop("now.json", {"notebook": notebook("1")})
    program.await_report("now")
    assert {name: open_jobs()[name] for name in before} == before
    program.run("resume", "later")
    assert program.await_report("later")["status"] == "succeeded"
