"""From inbox to ledger: accepted once, whatever fails in between."""

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from runner.config import Settings
from runner.contract.outcome import Failure, failed
from runner.contract.rules import BundleLimits
from runner.contract.states.status import ErrorType
from runner.daemon.receiving.admission import Admission
from runner.daemon.receiving.allowance import Allowance, Pace
from runner.daemon.receiving.cancels import Cancels
from runner.daemon.receiving.claiming import Books, Claiming, Intake
from runner.daemon.receiving.late_settings import LateSettings, settings_wait
from runner.daemon.receiving.reception import Reception, take_batch
from runner.inbox.bundles.pending import Bundles
from runner.inbox.bundles.store import InputStore
from runner.inbox.claim import Claims
from runner.inbox.library import LibraryReader, library_reader
from runner.inbox.scanning.inspection import Bounds
from runner.inbox.scanning.scan import Inbox, Selection
from runner.inbox.sidecars import sidecar_reader
from runner.inbox.unclaimed import Reason
from runner.outbox.history import History
from runner.outbox.publish import Outbox, OutboxGone
from runner.state.contents import Acceptance, Seal
from runner.state.jobs import Job, State
from runner.state.ledger import Ledger
from runner.system.clocks import Clocks
from runner.system.files.disk import Disk
from tests.conftest import code, notebook, wait_for
from tests.faults.failing import Crash, FailingDisk, no_space

RAW = json.dumps(notebook(code("1"))).encode()
MB = 1024 * 1024


class Place:
    """The folders of one runner, and what it would be made of at its next start."""

    def __init__(self, root: Path) -> None:
        self.inbox, self.outbox, self.state = root / "inbox", root / "outbox", root / "state"
        self.library = root / "notebooks"
        for folder in (self.inbox, self.outbox, self.state, self.library):
            folder.mkdir(parents=True)
        self.now = datetime(2026, 1, 2, tzinfo=UTC)
        self.ids = 0
        self.seconds = 0.0

    def start(
        self,
        disk: Disk | None = None,
        library: LibraryReader | None = None,
        queue: int = 100_000,
        pace: Pace | None = None,
    ) -> tuple[Reception, Ledger]:
        disk = disk or Disk()
        clocks = Clocks(lambda: self.seconds, lambda: self.now, lambda: 10**19)
        ledger, outbox = Ledger(self.state), Outbox(self.outbox, disk)
        self.late_settings = LateSettings(ledger, outbox, clocks)
        inputs = InputStore(self.state, disk)
        bundles = Bundles(self.inbox, BundleLimits(), inputs)
        selection = Selection(Bounds(5 * MB, broken_seconds=15), bundles=bundles)
        inbox = self.listed = Inbox(
            self.inbox, selection, clocks, settings_wait=self.late_settings.wait
        )
        intake = Intake(inbox, Claims(self.inbox, 5 * MB, disk, map, inputs.has), inputs)
        history, cancels = History(ledger, outbox, clocks), Cancels(ledger, outbox, clocks)
        books = Books(ledger, history, self.late_settings, cancels, clocks)
        claiming = Claiming(intake, books, new_id=self._new_id)
        reader = library or library_reader(self.library, 5 * MB)
        admission = Admission(
            Settings().request_rules,
            Settings().limits.notebook_mb,
            reader,
            sidecar_reader(self.library),
        )
        allowance = Allowance(ledger, queue, pace)
        return Reception(intake, books, claiming, admission, allowance), ledger

    def _new_id(self) -> str:
        self.ids += 1
        return f"{self.ids:032x}"

    def drop(self) -> None:
        (self.inbox / "sub").mkdir()
        (self.inbox / "sub" / "a.yaml").write_text("parameters: {x: 1}\n")
        (self.inbox / "sub" / "a.ipynb").write_bytes(RAW)
        (self.inbox / "b.json").write_text(json.dumps({"notebook": notebook("2"), "id": "f" * 32}))
        (self.inbox / "large.ipynb").write_bytes(b" " * (5 * MB + 1))
        (self.outbox / "b.result.json").write_text('{"somebody": "else"}')


class Came(NamedTuple):
    accepted: int
    cancelled: tuple[str, ...]


def receive(reception: Reception) -> Came:
    """One batch, as the daemon takes it."""
    received = take_batch(reception, reception._ledger)
    reception.release(received.batch)
    return Came(len(received.entries.accepted), received.entries.cancelled)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("failure", [Crash, no_space])
def test_every_drop_becomes_one_job_whatever_fails(
    tmp_path: Path, after: bool, failure: Callable[[], BaseException]
) -> None:
    """Fail the n-th change to the disk, n = 1, 2, 3 …, start again, and count.

    Nothing that was dropped is gone before the ledger has it, settings stay with their notebook,
    and what was too large to be read is kept.
    """
    at, clean = 0, False
    while not clean:
        at += 1
        place = Place(tmp_path / f"{after}{failure.__name__}{at}")
        place.drop()
        disk = FailingDisk(at, after=after, failure=failure)
        reception, ledger = place.start(disk)
        with contextlib.suppress(Crash, OSError):
            receive(reception)
        clean = disk.is_clean
        ledger.close()
        reception, ledger = place.start()
        for _ in range(3):
            receive(reception)
        jobs = ledger.jobs()
        told = f"change {at}"
        assert sorted(job.name for job in jobs) == ["b", "large", "sub/a"], told
        by_name = {job.name: job for job in jobs}
        assert by_name["b"].job_id == "f" * 32, told
        asked = ledger.input_of(by_name["sub/a"].job_id)
        assert asked is not None
        assert asked.notebook == RAW, told
        assert json.loads(asked.request) == {"parameters": {"x": 1}}, told
        assert by_name["large"].refused, told
        left = [
            p.relative_to(place.inbox).as_posix() for p in place.inbox.rglob("*") if p.is_file()
        ]
        assert [name[:15] for name in left] == [".refused/large-"], told
        kept = list(place.outbox.glob(".history/b/unknown-*/b.result.json"))
        assert len(kept) == 1, told
        ledger.close()
    assert at > 10


def test_many_drops_share_one_transaction(tmp_path: Path) -> None:
    """One commit for a batch, so that a burst does not wait for a sync each."""
    place = Place(tmp_path / "p")
    for number in range(50):
        (place.inbox / f"n{number}.ipynb").write_bytes(RAW)
    reception, ledger = place.start()
    commits: list[str] = []
    ledger._db.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)
    assert receive(reception).accepted == 50
    assert len(commits) == 1


def test_a_full_queue_leaves_the_rest_in_the_inbox(tmp_path: Path) -> None:
    """Nothing is refused; it is taken when there is room."""
    place = Place(tmp_path / "p")
    for number in range(5):
        (place.inbox / f"n{number}.ipynb").write_bytes(RAW)
    reception, ledger = place.start(queue=3)
    assert receive(reception).accepted == 3
    assert receive(reception).accepted == 0
    assert len(list(place.inbox.glob("*.ipynb"))) == 2
    ledger.start(ledger.queued(1)[0].job_id, "2026-01-02T00:00:00+00:00")
    assert receive(reception).accepted == 1


def test_so_many_are_accepted_in_a_minute_and_the_rest_waits(tmp_path: Path) -> None:
    """A minute's worth at once, then one after the other as time goes; none is lost."""
    place = Place(tmp_path / "p")
    for number in range(10):
        (place.inbox / f"n{number}.ipynb").write_bytes(RAW)
    at = 0.0
    reception, _ = place.start(pace=Pace(4, lambda: at))
    assert receive(reception).accepted == 4
    assert reception.is_held_back
    assert receive(reception).accepted == 0
    at = 16.0
    assert receive(reception).accepted == 1
    at = 1000.0
    assert receive(reception).accepted == 4
    assert len(list(place.inbox.glob("*.ipynb"))) == 1


def test_nothing_leaves_the_inbox_while_the_outbox_is_gone(tmp_path: Path) -> None:
    """Its results would have nowhere to go."""
    place = Place(tmp_path / "p")
    (place.inbox / "a.ipynb").write_bytes(RAW)
    reception, ledger = place.start()
    place.outbox.rename(tmp_path / "away")
    with pytest.raises(OutboxGone):
        receive(reception)
    assert (place.inbox / "a.ipynb").read_bytes() == RAW
    (tmp_path / "away").rename(place.outbox)
    assert receive(reception).accepted == 1
    assert len(ledger.jobs()) == 1


def test_settings_that_waited_long_are_told_with_their_age(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may be forgotten ones of another notebook of the name."""
    place = Place(tmp_path)
    reception, ledger = place.start()
    place.drop()
    receive(reception)
    assert ledger.warnings_of(named(ledger, "sub/a").job_id) == []
    monkeypatch.setattr("runner.daemon.receiving.admission.OLD_SECONDS", -1.0)
    (place.inbox / "old.yaml").write_text("parameters: {x: 1}\n")
    (place.inbox / "old.ipynb").write_bytes(RAW)
    receive(reception)
    [warning] = ledger.warnings_of(named(ledger, "old").job_id)
    assert warning == (
        "The settings 'old.yaml' lay in the inbox for 0.0 minutes before 'old.ipynb' came, and "
        "were used for it."
    )


def test_a_folder_that_is_ready_and_has_no_notebook_is_answered(tmp_path: Path) -> None:
    """Once nobody puts one in; one without `.ready` may be somebody's data."""
    place = Place(tmp_path)
    reception, ledger = place.start()
    for name, file in (("n.job", ".ready"), ("data.job", "a.csv")):
        (place.inbox / name).mkdir()
        (place.inbox / name / file).touch()
    waits = {"n.job": Reason.INCOMPLETE, "data.job": Reason.SETTLING}

    def listed() -> dict[str, Reason]:
        receive(reception)
        return {one.path.rstrip("/"): one.reason for one in place.listed.waiting.files}

    wait_for(lambda: listed() == waits)
    place.seconds = 16
    wait_for(lambda: listed() == {"data.job": Reason.NO_NOTEBOOK})
    [job] = ledger.jobs()
    assert job.name == "n"
    stored = ledger.input_of(job.job_id)
    assert stored is not None
    assert stored.failure is not None
    assert "has a file .ready, and neither a notebook nor a request.yaml" in stored.failure.message


def named(ledger: Ledger, name: str) -> Job:
    return next(job for job in ledger.jobs() if job.name == name)


def test_settings_are_late_for_sixty_seconds_only(tmp_path: Path) -> None:
    """After that they wait for the next notebook, as settings that came first do."""
    place = Place(tmp_path / "p")
    (place.inbox / "a.ipynb").write_bytes(RAW)
    reception, ledger = place.start()
    receive(reception)
    assert place.late_settings.wait("a", 0.0) is not None
    place.now += timedelta(seconds=61)
    assert place.late_settings.wait("a", 0.0) is None
    (place.inbox / "a.yaml").write_text("parameters: {x: 1}\n")
    receive(reception)
    assert (place.inbox / "a.yaml").exists()
    (place.inbox / "a.ipynb").write_bytes(RAW)
    receive(reception)
    newest = ledger.latest("a")
    assert newest is not None
    asked = ledger.input_of(newest.job_id)
    assert asked is not None
    assert json.loads(asked.request) == {"parameters": {"x": 1}}


def test_a_cancel_reaches_what_is_queued_under_the_name(tmp_path: Path) -> None:
    """All of it, and the file is gone."""
    place = Place(tmp_path / "p")
    reception, ledger = place.start()
    for _ in range(2):
        (place.inbox / "a.ipynb").write_bytes(RAW)
        receive(reception)
    (place.inbox / "a.cancel").touch()
    received = receive(reception)
    assert len(received.cancelled) == 2
    assert all(job.cancelled and job.state is State.QUEUED for job in ledger.jobs())
    assert not list(place.inbox.glob("*.cancel"))
    assert not list(place.outbox.glob("*.cancelled.json"))


def test_a_cancel_for_nothing_is_answered_with_similar_names(tmp_path: Path) -> None:
    """By name or by id; the answer goes with the next request of that name."""
    place = Place(tmp_path / "p")
    reception, ledger = place.start()
    (place.inbox / "sales").mkdir()
    (place.inbox / "sales" / "daily.ipynb").write_bytes(RAW)
    receive(reception)
    [job] = ledger.jobs()

    def answer_to(name: str, content: str = "") -> dict[str, Any]:
        file = place.inbox / f"{name}.cancel"
        file.parent.mkdir(exist_ok=True)
        file.write_text(content)
        assert receive(reception).cancelled == ()
        assert not file.exists()
        answer: dict[str, Any] = json.loads((place.outbox / f"{name}.cancelled.json").read_bytes())
        return answer

    answer = answer_to("sales/dialy")
    assert (answer["name"], answer["status"]) == ("sales/dialy", "nothing_to_cancel")
    here = {"name": "sales/daily", "job_id": job.job_id, "status": "queued"}
    assert answer["similar"] == [here]
    assert "No job named 'sales/dialy' waits or runs." in answer["message"]
    assert "Did you mean 'sales/daily'?" in answer["message"]
    assert answer_to("quite-another")["similar"] == []
    for number in range(250):
        job_id, at = f"f{number:031x}", "2026-01-02T03:04:05.000+00:00"
        odd = {120: "weekly/sums", 130: "weekly/sums-of-all"}
        name = odd.get(number, f"{number:08b}")
        ledger.accept(Acceptance(job_id, name, "{}", RAW, "", "", at))
    over = failed(Failure(error_type=ErrorType.CANCELLED, message="over"))
    ledger.seal(Seal(f"f{120:031x}", over, None, (), at), from_state=State.QUEUED)
    many = answer_to("weekly/summs")
    assert [one["name"] for one in many["similar"]] == ["weekly/sums-of-all"]
    assert "Did you mean 'weekly/sums-of-all'?" in many["message"]
    assert f"{'f' * 32!r} waits or runs" in answer_to("by-id", "f" * 32)["message"]
    (place.inbox / "by-id.ipynb").write_bytes(RAW)
    receive(reception)
    assert not (place.outbox / "by-id.cancelled.json").exists()
    ledger.close()


@pytest.mark.parametrize(
    ("zone", "days"),
    [("UTC", ["2026-01-01", "2026-01-02"]), ("America/Lima", ["2026-01-01", "2026-01-01"])],
)
def test_a_day_of_the_library_is_that_of_the_runners_zone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zone: str, days: list[str]
) -> None:
    """Written down with the job; a value of the request counts before it."""
    place = Place(tmp_path / "p")
    (place.library / "a.ipynb").write_bytes(RAW)
    day = "{type: string, format: date, default: %s}"
    (place.library / "a.parameters.yaml").write_text(
        f"properties: {{first: {day % 'month_start'}, last: {day % 'today'}, n: {{default: 5}}}}"
    )
    (place.library / "b.ipynb").write_bytes(RAW)
    (place.library / "b.parameters.yaml").write_text("properties: 1\n")
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    place.now = datetime(2026, 1, 2, 1, 30, tzinfo=UTC)
    reception, ledger = place.start()
    (place.inbox / "a.json").write_text(json.dumps({"notebook": "a.ipynb"}))
    own = {"notebook": "a.ipynb", "parameters": {"first": "x", "last": None}}
    (place.inbox / "own.json").write_text(json.dumps(own))
    (place.inbox / "b.json").write_text(json.dumps({"notebook": "b.ipynb"}))
    assert receive(reception).accepted == 3
    monkeypatch.undo()
    time.tzset()
    jobs = {job.name: job for job in ledger.jobs()}
    requests = {}
    for name in ("a", "own"):
        found = ledger.input_of(jobs[name].job_id)
        assert found is not None
        requests[name] = json.loads(found.request)["parameters"]
    assert requests["a"] == {"first": days[0], "last": days[1], "n": 5}
    assert requests["own"] == {"first": "x", "last": None, "n": 5}
    assert [name for name, job in jobs.items() if job.refused] == ["b"]


def test_a_drop_that_nobody_thought_of_is_refused_alone(tmp_path: Path) -> None:
    """The error is its outcome; the others of its batch are accepted."""

    def raises(path: str) -> bytes:
        raise LookupError("nobody thought of this")

    place = Place(tmp_path / "p")
    reception, ledger = place.start(library=raises)
    (place.inbox / "odd.json").write_text(json.dumps({"notebook": "a.ipynb"}))
    (place.inbox / "good.ipynb").write_bytes(RAW)
    assert receive(reception).accepted == 2
    jobs = {job.name: job for job in ledger.jobs()}
    assert jobs["odd"].refused
    assert not jobs["good"].refused
    assert not list(place.inbox.iterdir())


@pytest.mark.parametrize(
    ("came", "over", "expected"),
    [
        (0.1, None, 1.0),
        (0.1, 0.05, 60.0),
        (5, None, 60.0),
        (30, 10, 60.0),
        (59, 10, 60.0),
        (61, 10, None),
        (-0.1, None, 1.0),
    ],
)
def test_settings_wait_for_the_notebook_that_follows(
    tmp_path: Path, came: float, over: float | None, expected: float | None
) -> None:
    """A moment where they came with a job whose end nobody could have seen; else a minute."""
    place = Place(tmp_path / "p")
    (place.inbox / "a.ipynb").write_bytes(RAW)
    reception, ledger = place.start()
    receive(reception)
    job = ledger.latest("a")
    assert job is not None
    accepted = place.now
    ended = None if over is None else (accepted + timedelta(seconds=over)).isoformat()
    job = replace(job, finished_at=ended)
    arrived = accepted + timedelta(seconds=came)
    assert settings_wait(job, arrived=arrived, now=arrived) == expected
    assert settings_wait(None, arrived=arrived, now=arrived) is None
    if expected is not None:
        later = arrived + timedelta(seconds=expected + 1)
        assert settings_wait(job, arrived=arrived, now=later) == 0


def test_what_cannot_be_taken_away_is_tried_after_growing_pauses(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Seven times in two minutes, said once, listed with its reason; others are not held up."""
    place = Place(tmp_path / "p")
    (place.inbox / "mine.ipynb").write_bytes(RAW)
    tries: list[float] = []

    class Sticky(Disk):
        def rename(self, old: Path, new: Path) -> None:
            if old.name == "mine.ipynb":
                tries.append(place.seconds)
                raise PermissionError(1, "Operation not permitted")
            super().rename(old, new)

    reception, ledger = place.start(Sticky())
    for second in range(121):
        place.seconds = second
        if second == 60:
            (place.inbox / "other.ipynb").write_bytes(RAW)
        receive(reception)
        assert [path.name for path in place.inbox.glob(".claim-*")] == []
    assert tries == [0, 1, 3, 7, 15, 31, 63]
    assert [job.name for job in ledger.jobs()] == ["other"]
    waiting = place.listed.waiting.files
    assert [(one.path, one.reason, one.needs_care) for one in waiting] == [
        ("mine.ipynb", Reason.NOT_REMOVABLE, True)
    ]
    assert "Operation not permitted" in waiting[0].text
    assert caplog.text.count("'mine.ipynb' stays in the inbox") == 1
    (place.inbox / "mine.ipynb").chmod(0o600)  # something about it changed: it is tried at once
    receive(reception)
    assert tries[-1] == 120


def test_old_results_that_cannot_be_moved_are_said_once_and_leave_no_trace(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The drop is listed with the reason; tries leave one empty place, which is used in the end."""
    place = Place(tmp_path / "p")
    (place.outbox / "a.result.json").write_text("somebody's")
    (place.inbox / "a.ipynb").write_bytes(RAW)
    (place.inbox / "other.ipynb").write_bytes(RAW)
    tries: list[float] = []
    is_mended = False

    class Immutable(Disk):
        def rename(self, old: Path, new: Path) -> None:
            if old.name == "a.result.json" and not is_mended:
                tries.append(place.seconds)
                raise PermissionError(1, "Operation not permitted", str(old), None, str(new))
            super().rename(old, new)

    reception, ledger = place.start(Immutable())
    for second in range(121):
        place.seconds, place.now = second, place.now + timedelta(seconds=1)
        receive(reception)
    assert len(tries) > 5
    assert [job.name for job in ledger.jobs()] == ["other"]
    waiting = place.listed.waiting.files
    assert [(one.path, one.reason) for one in waiting] == [("a.ipynb", Reason.BLOCKED)]
    assert "Operation not permitted" in waiting[0].text
    assert caplog.text.count("a stays in the inbox") == 1
    kept = list((place.outbox / ".history" / "a").iterdir())
    assert len(kept) == 1
    is_mended = True
    place.seconds += 61
    assert receive(reception).accepted == 1
    assert (kept[0] / "a.result.json").read_text() == "somebody's"
    assert list((place.outbox / ".history" / "a").iterdir()) == kept
    receive(reception)
    assert place.listed.waiting.files == ()
