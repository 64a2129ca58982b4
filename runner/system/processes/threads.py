"""Runs calls in threads: each in one that nobody else uses, or one call for many values at once.

A call that gets no thread of its own is never made.

Knows nothing of the calls.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")
V = TypeVar("V")
Calls = queue.SimpleQueue[Callable[[], None] | None]

MOST_WAITING = 32
"""How many threads wait for the next call; more of them end."""


class Threads(Executor):
    """Gives each call a thread at once, a waiting one or a new one; the caller limits their number.

    `ThreadPoolExecutor` keeps a call for which the system gives no thread, and may run it later,
    though `submit` has raised. To start a thread for each call would cost more than a short call.
    """

    def __init__(self, name: str) -> None:
        """Name the threads."""
        self._name = name
        self._waiting: list[Calls] = []
        self._is_shut = False

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Call `fn` in a thread that does nothing else meanwhile.

        Raises:
            RuntimeError: the system gives no more threads. Then `fn` is never called.
        """
        future: Future[T] = Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - it is the caller's to look at
                future.set_exception(error)
            else:
                future.set_result(result)

        try:
            calls = self._waiting.pop()
        except IndexError:
            calls = Calls()
            threading.Thread(target=self._serve, args=(calls,), name=self._name).start()
        calls.put(work)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002
        """End the threads that wait, and the others after their calls; await none of them."""
        self._is_shut = True
        with suppress(IndexError):  # a thread that ends its last call takes part in this
            while True:
                self._waiting.pop().put(None)

    def _serve(self, calls: Calls) -> None:
        """Make the calls that come, one after the other."""
        while (call := calls.get()) is not None:
            call()
            del call  # and all that it holds
            if len(self._waiting) >= MOST_WAITING:
                return
            self._waiting.append(calls)
            if self._is_shut:
                self.shutdown()


class SideBySide:
    """Applies a function to many values in a few threads, of which the caller's is one.

    For calls that wait for a disk, which serves several as quickly as one. Where the system gives
    no thread, the caller's does all.
    """

    def __init__(self, name: str, threads: int) -> None:
        """Name the threads, and say how many there may be besides the caller's."""
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)

    def __call__(self, fn: Callable[[V], T], values: Iterable[V]) -> Iterable[T]:
        """Apply `fn` to all values, and give the results in their order.

        The values are dealt out in shares: to hand each over by itself costs more than a quick
        sync.

        Raises:
            an exception of a call, once all calls are over.
        """
        given = list(values)
        count = min(len(given), self._threads + 1)
        if count < 2:
            return [fn(value) for value in given]
        shares = [given[first::count] for first in range(count)]
        results: list[list[T]] = [[] for _ in shares]
        left = deque(range(count))

        def work() -> None:
            while (number := _taken(left)) is not None:
                results[number] = [fn(value) for value in shares[number]]

        others: list[Future[None]] = []
        with suppress(RuntimeError):  # the system gives no thread: whoever is there does it all
            for _ in shares[1:]:
                others.append(self._pool.submit(work))
        try:
            work()
        finally:
            wait(others)
            left.clear()  # the pool keeps a call without a thread, and makes it later
        for other in others:
            other.result()
        return [results[number % count][number // count] for number in range(len(given))]

    def shutdown(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _taken(left: deque[int]) -> int | None:
    """Take the first; None if there is none left."""
    try:
        return left.popleft()
    except IndexError:
        return None
