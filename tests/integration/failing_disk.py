"""A real disk that fails at its n-th change: before it is made, or right after."""

import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from runner.disk import Disk


class Crash(BaseException):
    """The process is gone; nothing after this point ran."""


class FailingDisk(Disk):
    """Counts changes. The n-th one raises `failure`, before or after it takes place."""

    def __init__(self, at: int, *, after: bool, failure: Callable[[], BaseException]) -> None:
        self.at = at
        self.count = 0
        self._after = after
        self._failure = failure

    @property
    def is_clean(self) -> bool:
        """Whether fewer than n changes were made, so that none failed."""
        return self.count < self.at

    def _step(self, change: Callable[[], Any]) -> Any:
        self.count += 1
        if self.count == self.at and not self._after:
            raise self._failure()
        found = change()
        if self.count == self.at:
            raise self._failure()
        return found

    def make_folder(self, path: Path) -> None:
        self._step(lambda: super(FailingDisk, self).make_folder(path))

    def write(self, path: Path, content: bytes, *, sync: bool = True) -> None:
        self._step(lambda: super(FailingDisk, self).write(path, content, sync=sync))

    def copy(self, source: int, target: Path) -> Iterator[bytes]:
        yield from self._step(lambda: list(super(FailingDisk, self).copy(source, target)))

    def sync_folder(self, path: Path) -> None:
        self._step(lambda: super(FailingDisk, self).sync_folder(path))

    def rename(self, old: Path, new: Path) -> None:
        self._step(lambda: super(FailingDisk, self).rename(old, new))

    def link(self, old: Path, new: Path) -> None:
        self._step(lambda: super(FailingDisk, self).link(old, new))

    def unlink(self, path: Path) -> None:
        self._step(lambda: super(FailingDisk, self).unlink(path))

    def remove_folder(self, path: Path) -> None:
        self._step(lambda: super(FailingDisk, self).remove_folder(path))

    def remove_tree(self, path: Path) -> None:
        self._step(lambda: super(FailingDisk, self).remove_tree(path))


def no_space() -> OSError:
    """What a full disk says."""
    return OSError(errno.ENOSPC, "No space left on device")
