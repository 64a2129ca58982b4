"""A thread for each call, and none for two."""

import threading
from collections.abc import Iterator

import pytest

from runner.system.processes.threads import Threads
from tests.conftest import wait_for


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

    def none(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", none)
        with pytest.raises(RuntimeError, match="new thread"):
            threads.submit(called.append, 1)
    threads.submit(called.append, 2).result(30)
    assert called == [2]
