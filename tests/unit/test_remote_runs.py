"""Who may begin what: the rules of daemon and worker by which nothing runs twice."""

from collections.abc import Collection, Mapping
from typing import cast

from runner.contract.outcome import Outcome
from runner.contract.states.status import ErrorType, Status
from runner.execution.cluster.messages import Answer, Luggage, Parcel, RunSeen, Terms, Word
from runner.execution.cluster.placement import WorkerCapacity
from runner.execution.cluster.remote_runs import ENDING_SECONDS, Bounds, RemoteRun, RemoteRuns
from runner.execution.cluster.scheduler_link import WorkerState
from runner.execution.cluster.worker import _Run
from runner.execution.interface import Incarnation
from runner.execution.local.processes import JobProcesses
from runner.execution.order import Order, Progress
from runner.system.files.output_folder import FileCaps

A, B = "tcp://a:1", "tcp://b:1"
BOUNDS = Bounds(folder_bytes=0, caps=FileCaps(0, 0), lease_seconds=30, patience_seconds=0)


class Desk:
    """Sendings with a clock that stands still."""

    def __init__(self) -> None:
        self.now = 100.0
        self.told: list[str] = []
        self.sendings = RemoteRuns(
            Incarnation("i", 1),
            terms=Terms(),
            bounds=BOUNDS,
            tell=self.told.append,
            clock=lambda: self.now,
        )

    def send(self, attempt: int = 1) -> RemoteRun:
        order = Order(
            job_id="j", name="n", attempt=attempt, timeout_seconds=10, output_folder="/nowhere"
        )
        sending = RemoteRun(order, lambda *_: None, (A, B))
        self.sendings.add(sending)
        return sending

    def look(self, present: Collection[str] = (A, B), **processes: str) -> None:
        known: Mapping[str, WorkerState] = {
            address: WorkerState(
                WorkerCapacity(address, "h", 1), processes.get(name, "p"), 0, self.now
            )
            for name, address in (("a", A), ("b", B))
            if address in present
        }
        self.sendings.looked(present, known)


def test_the_first_that_asks_may_begin_and_nobody_else() -> None:
    """It may ask again; the same address in a new process may not."""
    desk = Desk()
    token = desk.send().token
    assert desk.sendings.may_begin(token, A, "p")
    assert desk.sendings.may_begin(token, A, "p")
    assert not desk.sendings.may_begin(token, B, "q")
    assert not desk.sendings.may_begin(token, A, "started anew")
    assert not desk.sendings.may_begin("unknown", A, "p")


def test_what_was_stopped_or_lost_before_nobody_may_begin() -> None:
    """The worker that asks late is told no."""
    desk = Desk()
    sending = desk.send()
    desk.sendings.stop("j", ErrorType.CANCELLED)
    assert sending.lost.is_set()
    assert not desk.sendings.may_begin(sending.token, A, "p")


def test_a_worker_hears_of_all_that_is_its_own() -> None:
    """Nothing of other workers, and reasons to stop until it has come back."""
    desk = Desk()
    one, other = desk.send(), desk.send()
    desk.sendings.may_begin(one.token, A, "p")
    desk.sendings.may_begin(other.token, B, "p")
    assert desk.sendings.word_for(A, denied=None, is_last=False).allowed == (one.token,)
    desk.sendings.stop("j", ErrorType.CANCELLED)
    assert sorted(desk.told) == [A, B]
    assert desk.sendings.word_for(A, denied=None, is_last=False).stops == {one.token: "cancelled"}
    desk.sendings.remove(one)
    assert desk.sendings.word_for(A, denied=None, is_last=False).allowed == ()


def test_a_run_is_lost_with_its_worker() -> None:
    """Gone, silent or started anew; one that is there keeps it until its time is over."""
    for present, more, why in (
        ((B,), {}, "left the cluster"),
        ((A, B), {"a": "new"}, "started anew"),
    ):
        desk = Desk()
        sending = desk.send()
        desk.sendings.may_begin(sending.token, A, "p")
        desk.look()
        assert not sending.lost.is_set()
        desk.look(present, **more)
        assert why in sending.why
    desk = Desk()
    sending = desk.send()
    desk.sendings.may_begin(sending.token, A, "p")
    desk.now += 1000
    desk.look()
    assert "in time" in sending.why


def test_what_was_sent_to_workers_that_are_gone_is_sent_anew() -> None:
    """Dask holds it for those alone, also where another one has come that could run it."""
    desk = Desk()
    sending = desk.send()
    sending.addresses = (A,)
    desk.look()
    assert not sending.lost.is_set()
    desk.look((B,))
    assert sending.lost.is_set()
    assert sending.worker is None


def test_another_attempt_waits_for_the_lease_of_the_one_before() -> None:
    """In this session and after a restart; a first attempt never waits."""
    desk = Desk()
    first, second = desk.send().order, desk.send(attempt=2).order
    assert not desk.sendings.is_fenced(first)
    assert desk.sendings.is_fenced(second)
    desk.now += BOUNDS.lease_seconds
    assert desk.sendings.is_fenced(second), "a run needs a moment to die"
    desk.now += ENDING_SECONDS
    assert not desk.sendings.is_fenced(second)
    desk.sendings.fence("j")
    assert desk.sendings.is_fenced(second)
    desk.now += BOUNDS.fence_seconds
    assert not desk.sendings.is_fenced(second)


def test_progress_is_told_once() -> None:
    """A worker repeats every second what it has to say."""
    desk, told = Desk(), list[Progress]()
    sending = desk.send()
    sending.on_progress = lambda _, progress: told.append(progress)
    for cell in (1, 1, 2):
        seen = RunSeen(token=sending.token, progress=Progress(cell=cell, cells=3))
        desk.sendings.heard(Answer(version="v", runs=(seen, RunSeen(token="other"))))
    assert [progress.cell for progress in told] == [1, 2]


def test_what_is_to_be_imported_anew_makes_other_terms() -> None:
    """Workers keep job processes by their terms."""
    desk = Desk()
    before = desk.sendings.word_for(A, denied=None, is_last=False).terms
    desk.sendings.renew()
    assert desk.sendings.word_for(A, denied=None, is_last=False).terms != before


def run_of(token: str) -> _Run:
    order = Order(job_id="j", name="n", timeout_seconds=1, output_folder="/nowhere")
    return _Run(Parcel("s", token, Terms(), order, b"", Luggage(), FileCaps(0, 0), 1.0))


def word(number: int, *allowed: str, denied: tuple[str, ...] = (), is_last: bool = False) -> Word:
    return Word(
        version="v",
        instance="i",
        start=1,
        session="s",
        number=number,
        lease_seconds=1,
        terms=Terms(),
        allowed=allowed,
        denied=denied,
        is_last=is_last,
    )


def test_a_word_from_before_the_permission_takes_nothing_back() -> None:
    """Words overtake one another on their way."""
    run = run_of("t")
    run.hear(word(7, "t"))
    assert run.decided.is_set()
    run.hear(word(6))
    assert run.stop is None
    run.hear(word(8, "t"))
    assert run.stop is None
    run.hear(word(9))
    assert run.stop is ErrorType.INTERRUPTED


def test_a_run_that_still_asks_is_not_ended_by_silence() -> None:
    """Only by a no, or by the last word of all."""
    run = run_of("t")
    run.hear(word(1))
    assert not run.decided.is_set()
    run.hear(word(2, denied=("t",)))
    assert run.decided.is_set()
    assert run.granted_by is None
    other = run_of("u")
    other.hear(word(3, is_last=True))
    assert other.stop is ErrorType.INTERRUPTED


class FakeProcesses:
    """Executes nothing, and keeps who is stopped."""

    def __init__(self) -> None:
        self.stopped: list[str] = []

    def execute(self, order: Order, *_: object) -> tuple[Outcome, None]:
        return Outcome(status=Status.SUCCEEDED), None

    def stop(self, job_id: str, _: ErrorType) -> None:
        self.stopped.append(job_id)


def test_what_is_said_of_a_run_that_is_over_is_not_said_of_its_next_attempt() -> None:
    """While its files are collected, job processes know nothing of it any more."""
    run, processes = run_of("t"), FakeProcesses()
    run.execute(cast(JobProcesses, processes), run.parcel.order)
    run.end(ErrorType.INTERRUPTED)
    assert processes.stopped == []
    early = run_of("u")
    early.end(ErrorType.CANCELLED)
    early.execute(cast(JobProcesses, processes), early.parcel.order)
    assert processes.stopped == ["j"]
