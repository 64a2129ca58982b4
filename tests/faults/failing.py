"""Disks that count every change, and one that fails at its n-th: before it is made, or after."""

import errno
import os
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

import runner
from runner.system.files.disk import Disk, Fill

PROGRAM = f"{Path(runner.__file__).parent}{os.sep}"
T = TypeVar("T")
Place = tuple[str | tuple[str, int], ...]


def place_of(what: str) -> Place:
    """Where the program makes a step: its kind, and the lines of the program that lead to it."""
    place: list[str | tuple[str, int]] = [what]
    frame = sys._getframe(1)
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code.co_filename.startswith(PROGRAM):
            place.append((frame.f_code.co_filename, frame.f_lineno))
    return tuple(place)


class Crash(BaseException):
    """The process is gone; nothing after this point ran."""


class SteppedDisk(Disk):
    """A real disk on which every change, and every sync inside of one, is a step."""

    def step(self, what: str, *paths: Path) -> AbstractContextManager[None]:
        """Around each change, of these paths."""
        raise NotImplementedError

    def make_folder(self, path: Path) -> bool:
        with self.step("make_folder", path):
            return super().make_folder(path)

    def write(self, path: Path, content: bytes, why: str | None = None) -> None:
        with self.step("write", path):
            super().write(path, content, why)

    def append(self, path: Path, size: int, content: bytes, why: str) -> None:
        with self.step("append", path):
            super().append(path, size, content, why)

    def create_whole(self, path: Path, content: bytes | Fill, why: str) -> None:
        with self.step("create_whole", path):
            super().create_whole(path, content, why)

    def fill(self, path: Path, write: Callable[[IO[bytes]], T], why: str) -> T:
        with self.step("fill", path):
            return super().fill(path, write, why)

    def copy(self, source: int, target: Path, why: str) -> Iterator[bytes]:
        with self.step("copy", target):
            yield from super().copy(source, target, why)

    def sync(self, fd: int, why: str) -> None:
        with self.step("sync", Path(os.readlink(f"/proc/self/fd/{fd}"))):
            super().sync(fd, why)

    def rename(self, old: Path, new: Path) -> None:
        with self.step("rename", old, new):
            super().rename(old, new)

    def link(self, old: Path, new: Path) -> None:
        with self.step("link", old, new):
            super().link(old, new)

    def unlink(self, path: Path) -> None:
        with self.step("unlink", path):
            super().unlink(path)

    def remove_folder(self, path: Path) -> None:
        with self.step("remove_folder", path):
            super().remove_folder(path)

    def remove_tree(self, path: Path) -> None:
        with self.step("remove_tree", path):
            super().remove_tree(path)


@dataclass(frozen=True)
class Step:
    """A step in an act of a story, of those that may fail: its place, and how often it came."""

    act: int
    place: Place
    time: int


class Steps:
    """Counts the steps that may fail: those for which `failure` gives an error."""

    def __init__(self, failure: Callable[[str], BaseException | None]) -> None:
        self.made: list[Step] = []
        self._failure = failure
        self._times: Counter[tuple[int, Place]] = Counter()

    @contextmanager
    def step(self, what: str, act: int) -> Iterator[None]:
        if self._failure(what) is not None:
            self._count(what, act)
        yield

    def _count(self, what: str, act: int) -> Step:
        place = place_of(what)
        self._times[act, place] += 1
        self.made.append(Step(act, place, self._times[act, place]))
        return self.made[-1]


class FailAt(Steps):
    """Some of them raise it, before or after they take place."""

    def __init__(
        self,
        steps: Iterable[Step],
        *,
        after: bool,
        failure: Callable[[str], BaseException | None],
        lasting: int = 1,
    ) -> None:
        """From each of `steps` on, so many fail as `lasting` says."""
        super().__init__(failure)
        self.due = set(steps)
        """Those that did not come yet."""
        self._left = 0
        self._lasting = lasting
        self._after = after

    @contextmanager
    def step(self, what: str, act: int) -> Iterator[None]:
        error = self._failure(what)
        if error is None or not self._fails(self._count(what, act)):
            yield
            return
        if not self._after:
            raise error
        yield
        raise error

    def _fails(self, step: Step) -> bool:
        if step in self.due:
            self.due.remove(step)
            self._left = self._lasting
        self._left -= 1
        return self._left >= 0


class FailingDisk(SteppedDisk):
    """The real disk, but for its n-th step."""

    def __init__(self, at: int, *, after: bool, failure: Callable[[], BaseException]) -> None:
        super().__init__()
        self.at = at
        self._count = 0
        self._after = after
        self._failure = failure

    @property
    def is_clean(self) -> bool:
        """Whether fewer than n steps were made, so that none failed."""
        return self._count < self.at

    @contextmanager
    def step(self, what: str, *paths: Path) -> Iterator[None]:
        self._count += 1
        fails = self._count == self.at
        if fails and not self._after:
            raise self._failure()
        yield
        if fails:
            raise self._failure()


def no_space() -> OSError:
    """What a full disk says."""
    return OSError(errno.ENOSPC, "No space left on device")


def io_error() -> OSError:
    """What a broken disk says."""
    return OSError(errno.EIO, "Input/output error")


def full_ledger() -> sqlite3.OperationalError:
    """What SQLite makes of a full disk (SQLITE_FULL)."""
    return sqlite3.OperationalError("database or disk is full")


def broken_ledger() -> sqlite3.OperationalError:
    """What SQLite makes of a broken disk (SQLITE_IOERR)."""
    return sqlite3.OperationalError("disk I/O error")
