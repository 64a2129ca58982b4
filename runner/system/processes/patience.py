"""Makes calls that may never return, such as on a dead mount, and waits only so long for them.

Each call has a thread or a process of its own; a hanging one is left behind and never begun a
second time. Knows nothing of the calls.
"""

import os
import pickle
import select
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")


class NoAnswer(Exception):
    """A call has not returned: for so many `seconds` now."""

    def __str__(self) -> str:
        return f"does not answer, for {self.args[0]:.0f} s now"


@dataclass
class _Look:
    since: float
    done: threading.Event = field(default_factory=threading.Event)
    answer: Any = None
    error: BaseException | None = None


class Looks:
    """Calls in threads, for a long-lived process. Safe for many threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._pending: dict[Hashable, _Look] = {}

    def begin(self, key: Hashable, look: Callable[[], object]) -> None:
        """Begin a call, unless the one of this key is still under way."""
        self._begun(key, look)

    def _begun(self, key: Hashable, look: Callable[[], object]) -> _Look:
        with self._lock:
            if key in self._pending:
                return self._pending[key]
            pending = self._pending[key] = _Look(self._clock())
        threading.Thread(
            target=self._run, args=(key, pending, look), name="look", daemon=True
        ).start()
        return pending

    def ask(self, key: Hashable, look: Callable[[], T], seconds: float) -> T:
        """Return or raise the result of `look`, or of the call of this key that is under way.

        Raises:
            NoAnswer: nothing came within so many seconds since it was begun.
        """
        pending = self._begun(key, look)
        left = pending.since + seconds - self._clock()
        if not pending.done.wait(max(left, 0.0)):
            raise NoAnswer(self._clock() - pending.since)
        if pending.error is not None:
            raise pending.error
        answer: T = pending.answer
        return answer

    def _run(self, key: Hashable, pending: _Look, look: Callable[[], object]) -> None:
        try:
            pending.answer = look()
        except BaseException as error:  # noqa: BLE001  whoever asks gets it
            pending.error = error
        with self._lock:
            self._pending.pop(key, None)
        pending.done.set()


@dataclass(frozen=True)
class _Answer(Generic[T]):
    value: T | None
    error: Exception | None


def ask_apart(looks: Mapping[str, Callable[[], T]], seconds: float) -> dict[str, T | NoAnswer]:
    """Return the result of each call, made in processes of their own; for short programs.

    A process that waits for a dead mount may not even be killed, and its threads would keep this
    program from its end; a child that hangs is left to itself.

    Raises:
        Exception: the one that a call raised.
    """
    began = time.monotonic()
    reading = {key: _fork(look) for key, look in looks.items()}
    answers: dict[str, T | NoAnswer] = {}
    for key, fd in reading.items():
        answer = _read(fd, began + seconds)
        if answer is None:
            answers[key] = NoAnswer(time.monotonic() - began)
        elif answer.error is not None:
            raise answer.error
        else:
            answers[key] = cast(T, answer.value)
    return answers


def _fork(look: Callable[[], object]) -> int:
    """Fork a child that makes the call; return the pipe of its answer."""
    ours, theirs = os.pipe()
    if os.fork() != 0:
        os.close(theirs)
        return ours
    try:
        os.setsid()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):  # a reader of our caller's output must not wait for us
            os.dup2(nowhere, fd)
        os.close(ours)
        with open(theirs, "wb") as file:
            pickle.dump(_answer_of(look), file)
    finally:
        os._exit(0)


def _answer_of(look: Callable[[], object]) -> _Answer[object]:
    try:
        return _Answer(look(), None)
    except Exception as error:  # noqa: BLE001  whoever asks gets it
        return _Answer(None, error)


def _read(fd: int, until: float) -> _Answer[Any] | None:
    """Read a whole answer; None if it does not come in time."""
    raw = b""
    try:
        while True:
            left = until - time.monotonic()
            if not select.select([fd], [], [], max(left, 0.0))[0]:
                return None
            chunk = os.read(fd, 1 << 16)
            if not chunk:
                break
            raw += chunk
    finally:
        os.close(fd)
    answer: _Answer[Any] | None = pickle.loads(raw) if raw else None  # noqa: S301  our own child's
    return answer
