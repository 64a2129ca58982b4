"""Schedules: what comes due runs once, and what does not run has its reason."""

import random
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim

from runner.config import Settings
from runner.contract.triggers.causes import stamp
from runner.jobs.body import JobRequest
from runner.jobs.problem import unavailable
from runner.jobs.submissions import Submitted
from runner.submitters.schedules import book, scheduling
from runner.submitters.schedules.book import Book, Occurrence
from runner.submitters.schedules.files import ScheduleFiles
from runner.submitters.schedules.overview import in_words
from runner.submitters.schedules.scheduling import Scheduling

NOON = datetime(2026, 6, 1, 12, 0, 30, tzinfo=UTC)


class Killed(BaseException):
    """The process ends here."""


@dataclass
class World:
    """A folder of schedules, a clock, and jobs that outlive the process."""

    folder: Path
    now: datetime = NOON
    requests: dict[str, JobRequest] = field(default_factory=dict)
    submissions: int = 0
    ends: Callable[[Occurrence], str | None] = lambda _: "succeeded"
    step: Callable[[], None] = lambda: None
    """Runs before and after each change; may raise."""
    is_away: bool = False

    def __post_init__(self) -> None:
        (self.folder / "state").mkdir()
        (self.folder / "schedules").mkdir()
        self.book = Book(self.folder / "state")
        self.begin()

    def begin(self) -> None:
        """Start the process anew."""
        before, self.book = self.book, Book(self.folder / "state")
        before.close()
        self.scheduling = Scheduling(
            self.book, self, lambda: self.now, lambda: self.now.timestamp()
        )
        self.files = ScheduleFiles(self.folder / "schedules", ignored=("*.draft.*",))

    def write(self, name: str, *lines: str) -> None:
        (self.folder / "schedules" / f"{name}.yaml").write_text("\n".join(lines), encoding="utf-8")

    def turn(self, **later: float) -> None:
        """Let time pass, and work off all that is due."""
        self.now += timedelta(**later)
        while self.scheduling.turn(self.files.all()) == 0.0:
            pass

    def typed(self, request: dict[str, Any], texts: Collection[str]) -> dict[str, Any]:
        assert set(texts) <= set(request.get("parameters", {}))
        return request

    def submit(self, cause: str, wanted: JobRequest) -> Submitted:
        self.step()
        if self.is_away:
            raise unavailable("The inbox is away.")
        self.submissions += 1
        self.requests.setdefault(cause, wanted)
        self.step()
        return Submitted(f"id of {cause}", str(wanted.name))

    def of_cause(self, cause: str) -> Submitted | None:
        known = self.requests.get(cause)
        return None if known is None else Submitted(f"id of {cause}", str(known.name))

    def status_of(self, run: Occurrence) -> str | None:
        return self.ends(run)

    def ran(self, name: str = "a") -> list[str]:
        """List the occurrences that ran, in order."""
        mine = f"schedule:{name}@"
        return sorted(cause.removeprefix(mine) for cause in self.requests if mine in cause)

    def skips(self, name: str = "a") -> list[tuple[str, int, str]]:
        """List what did not run: the first time, how many, and why; the newest first."""
        return [
            (one.scheduled_for, one.times, one.reason)
            for one in self.book.occurrences(name)
            if one.reason is not None
        ]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    one = World(tmp_path)
    yield one
    one.book.close()


HOURLY = ('cron: "0 * * * *"', "timezone: UTC", "notebook: a.ipynb")
MINUTELY = ('cron: "* * * * *"', "timezone: UTC", "notebook: a.ipynb")


def test_what_comes_due_runs_once_and_in_time(world: World) -> None:
    """From when the file is there; what was due before is none of its business."""
    world.write("a", *HOURLY)
    world.turn()
    world.turn(minutes=30)
    assert world.ran() == []
    world.turn(minutes=30)
    world.turn(seconds=1)
    assert world.ran() == ["2026-06-01T13:00Z"]
    assert world.submissions == 1
    run = world.book.occurrences("a")[0]
    assert (run.status, run.job_name) == ("succeeded", "schedules/a")
    assert world.book.days("a", "2026-01-01") == {"2026-06-01": {"succeeded": 1}}


def test_parameters_know_when_it_was_due(world: World) -> None:
    """In the schedule's time zone, however late it is."""
    world.write(
        "a",
        'cron: "0 0 * * *"',
        "timezone: Asia/Tokyo",
        "notebook: a.ipynb",
        'parameters: {day: "{{ scheduled_for - 1d | date }}", at: "{{ scheduled_for }}"}',
        "name: reports/a",
    )
    world.turn()
    world.turn(hours=12)
    (wanted,) = world.requests.values()
    assert wanted.request["parameters"] == {"day": "2026-06-01", "at": "2026-06-02T00:00:00+09:00"}
    assert wanted.name == "reports/a"


@pytest.mark.parametrize(
    ("keys", "ran", "skipped"),
    [
        ((), ["2026-06-01T17:00Z"], {scheduling.NOT_LAST: 4}),
        (("missed: all",), [f"2026-06-01T{hour}:00Z" for hour in range(13, 18)], {}),
        (("missed: none",), [], {scheduling.AWAY: 5}),
        (
            ("missed: all", "catch_up_hours: 2"),
            ["2026-06-01T16:00Z", "2026-06-01T17:00Z"],
            {scheduling.TOO_LONG_AGO: 3},
        ),
        (("enabled: false",), [], {book.DISABLED: 5}),
        (("until: 2026-05-31",), [], {}),
        (
            ("until: 2026-06-01T14:30:00Z", "missed: all"),
            [f"2026-06-01T{h}:00Z" for h in (13, 14)],
            {},
        ),
    ],
)
def test_what_was_missed(
    world: World, keys: tuple[str, ...], ran: list[str], skipped: dict[str, int]
) -> None:
    """The runner was away for five hours."""
    world.write("a", *HOURLY, *keys)
    world.turn()
    world.now += timedelta(hours=5, minutes=20)
    world.begin()
    world.turn()
    assert world.ran() == ran
    assert {why: times for _, times, why in world.skips()} == skipped


def test_a_run_that_could_not_be_submitted_is_not_late_for_that(world: World) -> None:
    """It is tried until it can be, whatever `missed` says; health has the reason."""
    world.write("a", *HOURLY, "missed: none")
    world.turn()
    world.is_away = True
    world.turn(minutes=59, seconds=31)
    world.turn(minutes=5)
    assert dict(world.scheduling.problems()) == {"a": "The inbox is away."}
    world.is_away = False
    world.turn(minutes=5)
    assert world.ran() == ["2026-06-01T13:00Z"]
    assert dict(world.scheduling.problems()) == {}


def test_a_schedule_that_is_gone_is_no_problem_any_more(world: World) -> None:
    """Health named it for ever, though its file had been deleted."""
    world.write("a", *HOURLY)
    world.turn()
    world.is_away = True
    world.turn(minutes=59, seconds=31)
    assert dict(world.scheduling.problems()) == {"a": "The inbox is away."}
    (world.folder / "schedules" / "a.yaml").unlink()
    world.turn(minutes=1)
    assert dict(world.scheduling.problems()) == {}


def test_a_run_may_wait_for_the_one_before_or_be_left_out(world: World) -> None:
    """`overlap`."""
    world.ends = lambda _: None
    world.write("a", *HOURLY)
    world.write("b", *HOURLY, "overlap: skip")
    world.turn()
    for _ in range(3):
        world.turn(hours=1)
    assert len(world.ran("a")) == 3
    assert len(world.ran("b")) == 1
    assert world.skips("b") == [("2026-06-01T14:00Z", 2, scheduling.STILL_RUNNING)]


def test_a_paused_schedule_goes_on_where_time_is_then(world: World) -> None:
    """Also after a restart; nothing of the pause is made up."""
    world.write("a", *HOURLY, "missed: all")
    world.turn()
    world.book.pause("a", "page", "2026-06-01T12:10:00+00:00")
    world.turn(hours=3)
    world.begin()
    world.turn(hours=1)
    world.book.resume("a")
    world.turn(hours=1)
    assert world.ran() == ["2026-06-01T17:00Z"]
    assert world.skips() == [("2026-06-01T13:00Z", 4, book.PAUSED)]


def test_an_edit_of_the_times_counts_from_now_on(world: World) -> None:
    """A time of this morning that the file has only since noon was not missed."""
    world.write("a", *HOURLY)
    world.turn()
    world.write("a", 'cron: "5 11 * * *"', "timezone: UTC", "notebook: a.ipynb")
    world.turn(minutes=1)
    world.write("a", 'cron: "5 11,14 * * *"', "timezone: UTC", "notebook: a.ipynb")
    world.turn(minutes=1)
    world.turn(hours=2, minutes=5)
    assert world.ran() == ["2026-06-01T14:05Z"]


def test_a_file_that_is_replaced_or_wrong_for_a_while_goes_on(world: World) -> None:
    """One that was away for longer begins anew."""
    file = world.folder / "schedules" / "a.yaml"
    world.write("a", *HOURLY, "missed: all")
    world.turn()
    text = file.read_text()
    file.unlink()
    world.turn(minutes=40)
    file.write_text("cron: never")
    world.turn(minutes=40)
    file.write_text(text)
    world.turn(minutes=1)
    assert world.ran() == ["2026-06-01T13:00Z"]
    file.unlink()
    world.turn(minutes=1)
    world.turn(hours=5)
    file.write_text(text)
    world.turn(minutes=1)
    assert len(world.ran()) == 1


def test_a_clock_that_jumps_doubles_nothing(world: World) -> None:
    """A day ahead and back: what ran then does not run again."""
    world.write("a", 'cron: "0 6 * * *"', "timezone: UTC", "notebook: a.ipynb")
    world.turn()
    world.turn(days=1)
    world.turn(days=-1)
    world.turn(days=1)
    world.turn(days=1)
    assert world.ran() == ["2026-06-02T06:00Z", "2026-06-03T06:00Z"]
    assert world.submissions == 2


def test_jitter_is_the_same_each_time(world: World) -> None:
    """It spreads the starts, and is no later than it says."""
    world.write("a", *HOURLY, "jitter_seconds: 600")
    world.turn()
    (planned,) = world.files.all()
    plan = planned.plan
    assert plan is not None
    hours = list(takewhile(lambda one: one.hour < 23, plan.calendar.after(NOON)))
    delays = [plan.calendar.due_at(one) - one for one in hours]
    assert len(set(delays)) == len(delays)
    assert all(timedelta() <= one < timedelta(minutes=10) for one in delays)
    world.turn(seconds=(hours[0] + delays[0] - NOON).total_seconds() - 1)
    assert world.ran() == []
    world.turn(seconds=2)
    assert len(world.ran()) == 1


def test_a_long_absence_costs_no_long_turn(world: World) -> None:
    """A week of minutes is one line in the book, and 1,000 of them at most are one turn."""
    world.write("a", *MINUTELY)
    world.turn()
    world.now += timedelta(days=8)
    world.begin()
    assert world.scheduling.turn(world.files.all()) == 0.0
    world.turn()
    assert world.ran() == ["2026-06-09T12:00Z"]
    day = 24 * 60
    assert world.skips() == [
        ("2026-06-08T12:01Z", day - 1, scheduling.NOT_LAST),
        ("2026-06-01T12:01Z", 7 * day, scheduling.TOO_LONG_AGO),
    ]


def test_wrong_files_stop_no_others(world: World) -> None:
    """Each has its reason, with the line."""
    wrong = {
        "cron": ('cron: "61 * * * *"', "notebook: a.ipynb"),
        "never": ('cron: "0 6 30 2 *"', "notebook: a.ipynb"),
        "own_id": (*HOURLY, "ids: a"),
        "zone": (*HOURLY[:1], "timezone: Europe/Atlantis", "notebook: a.ipynb"),
        "key": (*HOURLY, "parametres: {}"),
        "place": (*HOURLY, "parameters:", "  x: 1", '  day: "{{ sheduled_for }}"'),
        "bare": (*HOURLY, "parameters: {day: {{ scheduled_for }}}"),
        "misspelt": ('cron: "0 * * * *"', "notebok: a.ipynb"),
        "both": ('cron: "61 * * * *"', "notebok: a.ipynb"),
        "none": ('cron: "0 * * * *"',),
        "ignored": (*HOURLY, "name: reports/a.draft"),
    }
    for name, lines in wrong.items():
        world.write(name, *lines)
    world.write("a", *HOURLY)
    (world.folder / "schedules" / "a2.yml").mkdir()
    world.turn()
    world.turn(hours=1)
    assert world.ran() == ["2026-06-01T13:00Z"]
    errors = {one.name: one.error or "" for one in world.files.all()}
    assert "its minute, '61', must be 0 to 59" in errors["cron"]
    assert "its date never comes: month 2 has no day 30 (line 1)" in errors["never"]
    assert "The keys are: notebook, " in errors["own_id"]
    assert " id," not in errors["own_id"]
    assert "no time zone of that name" in errors["zone"]
    assert "Unknown key `parametres`" in errors["key"]
    assert "(line 4)" in errors["key"]
    assert "Unknown key `notebok` (did you mean `notebook`?)" in errors["misspelt"]
    assert "(line 2)" in errors["misspelt"]
    assert "`cron` is '61 * * * *'" in errors["both"]
    assert "Unknown key `notebok`" in errors["both"]
    assert "did you mean `scheduled_for`?) (line 6)" in errors["place"]
    assert "need quotes" in errors["bare"]
    assert "no `notebook`" in errors["none"]
    assert "leaves the name 'reports/a.draft' alone" in errors["ignored"]


@pytest.mark.parametrize(
    "wrong",
    [
        *("timezone: Europe/Berln", "until: yesterday", "jitter_seconds: x", "missed: x"),
        *("overlap: x", "enabled: maybe", "catch_up_hours: 0", "timeout_seconds: 99999"),
        *("timeout_seconds: x", "retries: 99", "resources: {memory_mb: x}", "kernel: {}"),
        *("resources: {memory_mb: 999999}", "parameters: [1]", "parameters: {1a: 2}", "name: 5"),
        *("group: unknown", "retry: {times: 1, on: [x]}", "not_before: x", "parameters:{a: 1}"),
    ],
)
def test_every_wrong_key_has_its_line(tmp_path: Path, wrong: str) -> None:
    """Also where the machine's time zones, or the runner's rules, refuse it."""
    file = tmp_path / "one.yaml"
    file.write_text(f"cron: 0 6 * * *\nnotebook: a.ipynb\n# a remark\n{wrong}\n")
    error = ScheduleFiles(tmp_path, Settings().request_rules).one(file).error
    assert error is not None
    assert error.endswith(" (line 4).")


def test_wrong_yaml_names_one_line(tmp_path: Path) -> None:
    """The one that is wrong, and nothing twice."""
    file = tmp_path / "one.yaml"
    lines = ("cron: 0 6 * * *", "timezone: UTC", "", "notebook: a.ipynb", "parameters:")
    file.write_text("\n".join((*lines, "  day: {{ scheduled_for }}\n")))
    error = ScheduleFiles(tmp_path).one(file).error
    assert error is not None
    assert re.findall(r"\(line.*?\)", error) == ["(line 6, column 9)"]
    assert error.count("quote") == 1
    assert error.endswith(")."), error


def test_two_files_of_one_name_are_an_error_of_both(world: World) -> None:
    """Nobody knows which one is meant."""
    for suffix in ("yaml", "yml"):
        path = world.folder / "schedules" / f"a.{suffix}"
        path.write_text("\n".join(HOURLY), encoding="utf-8")
    (one,) = world.files.all()
    assert "a.yaml and a.yml" in (one.error or "") or "a.yml and a.yaml" in (one.error or "")


ZONES = {
    "berlin": ("30 2 * * *", "Europe/Berlin"),
    "york": ("*/30 0-4 * * *", "America/New_York"),
    "howe": ("15 */3 * * *", "Australia/Lord_Howe"),
    "kolkata": ("0 9 * * mon-fri", "Asia/Kolkata"),
}


def test_a_year_under_a_thousand_kills(world: World) -> None:
    """Four time zones, both changes of summer time: each occurrence once, as cronsim has it."""
    chance = random.Random(7)
    kills = 0

    def step() -> None:
        nonlocal kills
        if chance.random() < 0.07:
            kills += 1
            raise Killed

    def survives() -> bool:
        try:
            world.turn()
        except Killed:
            return False
        return True

    begin = world.now = datetime(2026, 1, 1, 0, 0, 30, tzinfo=UTC)
    end = begin + timedelta(days=365)
    for name, (cron, zone) in ZONES.items():
        keys = (f'cron: "{cron}"', f"timezone: {zone}", "notebook: a.ipynb", "missed: all")
        world.write(name, *keys, "catch_up_hours: 200")
    world.turn()
    world.step = step
    while world.now < end:
        world.now = min(end, world.now + timedelta(minutes=chance.randint(1, 1000)))
        while not survives():
            world.begin()
    world.step = lambda: None
    world.turn()
    for name, (cron, zone) in ZONES.items():
        expected = takewhile(
            lambda one: one <= end, CronSim(cron, begin.astimezone(ZoneInfo(zone)))
        )
        assert world.ran(name) == sorted({stamp(one) for one in expected})
        assert world.skips(name) == []
    assert kills >= 1000
    days = world.ran("berlin")
    assert "2026-03-29T01:00Z" in days  # 02:30 is skipped: right after the gap, at 03:00
    assert len([one for one in days if one.startswith("2026-10-25")]) == 1  # 02:30 comes twice
    assert len(days) == 365


def test_a_kill_between_job_and_note_is_no_reason_to_skip(world: World) -> None:
    """`missed: none`, and the process comes back an hour later."""
    world.write("a", 'cron: "0 13 * * *"', "timezone: UTC", "notebook: a.ipynb", "missed: none")
    world.turn()
    steps = iter((None, Killed()))

    def step() -> None:
        what = next(steps, None)
        if what is not None:
            raise what

    world.step = step
    with suppress(Killed):
        world.turn(minutes=59, seconds=31)
    world.now += timedelta(hours=1)
    world.begin()
    world.turn()
    assert world.ran() == ["2026-06-01T13:00Z"]
    assert world.skips() == []
    assert world.book.occurrences("a")[0].job_id == "id of schedule:a@2026-06-01T13:00Z"


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("0 6 * * mon-fri", "At 06:00, Monday through Friday"),
        ("0 2,14/19 * * *", "cron 0 2,14/19 * * *"),
        ("0 0 * 7,* *", "cron 0 0 * 7,* *"),
    ],
)
def test_every_time_that_comes_due_is_told(cron: str, words: str) -> None:
    """In words, or as it stands where there are none: one such file stops no list."""
    assert next(CronSim(cron, datetime.now(UTC)))
    assert in_words(cron) == words
