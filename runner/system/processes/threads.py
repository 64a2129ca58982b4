"""Runs each call in a thread of its own; a call that gets no thread is never made.

Knows nothing of the calls.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

T = TypeVar("T")


class Threads(Executor):
    """Starts one thread for each call; the caller limits their number.

    `ThreadPoolExecutor` keeps a call for which the system gives no thread, and may run it later,
    though `submit` has raised.
    """

    def __init__(self, name: str) -> None:
        """Name the threads."""
        self._name = name

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Call `fn` in a thread of its own.

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

        threading.Thread(target=work, name=self._name).start()
        return future
