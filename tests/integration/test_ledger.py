"""Promises of the ledger: one table of moves, one winner, order by name, and short questions."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runner.contract.outcome import Failure, Outcome, PublishedFile, failed, interrupted
from runner.contract.states.status import ErrorType, Status
from runner.state.contents import Acceptance, Seal
from runner.state.jobs import MOVES, Barred, Bucket, IllegalMove, JobFilter, Place, Stage, State
from runner.state.ledger import Ledger
from runner.state.ledger_reader import LedgerReader
from runner.state.listing import LEDGER_FILE
from tests.conftest import wait_for

NOW = "2026-01-02T03:04:05.000Z"
LATER = "2026-01-02T03:04:06.000Z"
REFUSAL = Failure(error_type=ErrorType.INVALID_REQUEST, message="No.")
SUCCESS = Outcome(status=Status.SUCCEEDED, results='{"a": [1]}')


def job_id(number: int) -> str:
    return f"{number:032x}"


def acceptance(number: int, name: str = "daily", failure: Failure | None = None) -> Acceptance:
    return Acceptance(
        job_id=job_id(number),
        name=name,
        request='{"retries": 1}',
        notebook=b"notebook",
        request_sha256="a",
        input_sha256="b",
        accepted_at=NOW,
        retries=1,
        failure=failure,
    )


def seal(number: int, outcome: Outcome = SUCCESS, finished_at: str = NOW) -> Seal:
    file = PublishedFile(path="daily.files/x", bytes=1, media_type="text/plain", sha256="c")
    return Seal(job_id(number), outcome, b"executed", (file,), finished_at)


def test_the_library_path_of_a_request_is_there_as_long_as_its_input(ledger: Ledger) -> None:
    """A notebook that came with the request has none."""
    for number, notebook in enumerate(('"sales/loan.ipynb"', '{"cells": []}', "null")):
        request = f'{{"notebook": {notebook}, "retries": 1}}'
        ledger.accept(replace(acceptance(number, f"n{number}"), request=request))
    ids = [job_id(number) for number in range(4)]
    assert ledger.notebooks_of(ids) == {job_id(0): "sales/loan.ipynb"}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    one = Ledger(tmp_path)
    yield one
    one.close()


def add(ledger: Ledger, number: int, name: str = "daily", failure: Failure | None = None) -> None:
    ledger.accept(acceptance(number, name, failure))


def bring(ledger: Ledger, number: int, state: State, name: str = "daily") -> None:
    """Accept a job and take it to a state on the usual way."""
    add(ledger, number, name)
    if state is not State.QUEUED:
        ledger.start(job_id(number), NOW)
    if state in (State.SEALED, State.CLOSED):
        ledger.seal(seal(number), from_state=State.RUNNING)
    if state is State.CLOSED:
        ledger.published(job_id(number), NOW)


def state_of(ledger: Ledger, number: int) -> State:
    job = ledger.job(job_id(number))
    assert job is not None
    return job.state


# Moves

ACTS: dict[str, tuple[State, State, Callable[[Ledger, int], None]]] = {
    "start": (State.QUEUED, State.RUNNING, lambda led, n: led.start(job_id(n), NOW)),
    "requeue": (State.RUNNING, State.QUEUED, lambda led, n: led.requeue(job_id(n))),
    "put back": (State.RUNNING, State.QUEUED, lambda led, n: led.put_back(job_id(n))),
    "seal a queued one": (
        State.QUEUED,
        State.SEALED,
        lambda led, n: led.seal(seal(n), from_state=State.QUEUED),
    ),
    "seal a running one": (
        State.RUNNING,
        State.SEALED,
        lambda led, n: led.seal(seal(n), from_state=State.RUNNING),
    ),
    "publish": (State.SEALED, State.CLOSED, lambda led, n: led.published(job_id(n), NOW)),
}


def test_every_legal_move_has_an_act() -> None:
    """The table and the methods are the same five moves."""
    assert {(old, new) for old, new, _ in ACTS.values()} == MOVES


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("act", ACTS)
def test_job_moves_only_as_the_table_says(ledger: Ledger, act: str, state: State) -> None:
    """From any other state the move is refused, and nothing has changed."""
    old, new, move = ACTS[act]
    bring(ledger, 1, state)
    before = ledger.job(job_id(1)), ledger.seal_of(job_id(1))
    if state is old:
        move(ledger, 1)
        assert state_of(ledger, 1) is new
    else:
        with pytest.raises(IllegalMove, match=f"{old} -> {new}"):
            move(ledger, 1)
        assert (ledger.job(job_id(1)), ledger.seal_of(job_id(1))) == before


@pytest.mark.parametrize("state", [State.SEALED, State.CLOSED])
def test_seal_from_a_state_that_allows_none_is_refused(ledger: Ledger, state: State) -> None:
    """Moves that are not in the table do not depend on the row."""
    bring(ledger, 1, state)
    with pytest.raises(IllegalMove):
        ledger.seal(seal(1, interrupted("m")), from_state=state)
    found = ledger.seal_of(job_id(1))
    assert found is not None
    assert found.outcome.status == SUCCESS.status


@pytest.mark.parametrize("act", ACTS)
def test_job_that_is_not_there_does_not_move(ledger: Ledger, act: str) -> None:
    """An unknown id is an illegal move as well."""
    with pytest.raises(IllegalMove):
        ACTS[act][2](ledger, 7)
    assert ledger.job(job_id(7)) is None
    assert ledger.seal_of(job_id(7)) is None


def test_id_is_accepted_once(ledger: Ledger) -> None:
    """Recovery after a crash finds the first one; a second is an error, and leaves no trace."""
    add(ledger, 1)
    with pytest.raises(sqlite3.IntegrityError):
        add(ledger, 1, "other")
    assert [job.name for job in ledger.jobs()] == ["daily"]


# What is kept


def test_job_tells_what_became_of_it(ledger: Ledger) -> None:
    """Row, input and outcome, from acceptance to its end."""
    add(ledger, 1)
    job = ledger.job(job_id(1))
    assert job is not None
    assert (job.state, job.status, job.attempt, job.retries) == ("queued", "queued", 0, 1)
    asked = ledger.input_of(job_id(1))
    assert asked is not None
    assert (asked.request, asked.notebook, asked.failure) == (
        '{"retries": 1}',
        b"notebook",
        None,
    )
    ledger.start(job_id(1), LATER)
    job = ledger.job(job_id(1))
    assert job is not None
    assert (job.status, job.attempt, job.started_at) == ("running", 1, LATER)
    failure = Failure(error_type=ErrorType.TIMEOUT, message="Too slow.")
    ledger.seal(seal(1, failed(failure), LATER), from_state=State.RUNNING)
    job = ledger.job(job_id(1))
    assert job is not None
    assert (job.status, job.error_type, job.message) == ("timed_out", "timeout", "Too slow.")
    assert (job.finished_at, job.place) == (LATER, Place.NONE)
    ledger.published(job_id(1), LATER)
    job = ledger.job(job_id(1))
    assert job is not None
    assert (job.state, job.status, job.place) == ("closed", "timed_out", Place.CURRENT)
    assert job.published_at == LATER


def test_seal_is_read_back_as_it_was(ledger: Ledger) -> None:
    """Until it is published with notebook and results; afterwards the outbox has these."""
    bring(ledger, 1, State.SEALED)
    assert ledger.seal_of(job_id(1)) == seal(1)
    ledger.published(job_id(1), NOW)
    found = ledger.seal_of(job_id(1))
    narrow = seal(1).outcome.model_copy(update={"results": "{}"})
    assert found == replace(seal(1), executed=None, outcome=narrow)


def test_every_start_counts_as_an_attempt(ledger: Ledger) -> None:
    """A job that waits again has not started."""
    bring(ledger, 1, State.RUNNING)
    ledger.requeue(job_id(1))
    job = ledger.job(job_id(1))
    assert job is not None
    assert (job.attempt, job.started_at) == (1, None)
    ledger.start(job_id(1), NOW)
    job = ledger.job(job_id(1))
    assert job is not None
    assert job.attempt == 2


def test_refusal_is_kept_with_the_input(ledger: Ledger) -> None:
    """Why it will not run is known from the start."""
    add(ledger, 1, failure=REFUSAL)
    job, asked = ledger.job(job_id(1)), ledger.input_of(job_id(1))
    assert job is not None
    assert asked is not None
    assert job.refused
    assert asked.failure == REFUSAL


def test_warnings_are_kept_in_order(ledger: Ledger) -> None:
    """They go into the result."""
    add(ledger, 1)
    ledger.warn(job_id(1), "first")
    ledger.warn(job_id(1), "second")
    assert ledger.warnings_of(job_id(1)) == ["first", "second"]
    assert ledger.warnings_of(job_id(2)) == []


def test_facts_are_remembered(tmp_path: Path) -> None:
    """Between starts; the last word counts."""
    first = Ledger(tmp_path)
    assert first.fact("instance") is None
    first.remember("instance", "a")
    first.remember("instance", "b")
    first.close()
    second = Ledger(tmp_path)
    assert second.fact("instance") == "b"
    second.close()


def test_damaged_ledger_is_refused(tmp_path: Path) -> None:
    """It is not overwritten."""
    (tmp_path / LEDGER_FILE).write_bytes(b"no database" * 1_000)
    with pytest.raises(sqlite3.DatabaseError):
        Ledger(tmp_path)
    assert (tmp_path / LEDGER_FILE).read_bytes().startswith(b"no database")


# One winner


def test_cancel_before_the_seal_is_noted(ledger: Ledger) -> None:
    """The seal may then say `cancelled`; there is one outcome all the same."""
    bring(ledger, 1, State.RUNNING)
    ledger.cancel([job_id(1)])
    job = ledger.job(job_id(1))
    assert job is not None
    assert job.cancelled
    ledger.seal(seal(1), from_state=State.RUNNING)
    with pytest.raises(IllegalMove):
        ledger.seal(seal(1, interrupted("late")), from_state=State.RUNNING)


@pytest.mark.parametrize("state", [State.SEALED, State.CLOSED])
def test_cancel_after_the_seal_changes_nothing(ledger: Ledger, state: State) -> None:
    """It came too late."""
    bring(ledger, 1, state)
    before = ledger.job(job_id(1))
    ledger.cancel([job_id(1), job_id(9)])
    assert ledger.job(job_id(1)) == before


def test_cancelled_job_cannot_be_sealed_twice(ledger: Ledger) -> None:
    """Cancelled while it waited: whoever seals it as queued wins over a start."""
    add(ledger, 1)
    ledger.cancel([job_id(1)])
    cancelled = failed(Failure(error_type=ErrorType.CANCELLED, message="m"))
    ledger.seal(seal(1, cancelled), from_state=State.QUEUED)
    with pytest.raises(IllegalMove):
        ledger.start(job_id(1), NOW)
    found = ledger.seal_of(job_id(1))
    assert found is not None
    assert found.outcome.status is Status.CANCELLED


def test_only_one_of_many_seals_wins(tmp_path: Path) -> None:
    """Also over several connections at once: the update is conditional."""
    with_one = Ledger(tmp_path)
    bring(with_one, 1, State.RUNNING)
    with_one.close()
    wins: list[int] = []
    losses: list[int] = []
    together = threading.Barrier(4)

    def attempt(number: int) -> None:
        own = Ledger(tmp_path)
        together.wait(90)
        try:
            own.seal(seal(1, interrupted(str(number))), from_state=State.RUNNING)
            wins.append(number)
        except IllegalMove:
            losses.append(number)
        finally:
            own.close()

    threads = [threading.Thread(target=attempt, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(wins) == 1
    assert len(losses) == 3
    reader = LedgerReader(tmp_path)
    found = reader.seal_of(job_id(1))
    reader.close()
    assert found is not None
    assert found.outcome == interrupted(str(wins[0]))


def test_transaction_is_all_or_nothing(ledger: Ledger) -> None:
    """Many drops may share one; if one fails, none was accepted."""

    def accept_two_and_fail() -> None:
        with ledger.transaction():
            add(ledger, 1)
            add(ledger, 2)
            ledger.published(job_id(1), NOW)

    with pytest.raises(IllegalMove):
        accept_two_and_fail()
    assert ledger.jobs() == []
    with ledger.transaction():
        add(ledger, 1)
        ledger.start(job_id(1), NOW)
    assert state_of(ledger, 1) is State.RUNNING


def test_a_commit_that_fails_leaves_no_transaction_open(ledger: Ledger) -> None:
    """SQLite refuses at COMMIT itself and keeps the transaction; what comes after is committed."""

    def of_nobody() -> None:
        with ledger.transaction():
            ledger._db.execute("PRAGMA defer_foreign_keys = ON")
            ledger._db.execute("INSERT INTO inputs VALUES ('nobody', '{}', NULL, NULL, NULL)")

    with pytest.raises(sqlite3.IntegrityError):
        of_nobody()
    add(ledger, 1)
    assert not ledger._db.in_transaction
    assert [job.job_id for job in ledger.jobs()] == [job_id(1)]


def test_failed_seal_leaves_no_outcome(ledger: Ledger) -> None:
    """Row and outcome are one transaction."""
    bring(ledger, 1, State.QUEUED)
    with pytest.raises(IllegalMove):
        ledger.seal(seal(1), from_state=State.RUNNING)
    assert ledger.seal_of(job_id(1)) is None
    ledger.seal(seal(1), from_state=State.QUEUED)
    assert ledger.seal_of(job_id(1)) == seal(1)


# Turns


def turn(ledger: Ledger, only: list[str] | None = None) -> str | None:
    job = ledger.next_to_run(only)
    return job.job_id if job else None


def settle(ledger: Ledger, only: list[str] | None = None) -> str | None:
    job = ledger.next_to_settle(only)
    return job.job_id if job else None


@pytest.mark.parametrize("state", [State.RUNNING, State.SEALED])
def test_jobs_of_one_name_go_one_at_a_time(ledger: Ledger, state: State) -> None:
    """In the order accepted, the next one when the last one is published."""
    bring(ledger, 1, state)
    add(ledger, 2)
    add(ledger, 3)
    assert turn(ledger) is None
    if state is State.RUNNING:
        ledger.seal(seal(1), from_state=State.RUNNING)
    ledger.published(job_id(1), NOW)
    assert turn(ledger) == job_id(2)


def test_other_names_go_meanwhile(ledger: Ledger) -> None:
    """The oldest of those whose turn it is."""
    bring(ledger, 1, State.RUNNING)
    add(ledger, 2)
    add(ledger, 3, "other")
    add(ledger, 4, "third")
    assert turn(ledger) == job_id(3)
    ledger.start(job_id(3), NOW)
    assert turn(ledger) == job_id(4)


def test_order_is_that_of_acceptance_not_of_ids(ledger: Ledger) -> None:
    """Ids are chance, or the client's."""
    add(ledger, 9)
    add(ledger, 1)
    assert turn(ledger) == job_id(9)


def test_requeued_job_keeps_its_place(ledger: Ledger) -> None:
    """It was accepted first."""
    bring(ledger, 1, State.RUNNING)
    add(ledger, 2)
    ledger.requeue(job_id(1))
    assert turn(ledger) == job_id(1)


def test_what_is_put_back_has_never_begun(ledger: Ledger) -> None:
    """It has its place, and all its attempts."""
    add(ledger, 1)
    add(ledger, 2)
    before = ledger.job(job_id(1))
    ledger.start(job_id(1), NOW)
    ledger.put_back(job_id(1))
    assert ledger.job(job_id(1)) == before
    assert turn(ledger) == job_id(1)


def test_refused_and_cancelled_jobs_are_settled_in_their_turn(ledger: Ledger) -> None:
    """They are never run, and they wait for earlier jobs of their name."""
    bring(ledger, 1, State.RUNNING)
    add(ledger, 2, failure=REFUSAL)
    add(ledger, 3)
    ledger.cancel([job_id(3)])
    assert (turn(ledger), settle(ledger)) == (None, None)
    ledger.seal(seal(1), from_state=State.RUNNING)
    ledger.published(job_id(1), NOW)
    assert (turn(ledger), settle(ledger)) == (None, job_id(2))
    ledger.seal(seal(2, failed(REFUSAL)), from_state=State.QUEUED)
    assert settle(ledger) is None
    ledger.published(job_id(2), NOW)
    assert (turn(ledger), settle(ledger)) == (None, job_id(3))


def test_running_job_that_is_cancelled_is_not_settled_here(ledger: Ledger) -> None:
    """Who runs it ends it."""
    bring(ledger, 1, State.RUNNING)
    ledger.cancel([job_id(1)])
    assert settle(ledger) is None


def test_turn_among_some_names(ledger: Ledger) -> None:
    """`only` names those that may go; none means none."""
    add(ledger, 1, "a")
    add(ledger, 2, "b")
    add(ledger, 3, "c", REFUSAL)
    assert turn(ledger, ["b", "c"]) == job_id(2)
    assert turn(ledger, ["c"]) is None
    assert turn(ledger, []) is None
    assert settle(ledger, ["a", "c"]) == job_id(3)
    assert settle(ledger, ["a"]) is None


def test_queue_is_counted_and_listed(ledger: Ledger) -> None:
    """The first that wait, of all that wait."""
    for number in range(5):
        add(ledger, number, f"n{number}")
    ledger.start(job_id(0), NOW)
    assert ledger.count_queued() == 4
    assert [job.job_id for job in ledger.queued(2)] == [job_id(1), job_id(2)]


# Questions


def test_prefix_finds_the_one_job(ledger: Ledger) -> None:
    """As many digits as people type; more than one job is none."""
    ledger.accept(replace(acceptance(0), job_id="abc0" + "0" * 28))
    ledger.accept(replace(acceptance(0), job_id="abcf" + "f" * 28))
    ledger.accept(replace(acceptance(0), job_id="f" * 32))
    for prefix, expected in (
        ("abc0", "abc0" + "0" * 28),
        ("abcf", "abcf" + "f" * 28),
        ("f", "f" * 32),
        ("f" * 32, "f" * 32),
    ):
        found = ledger.by_prefix(prefix)
        assert found is not None
        assert found.job_id == expected
    for prefix in ("abc", "", "0", "abc1", "f" * 33, "g", "%", "a%"):
        assert ledger.by_prefix(prefix) is None


def test_jobs_are_listed_newest_first_and_page_by_page(ledger: Ledger) -> None:
    """By name, by status, below a place in the list."""
    bring(ledger, 1, State.CLOSED, "a")
    bring(ledger, 2, State.RUNNING, "a")
    bring(ledger, 3, State.QUEUED, "b")

    def ids(limit: int = 50, before: int | None = None, **which: Any) -> list[int]:
        jobs = ledger.jobs(JobFilter(**which), limit=limit, before=before)
        return [int(job.job_id, 16) for job in jobs]

    assert ids() == [3, 2, 1]
    assert ids(limit=2) == [3, 2]
    assert ids(name="a") == [2, 1]
    assert ids(status=Status.RUNNING) == [2]
    assert ids(status=Status.QUEUED) == [3]
    assert ids(status=Status.SUCCEEDED) == [1]
    assert ids(status=Status.FAILED) == []
    assert ids(before=3) == [2, 1]
    assert ids(name="a", status=Status.SUCCEEDED, before=2, limit=1) == [1]


def test_latest_is_the_one_accepted_last(ledger: Ledger) -> None:
    """Of that name, whatever its state."""
    bring(ledger, 9, State.CLOSED)
    add(ledger, 1)
    add(ledger, 2, "other")
    found = ledger.latest("daily")
    assert found is not None
    assert found.job_id == job_id(1)
    assert ledger.latest("nobody") is None


def test_unclosed_are_those_that_recovery_looks_at(ledger: Ledger) -> None:
    """Queued, running or sealed, in the order accepted."""
    for number, state in enumerate(State):
        bring(ledger, number, state, f"n{number}")
    assert [job.state for job in ledger.unclosed()] == ["queued", "running", "sealed"]
    assert [job.state for job in ledger.unclosed("n1")] == ["running"]
    assert ledger.unclosed("n3") == []


# History


def into_history(ledger: Ledger, number: int, name: str, finished_at: str) -> None:
    add(ledger, number, name)
    ledger.seal(seal(number, finished_at=finished_at), from_state=State.QUEUED)
    ledger.published(job_id(number), finished_at)
    ledger.retired([job_id(number)])


def test_current_job_is_the_one_in_the_outbox_itself(ledger: Ledger) -> None:
    """Until it is retired."""
    bring(ledger, 1, State.CLOSED)
    bring(ledger, 2, State.SEALED, "other")
    assert [job.job_id for job in ledger.current("daily")] == [job_id(1)]
    assert ledger.current("other") == []
    ledger.retired([job_id(1)])
    assert ledger.current("daily") == []


def test_only_jobs_that_nobody_named_leave_the_outbox_by_age(ledger: Ledger) -> None:
    """Their name is made of the day and of their own id; any other was chosen."""
    made = f"http/2026-01-02/{job_id(1)}"
    chosen = ("http/2026-01-02/daily", f"http/2026-01-02/{job_id(9)}", "http", f"x{made}")
    for number, name in enumerate((made, *chosen), start=1):
        bring(ledger, number, State.CLOSED, name)
    assert [job.name for job in ledger.without_name(older_than=LATER)] == [made]
    assert ledger.without_name(older_than=NOW) == []


def prunable(ledger: Ledger, older_than: str, keep_runs: int, limit: int = 500) -> set[int]:
    found = ledger.prunable(older_than=older_than, keep_runs=keep_runs, limit=limit)
    return {int(job.job_id, 16) for job in found}


def test_history_is_pruned_by_age_and_by_count(ledger: Ledger) -> None:
    """Of each name on its own; what is current is never pruned."""
    for number in range(1, 6):
        into_history(ledger, number, "a", f"2026-01-0{number}T00:00:00Z")
    into_history(ledger, 6, "b", "2026-01-01T00:00:00Z")
    bring(ledger, 7, State.CLOSED, "a")
    assert prunable(ledger, "2026-01-03", 9) == {1, 2, 6}
    assert prunable(ledger, "2000-01-01", 2) == {1, 2, 3}
    assert prunable(ledger, "2026-01-02", 3) == {1, 2, 6}
    assert prunable(ledger, "2000-01-01", 9) == set()
    assert prunable(ledger, "2000-01-01", 0) == {1, 2, 3, 4, 5, 6}
    assert len(prunable(ledger, "2000-01-01", 0, limit=2)) == 2


def test_durations_of_closed_jobs_are_counted(ledger: Ledger) -> None:
    """In buckets, also across a start; a job that never ran neither waited nor ran."""

    def close(number: int, started: str | None, finished: str, published: str) -> None:
        add(ledger, number, name=f"n{number}")
        if started is not None:
            ledger.start(job_id(number), f"2026-01-02T03:{started}Z")
        state = State.QUEUED if started is None else State.RUNNING
        ledger.seal(seal(number, finished_at=f"2026-01-02T03:{finished}Z"), from_state=state)
        ledger.published(job_id(number), f"2026-01-02T03:{published}Z")

    close(1, "04:05.500", "04:07.500", "04:07.502")
    close(2, "04:05.400", "04:05.450", "04:05.460")
    close(3, None, "04:06.000", "04:05.000")  # the clock was set back
    waited, published = ledger.durations(Stage.WAIT), ledger.durations(Stage.PUBLISH)
    assert [(one.bound, one.jobs) for one in waited] == [(0.5, 2)]
    assert waited[0].seconds == pytest.approx(0.9)
    assert ledger.durations(Stage.RUN) == [Bucket(0.05, 1, 0.05), Bucket(2.5, 1, 2.0)]
    assert [(one.bound, one.jobs) for one in published] == [(0.01, 3)]
    assert published[0].seconds == pytest.approx(0.012)


def test_pruned_job_keeps_its_row_only(ledger: Ledger) -> None:
    """Input, outcome and warnings go; who asks for the id still learns its status."""
    into_history(ledger, 1, "a", NOW)
    into_history(ledger, 2, "a", NOW)
    ledger.warn(job_id(1), "w")
    ledger.pruned([job_id(1)], NOW)
    job = ledger.job(job_id(1))
    assert job is not None
    assert (job.status, job.place) == (Status.SUCCEEDED, Place.PRUNED)
    assert ledger.input_of(job_id(1)) is None
    assert ledger.seal_of(job_id(1)) is None
    assert ledger.warnings_of(job_id(1)) == []
    assert ledger.input_of(job_id(2)) is not None
    assert prunable(ledger, "9999", 0) == {2}


# Readers


def test_reader_sees_what_is_committed_while_a_writer_works(tmp_path: Path, ledger: Ledger) -> None:
    """It neither waits for an open transaction nor sees into it."""
    bring(ledger, 1, State.RUNNING)
    reader = LedgerReader(tmp_path)
    with ledger.transaction():
        ledger.seal(seal(1), from_state=State.RUNNING)
        add(ledger, 2)
        assert [job.state for job in reader.jobs()] == ["running"]
    assert [job.state for job in reader.jobs()] == ["queued", "sealed"]
    assert reader.seal_of(job_id(1)) == seal(1)
    reader.close()


def test_reader_cannot_write(tmp_path: Path, ledger: Ledger) -> None:
    """Its connection is read-only."""
    reader = LedgerReader(tmp_path)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader._db.execute("DELETE FROM jobs")
    reader.close()


def test_reader_without_a_ledger_fails_and_makes_none(tmp_path: Path) -> None:
    """Only who owns the folder makes it."""
    with pytest.raises(sqlite3.OperationalError):
        LedgerReader(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_demands_that_cannot_be_met_are_passed_over(ledger: Ledger) -> None:
    """Jobs without one and with another go on; the order of a name stays."""
    for number, (name, demand) in enumerate(
        [("a", "gpu"), ("a", None), ("b", "ssd"), ("c", "gpu"), ("d", None)], start=1
    ):
        ledger.accept(replace(acceptance(number, name), demand=demand))

    def found(*without: str) -> str | None:
        job = ledger.next_to_run(barred=Barred(demands=without))
        return job.name if job else None

    assert [found(), found("gpu"), found("gpu", "ssd"), found("ssd")] == ["a", "b", "d", "a"]
    ledger.start(job_id(5), NOW)
    assert found("gpu", "ssd") is None


def test_reader_finds_a_folder_with_odd_characters(tmp_path: Path) -> None:
    """The path becomes an address, in which `?` and `%` mean something."""
    state = tmp_path / "a b?mode=rw%20#c"
    state.mkdir()
    Ledger(state).close()
    LedgerReader(state).close()


# Size

CLOSED_JOBS = 20_000
Question = Callable[[Ledger], object]
QUESTIONS: dict[str, Question] = {
    "next_to_run": lambda ledger: ledger.next_to_run(),
    "next_to_run of some": lambda ledger: ledger.next_to_run(["daily", "other"]),
    "next_to_run without some": lambda ledger: ledger.next_to_run(
        barred=Barred(demands=["gpu", "ssd"])
    ),
    "next_to_settle": lambda ledger: ledger.next_to_settle(),
    "unclosed": lambda ledger: ledger.unclosed(),
    "unclosed of one": lambda ledger: ledger.unclosed("daily"),
    "queued": lambda ledger: ledger.queued(100),
    "count_queued": lambda ledger: ledger.count_queued(),
    "current": lambda ledger: ledger.current("daily"),
    "latest": lambda ledger: ledger.latest("daily"),
    "job": lambda ledger: ledger.job(job_id(10**6)),
    "by_prefix": lambda ledger: ledger.by_prefix("0" * 20 + "f"),
    "jobs": lambda ledger: ledger.jobs(),
    "jobs of one": lambda ledger: ledger.jobs(JobFilter(name="daily")),
    "jobs that failed": lambda ledger: ledger.jobs(JobFilter(status=Status.FAILED)),
    "jobs that run": lambda ledger: ledger.jobs(JobFilter(status=Status.RUNNING)),
}
"""What is asked often; none may read all rows."""
MOST_BARRED = Barred(demands=["gpu", "ssd"], names=["one"], patterns=["db/*"], groups=["db"])
SCANS_ALL = {"next_to_run", "next_to_run of some", "next_to_settle", "queued", "count_queued"} | {
    "jobs that run",
    "next_to_run without some",
}
WHY = (
    "SQLite does not conclude from `state = 'queued'` that `state != 'closed'`, so the partial "
    "index jobs_open is not used; with `AND state != 'closed'` beside it, it is"
)
ASKED = [
    pytest.param(
        name,
    )
    if name in SCANS_ALL
    else name
    for name in QUESTIONS
]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """A ledger with many closed jobs of one name, and a few that are open."""
    state = tmp_path_factory.mktemp("large")
    one = Ledger(state)
    with one.transaction():
        one._db.executemany(
            "INSERT INTO jobs (job_id, name, state, status, request_sha256, input_sha256, "
            "accepted_at, place) VALUES (?, 'daily', 'closed', 'succeeded', '', '', '', 'history')",
            [(job_id(number),) for number in range(CLOSED_JOBS)],
        )
        bring(one, 10**6, State.RUNNING)
        for number in range(1, 4):
            add(one, 10**6 + number)
        add(one, 10**6 + 4, "other")
    yield one
    one.close()


def statements(ledger: Ledger, question: Question) -> list[str]:
    """The SQL that a question becomes, with its values in it."""
    seen: list[str] = []
    ledger._db.set_trace_callback(seen.append)
    question(ledger)
    ledger._db.set_trace_callback(None)
    return seen


def steps(ledger: Ledger, question: Question) -> int:
    """How many instructions SQLite's machine needs for a question: no clock, always the same."""
    count = 0

    def tick() -> int:
        nonlocal count
        count += 1
        return 0

    ledger._db.set_progress_handler(tick, 1)
    question(ledger)
    ledger._db.set_progress_handler(None, 1)
    return count


@pytest.mark.parametrize("name", ASKED)
def test_question_uses_an_index(large: Ledger, name: str) -> None:
    """SQLite's own plan searches, or walks along an index or the newest rows."""
    asked = statements(large, QUESTIONS[name])
    assert asked
    for statement in asked:
        plan = [row["detail"] for row in large._db.execute(f"EXPLAIN QUERY PLAN {statement}")]
        assert plan
        for detail in plan:
            walks = detail.startswith("SCAN") and "INDEX" not in detail
            newest_rows = name == "jobs" and detail == "SCAN jobs"
            assert not walks or newest_rows, plan


@pytest.mark.parametrize("name", ASKED)
def test_question_takes_few_steps_among_many_closed_jobs(large: Ledger, name: str) -> None:
    """Far fewer than there are rows: what is over costs nothing."""
    assert steps(large, QUESTIONS[name]) < CLOSED_JOBS / 5


def test_turn_is_right_among_many_closed_jobs(large: Ledger) -> None:
    """One of that name runs, so it is another's turn."""
    assert turn(large) == job_id(10**6 + 4)


# Questions of the page


def test_jobs_are_found_by_a_part_of_their_name(ledger: Ledger) -> None:
    """In any case, and with signs that mean something to LIKE standing for themselves."""
    names = ["sales/daily", "Sales/100%", "energy", "a_b"]
    for number, name in enumerate(names):
        add(ledger, number, name)
    found = {
        part: [job.name for job in ledger.jobs(JobFilter(part=part))]
        for part in ("SALES", "%", "_")
    }
    assert found == {"SALES": ["Sales/100%", "sales/daily"], "%": ["Sales/100%"], "_": ["a_b"]}
    assert ledger.jobs(JobFilter(part="!")) == []


def test_jobs_that_are_over_are_listed_apart(ledger: Ledger) -> None:
    """A long queue hides no result."""
    for number, state in enumerate(State):
        bring(ledger, number, state, f"n{number}")
    found = [job.state for job in ledger.jobs(JobFilter(is_over=True))]
    assert found == [State.CLOSED, State.SEALED]


def test_the_newest_run_of_a_library_notebook_is_known(ledger: Ledger) -> None:
    """By its path, also when what was asked is pruned; others leave no trace there."""
    for number, library in enumerate(["a.ipynb", "b/c.ipynb", "a.ipynb", None]):
        ledger.accept(replace(acceptance(number, f"n{number}"), library=library))
    ledger.pruned([job_id(2)], NOW)
    runs = ledger.library_runs()
    assert {path: job.job_id for path, job in runs.items()} == {
        "a.ipynb": job_id(2),
        "b/c.ipynb": job_id(1),
    }


def test_hours_count_the_newest_jobs_by_status(ledger: Ledger) -> None:
    """Since a time, with how long they ran."""
    for number in range(4):
        ledger.accept(replace(acceptance(number), accepted_at=f"2026-01-02T0{number}:30:00.000Z"))
    for number in (1, 2):
        ledger.start(job_id(number), "2026-01-02T05:00:00.000Z")
        ledger.seal(seal(number, finished_at="2026-01-02T05:00:02.500Z"), from_state=State.RUNNING)
    found = ledger.hours("2026-01-02T01:00:00.000Z", 10)
    assert [(one.hour, one.status, one.jobs) for one in found] == [
        ("2026-01-02T01", Status.SUCCEEDED, 1),
        ("2026-01-02T02", Status.SUCCEEDED, 1),
        ("2026-01-02T03", Status.QUEUED, 1),
    ]
    assert [round(one.seconds, 2) for one in found] == [2.5, 2.5, 0.0]
    assert [one.hour for one in ledger.hours("2026-01-02T00:00:00.000Z", 2)] == [
        "2026-01-02T02",
        "2026-01-02T03",
    ]


def test_the_files_shrink_when_what_they_held_is_gone(tmp_path: Path) -> None:
    """The log and the ledger itself, a little at a time, while a reader may have it open."""
    ledger = Ledger(tmp_path)
    large = b"x" * (1 << 20)
    for number in range(1, 61):
        bring(ledger, number, State.RUNNING)
        ledger.seal(replace(seal(number), executed=large), from_state=State.RUNNING)
    reader = LedgerReader(tmp_path)
    assert reader.count_queued() == 0
    for number in range(1, 61):
        ledger.published(job_id(number), NOW)
    ledger.pruned([job_id(number) for number in range(1, 61)], NOW)
    assert size_of(tmp_path) > 60 << 20
    wait_for(lambda: not ledger.shrink(0.05, time.monotonic))
    assert size_of(tmp_path) < 40 << 20
    assert len(reader.jobs(limit=100)) == 60
    reader.close()
    ledger.close()


def test_a_ledger_of_an_earlier_version_learns_to_shrink(tmp_path: Path) -> None:
    """Its file was made without that, and is written anew once; nothing of it is lost."""
    ledger = Ledger(tmp_path)
    bring(ledger, 1, State.RUNNING)
    ledger.close()
    with closing(sqlite3.connect(tmp_path / LEDGER_FILE)) as raw:
        raw.execute("PRAGMA journal_mode = DELETE")
        raw.execute("PRAGMA auto_vacuum = NONE")
        raw.execute("VACUUM")
    ledger = Ledger(tmp_path)
    assert ledger._db.execute("PRAGMA auto_vacuum").fetchone()[0] == 2
    assert ledger._db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert state_of(ledger, 1) is State.RUNNING
    ledger.close()


def test_rows_of_pruned_jobs_leave_and_their_counts_stay(ledger: Ledger) -> None:
    """The oldest first, and only pruned ones; the newest run of a library notebook stays too."""
    for number in range(1, 7):
        bring(ledger, number, State.CLOSED)
    ledger.accept(replace(acceptance(7, "other"), library="other.ipynb"))
    ledger.start(job_id(7), NOW)
    ledger.seal(seal(7, failed(REFUSAL)), from_state=State.RUNNING)
    ledger.published(job_id(7), NOW)
    before = ledger.finished()
    ledger.pruned([job_id(number) for number in (1, 2, 3, 7)], NOW)
    ledger.warn(job_id(1), "noted late")
    assert ledger.forget(older_than=NOW) == 0
    assert ledger.forget(older_than=LATER, limit=2) == 2
    assert ledger.forget(older_than=LATER) == 1
    assert ledger.forget(older_than=LATER) == 0
    assert sorted(int(job.job_id, 16) for job in ledger.jobs()) == [4, 5, 6, 7]
    assert ledger.finished() == before
    assert sum(before.values()) == 7


def test_the_ledger_does_not_grow_with_jobs_that_are_gone(tmp_path: Path) -> None:
    """Many of them leave a small file and true counts; 50,000 leave the same as these."""
    ledger = Ledger(tmp_path)
    for first in range(0, 10_000, 1_000):
        numbers = range(first, first + 1_000)
        with ledger.transaction():
            for number in numbers:
                bring(ledger, number, State.CLOSED, f"n{number % 50}")
            ledger.pruned([job_id(number) for number in numbers], NOW)
            ledger.forget(older_than=LATER, limit=1_000)
        ledger.shrink(1, time.monotonic)
    assert ledger.finished() == {(Status.SUCCEEDED, None): 10_000}
    assert sum(one.jobs for one in ledger.durations(Stage.RUN)) == 10_000
    assert ledger.jobs() == []
    wait_for(lambda: not ledger.shrink(1, time.monotonic))
    assert size_of(tmp_path) < 20 << 20
    ledger.close()


def size_of(folder: Path) -> int:
    return sum(one.stat().st_size for one in folder.glob(f"{LEDGER_FILE}*"))
