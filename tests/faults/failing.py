"""Disks that count every change, and one that fails at its n-th: before it is made, or after."""

import errno
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from runner.system.files.disk import Disk

PROGRAM = f"{os.sep}runner{os.sep}"
Place = tuple[str | tuple[str, int], ...]


def place_of(what: str) -> Place:
    """Where the program makes a step: its kind, and the lines of the program that lead to it."""
    place: list[str | tuple[str, int]] = [what]
    frame = sys._getframe(1)
    while frame.f_back is not None:
        frame = frame.f_back
        if PROGRAM in frame.f_code.co_filename:
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

    def create_whole(self, path: Path, content: bytes, why: str) -> None:
        with self.step("create_whole", path):
            super().create_whole(path, content, why)

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


class FailAt:
    """Counts steps that may fail: those for which `failure` gives an error.

    The n-th one raises it, before or after it takes place.
    """

    def __init__(
        self,
        at: int,
        *,
        after: bool,
        failure: Callable[[str], BaseException | None],
        lasting: int = 1,
    ) -> None:
        """`lasting` of them fail from the n-th on."""
        self.at = at
        self.count = 0
        self.places: list[tuple[int, Place]] = []
        """In which act of a story and where in the program each of them was made."""
        self._lasting = lasting
        self._after = after
        self._failure = failure

    @property
    def is_clean(self) -> bool:
        """Whether fewer than n steps were made, so that none failed."""
        return self.count < self.at

    @contextmanager
    def step(self, what: str, act: int = 0) -> Iterator[None]:
        error = self._failure(what)
        if error is not None:
            self.count += 1
            self.places.append((act, place_of(what)))
        if error is None or not self.at <= self.count < self.at + self._lasting:
            yield
            return
        if not self._after:
            raise error
        yield
        raise error


class FailingDisk(SteppedDisk):
    """The real disk, but for its n-th step."""

    def __init__(self, at: int, *, after: bool, failure: Callable[[], BaseException]) -> None:
        super().__init__()
        self._fail_at = FailAt(at, after=after, failure=lambda _: failure())

    @property
    def at(self) -> int:
        return self._fail_at.at

    @property
    def is_clean(self) -> bool:
        return self._fail_at.is_clean

    def step(self, what: str, *paths: Path) -> AbstractContextManager[None]:
        return self._fail_at.step(what)


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
