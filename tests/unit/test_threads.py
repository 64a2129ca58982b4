"""A thread for each call."""

import threading

import pytest

from runner.system.processes.threads import Threads


def test_calls_run_side_by_side_and_bring_back_what_they_gave() -> None:
    """Each in a thread of its own."""
    threads, both = Threads("job"), threading.Barrier(2)

    def meet(value: int) -> tuple[int, str]:
        both.wait(30)
        return value, threading.current_thread().name

    futures = [threads.submit(meet, value) for value in (1, 2)]
    assert [future.result(30) for future in futures] == [(1, "job"), (2, "job")]


def test_what_a_call_raises_is_the_futures() -> None:
    """Also what ends a thread."""

    def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        Threads("job").submit(leave).result(30)


def test_what_gets_no_thread_is_never_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even when there is one again, as in a pool."""
    called: list[int] = []
    threads = Threads("job")

    def none(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", none)
        with pytest.raises(RuntimeError, match="new thread"):
            threads.submit(called.append, 1)
    threads.submit(called.append, 2).result(30)
    assert called == [2]
