"""The files of a ZIP file or a folder, listed and opened within bounds; nothing leads out of it."""

import lzma
import os
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol, cast

from runner.contract.outcome import refuse
from runner.contract.rules import MEGABYTE, BundleLimits
from runner.contract.states.status import ErrorType
from runner.inbox.bundles.names import clash, is_junk, objection_to_path
from runner.system.files.folders import Kind, open_file, walk

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_ENCRYPTED, _UTF_8 = 0x1, 0x800
"""Flags of a member (APPNOTE.TXT 4.4.4)."""
_QUICK_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
QUICK_BYTES = 1 * MEGABYTE
DIRECTORY_BYTES = 4 * MEGABYTE
"""Longest list of members: zipfile reads all of it, and takes ten times as much memory."""
DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    ValueError,
    NotImplementedError,
    RuntimeError,
    OSError,
    struct.error,
)
"""What zipfile and the decoders raise over content; bz2 and a wrong offset raise OSError."""
_FOLDERS = ("/", "\\")
_NAMED = 100


class NotWhole(Exception):
    """It is not whole, or damaged: `reason`."""


@dataclass(frozen=True)
class Listed:
    """A file in it. `path` has `/` between folders, below the folder that holds everything."""

    path: str
    size: int
    place: str
    """Its name in the archive, or its path below the folder."""


class Source(Protocol):
    """A ZIP file or a folder."""

    @property
    def files(self) -> Sequence[Listed]:
        """Its files."""
        ...

    def open(self, file: Listed) -> AbstractContextManager[IO[bytes]]:
        """Open one of its files to be read, at most as long as listed."""
        ...


class _Reader:
    """Reads a member as long as it is listed; errors of its content are not those of a disk."""

    def __init__(self, file: IO[bytes], listed: Listed) -> None:
        self._file = file
        self._listed = listed
        self._left = listed.size

    def read(self, size: int = -1) -> bytes:
        """Read on, as files do.

        Raises:
            NotWhole: it is damaged, or longer than it is listed.
        """
        most = self._left + 1 if size < 0 else min(size, self._left + 1)
        try:
            chunk = self._file.read(most)
        except DAMAGED as error:
            raise NotWhole(f"its {self._listed.path!r} is damaged ({error})") from error
        self._left -= len(chunk)
        if self._left < 0:
            raise NotWhole(f"its {self._listed.path!r} grows, or is longer than it says")
        return chunk


class ZipSource:
    """A ZIP file that is open as `file`."""

    def __init__(self, file: IO[bytes], limits: BundleLimits) -> None:
        """List it.

        Raises:
            NotWhole: it is no ZIP file, or not yet.
            Refused: a name, a link or a size that no request may have.
        """
        try:
            _check_directory(file)
            self._archive = zipfile.ZipFile(file)
            infos = self._archive.infolist()
        except DAMAGED as error:
            raise NotWhole(f"it is no whole ZIP file ({error})") from error
        self._infos = {info.filename: info for info in infos}
        entries = [_listed_in_zip(info) for info in infos if not info.filename.endswith(_FOLDERS)]
        self.files = _checked(entries, limits)

    @property
    def is_quick(self) -> bool:
        """Whether all of it is read in milliseconds: small, and by a quick method."""
        infos = self._infos.values()
        is_plain = all(one.compress_type in _QUICK_METHODS for one in infos)
        return is_plain and sum(one.file_size for one in infos) <= QUICK_BYTES

    @contextmanager
    def open(self, file: Listed) -> Iterator[IO[bytes]]:
        """Open one of its files.

        Raises:
            NotWhole: it is damaged; also while it is read.
        """
        try:
            member = self._archive.open(self._infos[file.place])
        except DAMAGED as error:
            raise NotWhole(f"its {file.path!r} is damaged ({error})") from error
        with member:
            yield cast("IO[bytes]", _Reader(member, file))

    def close(self) -> None:
        """Close it."""
        self._archive.close()


class FolderSource:
    """A folder; neither links nor mounts in it are followed."""

    def __init__(self, folder: Path, limits: BundleLimits) -> None:
        """List it.

        Raises:
            OSError: it cannot be read.
            Refused: as `ZipSource`.
        """
        self._root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            self.files = _checked(list(self._entries(limits.files)), limits)
        except BaseException:
            self.close()
            raise

    def _entries(self, most: int) -> Iterator[Listed]:
        """List regular files, a few more than may be at the most.

        Raises:
            Refused: there is something else.
        """
        listed = 0
        for entry in walk(self._root):
            if entry.kind is Kind.FOLDER or is_junk(entry.path):
                continue
            if entry.kind is not Kind.FILE:
                why = entry.why or "it is a link or no regular file"
                raise refuse(ErrorType.INVALID_REQUEST, f"{_named(entry.path)} is refused: {why}.")
            with _file(self._root, entry.path) as file:
                yield Listed(entry.path, os.fstat(file.fileno()).st_size, entry.path)
            listed += 1
            if listed > most + 3:
                return

    def open(self, file: Listed) -> AbstractContextManager[IO[bytes]]:
        """Open one of its files."""
        return _listed_file(self._root, file)

    def close(self) -> None:
        """Close it."""
        os.close(self._root)


@contextmanager
def _listed_file(root: int, file: Listed) -> Iterator[IO[bytes]]:
    with _file(root, file.place) as opened:
        yield cast("IO[bytes]", _Reader(opened, file))


def _check_directory(file: IO[bytes]) -> None:
    """Look how long the list of members is, before zipfile reads all of it.

    Raises:
        zipfile.BadZipFile, OSError: there is none.
        Refused: it is longer than that of any request.
    """
    end = zipfile._EndRecData(file)  # type: ignore[attr-defined]
    if not end:
        raise zipfile.BadZipFile("it has no list of members")
    size = end[zipfile._ECD_SIZE]  # type: ignore[attr-defined]
    if size > DIRECTORY_BYTES:
        raise refuse(
            ErrorType.NOTEBOOK_TOO_LARGE,
            f"Its list of members has {size} bytes, above {DIRECTORY_BYTES}: too many files "
            "(limits.inputs).",
        )
    file.seek(0)


@contextmanager
def _file(root: int, path: str) -> Iterator[IO[bytes]]:
    with open(open_file(root, path), "rb") as file:
        yield file


def _listed_in_zip(info: zipfile.ZipInfo) -> Listed:
    name = info.filename
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise refuse(
            ErrorType.INVALID_REQUEST,
            f"{_named(name)} is refused: it is a link or no regular file.",
        )
    if info.flag_bits & _ENCRYPTED:
        raise refuse(
            ErrorType.INVALID_REQUEST,
            f"{_named(name)} is encrypted. Pack it without a password.",
        )
    if info.compress_type not in _METHODS:
        raise refuse(
            ErrorType.INVALID_REQUEST,
            f"{_named(name)} is packed by method {info.compress_type}, which is not known here. "
            "Pack it by deflate, as `zip` does.",
        )
    return Listed(_path_in_zip(info), info.file_size, name)


def _path_in_zip(info: zipfile.ZipInfo) -> str:
    """Read a name as it was meant: macOS marks no UTF-8, and old .NET writes backslashes."""
    name = info.filename
    if not info.flag_bits & _UTF_8:
        with suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/")


def _checked(entries: Sequence[Listed], limits: BundleLimits) -> tuple[Listed, ...]:
    """Return the files that count, below the folder that holds everything.

    Raises:
        Refused: a name or a size that no request may have.
    """
    for one in entries:
        why = objection_to_path(one.path)
        if why is not None:
            raise refuse(ErrorType.INVALID_REQUEST, f"{_named(one.path)} is refused: {why}.")
    files = [
        Listed(unicodedata.normalize("NFC", one.path), one.size, one.place)
        for one in entries
        if not is_junk(one.path)
    ]
    if len(files) > limits.files:
        raise refuse(
            ErrorType.NOTEBOOK_TOO_LARGE,
            f"It holds {len(files)} files or more, above the limit of {limits.files} "
            "(limits.inputs).",
        )
    size = sum(one.size for one in files)
    if size > limits.bytes:
        raise refuse(
            ErrorType.NOTEBOOK_TOO_LARGE,
            f"Its files have {size} bytes, above the limit of {limits.bytes / MEGABYTE:g} MB "
            "(limits.inputs_mb).",
        )
    twins = clash(one.path for one in files)
    if twins is not None:
        raise refuse(
            ErrorType.INVALID_REQUEST,
            f"{_named(twins[0])} and {_named(twins[1])} are one name on some disks. Rename one.",
        )
    return _without_top(files)


def _without_top(files: Sequence[Listed]) -> tuple[Listed, ...]:
    """Leave out the one folder that holds everything, as "Compress" of a desktop packs it."""
    while files:
        tops = {one.path.partition("/")[0] for one in files}
        if len(tops) != 1 or any("/" not in one.path for one in files):
            break
        files = [Listed(one.path.partition("/")[2], one.size, one.place) for one in files]
    return tuple(files)


def _named(path: str) -> str:
    return repr(path[-_NAMED:])
