"""Notifications: people are told of what they want to know, by real services, and not too often."""

import html
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runner.config import NOTIFICATIONS, Settings
from runner.contract.notifications import Notify
from runner.contract.outcome import Failure, Outcome, failed
from runner.contract.states.status import ErrorType, Status
from runner.followers.notifications import follower as sending
from runner.followers.notifications.apprise_process import SECONDS, answer, question_of
from runner.followers.notifications.follower import Notifications, Ways
from runner.followers.notifications.overview import SentNotifications
from runner.followers.notifications.sending import Message, NotSent, Senders
from runner.gateway.page.format import schedule_url
from runner.jobs.record import Record
from runner.state.books.notifications import NotificationBook, NotificationState
from runner.state.jobs import State
from runner.state.ledger import Ledger
from runner.submitters.schedules.book import BY_CHOICE, Book
from runner.system.clocks import Clocks
from tests.conftest import wait_for
from tests.integration.test_ledger import NOW, SUCCESS, acceptance, job_id, seal
from tests.mail_server import MailServer
from tests.receiver import Receiver

BAD = failed(
    Failure(error_type=ErrorType.KERNEL_DIED, message="The kernel died. Ask for more memory.")
)
PASSWORD = "s3cr3tpass"
TOKEN = "s3cr3ttoken"


class World:
    """A ledger with closed jobs, an outbox with their results, and the follower, on one clock."""

    def __init__(self, folder: Path, *lines: dict[str, Any], **more: Any) -> None:
        self.folder = folder
        self.settings = Settings(
            state=folder / "state",
            outbox=folder / "outbox",
            secrets=folder / "secrets",
            notify=tuple(Notify.model_validate(one) for one in lines),
            **more,
        )
        for one in (self.settings.outbox, self.settings.state, self.settings.secrets):
            one.mkdir()
        self.ledger = Ledger(self.settings.state)
        self.at = 0.0
        self.number = 0
        self.ways: Ways | None = None
        self.begin()

    def begin(self) -> None:
        """Start the process anew."""
        self.clocks = Clocks(lambda: self.at, lambda: self.now, lambda: 0)
        self.notifications = Notifications(self.settings, self.clocks, self.ways)

    @property
    def now(self) -> datetime:
        return datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC) + timedelta(seconds=self.at)

    def close(
        self, name: str = "daily", outcome: Outcome = BAD, report: dict[str, Any] | None = None
    ) -> str:
        """Close a job; return its id."""
        self.number += 1
        new = replace(acceptance(self.number, name), request="{}")
        with self.ledger.transaction():
            self.ledger.accept(new)
            self.ledger.start(new.job_id, NOW)
            self.ledger.seal(seal(self.number, outcome), from_state=State.RUNNING)
            self.ledger.published(new.job_id, NOW, (NOTIFICATIONS,))
        message = outcome.failure.message if outcome.failure else None
        content = {"job_id": new.job_id, "name": name, "status": outcome.status, "message": message}
        kind = "result" if outcome.status is Status.SUCCEEDED else "error"
        for old in ("result", "error"):
            (self.settings.outbox / f"{name}.{old}.json").unlink(missing_ok=True)
        path = self.settings.outbox / f"{name}.{kind}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**content, **(report or {})}))
        return new.job_id

    def take(self) -> None:
        """Let the follower take all rows of the ledger."""
        while rows := self.ledger.deliveries(NOTIFICATIONS, 100):
            self.notifications.deliver([row.job for row in rows])
            self.ledger._db.execute("DELETE FROM deliveries WHERE seq <= ?", (rows[-1].seq,))

    def work(self, seconds: float = 0.0) -> None:
        """Send what is due, and record what comes of it."""
        self.at += seconds
        self.notifications.work()
        wait_for(lambda: self.notifications.work() != sending.BUSY_SECONDS, seconds=120)

    def tell(self, *names: str, outcome: Outcome = BAD) -> list[str]:
        """Close jobs of these names, and send what is due."""
        made = [self.close(name, outcome) for name in names]
        self.take()
        self.work()
        return made

    def rows(self, job: str) -> list[tuple[str, int, str | None]]:
        book = NotificationBook(self.settings.state)
        try:
            return [(one.state.value, one.attempts, one.error) for one in book.of_job(job)]
        finally:
            book.close()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., World]]:
    made: list[World] = []

    def one(*lines: dict[str, Any], **more: Any) -> World:
        made.append(World(tmp_path, *lines, **more))
        return made[-1]

    yield one
    for world in made:
        world.notifications.close()
        world.ledger.close()


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with MailServer() as one:
        yield one


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as one:
        yield one


def url_of(receiver: Receiver) -> str:
    return f"json://ops:{PASSWORD}@127.0.0.1:{receiver.port}/{TOKEN}?key={TOKEN}"


def messages(receiver: Receiver) -> list[dict[str, Any]]:
    return [json.loads(one.body) for one in receiver.came]


CELL = {
    "cell": 4,
    "cell_index": 3,
    "cell_source": "a = 1\nresult = 100 / divisor",
    "traceback": ["Cell In[3], line 2", "----> 2 result = 100 / divisor"],
    "cells": {"total": 5, "executed": 4},
    "error_type": "papermill_execution_error",
    "ename": "ZeroDivisionError",
    "message": "Cell In[4] (cell_index 3): ZeroDivisionError: division by zero",
    "kernel": {"name": "python3"},
    "files": [],
}


def test_a_mail_says_what_failed_where_and_what_has_changed(
    make: Callable[..., World], mail: MailServer
) -> None:
    """The line that raised, the error, the difference to the last success, and the job's page."""
    world = make({"to": mail.url()}, gateway={"public_url": "https://runner.example.com/"})
    world.close("sales/daily", SUCCESS)
    job = world.close("sales/daily", BAD, CELL)
    world.take()
    world.work()
    (came,) = mail.came
    assert came.recipients == ("ops@example.com",)
    assert came.content["Subject"] == "sales/daily failed"
    assert came.content.get_content_type() == "text/plain"
    assert came.text.startswith(
        "Cell In[4] (cell_index 3): result = 100 / divisor\n\nZeroDivisionError: division by zero\n"
    )
    assert len(re.findall(r"\b[Cc]ell\b", came.text)) == 1, "it is named in one way"
    assert f"https://runner.example.com/jobs/{job}" in came.text
    assert world.rows(job) == [("delivered", 1, None)]


def test_what_was_given_otherwise_is_named(make: Callable[..., World], mail: MailServer) -> None:
    """As the page of the job does."""
    world = make({"to": mail.url()})
    for number, years in enumerate((3, 99), 1):
        new = replace(
            acceptance(number, "plan"), request=json.dumps({"parameters": {"years": years}})
        )
        with world.ledger.transaction():
            world.ledger.accept(new)
            world.ledger.start(new.job_id, NOW)
            outcome = SUCCESS if years == 3 else BAD
            world.ledger.seal(seal(number, outcome), from_state=State.RUNNING)
            world.ledger.published(new.job_id, NOW, (NOTIFICATIONS,))
    world.take()
    world.work()
    assert "- `years` is `99`; it was `3`" in mail.came[0].text


@pytest.mark.parametrize(
    ("when", "told"),
    [
        (
            None,
            ["a failed", "a failed", "a ran out of time", "a was interrupted", "a was rejected"],
        ),
        (["first_failure"], ["a failed", "a was interrupted"]),
        (["recovered"], ["a succeeded again"]),
        (["succeeded"], ["a succeeded", "a succeeded"]),
        (["first_failure", "recovered"], ["a failed", "a succeeded again", "a was interrupted"]),
    ],
)
def test_people_choose_of_what_they_are_told(
    make: Callable[..., World], receiver: Receiver, when: list[str] | None, told: list[str]
) -> None:
    """A cancelled job is no event, and stands between no two others."""
    line = {"to": url_of(receiver), **({} if when is None else {"when": when})}
    world = make(line)

    def ended(status: Status) -> Outcome:
        failure = Failure(error_type=ErrorType.KERNEL_DIED, message="died")
        return SUCCESS if status is Status.SUCCEEDED else Outcome(status=status, failure=failure)

    for status in (
        *(Status.FAILED, Status.FAILED, Status.CANCELLED, Status.TIMED_OUT, Status.SUCCEEDED),
        *(Status.SUCCEEDED, Status.INTERRUPTED, Status.CANCELLED, Status.REJECTED),
    ):
        world.close("a", ended(status))
        world.take()
        world.work()
    assert [one["title"] for one in messages(receiver)] == told


def test_a_message_says_how_bad_it_is_as_services_have_it(
    make: Callable[..., World], receiver: Receiver
) -> None:
    """A digest with a failure warns; one of successes does not."""
    events = ["failed", "succeeded", "recovered", "missed"]
    alone = {"to": url_of(receiver), "when": events}
    hourly = {"to": "hourly", "when": events, "digest_minutes": 60}
    world = make({**alone, "names": "a"}, {**hourly, "names": "b"})
    (world.settings.secrets / "hourly").write_text(url_of(receiver))
    world.tell("a")
    world.tell("a", "a", outcome=SUCCESS)
    book = Book(world.settings.state)
    book.begin("a", "t", NOW)
    book.skipped("a", "2026-01-02T04:00Z", "2026-01-02", "too late", NOW)
    for _ in range(3):
        world.work(1)
    book.close()
    assert [(one["title"], one["type"]) for one in messages(receiver)] == [
        ("a failed", "failure"),
        ("a succeeded again", "success"),
        ("a succeeded", "success"),
        ("schedule a missed a run", "warning"),
    ]
    world.tell("b", "b")
    world.work(3600)
    world.tell("b", "b", outcome=SUCCESS)
    world.work(3600)
    assert [(one["title"], one["type"]) for one in messages(receiver)[4:]] == [
        ("2 notifications: 2 failed", "warning"),
        ("2 notifications: 1 recovered, 1 succeeded", "success"),
    ]


def test_names_choose_too_and_a_receiver_is_told_once(
    make: Callable[..., World], receiver: Receiver
) -> None:
    """Though two lines of the settings want it."""
    url = url_of(receiver)
    world = make({"to": url, "names": "sales/*"}, {"to": url, "names": "*/daily"})
    world.tell("sales/daily", "sales/x", "other/daily", "other/x")
    assert [one["title"] for one in messages(receiver)] == [
        "sales/daily failed",
        "sales/x failed",
        "other/daily failed",
    ]


def test_a_secret_is_a_file_of_urls_read_when_it_is_needed(
    make: Callable[..., World], receiver: Receiver, mail: MailServer
) -> None:
    """Each URL is a receiver of its own; a new URL in its place is used without a restart."""
    world = make({"to": "team/ops"})
    file = world.settings.secrets / "team" / "ops"
    file.parent.mkdir()
    file.write_text(f"# the team\n\n{url_of(receiver)}\n  {mail.url()}\n")
    (job,) = world.tell("a")
    assert (len(receiver.came), len(mail.came)) == (1, 1)
    assert world.rows(job) == [("delivered", 1, None)] * 2
    with Receiver() as other:
        file.write_text(f"{url_of(other)}\n")
        (job,) = world.tell("b")
        assert [one["title"] for one in messages(other)] == ["b failed"]
    assert world.rows(job) == [("delivered", 1, None)]
    file.unlink()
    world.close("c")
    world.take()
    world.work()
    (note,) = world.notifications.notes()
    assert "team/ops" in note
    assert f"the file {file} is missing; make it, with a URL of Apprise in it" in note
    file.write_text(f"{url_of(receiver)}\n")
    world.work(5)
    assert messages(receiver)[-1]["title"] == "c failed"


# Sent at least once


def test_a_crash_repeats_a_message_and_makes_no_second_notification(
    make: Callable[..., World], receiver: Receiver
) -> None:
    """The rows come again, and so does a message of which nothing was recorded."""
    world = make({"to": url_of(receiver)})
    job = world.close("a")
    rows = [row.job for row in world.ledger.deliveries(NOTIFICATIONS, 100)]
    world.notifications.deliver(rows)
    world.begin()
    world.notifications.deliver(rows)
    world.notifications.work()
    wait_for(lambda: receiver.came)
    world.begin()  # what came of it was recorded by nobody
    world.notifications.deliver(rows)
    world.work()
    assert [one["title"] for one in messages(receiver)] == ["a failed"] * 2
    assert world.rows(job) == [("delivered", 1, None)]


def test_a_receiver_that_is_away_gets_it_once_it_is_back_and_delays_nobody(
    make: Callable[..., World], receiver: Receiver, mail: MailServer
) -> None:
    """After pauses that grow. Health says so meanwhile, without the password."""
    with Receiver() as away:
        port = away.port
    url = f"json://ops:{PASSWORD}@127.0.0.1:{port}/{TOKEN}"
    world = make({"to": [url, mail.url()]})
    (job,) = world.tell("a")
    assert len(mail.came) == 1
    assert world.rows(job)[0][:2] == ("waiting", 1)
    for seconds in (5, 10, 20):
        world.work(seconds - 1)
        before = world.rows(job)[0][1]
        world.work(1)
        assert world.rows(job)[0][1] == before + 1
    (note,) = world.notifications.notes()
    assert note.startswith("1 notification waits since 2026-01-02T03:04 to go to json://127.0.0.1")
    assert "Connection refused" in note
    with Receiver(port=port) as back:
        world.work(40)
        assert [one["title"] for one in messages(back)] == ["a failed"]
    world.at += 5
    assert list(world.notifications.notes()) == []
    assert len(mail.came) == 1


def test_what_nobody_takes_is_given_up_after_a_day(
    make: Callable[..., World], receiver: Receiver
) -> None:
    """An answer of 500 is an error; what came of the last attempt stays."""
    receiver.status = 500
    world = make({"to": url_of(receiver)})
    (job,) = world.tell("a")
    for _ in range(60):
        world.work(1800)
    ((state, attempts, error),) = world.rows(job)
    assert state == "given_up"
    assert 20 < attempts < 40
    assert error is not None
    assert "500" in error
    assert len(receiver.came) == attempts


def test_a_receiver_that_hangs_is_given_up_and_delays_nobody(
    make: Callable[..., World], receiver: Receiver, mail: MailServer
) -> None:
    """Its process is ended; the follower's own goes on meanwhile."""
    world = make({"to": [f"{url_of(receiver)}&rto=300", mail.url()]})
    senders = Senders(seconds=4.0)
    world.ways = Ways(senders.send, senders.look)
    world.begin()
    ends: list[float] = []
    receiver.before = lambda _: wait_for(lambda: ends, seconds=120)
    job = world.close("a")
    world.take()
    world.notifications.work()
    wait_for(lambda: mail.came)
    began = time.monotonic()
    while world.rows(job)[1][0] != "delivered":  # while the other one hangs
        assert time.monotonic() - began < 60
        world.notifications.work()
    world.work()
    ends.append(1.0)
    state, attempts, error = world.rows(job)[0]
    assert (state, attempts) == ("waiting", 1)
    assert error is not None
    assert "longer than 4 s" in error
    senders.close()


def test_one_message_that_is_refused_holds_up_no_other(
    make: Callable[..., World], mail: MailServer
) -> None:
    """The others go first then."""
    mail.refuse = lambda one: "554 no" if one.content["Subject"] == "bad failed" else None
    world = make({"to": mail.url()})
    made = world.tell("bad", "good", "better")
    for _ in range(3):
        world.work(5)
    assert [one.content["Subject"] for one in mail.came] == ["good failed", "better failed"]
    state, _, error = world.rows(made[0])[0]
    assert state == "waiting"
    assert error is not None
    assert "554" in error


# Not too often


class Counting:
    """A receiver without a process: it counts."""

    def __init__(self) -> None:
        self.came: list[Message] = []
        self.is_away = False

    def send(self, url: str, message: Message) -> str:
        if self.is_away:
            raise NotSent("away")
        self.came.append(message)
        return ""


@pytest.fixture
def quick(make: Callable[..., World]) -> Callable[..., tuple[World, Counting]]:
    def one(*lines: dict[str, Any]) -> tuple[World, Counting]:
        world, counting = make(*lines), Counting()
        world.ways = Ways(counting.send, lambda _: None, lambda call: call())
        world.begin()
        return world, counting

    return one


def test_an_hour_of_a_thousand_failures_is_ten_messages_and_a_digest(
    quick: Callable[..., tuple[World, Counting]],
) -> None:
    """With counts by name, and the first error of each."""
    world, counting = quick({"to": "json://127.0.0.1"})
    for _ in range(50):
        for number in range(20):
            world.close(f"job-{number % 5}")
        world.take()
        world.work(60)
    assert len(counting.came) == 10
    for _ in range(30):
        world.work(60)
    assert len(counting.came) == 11
    digest = counting.came[-1]
    assert digest.title == "990 notifications: 990 failed"
    assert "job-0: 198 × failed; the first: kernel_died The kernel died." in digest.body
    assert len(digest.body.splitlines()) == 6
    assert world.rows(job_id(1000)) == [("delivered", 1, None)]
    world.tell("calm")  # the hour after that begins anew
    world.work(1)
    assert counting.came[-1].title == "calm failed"


def test_a_failure_after_an_hour_full_of_successes_is_told_at_once(
    quick: Callable[..., tuple[World, Counting]],
) -> None:
    """What is held says until when and why; the rest goes at the end of the hour."""
    world, counting = quick({"to": "json://127.0.0.1", "when": ["failed", "succeeded"]})
    made = world.tell(*(f"good-{number}" for number in range(30)), outcome=SUCCESS)
    for _ in range(10):
        world.work(60)
    assert len(counting.came) == 5
    told = SentNotifications(Record(world.settings), world.clocks)
    ends = world.now - timedelta(minutes=10) + timedelta(hours=1)
    (row,) = told.of(made[-1])
    assert (row["state"], row["attempts"]) == ("waiting", 0)
    assert datetime.fromisoformat(row["due_at"]) == ends
    assert row["held"] == "5 messages of this hour are left for failures"
    (row,) = told.of(made[0])
    assert (row["state"], row["due_at"], row["held"]) == ("delivered", None, None)
    world.tell("bad")
    assert [one.title for one in counting.came[5:]] == ["bad failed"]
    (row,) = told.again(made[-1], told.of(made[-1])[0]["id"])
    assert row["held"] is None
    world.work()
    assert [one.title for one in counting.came[6:]] == ["good-29 succeeded"]
    for _ in range(50):
        world.work(60)
    assert [one.title for one in counting.came[7:]] == ["24 notifications: 24 succeeded"]


def test_what_waits_for_its_window_says_when_that_ends(
    quick: Callable[..., tuple[World, Counting]],
) -> None:
    """Also before the first attempt."""
    world, _ = quick({"to": "json://127.0.0.1", "digest_minutes": 30})
    (job,) = world.tell("a")
    (row,) = SentNotifications(Record(world.settings), world.clocks).of(job)
    assert row["held"] == "it goes with the digest then"
    assert datetime.fromisoformat(row["due_at"]) == world.now + timedelta(minutes=30)


def test_a_window_collects_what_comes_for_one_receiver(
    quick: Callable[..., tuple[World, Counting]],
) -> None:
    """One message a window; a single one is told as it is."""
    world, counting = quick(
        {"to": "json://127.0.0.1", "digest_minutes": 30, "when": ["failed", "recovered"]}
    )
    world.tell("a", "b", "a")
    world.close("b", SUCCESS)
    world.take()
    for _ in range(29):
        world.work(60)
    assert counting.came == []
    world.work(60)
    (digest,) = counting.came
    assert digest.title == "4 notifications: 3 failed, 1 recovered"
    world.tell("c")
    for _ in range(31):
        world.work(60)
    assert [one.title for one in counting.came[1:]] == ["c failed"]


def test_a_storm_while_a_receiver_is_away_is_no_storm_when_it_is_back(
    quick: Callable[..., tuple[World, Counting]],
) -> None:
    """And a digest of very many names fits into a message."""
    world, counting = quick({"to": "json://127.0.0.1"})
    counting.is_away = True
    world.tell(*(f"{'long' * 20}-{number}" for number in range(300)))
    for _ in range(20):
        world.work(600)
    counting.is_away = False
    for _ in range(200):
        world.work(60)
    assert len(counting.came) == 11
    assert "more lines like these" in counting.came[-1].body
    assert all(len(one.body.encode()) <= 3_000 for one in counting.came)


def test_what_waits_for_a_file_goes_within_a_minute_once_that_is_there(
    quick: Callable[..., tuple[World, Counting]],
) -> None:
    """However long the pause between attempts was by then; a pipe in its place holds up nothing."""
    world, counting = quick({"to": ["ops", "json://127.0.0.1"]})
    file = world.settings.secrets / "ops"
    file.write_text("json://127.0.0.1/a")
    world.work()
    file.unlink()
    os.mkfifo(file)
    (job,) = world.tell("a")
    for _ in range(200):
        world.work(60)
    assert [one.title for one in counting.came] == ["a failed"]
    ((state, attempts, error), _) = world.rows(job)
    assert (state, attempts < 20) == ("waiting", True)
    assert error == f"{file} is no file; make a file in its place, with a URL of Apprise in it"
    note = f"no notification can be sent to ops: {error}"
    assert note in list(world.notifications.notes())
    file.unlink()
    file.write_text("json://127.0.0.1/b")
    world.work(61)
    world.work(1)
    assert [one.title for one in counting.came] == ["a failed"] * 2
    world.work(10)
    assert list(world.notifications.notes()) == []


# Missed times


def test_a_time_that_a_schedule_missed_is_told_once(
    quick: Callable[..., tuple[World, Counting]],
) -> None:
    """Whatever crashes; not what somebody paused, nor what was before anybody wanted to know."""
    line = {"to": "json://127.0.0.1", "when": ["missed"], "names": "sales/*"}
    world, counting = quick(line)
    book = Book(world.settings.state)
    for name in ("sales/daily", "other"):
        book.begin(name, "t", NOW)
    book.skipped("sales/daily", "2026-01-01T06:00Z", "2026-01-01", "too old", NOW)
    world.work()
    assert counting.came == []
    why = "the run before still went on, and overlap: skip"
    book.skipped("sales/daily", "2026-01-02T04:00Z", "2026-01-02", why, NOW)
    book.skipped("other", "2026-01-02T04:00Z", "2026-01-02", why, NOW)
    for number, reason in enumerate(sorted(BY_CHOICE)):
        book.skipped("sales/x", f"2026-01-02T0{5 + number}:00Z", "2026-01-02", reason, NOW)
    world.work(1)
    world.begin()
    world.work(1)
    assert [one.title for one in counting.came] == ["schedule sales/daily missed a run"]
    assert "did not run at 2026-01-02T04:00Z: the run before still went on" in counting.came[0].body
    book.skipped("sales/daily", "2026-01-02T05:00Z", "2026-01-02", why, NOW)
    world.work(1)
    book.close()
    assert len(counting.came) == 2


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ("team/minute", ["team/minute"]),
        ("schedules/team/*", ["team/minute"]),
        ("sales/*", ["daily"]),
        ("daily", ["daily"]),
        ("*", ["daily", "team/minute"]),
        ("schedules/daily", []),
    ],
)
def test_a_missed_time_is_chosen_by_the_name_of_the_schedule_or_of_its_jobs(
    make: Callable[..., World], tmp_path: Path, names: str, told: list[str]
) -> None:
    """As its file has that; the link goes to the schedule's page."""
    folder = tmp_path / "schedules"
    (folder / "team").mkdir(parents=True)
    plain = "notebook: a.ipynb\ncron: '* * * * *'\n"
    (folder / "team" / "minute.yaml").write_text(plain)
    (folder / "daily.yaml").write_text(f"{plain}name: sales/daily\n")
    world = make(
        {"to": "json://127.0.0.1", "when": ["failed", "missed"], "names": names},
        gateway={"public_url": "https://runner.example.com"},
        schedules=folder,
    )
    counting = Counting()
    world.ways = Ways(counting.send, lambda _: None, lambda call: call())
    world.begin()
    book = Book(world.settings.state)
    world.work()
    for name in ("daily", "team/minute"):
        book.begin(name, "t", NOW)
        book.skipped(name, "2026-01-02T04:00Z", "2026-01-02", "too late", NOW)
    for _ in range(3):
        world.work(1)
    book.close()
    assert [(one.title, one.link) for one in counting.came] == [
        (f"schedule {name} missed a run", f"https://runner.example.com{schedule_url(name)}")
        for name in told
    ]


# Attachments


def published(world: World, name: str, files: dict[str, bytes], nb: dict[str, Any]) -> str:
    folder = world.settings.outbox
    for inner, content in files.items():
        path = folder / f"{name}.files" / inner
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (folder / f"{name}.ipynb").write_text(json.dumps(nb))
    listed = [
        {"path": f"{name}.files/{inner}", "bytes": len(content), "media_type": "text/csv"}
        for inner, content in files.items()
    ]
    return world.close(name, BAD, {**CELL, "files": listed, "output_nb": f"{name}.ipynb"})


NOTEBOOK: dict[str, Any] = {
    "cells": [
        {"cell_type": "markdown", "id": "a", "metadata": {}, "source": "# The report of May"}
    ],
    "metadata": {"kernelspec": {"name": "python3", "display_name": "Python"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}


def test_a_mail_brings_files_and_the_report_and_says_what_it_leaves_out(
    make: Callable[..., World], mail: MailServer
) -> None:
    """Names that mail cannot carry are written otherwise."""
    world = make({"to": mail.url(), "attach": ["html", "files"]})
    big = b"x" * (9 * 1024**2)
    job = published(
        world, "may", {"a.csv": b"1,2\n", "in/Übersicht 🎉.csv": b"3", "big": big}, NOTEBOOK
    )
    world.take()
    world.work()
    (came,) = mail.came
    assert set(came.attachments) == {"may.html", "a.csv", "Ubersicht.csv"}
    assert came.attachments["a.csv"] == b"1,2\n"
    assert b"The report of May" in came.attachments["may.html"]
    assert "Not attached: big: 9,437,184 bytes, more than fit into a message." in came.text
    assert world.rows(job)[0][:2] == ("delivered", 1)


def test_the_figures_of_an_attached_report_are_still(
    make: Callable[..., World], mail: MailServer
) -> None:
    """A mail has no gateway that could fill the frames of live ones."""
    world = make({"to": mail.url(), "attach": "html"}, report={"figures": "live"})
    bundle = {
        "application/vnd.plotly.v1+json": {
            "data": [{"type": "scatter", "y": [1, 2]}],
            "layout": {},
        },
        "text/html": "<div>PLOT</div>",
        "text/plain": "Figure",
    }
    cell = {
        **{"cell_type": "code", "id": "b", "metadata": {}, "source": "fig", "execution_count": 1},
        "outputs": [
            {"output_type": "display_data", "metadata": {}, "data": bundle},
        ],
    }
    published(world, "may", {}, {**NOTEBOOK, "cells": [*NOTEBOOK["cells"], cell]})
    world.take()
    world.work()
    page = mail.came[0].attachments["may.html"]
    assert b"<iframe" not in page
    assert b"The report of May" in page


def test_many_files_are_bounded(make: Callable[..., World], mail: MailServer) -> None:
    """By their number."""
    world = make({"to": mail.url(), "attach": "files"})
    published(world, "a", {f"{number:02}.csv": b"1" for number in range(40)}, NOTEBOOK)
    world.take()
    world.work()
    (came,) = mail.came
    assert len(came.attachments) == 10
    assert "more than 10 files" in came.text
    assert "20 more files: too many" in came.text


def test_attachments_that_are_refused_do_not_keep_the_message(
    make: Callable[..., World], mail: MailServer, receiver: Receiver
) -> None:
    """It goes without them and says so; a service that takes none is not asked to."""
    mail.refuse = lambda one: "552 too big" if one.attachments else None
    world = make(
        {"to": [mail.url(), f"gotify://127.0.0.1:{receiver.port}/{TOKEN}"], "attach": "files"}
    )
    job = published(world, "a", {"a.csv": b"1"}, NOTEBOOK)
    world.take()
    world.work()
    (came,) = mail.came
    assert "Without attachments" in came.text
    assert "552 too big" in came.text
    assert "gotify takes no attachments" in receiver.came[0].body.decode()
    assert all(one[0] == "delivered" and one[2] for one in world.rows(job))


def test_a_form_that_cannot_be_made_is_said(make: Callable[..., World], mail: MailServer) -> None:
    """The report of a job none of whose cells ran, too."""
    world = make({"to": mail.url(), "attach": ["html", "files"]})
    world.tell("a")
    (came,) = mail.came
    assert not came.attachments
    assert "Not attached: a.html: it is not made: " in came.text
    assert "none of its cells ran." in came.text


# Texts that somebody made up


STRANGE = [
    "a\r\nBcc: evil@example.com",
    "<b>bold</b> & <script>alert(1)</script>",
    "*a* _b_ `c` [d](http://evil.example) # e",
    "🎉 emoji é ü 漢字 \u202e",
    "%s %d {0} {body} \\n",
    ":smile: &lt; &amp;",
    "x" * 5_000,
]


@pytest.mark.parametrize("text", STRANGE)
def test_untrusted_text_stays_text_in_a_mail(
    make: Callable[..., World], mail: MailServer, text: str
) -> None:
    """In the title, which is a header, and in the body; nothing is sent to anybody else."""
    world = make({"to": mail.url()})
    outcome = failed(Failure(error_type=ErrorType.KERNEL_DIED, message=text))
    job = world.close("a", outcome)
    jobs = [replace(row.job, name=text[:120]) for row in world.ledger.deliveries(NOTIFICATIONS, 9)]
    world.notifications.deliver(jobs)
    world.work()
    (came,) = mail.came
    assert came.recipients == ("ops@example.com",)
    assert came.content["Bcc"] is None
    assert came.content.get_content_type() == "text/plain"
    assert len(str(came.content["Subject"])) <= 180
    assert len(came.text.encode()) <= 3_200
    wanted = text.replace("\r\n", "\n").replace("\u202e", "\ufffd")
    assert (wanted if len(text) < 1_000 else "characters left out") in came.text
    assert world.rows(job)[0][:2] == ("delivered", 1)


def test_a_service_of_markdown_gets_no_markup_and_nobody_is_called(
    make: Callable[..., World], receiver: Receiver
) -> None:
    """Mattermost takes Markdown in every text, and `@channel` wakes everybody."""
    world = make(
        {"to": f"mmost://127.0.0.1:{receiver.port}/{TOKEN}"},
        gateway={"public_url": "http://h/a_b"},
    )
    text = "*a* [b](http://evil) `c` @channel @everyone <!here>"
    world.close("a_b_c", failed(Failure(error_type=ErrorType.KERNEL_DIED, message=text)))
    world.take()
    world.work()
    said = json.loads(receiver.came[0].body)["text"]
    assert r"\*a\* \[b\](http://evil) \`c\`" in said
    assert "@channel" not in said
    assert "@everyone" not in said
    assert "<!here" not in said
    assert f"http://h/a_b/jobs/{job_id(1)}" in said
    assert r"a\_b\_c failed" in said


# What is secret


def test_the_secrets_of_a_url_are_nowhere(
    make: Callable[..., World],
    receiver: Receiver,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Not in the log, the record, or what health is told; whatever goes wrong."""
    receiver.status = 500
    bad = [
        f"tgram://{TOKEN}",
        f"nosuch://user:{PASSWORD}@host/{TOKEN}",
        f"discord://{TOKEN}/{PASSWORD}",
        f"slack://{TOKEN}/{PASSWORD}/x",
        f"ntfy://user:{PASSWORD}@127.0.0.1:1/{TOKEN}",
        f"mailto://user:{PASSWORD}@127.0.0.1:1?to=ops@example.com&from=a@example.com&mode=insecure",
        f"json://user:{PASSWORD}@127.0.0.1:1/{TOKEN}?pass={PASSWORD}",
    ]
    world = make({"to": [url_of(receiver), *bad], "attach": ["files"]})
    with caplog.at_level("DEBUG"):
        (job,) = world.tell("a")
        world.work(5)
    notes = wait_for(lambda: list(world.notifications.notes()), seconds=120)
    wait_for(lambda: world.notifications._notes.receivers, seconds=120)
    notes += list(world.notifications.notes())
    assert len(world.rows(job)) == 8
    assert all(state == "waiting" for state, _, _ in world.rows(job))
    kept = b"".join(path.read_bytes() for path in world.settings.state.iterdir() if path.is_file())
    written = "".join(capfd.readouterr())
    for text in (
        caplog.text,
        "\n".join(notes),
        repr(world.rows(job)),
        written,
        repr(world.settings),
    ):
        assert PASSWORD not in text
        assert TOKEN not in text
    assert PASSWORD.encode() not in kept
    assert TOKEN.encode() not in kept
    assert any("nosuch://…" in one and "cannot use this URL" in one for one in notes)
    assert any("tgram://…" in one for one in notes)


def test_a_receiver_of_former_settings_is_given_up_at_once(
    make: Callable[..., World], receiver: Receiver
) -> None:
    """It says why."""
    receiver.status = 500
    world = make({"to": url_of(receiver)})
    (job,) = world.tell("a")
    world.settings = world.settings.model_copy(update={"notify": ()})
    world.begin()
    world.work(5)
    ((state, _, error),) = world.rows(job)
    assert state == NotificationState.GIVEN_UP
    assert error == "the settings do not name this receiver any more"


def test_a_line_that_is_gone_for_a_moment_loses_nothing(
    make: Callable[..., World], receiver: Receiver, tmp_path: Path
) -> None:
    """Somebody edits the file of a secret while something waits; so it is with a clock set back."""
    receiver.status = 500
    world = make({"to": "two"})
    file = world.settings.secrets / "two"
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"# first\n{url_of(receiver)}/a\n{url_of(receiver)}/b\n")
    (job,) = world.tell("a")
    world.work(5)
    file.write_text(f"{url_of(receiver)}/a\n")
    world.work(20)
    assert {row[0] for row in world.rows(job)} == {NotificationState.WAITING}
    file.write_text(f"{url_of(receiver)}/a\n{url_of(receiver)}/b\n")
    receiver.status = 200
    world.work(200)
    assert {row[0] for row in world.rows(job)} == {NotificationState.DELIVERED}


def test_an_answer_takes_at_most_so_long() -> None:
    """Twice the time that one call may take fits, with and without attachments."""
    assert SECONDS >= 2 * 40


# Services that only their makers run: Apprise's own plugin, with a receiver of ours in their place


@pytest.mark.parametrize("service", ["telegram", "discord"])
def test_a_service_with_limits_gets_what_it_can_take(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, service: str
) -> None:
    """Telegram reads HTML and takes 4096 characters, Discord Markdown and 2000."""
    from apprise.plugins.discord import NotifyDiscord
    from apprise.plugins.telegram import NotifyTelegram

    monkeypatch.setattr(NotifyTelegram, "notify_url", receiver.url("/bot"))
    monkeypatch.setattr(NotifyDiscord, "notify_url", receiver.url("/hooks"))
    urls = {
        "telegram": "tgram://123456789:AbCdEfGhIjKlMnOpQrStUvWxYz0123456789/987654321",
        "discord": "discord://1234567890/AbCdEfGhIjKlMnOpQrStUv",
    }
    link = "https://runner.example.com/jobs/a_b"
    body = "<b>x</b> & *y* [z](http://evil) " + "🎉_" * 3000
    text = {"title": "a_b <i> failed", "body": body, "link": link, "tone": "failure"}
    remark = answer(question_of(urls[service], text, []))
    assert remark == b""
    (came,) = receiver.came
    said = json.loads(came.body)["text" if service == "telegram" else "content"]
    assert link in said
    if service == "telegram":
        assert len(html.unescape(said)) <= 4096
        assert json.loads(came.body)["parse_mode"] == "HTML"
        assert "&lt;b&gt;x&lt;/b&gt; &amp; *y*" in said
        assert "a_b &lt;i&gt; failed" in said
    else:
        assert len(said) <= 2000
        assert r"\*y\* \[z\](http://evil)" in said
        assert r"a\_b <i\> failed" in said
