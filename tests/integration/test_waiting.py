"""What queued jobs wait for besides their turn: a time, a pause, room in a group, another try."""

import random
from collections.abc import Callable
from concurrent.futures import Executor, Future
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runner.contract.outcome import Failure, Outcome, failed
from runner.contract.request import Request
from runner.contract.states.status import ErrorType, Status
from runner.contract.states.turn import Waiting, written
from runner.contract.waiting import Retry
from runner.mcp.runs.summary import sentence, shown
from runner.state.contents import Acceptance
from runner.state.jobs import Barred, Job
from runner.state.ledger import Ledger
from runner.state.pauses import Pause, Pauses, why_waiting
from tests.integration.test_dispatch import NOW, A, B, C, Place

CELL_ERROR = Failure(error_type=ErrorType.PAPERMILL_EXECUTION_ERROR, message="1 / 0")


def at(seconds: float) -> str:
    """A time, counted from the beginning of the test."""
    return written(NOW + timedelta(seconds=seconds))


def accept(ledger: Ledger, number: int, name: str, **waiting: Any) -> None:
    came = waiting.pop("came", number)
    ledger.accept(
        Acceptance(
            f"{number:032x}", name, "{}", b"{}", "", "", at(came), waiting=Waiting(**waiting)
        )
    )


def order_of(ledger: Ledger) -> list[int]:
    """Start all jobs that may, one after the other, and close none: their numbers."""
    started = []
    while (job := ledger.next_to_run()) is not None:
        ledger.start(job.job_id, at(0))
        started.append(int(job.job_id, 16))
    return started


def test_a_higher_priority_passes_what_came_up_to_ten_minutes_earlier(tmp_path: Path) -> None:
    """For each point of difference; so what has waited longer goes first in the end."""
    ledger = Ledger(tmp_path)
    accept(ledger, 1, "long ago", came=0)
    accept(ledger, 2, "an agent's", came=590, priority=-1)
    accept(ledger, 3, "a person's", came=600)
    accept(ledger, 4, "late and urgent", came=1300, priority=2)
    accept(ledger, 5, "late", came=1301)
    assert order_of(ledger) == [1, 4, 3, 2, 5]


def test_equal_priorities_keep_their_order_whatever_the_clock_does(tmp_path: Path) -> None:
    """It is set back by a day between two of them, and the ledger is opened anew."""
    ledger = Ledger(tmp_path)
    accept(ledger, 1, "a", came=86_400)
    accept(ledger, 2, "b", came=0)
    ledger.close()
    ledger = Ledger(tmp_path)
    accept(ledger, 3, "c", came=60)
    accept(ledger, 4, "d", came=60, priority=1)
    assert order_of(ledger) == [4, 1, 2, 3]


def test_jobs_of_one_name_keep_their_order_whatever_their_priority(tmp_path: Path) -> None:
    """The outbox has the newest under the name."""
    ledger = Ledger(tmp_path)
    accept(ledger, 1, "same", priority=-5)
    accept(ledger, 2, "same", priority=9)
    accept(ledger, 3, "other")
    assert order_of(ledger) == [3, 1]


def test_an_earliest_start_holds_up_nobody(tmp_path: Path) -> None:
    """Not even the next job of its name; and it does not run beside that one."""
    place = Place(tmp_path)
    dispatch, ledger, came = place.start()
    place.accept(ledger, A, "same", waiting=Waiting(held_until=at(60)))
    place.accept(ledger, B, "same")
    place.accept(ledger, C, "other", waiting=Waiting(held_until=at(61)))
    place.work_off(dispatch, came)
    assert place.processes.executed == [B]
    assert ledger.next_moment() == at(60)
    place.now = NOW + timedelta(seconds=60)
    place.work_off(dispatch, came)
    assert place.processes.executed == [B, A]
    place.now = NOW + timedelta(days=400)
    place.work_off(dispatch, came)
    assert place.processes.executed == [B, A, C]
    assert {one["status"] for one in place.reports().values()} == {"succeeded"}
    assert ledger.next_moment() is None


def test_a_held_job_whose_time_comes_waits_for_the_running_one_of_its_name(tmp_path: Path) -> None:
    """Though that one came later."""
    ledger = Ledger(tmp_path)
    accept(ledger, 1, "same", held_until=at(60))
    accept(ledger, 2, "same")
    assert order_of(ledger) == [2]
    ledger.keep_time(at(60), CELL_ERROR)
    assert order_of(ledger) == []


@pytest.mark.parametrize("is_paused", [False, True])
def test_what_did_not_start_in_its_time_expires(tmp_path: Path, is_paused: bool) -> None:
    """It has a result that says so, and one that has started in time is not touched."""
    place = Place(tmp_path)
    dispatch, ledger, came = place.start()
    if is_paused:
        Pauses(place.state).add(Pause("", "test", at(0)))
    else:
        place.processes.slots = 0
    place.accept(ledger, A, "late", waiting=Waiting(start_by=at(30)))
    place.accept(ledger, B, "patient", waiting=Waiting(start_by=at(3000)))
    place.accept(ledger, C, "held", waiting=Waiting(held_until=at(10), start_by=at(40)))
    place.work_off(dispatch, came)
    place.now = NOW + timedelta(seconds=50)
    place.work_off(dispatch, came)
    reports = place.reports()
    assert {key: one["error_type"] for key, one in reports.items() if "error_type" in one} == {
        A: "expired",
        C: "expired",
    }
    assert reports[A]["status"] == "failed"
    assert reports[A]["attempt"] == 0
    place.processes.slots = 1
    Pauses(place.state).remove("")
    place.work_off(dispatch, came)
    place.now = NOW + timedelta(seconds=5000)
    place.work_off(dispatch, came)
    assert place.processes.executed == [B]


def test_a_cancelled_job_with_an_earliest_start_is_over_at_once(tmp_path: Path) -> None:
    """It does not wait for its time, and does not expire."""
    place = Place(tmp_path)
    dispatch, ledger, came = place.start()
    place.accept(ledger, A, "one", waiting=Waiting(held_until=at(60), start_by=at(70)))
    ledger.cancel([A])
    place.work_off(dispatch, came)
    assert place.reports()[A]["error_type"] == "cancelled"


class Later(Executor):
    """Takes work, and leaves it to the test to do it."""

    def __init__(self) -> None:
        self.submitted: list[tuple[Callable[..., Any], Any]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **_: Any) -> Future[Any]:
        self.submitted.append((fn, args[0]))
        return Future()


def test_of_a_group_only_so_many_run(tmp_path: Path) -> None:
    """Those of others pass; a place that is free is taken by the next of the group."""
    place = Place(tmp_path)
    place.groups = {"db": 2}
    place.processes.slots = 10
    place.executor = later = Later()
    dispatch, ledger, _ = place.start()
    for number in range(4):
        place.accept(ledger, f"{number:032x}", f"db{number}", waiting=Waiting(group="db"))
    place.accept(ledger, A, "free")
    dispatch.turn()
    assert [order.name for _, order in later.submitted] == ["db0", "db1", "free"]
    execute, order = later.submitted[0]
    dispatch.finish(execute(order, b""))
    dispatch.turn()
    assert [order.name for _, order in later.submitted] == ["db0", "db1", "free", "db2"]


def test_paused_names_wait_and_others_run(tmp_path: Path) -> None:
    """A name as it is, though it looks like a pattern's part; a pattern; then everything."""
    place = Place(tmp_path)
    dispatch, ledger, came = place.start()
    pauses = Pauses(place.state)
    for name in ("a", "sales/*"):
        assert pauses.add(Pause(name, "test", at(0)))
    for number, name in enumerate(("a", "ab", "sales/x", "sales", "other")):
        place.accept(ledger, f"{number:032x}", name)
    place.work_off(dispatch, came)
    assert [int(one) for one in place.processes.executed] == [1, 3, 4]
    assert [note.partition(" are paused")[0] for note in dispatch.notes] == [
        "jobs named 'a'",
        "jobs named 'sales/*'",
    ]
    ledger.close()
    dispatch, ledger, came = place.start()
    dispatch.recover()
    place.work_off(dispatch, came)
    assert len(place.processes.executed) == 3
    assert pauses.remove("sales/*")
    assert not pauses.remove("sales/*")
    place.work_off(dispatch, came)
    assert [int(one) for one in place.processes.executed] == [1, 3, 4, 2]
    pauses.add(Pause("", "test", at(0)))
    pauses.remove("a")
    place.work_off(dispatch, came)
    assert len(place.processes.executed) == 4
    pauses.remove("")
    place.work_off(dispatch, came)
    assert len(place.processes.executed) == 5


def test_a_cells_error_is_tried_again_if_the_request_says_so(tmp_path: Path) -> None:
    """After pauses that grow; the result tells of each attempt. Others do not wait for it."""
    place = Place(tmp_path)
    place.processes.outcome = failed(CELL_ERROR)
    dispatch, ledger, came = place.start()
    retry = Retry(times=2, delay_seconds=10, factor=3, on=["papermill_execution_error"])
    request = Request(retry=retry).model_dump_json(exclude_defaults=True)
    place.accept(ledger, A, "flaky", request=request, retries=2)
    place.work_off(dispatch, came)
    assert place.processes.executed == [A]
    assert ledger.next_moment() == at(10)
    place.accept(ledger, B, "flaky")
    place.accept(ledger, C, "other")
    place.work_off(dispatch, came)
    assert place.processes.executed == [A, C], "the next of its name waits for its end"
    place.now = NOW + timedelta(seconds=10)
    place.work_off(dispatch, came)
    assert place.processes.executed == [A, C, A]
    assert ledger.next_moment() == at(40)
    place.processes.outcome = Outcome(status=Status.SUCCEEDED)
    place.now = NOW + timedelta(seconds=40)
    place.work_off(dispatch, came)
    assert place.processes.executed == [A, C, A, A, B]
    report = place.reports()[A]
    assert (report["status"], report["attempt"]) == ("succeeded", 3)
    assert report["warnings"] == [
        f"Attempt {number} ended, and it was to run again: papermill_execution_error: 1 / 0."
        for number in (1, 2)
    ]


def test_a_cancel_between_two_attempts_tells_how_the_first_ended(tmp_path: Path) -> None:
    """The job ran, so that it is not called one that never did."""
    place = Place(tmp_path)
    place.processes.outcome = failed(CELL_ERROR)
    dispatch, ledger, came = place.start()
    retry = Retry(times=2, delay_seconds=10, on=["papermill_execution_error"])
    request = Request(retry=retry).model_dump_json(exclude_defaults=True)
    place.accept(ledger, A, "flaky", request=request, retries=2)
    place.work_off(dispatch, came)
    ledger.cancel([A])
    place.work_off(dispatch, came)
    report = place.reports()[A]
    assert (report["status"], report["attempt"]) == ("cancelled", 1)
    assert report["message"] == (
        "The job was cancelled while it waited for its 2nd attempt. "
        "Attempt 1 ended: papermill_execution_error: 1 / 0."
    )
    told = sentence(shown({"job_id": A, "status": "cancelled", "result": report})[0])
    assert "It did not run." not in told
    assert "No further attempt ran a cell." in told


def test_only_what_is_named_is_tried_again(tmp_path: Path) -> None:
    """`retry` without `on` covers what `retries` does."""
    place = Place(tmp_path)
    place.processes.outcome = failed(CELL_ERROR)
    dispatch, ledger, came = place.start()
    request = Request(retry=Retry(times=2)).model_dump_json(exclude_defaults=True)
    place.accept(ledger, A, "flaky", request=request, retries=2)
    place.work_off(dispatch, came)
    assert place.processes.executed == [A]
    assert place.reports()[A]["error_type"] == "papermill_execution_error"


def test_no_job_starts_twice_or_never_at_random(tmp_path: Path) -> None:
    """300 random jobs and times: each starts once, none before its time."""
    rng = random.Random(5)
    ledger = Ledger(tmp_path)
    expected: dict[int, float] = {}
    for number in range(300):
        held = rng.choice([None, rng.uniform(1, 1000)])
        expected[number] = held or 0.0
        accept(
            ledger,
            number,
            f"n{rng.randrange(60)}",
            priority=rng.randint(-10, 10),
            held_until=None if held is None else at(held),
            group=rng.choice([None, "db"]),
        )
    running: list[Job] = []
    started: dict[int, float] = {}
    now = 0.0
    while len(started) < len(expected):
        now += rng.uniform(0, 20)
        assert now < 20_000
        ledger.keep_time(at(now), CELL_ERROR)
        full = ["db"] if sum(one.waiting.group == "db" for one in running) >= 2 else []
        job = ledger.next_to_run(None, Barred(groups=full))
        if job is not None:
            number = int(job.job_id, 16)
            assert number not in started
            assert now >= expected[number] - 0.001
            assert job.name not in {one.name for one in running}
            started[number] = now
            ledger.start(job.job_id, at(now))
            running.append(job)
        if running and rng.random() < 0.6:
            done = running.pop(rng.randrange(len(running)))
            ledger.requeue(done.job_id)
            ledger._db.execute("UPDATE jobs SET state = 'closed' WHERE job_id = ?", (done.job_id,))


def test_jobs_of_a_paused_rule_or_hook_wait(tmp_path: Path) -> None:
    """Those of one whose name only begins alike do not; a job may have such a name itself."""
    place = Place(tmp_path)
    dispatch, ledger, came = place.start()
    pauses = Pauses(place.state)
    for name in ("rule:sales", "hook:push"):
        pauses.add(Pause(name, "test", at(0)))
    causes = "rule:sales@1", "rule:sales2@1", "hook:push", "hook:push@a", "hook:pushed", "http"
    for number, cause in enumerate((*causes, "sales@1")):
        place.accept(ledger, f"{number:032x}", str(number), submitted_by=cause)
    place.accept(ledger, f"{7:032x}", "hook:push")
    place.work_off(dispatch, came)
    assert [int(one) for one in place.processes.executed] == [1, 4, 5, 6]
    assert [note.partition(" are paused")[0] for note in dispatch.notes] == [
        "jobs of the hook 'push'",
        "jobs of the rule 'sales'",
    ]
    assert "`runner resume 'rule:sales'`" in dispatch.notes[1]
    waiting = ledger.job(f"{0:032x}")
    assert waiting is not None
    assert "jobs of the rule 'sales' are paused" in str(why_waiting(waiting, pauses.all()))
    for name in ("rule:sales", "hook:push"):
        assert pauses.remove(name)
    place.work_off(dispatch, came)
    assert sorted(int(one) for one in place.processes.executed) == list(range(8))
    ledger.close()


def test_a_pause_that_a_crash_cut_is_none(tmp_path: Path) -> None:
    """It is written whole or not at all; anything else there does no harm."""
    pauses = Pauses(tmp_path)
    pauses.add(Pause("a", "test", datetime.now(UTC).isoformat()))
    (tmp_path / "paused" / "cut.json").write_text('{"name": "b"')
    (tmp_path / "paused" / "other.txt").write_text("x")
    assert [one.name for one in pauses.all()] == ["a"]
