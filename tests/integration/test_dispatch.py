"""From ledger to outbox: one result a job, whatever fails on the way; with a fake execution."""

import json
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runner.config import MEGABYTE, Execution, Settings
from runner.contract.outcome import Failure, Outcome, failed
from runner.contract.request import Request, Resources, demand_of
from runner.contract.states.status import ErrorType, Status
from runner.daemon.running.dispatch import Dispatch
from runner.daemon.running.publishing import Finished, Publishing, Stores
from runner.daemon.running.starts import Executing
from runner.daemon.running.work_folders import WorkFolders
from runner.execution.order import Order, Progress
from runner.inbox.bundles.store import InputStore
from runner.outbox.history import History
from runner.outbox.publish import Outbox
from runner.state.contents import Acceptance, Seal
from runner.state.jobs import State
from runner.state.ledger import Ledger
from runner.state.pauses import Pauses
from runner.system.clocks import Clocks
from runner.system.files.disk import Disk
from runner.system.files.output_folder import FileCaps
from tests.faults.failing import full_ledger

NOW = datetime(2026, 1, 2, tzinfo=UTC)


class AtOnce(Executor):
    """Runs what is submitted before `submit` returns."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


class OutOfThreads(AtOnce):
    """Calls nothing for a while."""

    has_none = True

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if self.has_none:
            raise RuntimeError("can't start new thread")
        return super().submit(fn, *args, **kwargs)


class FakeProcesses:
    """Executes a notebook by writing its text to a file and giving it back."""

    slots = 1

    def __init__(self) -> None:
        self.has: set[str] = set()
        """Labels that some worker has."""
        self.never: str | None = None
        self.executed: list[str] = []
        self.stopped: list[tuple[str, ErrorType]] = []
        self.outcome = Outcome(status=Status.SUCCEEDED, results='{"ok": true}')

    def execute(
        self, order: Order, notebook: bytes, on_progress: Callable[[str, Progress], None]
    ) -> tuple[Outcome, bytes | None]:
        self.executed.append(order.job_id)
        (Path(order.output_folder) / "made.txt").write_bytes(notebook)
        return self.outcome, b"executed " + notebook

    def fits(self, wanted: Resources, taken: Sequence[Resources]) -> bool:
        return set(wanted.labels) <= self.has

    def why_never(self, wanted: Resources) -> str | None:
        return self.never

    def stop(self, job_id: str, reason: ErrorType) -> None:
        self.stopped.append((job_id, reason))


class Place:
    """The folders and the ledger of one runner, from one start to the next."""

    def __init__(self, root: Path) -> None:
        self.outbox, self.state = root / "outbox", root / "state"
        for folder in (self.outbox, self.state):
            folder.mkdir(parents=True)
        self.processes = FakeProcesses()
        self.executor: Executor = AtOnce()
        self.clock = 0.0
        self.now = NOW
        self.groups: dict[str, int] = {}

    def accept(self, ledger: Ledger, job_id: str, name: str, **more: Any) -> None:
        raw = f'"{job_id}"'.encode()
        ledger.accept(
            Acceptance(
                **{
                    "job_id": job_id,
                    "name": name,
                    "request": "{}",
                    "notebook": raw,
                    "request_sha256": "0" * 64,
                    "input_sha256": "0" * 64,
                    "accepted_at": NOW.isoformat(),
                    **more,
                }
            )
        )

    def start(self, disk: Disk | None = None) -> tuple[Dispatch, Ledger, list[Finished]]:
        disk = disk or Disk()
        clocks = Clocks(lambda: self.clock, lambda: self.now)
        ledger, outbox = Ledger(self.state), Outbox(self.outbox, disk)
        work = WorkFolders(self.state, disk, clocks.seconds, has_packages=False)
        self.history = History(ledger, outbox, clocks)
        stores = Stores(
            ledger, outbox, self.history, work, Pauses(self.state), InputStore(self.state, disk)
        )
        came: list[Finished] = []
        executing = Executing(
            execution=self.processes,  # type: ignore[arg-type]
            executor=self.executor,
            tell=came.append,
            on_progress=lambda *_: None,
        )
        settings = Settings(
            outbox=self.outbox,
            state=self.state,
            execution=Execution(concurrency=1),
            groups=self.groups,
        )
        publishing = Publishing(
            stores, FileCaps(200 * MEGABYTE, 1000), clocks, settings.followers_of
        )
        dispatch = Dispatch(settings, stores, executing, publishing, clocks)
        return dispatch, ledger, came

    def work_off(self, dispatch: Dispatch, came: list[Finished], rounds: int = 12) -> None:
        for _ in range(rounds):
            self.clock += 100
            dispatch.turn()
            while came:
                dispatch.finish(came.pop(0))

    def reports(self) -> dict[str, dict[str, Any]]:
        found = {}
        for path in self.outbox.rglob("*.json"):
            report = json.loads(path.read_bytes())
            assert report["job_id"] not in found, "two reports of one job"
            found[report["job_id"]] = report
        return found


A, B, C, R = "a" * 32, "b" * 32, "c" * 32, "d" * 32


def test_what_no_worker_has_now_waits_and_holds_nobody_up(tmp_path: Path) -> None:
    """It runs when one comes that has it, and is refused when it is clear that none will."""
    place = Place(tmp_path)
    dispatch, ledger, came = place.start()
    for job_id, name, label in ((A, "a", "ssd"), (B, "b", "tape"), (C, "c", None)):
        resources = Resources(labels=[label] if label else [])
        request = Request(resources=resources).model_dump_json(exclude_defaults=True)
        place.accept(ledger, job_id, name, request=request, demand=demand_of(resources))
    place.work_off(dispatch, came)
    assert place.processes.executed == [C]
    place.processes.has = {"ssd"}
    place.work_off(dispatch, came)
    assert place.processes.executed == [C, A]
    place.processes.never = "no worker has the label `tape`"
    place.work_off(dispatch, came)
    ledger.close()
    assert place.processes.executed == [C, A]
    refused = place.reports()[B]
    assert (refused["error_type"], refused["status"]) == ("invalid_request", "rejected")
    assert (refused["attempt"], refused["host"]) == (0, None)
    assert "`tape`" in refused["message"]


def test_the_log_has_the_time_of_the_result(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What came after the run, such as bringing away large outputs, is told apart from it."""

    class SlowDisk(Disk):
        """Takes nine seconds for the report."""

        def rename(self, *arguments: Any, **more: Any) -> None:
            place.clock += 9
            place.now += timedelta(seconds=9)
            super().rename(*arguments, **more)

    caplog.set_level("INFO")
    place = Place(tmp_path)
    dispatch, ledger, came = place.start(SlowDisk())
    place.accept(ledger, A, "a")
    dispatch.turn()
    place.clock += 40
    place.now += timedelta(seconds=40)
    dispatch.turn()
    for one in came:
        dispatch.finish(one)
    dispatch.turn()
    ledger.close()
    ran = place.reports()[A]["duration_seconds"]
    (line,) = [line for line in caplog.messages if "succeeded 'a'" in line]
    assert f"after {ran:.1f} s, put away in " in line


def check_files(place: Place, job_id: str, report: dict[str, Any]) -> None:
    """The executed notebook and the file lie beside the report, wherever that is by now."""
    path = next(p for p in place.outbox.rglob("*.json") if job_id in p.read_text())
    last = report["name"].rpartition("/")[2]
    assert (path.parent / f"{last}.ipynb").read_bytes() == f'executed "{job_id}"'.encode()
    assert (path.parent / f"{last}.files" / "made.txt").read_bytes() == f'"{job_id}"'.encode()
    assert [file["path"] for file in report["files"]] == [f"{report['name']}.files/made.txt"]


def test_a_job_that_nobody_thought_of_fails_alone(tmp_path: Path) -> None:
    """The error is its outcome, and the next one runs."""

    class OddDisk(Disk):
        """Fails, for one job's work folder, in a way that no disk does."""

        def make_folder(self, path: Path) -> bool:
            if path.is_relative_to(place.state) and path.name == B:
                raise LookupError("nobody thought of this")
            return super().make_folder(path)

    place = Place(tmp_path)
    dispatch, ledger, came = place.start(OddDisk())
    place.accept(ledger, B, "odd")
    place.accept(ledger, A, "good")
    place.work_off(dispatch, came)
    reports = place.reports()
    assert reports[B]["error_type"] == "gateway_error"
    assert reports[A]["status"] == "succeeded"


def test_what_a_failed_transaction_reserved_does_not_run(tmp_path: Path) -> None:
    """Its start is not recorded; it takes no slot either, and runs once when the ledger can."""
    place = Place(tmp_path)
    dispatch, ledger, came = place.start()
    place.accept(ledger, A, "once")
    real = ledger.commit

    def full() -> None:
        raise full_ledger()

    ledger.commit = full  # type: ignore[method-assign]
    dispatch.turn()
    dispatch.launch()
    assert place.processes.executed == []
    ledger.commit = real  # type: ignore[method-assign]
    place.work_off(dispatch, came)
    assert place.processes.executed == [A]
    assert place.reports()[A]["status"] == "succeeded"


@pytest.mark.parametrize("is_full", [False, True])
def test_a_job_for_which_there_is_no_thread_waits(tmp_path: Path, *, is_full: bool) -> None:
    """It has not begun, whatever the ledger could be told; health says why it waits."""
    place = Place(tmp_path)
    place.executor = executor = OutOfThreads()
    place.processes.slots = 2
    dispatch, ledger, came = place.start()
    place.accept(ledger, A, "one")
    place.accept(ledger, B, "two")
    put_back = ledger.put_back

    def full(job_id: str) -> None:
        raise full_ledger()

    if is_full:
        ledger.put_back = full  # type: ignore[method-assign]
    dispatch.turn()
    assert "start" in dispatch.troubles
    assert (dispatch.running, place.processes.executed) == (0, [])
    states = {ledger.job(one).state for one in (A, B)}  # type: ignore[union-attr]
    assert states == {State.RUNNING if is_full else State.QUEUED}
    ledger.put_back = put_back  # type: ignore[method-assign]
    place.work_off(dispatch, came)
    assert place.processes.executed == []
    executor.has_none = False
    place.work_off(dispatch, came)
    assert sorted(place.processes.executed) == sorted([A, B])
    reports = place.reports()
    assert [(reports[one]["status"], reports[one]["attempt"]) for one in (A, B)] == [
        ("succeeded", 1),
        ("succeeded", 1),
    ]
    assert dispatch.troubles == {}


def test_a_refused_job_waits_for_its_turn_among_its_name(tmp_path: Path) -> None:
    """It is no exception to the order accepted, and needs no slot."""
    place = Place(tmp_path)
    dispatch, ledger, came = place.start()
    place.accept(ledger, A, "same")
    why = Failure(error_type=ErrorType.INVALID_REQUEST, message="no")
    place.accept(ledger, B, "same", failure=why)
    dispatch.turn()
    refused = ledger.job(B)
    assert refused is not None
    assert refused.state is State.QUEUED
    place.work_off(dispatch, came)
    assert json.loads((place.outbox / "same.error.json").read_bytes())["job_id"] == B
    assert (place.outbox / ".history" / "same" / A / "same.result.json").exists()


def test_retries_are_counted(tmp_path: Path) -> None:
    """As many as were asked for, and then the failure stands."""
    place = Place(tmp_path)
    place.processes.outcome = failed(Failure(error_type=ErrorType.KERNEL_DIED, message="died"))
    dispatch, ledger, came = place.start()
    place.accept(ledger, A, "dies", retries=2)
    place.work_off(dispatch, came)
    assert place.processes.executed == [A, A, A]
    report = place.reports()[A]
    assert (report["error_type"], report["attempt"]) == ("kernel_died", 3)
    assert report["message"] == "died. All 3 attempts were used."


def test_the_last_message_says_what_to_do(tmp_path: Path) -> None:
    """Retries where none were asked for, more time up to the limit; nothing that was tried."""
    place = Place(tmp_path)
    dispatch, ledger, came = place.start()
    for number, (error_type, request, advice) in enumerate(
        [
            (ErrorType.KERNEL_DIED, "{}", "`retries` in the request"),
            (ErrorType.INTERRUPTED, "{}", "Run it again; with `retries`"),
            (ErrorType.TIMEOUT, "{}", "raise `timeout_seconds` in the request, up to 3600"),
            (ErrorType.TIMEOUT, '{"timeout_seconds": 3600}', "raise limits.max_run_seconds"),
        ]
    ):
        job_id = f"{number}" * 32
        place.processes.outcome = failed(Failure(error_type=error_type, message="It ended."))
        place.accept(ledger, job_id, f"ends{number}", request=request)
        place.work_off(dispatch, came)
        message = place.reports()[job_id]["message"]
        assert message.startswith("It ended. ")
        assert advice in message


def test_an_outbox_that_cannot_take_files_gets_them_later(tmp_path: Path) -> None:
    """The outcome is sealed with its files; they wait in the state folder."""
    place = Place(tmp_path)
    dispatch, ledger, came = place.start()
    place.accept(ledger, A, "later")
    away = tmp_path / "away"
    place.history.retire("later")
    real = place.processes.execute

    def execute(*arguments: Any) -> tuple[Outcome, bytes | None]:
        found = real(*arguments)
        place.outbox.rename(away)
        return found

    place.processes.execute = execute  # type: ignore[method-assign,assignment]
    place.work_off(dispatch, came)
    job = ledger.job(A)
    assert job is not None
    assert job.state is State.SEALED
    assert dispatch.troubles
    away.rename(place.outbox)
    place.work_off(dispatch, came)
    check_files(place, A, place.reports()[A])
    assert not dispatch.troubles


def test_a_ledger_that_cannot_take_an_outcome_gets_it_later(tmp_path: Path) -> None:
    """The job counts as running meanwhile, and health says why."""
    place = Place(tmp_path)
    dispatch, ledger, came = place.start()
    place.accept(ledger, A, "late")
    dispatch.turn()
    real = ledger.seal

    def busy(*_: Any, **__: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    ledger.seal = busy  # type: ignore[method-assign]
    dispatch.finish(came.pop())
    dispatch.turn()
    assert (dispatch.running, place.reports()) == (1, {})
    assert "record the ends of runs" in dispatch.troubles
    ledger.seal = real  # type: ignore[method-assign]
    place.work_off(dispatch, came)
    assert place.reports()[A]["status"] == "succeeded"
    assert (dispatch.running, dispatch.troubles) == (0, {})


class Unfinished(AtOnce):
    """Takes what is submitted, and lets it run until it is told to."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.calls.append(lambda: future.set_result(fn(*args, **kwargs)))
        return future


def _status(place: Place, name: str) -> dict[str, Any] | None:
    path = place.outbox / f"{name}.status.json"
    return json.loads(path.read_bytes()) if path.exists() else None


def test_a_status_is_there_a_tenth_of_a_second_after_acceptance(tmp_path: Path) -> None:
    """Of what runs and of what waits; the loop is told when to write it. None if it is over."""
    place = Place(tmp_path)
    executor = place.executor = Unfinished()
    dispatch, ledger, came = place.start()
    dispatch.write_status()
    place.accept(ledger, A, "runs")
    place.accept(ledger, B, "waits")
    dispatch.expect_status()
    dispatch.turn()
    dispatch.write_status()
    assert _status(place, "runs") is None, "it may be over at once"
    due = dispatch.next_due()
    assert due is not None
    assert due < 0.1
    place.clock += due
    dispatch.write_status()
    runs, waits = _status(place, "runs"), _status(place, "waits")
    assert runs is not None
    assert (runs["job_id"], runs["status"]) == (A, "running")
    assert waits is not None
    assert (waits["job_id"], waits["status"]) == (B, "queued")
    executor.calls.pop(0)()
    place.work_off(dispatch, came, 2)
    assert _status(place, "runs") is None
    place.clock += 0.1
    dispatch.write_status()
    waits = _status(place, "waits")
    assert waits is not None
    assert waits["status"] == "running"
    executor.calls.pop(0)()
    place.work_off(dispatch, came, 3)
    assert _status(place, "waits") is None
    dispatch.write_status()
    assert dispatch.next_due() is None
    ledger.close()


def test_status_files_of_a_slow_outbox_hold_up_nobody(tmp_path: Path) -> None:
    """They take a fifth of a second at once and a twentieth of the time, however many are due."""

    class SlowDisk(Disk):
        """Takes a quarter of a second for each status file."""

        def rename(self, source: Path, target: Path) -> None:
            if target.name.endswith(".status.json"):
                place.clock += 0.25
            super().rename(source, target)

    place = Place(tmp_path)
    place.executor = Unfinished()
    dispatch, ledger, _ = place.start(SlowDisk())
    for number in range(20):
        place.accept(ledger, f"{number:032x}", f"job{number}")
    dispatch.turn()
    for _ in range(100):
        place.clock += 0.1
        dispatch.write_status()
    ledger.close()
    assert 2 <= len(list(place.outbox.glob("*.status.json"))) <= 4
    assert place.clock < 11.1


def test_an_outcome_that_the_ledger_refuses_is_replaced_and_others_are_sealed(
    tmp_path: Path,
) -> None:
    """They end in the same round, and would share a transaction."""
    place = Place(tmp_path)
    place.processes.slots = 2
    dispatch, ledger, came = place.start()
    place.accept(ledger, A, "odd")
    place.accept(ledger, B, "good")
    real = ledger.seal

    def picky(seal: Seal, *, from_state: State) -> None:
        if seal.job_id == A and seal.outcome.failure is None:
            raise LookupError("nobody thought of this")
        real(seal, from_state=from_state)

    ledger.seal = picky  # type: ignore[method-assign]
    place.work_off(dispatch, came)
    reports = place.reports()
    assert (reports[A]["error_type"], reports[B]["status"]) == ("gateway_error", "succeeded")
    assert (dispatch.running, dispatch.troubles) == (0, {})


def test_nothing_starts_while_the_end_of_a_run_cannot_be_recorded(tmp_path: Path) -> None:
    """Ends that are in memory alone would be lost with the daemon; so they stay few."""
    place = Place(tmp_path)
    place.processes.slots = 1
    dispatch, ledger, came = place.start()
    for one in (A, B, C):
        place.accept(ledger, one, one)
    real = ledger.seal

    def full(seal: Seal, *, from_state: State) -> None:
        raise full_ledger()

    ledger.seal = full  # type: ignore[method-assign]
    place.work_off(dispatch, came)
    assert place.processes.executed == [A]
    with ledger.transaction():
        dispatch.reserve()
    dispatch.launch()
    assert place.processes.executed == [A]
    assert dispatch.troubles.keys() == {"record the ends of runs"}
    ledger.seal = real  # type: ignore[method-assign]
    place.work_off(dispatch, came)
    assert place.processes.executed == [A, B, C]
    assert {one["status"] for one in place.reports().values()} == {"succeeded"}
    assert dispatch.troubles == {}


def test_a_job_that_cannot_be_closed_holds_up_no_other(tmp_path: Path) -> None:
    """Its result is there; it is closed later, without a second result."""
    place = Place(tmp_path)
    place.processes.slots = 2
    dispatch, ledger, came = place.start()
    place.accept(ledger, A, "odd")
    place.accept(ledger, B, "good")
    real = ledger.published

    def picky(job_id: str, *more: Any) -> None:
        if job_id == A:
            raise LookupError("nobody thought of this")
        real(job_id, *more)

    ledger.published = picky  # type: ignore[method-assign,assignment]
    place.work_off(dispatch, came, 4)
    dispatch.close_published()
    states = [ledger.job(one).state for one in (A, B)]  # type: ignore[union-attr]
    assert states == [State.SEALED, State.CLOSED]
    assert place.reports().keys() == {A, B}
    ledger.published = real  # type: ignore[method-assign]
    place.work_off(dispatch, came)
    assert ledger.job(A).state is State.CLOSED  # type: ignore[union-attr]
    assert place.reports().keys() == {A, B}
    assert dispatch.troubles == {}
