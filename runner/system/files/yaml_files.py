"""Reads the YAML files of a folder, and again only those that have changed. Writes nothing."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

from runner.contract.text.plain_text import is_text

SUFFIXES = (".yaml", ".yml")
MOST_FILES = 1_000
MOST_ENTRIES = 20_000

T = TypeVar("T")
Fingerprint = tuple[int, int, int]
"""Inode, size and time of change: another one means that a file is to be read again."""


class YamlFiles(Generic[T]):
    """The files below a folder. `read` reads one, and never fails: its errors are its result."""

    def __init__(self, folder: Path, read: Callable[[Path], T]) -> None:
        self._folder = folder
        self._one = read
        self._read: dict[Path, tuple[Fingerprint, T]] = {}

    def all(self) -> list[T]:
        """List them; none where there is no folder.

        Raises:
            OSError: the folder is there and cannot be read.
        """
        read: dict[Path, tuple[Fingerprint, T]] = {}
        for path, fingerprint in _files(self._folder):
            known = self._read.get(path)
            if known is None or known[0] != fingerprint:
                known = fingerprint, self._one(path)
            read[path] = known
        self._read = read
        return [one for _, one in read.values()]


def name_of(path: Path, folder: Path) -> str:
    """Return the name that a file gives: its path below the folder, without suffix."""
    short = path.relative_to(folder) if path.is_relative_to(folder) else Path(path.name)
    return short.with_suffix("").as_posix()


def _files(folder: Path) -> Iterator[tuple[Path, Fingerprint]]:
    """Yield regular files of YAML, without hidden ones and links."""
    if not folder.is_dir():
        return
    pending, entries, files = [folder], 0, 0
    while pending:
        with os.scandir(pending.pop()) as found:
            for entry in found:
                entries += 1
                if entries > MOST_ENTRIES or files >= MOST_FILES:
                    return
                if entry.name.startswith(".") or not is_text(entry.name):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    pending.append(Path(entry.path))
                elif entry.name.endswith(SUFFIXES):
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode):
                        files += 1
                        yield Path(entry.path), _fingerprint(status)


def _fingerprint(status: os.stat_result) -> Fingerprint:
    return status.st_ino, status.st_size, status.st_mtime_ns
