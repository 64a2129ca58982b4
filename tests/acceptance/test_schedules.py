"""Schedules of a running runner: files in the library, jobs in the outbox, each time once."""

import json
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
import yaml

from runner.config import load
from runner.contract.names import job_name
from runner.jobs.backend import backend_of
from runner.mcp.runs.schedules import listed
from runner.submitters.schedules.book import Book
from runner.submitters.schedules.overview import Schedules
from tests.conftest import Program, code, notebook, programs, wait_for

DOCUMENT = Path(__file__).parents[2] / "docs" / "schedules.md"
EXAMPLES = re.findall(r"```yaml\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
SHOW = "import os\n[day, os.environ['RUNNER_SCHEDULED_FOR'], os.environ['RUNNER_SUBMITTED_BY']]"


def add(program: Program, name: str, text: str) -> None:
    file = program.root / "notebooks" / "schedules" / f"{name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def shelve(program: Program, name: str, *cells: object) -> None:
    (program.root / "notebooks").mkdir(exist_ok=True)
    (program.root / "notebooks" / name).write_text(json.dumps(notebook(*cells)))  # type: ignore[arg-type]


def seen_an_hour_ago(program: Program, name: str, timing: str) -> None:
    """As if the runner had been away since."""
    (program.root / "state").mkdir(exist_ok=True)
    with closing(Book(program.root / "state")) as book:
        ago = datetime.now(UTC) - timedelta(hours=1)
        book.begin(name, timing, ago.isoformat(timespec="seconds"))


def causes(program: Program) -> list[str]:
    listed = program.run("jobs", "--all", "--json").stdout
    return [json.loads(line)["submitted_by"] for line in listed.splitlines()]


def test_what_came_due_while_it_was_away_is_made_up_once(
    make_program: Callable[..., Program],
) -> None:
    """The last of an hour's minutes, whoever is killed then; a wrong file is told, and no more."""
    program = make_program()
    shelve(program, "what.ipynb", code("day = ''", "parameters"), code(SHOW, "results"))
    day = 'parameters: {day: "{{ scheduled_for - 1d | date }}"}'
    until = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=2)
    timing = f'cron: "* * * * *"\ntimezone: UTC\nuntil: {until.isoformat()}\n'
    add(program, "all", f"{timing}notebook: what.ipynb\n{day}\n")
    add(program, "bad", "cron: never\nnotebook: what.ipynb\n")
    seen_an_hour_ago(program, "all", "* * * * * UTC")
    program.start()
    report = program.await_report("schedules/all")
    cause = f"schedule:all@{until:%Y-%m-%dT%H:%MZ}"
    assert report["submitted_by"] == cause
    day_before = (until - timedelta(days=1)).date().isoformat()
    (shown,) = report["results"].values()
    assert shown["application/json"] == [day_before, until.isoformat(), cause]
    wait_for(lambda: "the schedule bad does not run" in program.run("health").stdout)
    assert program.log.count("the schedule bad does not run") == 1
    program.stop(signal.SIGKILL)
    program.start()
    wait_for(lambda: "the schedule bad does not run" in program.run("health").stdout)

    def listed() -> list[Any]:
        return [json.loads(line) for line in program.run("schedules", "--json").stdout.splitlines()]

    assert [one["state"] for one in listed()] == ["over", "wrong"]
    wait_for(lambda: listed()[0]["last"]["status"] == "succeeded")  # the book hears of it later
    assert causes(program) == [cause]


def test_the_examples_of_the_document_run(make_program: Callable[..., Program]) -> None:
    """As they stand there, by `run`; pausing is remembered by files, not by processes."""
    program = make_program()
    parameters = "years = day = title = None"
    shelve(program, "loan.ipynb", code(parameters, "parameters"), code("[years, day]", "results"))
    assert len(EXAMPLES) == 2
    for number, text in enumerate(EXAMPLES):
        assert yaml.safe_load(text)["notebook"] == "loan.ipynb"
        add(program, f"example{number}", text)
    assert program.run("schedules", "pause", "example0").returncode == 0
    program.start()
    before = datetime.now().astimezone()
    for number in range(2):
        ran = program.run("schedules", "run", f"example{number}")
        assert ran.returncode == 0, ran.stderr
    first = program.await_report("schedules/example0")
    second = program.await_report("schedules/example1")
    assert first["parameters"] == {"years": 20}
    assert first["submitted_by"].startswith("schedule:example0@")
    assert first["submitted_by"].endswith(" by cli")
    days = {(one - timedelta(days=1)).date() for one in (before, datetime.now().astimezone())}
    assert second["parameters"]["day"] in {day.isoformat() for day in days}
    table = program.run("schedules").stdout
    assert re.search(r"example0\s+paused\s+succeeded \(by hand\)", table)
    assert "At 06:00, Monday through Friday (Europe/Berlin)" in table
    rows = [json.loads(line) for line in program.run("schedules", "--json").stdout.splitlines()]
    assert [(row["last"]["job_id"], row["last"]["by"]) for row in rows] == [
        (first["job_id"], "cli"),
        (second["job_id"], "cli"),
    ]
    settings = load(None, {"state": program.root / "state", "notebooks": program.library})
    details = Schedules(backend_of(settings)).details("example0")
    assert [one.job_id for one in details.occurrences] == [first["job_id"]]
    upcoming = program.run("schedules", "next", "example0", "-n", "6").stdout.splitlines()
    assert len(upcoming) == 6
    assert all(re.fullmatch(r"(Mon|Tue|Wed|Thu|Fri) \S+ 06:00\+0[12]:00", one) for one in upcoming)
    assert program.run("schedules", "resume", "example0").returncode == 0
    assert "did you mean 'example1'" in program.run("schedules", "run", "exampl1").stderr


def test_a_file_is_checked_before_it_runs(make_program: Callable[..., Program]) -> None:
    """In the folder or elsewhere: its line, its times, its notebook and its parameters."""
    program = make_program()
    shelve(program, "typed.ipynb", code("day = ''\nyears: int = 1", "parameters"), code("years"))
    good = (
        "cron: '0 6 * * *'\ntimezone: Asia/Kathmandu\nnotebook: typed.ipynb\n"
        "parameters:\n  day: '{{ scheduled_for - 1d | date }}'\n"
    )
    add(program, "good", good)
    checked = program.run("check", "notebooks/schedules/good.yaml")
    words, *times = checked.stdout.splitlines()
    assert (checked.returncode, words) == (0, "At 06:00 (Asia/Kathmandu)")
    assert len(times) == 3
    assert all(re.fullmatch(r"\w{3} \d{4}-\d\d-\d\d 06:00\+05:45", one) for one in times)
    wrong = {
        "timezone: Asia/Kathmandu\nnotebook: typed.ipynb\ncron: 61 * * * *\n": "(line 3)",
        "cron: 0 6 * * *\nnotebook: nothing.ipynb\n": "(line 2)",
        good.replace("typed", "other"): "other.ipynb",
        f"{good}  years: x\n": "years",
        good.replace("- 1d", "- 1y"): "is no placeholder",
        f"{good}enabled: maybe\n": "enabled",
    }
    for number, (text, said) in enumerate(wrong.items()):
        file = program.root / f"draft {number}.yml"
        file.write_text(text)
        checked = program.run("check", file.name)
        assert (checked.returncode, said in checked.stdout) == (3, True), checked.stdout
    assert program.run("check", "nothing.yaml").returncode == 3


# Over HTTP

ODD = "Ämter & <b>Co/täglich 1"
"""A name with all that an address and a page have to escape."""

YEAR = "{{ scheduled_for | year }}"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A program with schedules that are far away, disabled, over and wrong."""
    with contextmanager(programs)(tmp_path_factory.mktemp("gateway")) as make:
        program = make({"gateway": {"enabled": True, "port": 0}})
        shelve(program, "sum.ipynb", code("years = 1\nday = ''", "parameters"), code("years"))
        yearly = "cron: '0 0 1 1 *'\nnotebook: sum.ipynb\n"
        add(program, "plain", f"{yearly}timezone: Australia/Lord_Howe\nname: ../../plain\n")
        add(program, ODD, f"{yearly}timezone: Asia/Kathmandu\nparameters: {{years: 3}}\n")
        add(program, "in year", f"{yearly}parameters: {{years: '{YEAR}', day: '{YEAR}'}}\n")
        add(program, "off", f"{yearly}enabled: false\n")
        add(program, "over", f"{yearly}until: 2020-01-01\n")
        add(program, "bad", "cron: never\nnotebook: sum.ipynb\n")
        yield program.start()


def ask(program: Program, path: str, method: str = "GET", **headers: str) -> requests.Response:
    return requests.request(method, f"{program.url}{path}", headers=headers, timeout=60)


def test_schedules_over_http(gateway: Program) -> None:
    """The same rows as the command prints; names have folders, and need no care beside quoting."""
    rows = ask(gateway, "/schedules").json()["schedules"]
    printed = gateway.run("schedules", "--json").stdout.splitlines()
    assert rows == [json.loads(line) for line in printed]
    assert {one["name"]: one["state"] for one in rows} == {
        **{"plain": "on", ODD: "on", "off": "disabled", "over": "over", "bad": "wrong"},
        "in year": "on",
    }
    address = f"/schedules/{quote(ODD)}"
    one = ask(gateway, address).json()
    assert one["parameters"] == {"years": 3}
    assert [moment[4:] for moment in one["upcoming"]] == ["-01-01T00:00:00+05:45"] * 5
    assert ask(gateway, address.replace("/t", "%2Ft")).json() == one
    bad = ask(gateway, "/schedules/bad").json()
    assert (bad["upcoming"], bad["occurrences"]) == ([], [])
    assert "five fields" in bad["error"]

    paused = ask(gateway, f"{address}/pause", "POST").json()
    assert (paused["state"], paused["paused_by"]) == ("paused", "http")
    job = ask(gateway, f"{address}/run", "POST")
    assert (job.status_code, job.headers["Location"]) == (202, f"/jobs/{job.json()['job_id']}")
    assert job.json()["name"] == job_name(f"schedules/{ODD}")
    report = ask(gateway, f"{job.headers['Location']}?wait=60").json()["result"]
    assert report["parameters"] == {"years": 3}
    assert re.fullmatch(rf"schedule:{ODD}@\S+Z by http", report["submitted_by"])
    assert ask(gateway, f"{address}/resume", "POST").json()["state"] == "on"
    plain = ask(gateway, "/schedules/plain/run?wait=60", "POST").json()
    assert plain["name"] == job_name("../../plain")
    assert plain["status"] == "succeeded"


def test_the_year_is_a_number_where_the_notebook_has_one(gateway: Program) -> None:
    """And a text where it has a text; a filter gives nothing but texts."""
    report = ask(gateway, "/schedules/in%20year/run?wait=60", "POST").json()
    day = report["parameters"]["day"]
    assert report["parameters"] == {"years": int(day), "day": day}
    checked = gateway.run("check", "notebooks/schedules/in year.yaml")
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/schedules/none", 404),
        ("GET", "/schedules/plain.yaml", 404),
        ("GET", "/schedules/..%2Fschedules%2Fplain", 404),
        ("GET", "/schedules/" + "x" * 5000, 404),
        ("GET", "/schedules/plain/run", 405),
        ("POST", "/schedules/none/run", 404),
        ("POST", "/schedules/none/pause", 404),
        ("POST", "/schedules/bad/run", 400),
        ("POST", "/schedules/plain", 405),
        ("POST", "/schedules/plain/run?wait=x", 400),
    ],
)
def test_a_schedule_that_is_not_there_or_wrong_is_told(
    gateway: Program, method: str, path: str, status: int
) -> None:
    """As every other error."""
    answer = ask(gateway, path, method)
    assert (answer.status_code, set(answer.json())) == (status, {"status", "error_type", "message"})


def test_another_site_starts_and_pauses_nothing(gateway: Program) -> None:
    """A browser says where a request comes from."""
    for change in ("run", "pause"):
        answer = ask(gateway, f"/schedules/plain/{change}", "POST", Origin="https://evil.example")
        assert answer.status_code == 403
    assert ask(gateway, "/schedules/plain").json()["state"] == "on"


def test_a_notebook_that_is_missing_or_values_that_do_not_fit_are_told_before_the_run(
    gateway: Program,
) -> None:
    """Everywhere, with what to do; it comes due all the same, and is good once it is mended."""
    add(gateway, "ahead", "cron: '0 0 1 1 *'\nnotebook: later.ipynb\nparameters: {years: many}\n")
    file = gateway.root / "notebooks" / "schedules" / "ahead.yaml"
    try:
        missing = "There is no notebook 'later.ipynb' in the library"
        one = ask(gateway, "/schedules/ahead").json()
        assert (one["state"], one["next"]) == ("wrong", one["upcoming"][0])
        assert missing in one["error"]
        assert "(line 2). Correct the file or the library" in one["error"]
        assert one in [{**row, **one} for row in ask(gateway, "/schedules").json()["schedules"]]
        for path in ("/ui/schedules", "/ui/schedules/ahead"):
            page = ask(gateway, path, Accept="text/html").text
            assert "There is no notebook" in page
            assert 'action="/ui/schedules/ahead/pause"' in page
        printed = gateway.run("schedules")
        assert re.search(r"ahead\s+wrong\s+\w+ \d{4}-01-01", printed.stdout)
        assert missing in printed.stderr
        views = Schedules(backend_of(load(gateway.root / "config.yaml"))).all()
        assert any(missing in line and "; next " in line for line in listed(views))
        wait_for(
            lambda: f"the schedule ahead would not run: {missing}" in gateway.run("health").stdout
        )
        job = ask(gateway, "/schedules/ahead/run?wait=60", "POST").json()
        assert job["status"] == "rejected"

        shelve(gateway, "later.ipynb", code("years: int = 1", "parameters"))
        unfit = ask(gateway, "/schedules/ahead").json()["error"]
        assert '`years` is "many"; it must be a whole number' in unfit
        assert "(line 3)" in unfit
        shelve(gateway, "later.ipynb", code("years: str = '1'", "parameters"))
        mended = ask(gateway, "/schedules/ahead").json()
        assert (mended["state"], "error" in mended) == ("on", False)
        wait_for(lambda: "the schedule ahead" not in gateway.run("health").stdout)
        paused = ask(gateway, "/schedules/ahead/pause", "POST").json()
        (gateway.root / "notebooks" / "later.ipynb").unlink()
        assert paused["state"] == ask(gateway, "/schedules/ahead").json()["state"] == "paused"
    finally:
        file.unlink()
