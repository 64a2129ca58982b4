"""A thread for each call, and none for two."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from runner.system.processes.threads import SideBySide, Threads
from tests.conftest import wait_for


@contextmanager
def without_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The system gives none meanwhile."""

    def none(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", none)
        yield


@pytest.fixture
def threads() -> Iterator[Threads]:
    with Threads("job") as threads:
        yield threads


def test_calls_run_side_by_side_and_bring_back_what_they_gave(threads: Threads) -> None:
    """Each in a thread of its own."""
    both = threading.Barrier(2)

    def meet(value: int) -> tuple[int, str]:
        both.wait(30)
        return value, threading.current_thread().name

    futures = [threads.submit(meet, value) for value in (1, 2)]
    assert [future.result(30) for future in futures] == [(1, "job"), (2, "job")]


def test_a_thread_serves_again_and_ends_with_the_others() -> None:
    """To start one costs more than a short call; none is left once they are shut."""
    with Threads("job") as threads:
        used = []
        for _ in range(100):
            used.append(threads.submit(threading.current_thread).result(30))
            wait_for(lambda: threads._waiting)
    assert len(set(used)) == 1
    used[0].join(30)
    assert not used[0].is_alive()


def test_a_thread_that_works_at_the_end_ends_after_it() -> None:
    """And its call is made."""
    threads, go_on = Threads("job"), threading.Event()
    working = threads.submit(lambda: (go_on.wait(30), threading.current_thread())[1])
    threads.shutdown()
    go_on.set()
    thread = working.result(30)
    thread.join(30)
    assert not thread.is_alive()


def test_what_a_call_raises_is_the_futures(threads: Threads) -> None:
    """Also what ends a thread."""

    def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        threads.submit(leave).result(30)


def test_what_gets_no_thread_is_never_called(
    threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even when there is one again, as in a pool."""
    called: list[int] = []
    with without_threads(monkeypatch), pytest.raises(RuntimeError, match="new thread"):
        threads.submit(called.append, 1)
    threads.submit(called.append, 2).result(30)
    assert called == [2]


@pytest.fixture
def side_by_side() -> Iterator[SideBySide]:
    threads = SideBySide("side", 3)
    yield threads
    threads.shutdown()


@pytest.mark.parametrize("count", [0, 1, 2, 4, 11])
def test_results_come_in_the_order_of_the_values(side_by_side: SideBySide, count: int) -> None:
    """However they are dealt out."""
    assert list(side_by_side(str, range(count))) == [str(number) for number in range(count)]


def test_the_caller_works_too(side_by_side: SideBySide) -> None:
    """Four wait for each other in three threads and the caller's."""
    four = threading.Barrier(4)
    places = list(side_by_side(lambda _: (four.wait(30), threading.current_thread())[1], range(4)))
    assert threading.current_thread() in places
    assert len(set(places)) == 4


@pytest.mark.parametrize("bad", [0, 2])
def test_an_error_comes_once_all_others_are_done(side_by_side: SideBySide, bad: int) -> None:
    """Nothing goes on behind the caller's back."""
    done = list[int]()

    def work(value: int) -> None:
        if value == bad:
            raise OSError(5, "no")
        done.append(value)

    with pytest.raises(OSError, match="no"):
        side_by_side(work, range(4))
    assert sorted(done) == [value for value in range(4) if value != bad]


def test_the_caller_does_it_all_where_there_are_no_threads(
    side_by_side: SideBySide, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, though a pool keeps calls for which it got no thread, and makes them later."""
    called: list[int] = []
    with without_threads(monkeypatch):
        side_by_side(called.append, range(4))
    assert sorted(called) == [0, 1, 2, 3]
    side_by_side(called.append, range(4, 8))
    assert sorted(called) == [*range(8)]
