"""Chooses the files of a job's output folder that are published: regular ones, up to the caps.

Reads them, and passes the bytes on. Warns about every file left out. Writes nothing.
"""

import hashlib
import heapq
import mimetypes
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from runner.contract.names import FILES
from runner.contract.outcome import InputFile, PublishedFile
from runner.contract.text import strict_json
from runner.system.files.folders import Entry, Kind, ReadFailed, open_file, read, reason_of, walk

UNPUBLISHED = frozenset({"__pycache__", ".ipynb_checkpoints"})
CHUNK = 1024 * 1024
NAMED_FILES = 10
"""How many left-out files a result names; it counts the others."""
MORE_FILES = 1000
"""How many files beyond the cap are looked at, because those before them may be too large."""
NAMED_BYTES = 300
"""Longest left-out path in a warning; of a longer one the end."""

_ODD_BYTE = re.compile("[\udc80-\udcff]")
"""A byte that is no UTF-8, as Python represents it in a path (PEP 383)."""


class NotTaken(Exception):
    """One file cannot be kept, and others can: `reason`."""


@dataclass(frozen=True)
class FileCaps:
    """Caps on the published files of a job."""

    bytes: int
    count: int
    inputs: tuple[InputFile, ...] = ()
    """Files that were there before; they are published only if they have changed."""

    def beside(self, inputs: Sequence[InputFile]) -> "FileCaps":
        """Return the same caps for a folder in which these files lay before."""
        return replace(self, inputs=tuple(inputs))


@dataclass(frozen=True)
class Staged:
    """The files that were taken, whole, and warnings about the others."""

    files: tuple[PublishedFile, ...]
    warnings: tuple[str, ...]


Take = Callable[[int, str], Iterator[bytes]]
"""Keeps an open file under a relative path, and yields its chunks.

Raises `NotTaken`, or `OSError` if nothing at all can be kept.
"""


def collect(source: Path, caps: FileCaps, name: str, take: Take) -> Staged:
    """Choose every regular file below `source` within the caps; `take` keeps each of them.

    No link is followed in any part of a path, and no mount below `source` is entered. A file whose
    name is no UTF-8 is taken under one that is, with `%E9` for an odd byte.

    Raises:
        OSError: `take` can keep nothing.
    """
    collection = _Collection(caps, name, take)
    try:
        fd = os.open(source, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        reason = reason_of(error)
        return Staged((), (f"No file was published: the output folder cannot be read: {reason}.",))
    try:
        collection.add_all(fd)
    finally:
        os.close(fd)
    return collection.staged()


def published_path(relative: str) -> str:
    """Return the path under which a file is published, always UTF-8."""
    return _ODD_BYTE.sub(lambda odd: f"%{ord(odd[0]) - 0xDC00:02X}", relative)


class _Collection:
    """The files taken from one folder, and the warnings about the others."""

    def __init__(self, caps: FileCaps, name: str, take: Take) -> None:
        self._caps = caps
        self._before = {one.path: one for one in caps.inputs}
        self._name = name
        self._take = take
        self._size = 0
        self._files: list[PublishedFile] = []
        self._paths: set[str] = set()
        self._too_much = _Notes("were not published (limits.files_mb, limits.files).")
        self._left_out = _Notes("files or folders were not published.")
        self._renamed = _Notes("files have names that are no UTF-8.")

    def add_all(self, root: int) -> None:
        """Take the regular files, in the order of their paths."""
        relatives, total = self._list(root)
        for relative in relatives:
            try:
                fd = open_file(root, relative)
            except OSError as error:
                self._leave_out("file", relative, reason_of(error))
                continue
            try:
                self._add(fd, relative)
            except (NotTaken, ReadFailed) as error:
                self._leave_out("file", relative, str(error.args[0]))
            finally:
                os.close(fd)
        self._too_much.more(total - len(relatives), total)

    def staged(self) -> Staged:
        """Return the taken files, and all warnings."""
        notes = (self._too_much, self._left_out, self._renamed)
        return Staged(tuple(self._files), tuple(line for one in notes for line in one.lines()))

    def _list(self, root: int) -> tuple[list[str], int]:
        """List the first files in the order of their paths, and count all.

        Caches and checkpoints of tools are left out. Memory stays bounded however many files there
        are.
        """
        total = 0

        def files() -> Iterator[str]:
            nonlocal total
            for entry in walk(root, UNPUBLISHED.__contains__):
                if entry.kind is Kind.FILE:
                    total += 1
                    yield entry.path
                else:
                    self._leave_out_entry(entry)

        most = self._caps.count + len(self._before) + MORE_FILES
        return heapq.nsmallest(most, files()), total

    def _leave_out_entry(self, entry: Entry) -> None:
        if entry.kind is Kind.OTHER:
            self._leave_out("link or special file", entry.path, "only regular files are")
        elif entry.kind is Kind.CLOSED:
            self._leave_out("folder", entry.path or ".", entry.why)

    def _add(self, fd: int, relative: str) -> None:
        size, caps = os.fstat(fd).st_size, self._caps
        if self._is_unchanged(fd, relative, size):
            return
        if self._size + size > caps.bytes or len(self._files) >= caps.count:
            self._too_much.add(
                f"The file {_named(relative)} ({size} bytes) was not published: above the cap of "
                f"{caps.bytes} bytes and {caps.count} files (limits.files_mb, limits.files)."
            )
            return
        path = self._free(published_path(relative))
        digest, length = hashlib.sha256(), 0
        for chunk in self._take(fd, path):
            digest.update(chunk)
            length += len(chunk)
        self._size += length
        self._paths.add(path)
        if path != relative:
            self._renamed.add(
                f"The file {_named(relative)} was published as {path!r}: its name is no UTF-8."
            )
        self._files.append(
            PublishedFile(
                path=f"{self._name}{FILES}/{path}",
                bytes=length,
                media_type=mimetypes.guess_type(path)[0] or "application/octet-stream",
                sha256=digest.hexdigest(),
            )
        )

    def _is_unchanged(self, fd: int, relative: str, size: int) -> bool:
        """Tell whether a file is one that came with the request, with the same bytes."""
        before = self._before.get(relative)
        if before is None or before.bytes != size:
            return False
        digest = hashlib.sha256()
        while chunk := read(fd, CHUNK):
            digest.update(chunk)
        os.lseek(fd, 0, os.SEEK_SET)
        return digest.hexdigest() == before.sha256

    def _free(self, path: str) -> str:
        free, count = path, 1
        while free in self._paths:
            count += 1
            free = f"{path}~{count}"
        return free

    def _leave_out(self, what: str, relative: str, why: str) -> None:
        self._left_out.add(f"The {what} {_named(relative)} was not published: {why}.")


class _Notes:
    """Warnings of one kind: the first few, and how many more there are."""

    def __init__(self, rest: str) -> None:
        self._rest = rest
        self._lines: list[str] = []
        self._more = 0
        self._of = ""

    def add(self, line: str) -> None:
        if len(self._lines) < NAMED_FILES:
            self._lines.append(line)
        else:
            self._more += 1

    def more(self, count: int, total: int) -> None:
        self._more += count
        self._of = f" of {total} files"

    def lines(self) -> Iterator[str]:
        yield from self._lines
        if self._more:
            yield f"{self._more} more{self._of} {self._rest}"


def _named(relative: str) -> str:
    path = str(strict_json.clean(relative))
    return repr(path if len(path) <= NAMED_BYTES else f"…{path[-NAMED_BYTES:]}")
