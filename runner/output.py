"""Which files of a job's output folder are published: the regular ones, up to the caps.

Decides and reads, and gives the bytes to whoever keeps them. Writes nothing.
"""

import hashlib
import heapq
import itertools
import logging
import mimetypes
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from runner import strict_json
from runner.outcome import PublishedFile

log = logging.getLogger(__name__)

FILES = ".files"
UNPUBLISHED = frozenset({"__pycache__", ".ipynb_checkpoints"})
NAMED_FILES = 10
"""How many files that were left out a result names; of the others it tells how many they are."""
MORE_FILES = 1000
"""How many files beyond the cap are looked at, because those before them may be too large."""


@dataclass(frozen=True)
class FileCaps:
    """How much of a job's output folder is published."""

    bytes: int
    count: int


@dataclass(frozen=True)
class Staged:
    """The files that were taken, whole, and what was left out."""

    files: tuple[PublishedFile, ...]
    warnings: tuple[str, ...]


def collect(
    source: Path, caps: FileCaps, name: str, take: Callable[[int, str], Iterator[bytes]]
) -> Staged:
    """Every regular file below `source` within the caps; `take` gives its chunks as it goes."""
    files: list[PublishedFile] = []
    warnings: list[str] = []
    size, left_out = 0, 0
    relatives, total = _regular_files(source, caps.count + MORE_FILES)
    for relative in relatives:
        shown = str(strict_json.clean(relative))
        try:
            fd = os.open(source / relative, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            warnings.append(f"The file {shown!r} was not published: {error.strerror}.")
            continue
        try:
            found = os.fstat(fd).st_size
            if size + found > caps.bytes or len(files) >= caps.count:
                left_out += 1
                if left_out > NAMED_FILES:
                    continue
                warnings.append(
                    f"The file {shown!r} ({found} bytes) was not published: above the cap of "
                    f"{caps.bytes} bytes and {caps.count} files (limits.files_mb, limits.files)."
                )
                continue
            digest, length = hashlib.sha256(), 0
            for chunk in take(fd, relative):
                digest.update(chunk)
                length += len(chunk)
        finally:
            os.close(fd)
        size += length
        files.append(
            PublishedFile(
                path=f"{name}{FILES}/{shown}",
                bytes=length,
                media_type=mimetypes.guess_type(shown)[0] or "application/octet-stream",
                sha256=digest.hexdigest(),
            )
        )
    unnamed = max(left_out - NAMED_FILES, 0) + total - len(relatives)
    if unnamed:
        warnings.append(
            f"{unnamed} more of {total} files were not published (limits.files_mb, limits.files)."
        )
    return Staged(tuple(files), tuple(warnings))


def _regular_files(root: Path, most: int) -> tuple[list[str], int]:
    """The first `most` regular files below `root`, relative and sorted, and how many there are.

    Caches and checkpoints of tools are left out. Memory stays bounded however many there are.
    """
    count = itertools.count()
    found = (one for one, _ in zip(_walk(root), count, strict=False))
    return heapq.nsmallest(most, found), next(count)


def _walk(root: Path) -> Iterator[str]:
    pending = [""]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(root / folder) as entries:
                for entry in entries:
                    inner = f"{folder}/{entry.name}" if folder else entry.name
                    mode = entry.stat(follow_symlinks=False).st_mode
                    if stat.S_ISDIR(mode) and entry.name not in UNPUBLISHED:
                        pending.append(inner)
                    elif stat.S_ISREG(mode):
                        yield inner
        except OSError as error:
            log.warning("cannot read %r of a job's output: %s", folder[-200:], error)
