"""Goes through a tree from folder to folder, by descriptor, and stays on its mount.

Follows no link in any part of a path, holds one descriptor however deep it is, and calls nothing
that could be too long for a path. An unreadable folder is listed with its reason: one entry never
ends the listing of the others. Changes nothing.
"""

import ctypes
import errno
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path

LONGEST_PATH = 3500
"""Bytes of a path below the root of a walk; a whole one has 4,095 (PATH_MAX), the root's too."""
MOUNTED = "something is mounted there"
NOT_A_FOLDER = (errno.ENOTDIR, errno.ELOOP)
"""Error numbers of `enter` for a file and for a link."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_PATH = getattr(os, "O_PATH", os.O_RDONLY)
_OPENAT2 = 437
"""The number of openat2(2), the same on every architecture."""
_NO_XDEV, _NO_MAGICLINKS, _NO_SYMLINKS = 0x01, 0x02, 0x04


class ReadFailed(Exception):
    """An open file cannot be read, so the disk that is written to is not at fault: `reason`."""


class Kind(Enum):
    """Kind of an entry of a walk."""

    FILE = "file"
    FOLDER = "folder"
    OTHER = "other"
    """A link, or a special file."""
    CLOSED = "closed"
    """A folder that is not entered; `why` says the reason."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Something below the root of a walk; `path` is relative to it."""

    path: str
    kind: Kind
    why: str = ""


class Cursor:
    """A place in a tree. Going up needs no memory of descriptors: `..` leads there."""

    def __init__(self, root: int) -> None:
        """Begin in the folder that is open as `root`, which the caller closes."""
        self._root = root
        self._seen = [_identity(root)]
        self.fd = os.dup(root)
        self.parts: list[str] = []

    def down(self, name: str, opens: Callable[[int, str], int] | None = None) -> None:
        """Go into a folder; `opens` does at least the work of `enter`.

        Raises:
            OSError: see `enter`; the cursor stays where it is.
        """
        self._move((opens or enter)(self.fd, name))
        self.parts.append(name)
        self._seen.append(_identity(self.fd))

    def up(self) -> str:
        """Go out of a folder; return its name.

        Raises:
            OSError: the folder above is not where it was.
        """
        name = self.parts.pop()
        self._seen.pop()
        self._move(self._above())
        return name

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.fd)

    def _move(self, fd: int) -> None:
        os.close(self.fd)
        self.fd = fd

    def _above(self) -> int:
        try:
            fd = os.open("..", _FOLDER, dir_fd=self.fd)
        except OSError:
            return self._from_the_root()
        if _identity(fd) == self._seen[-1]:
            return fd
        os.close(fd)
        return self._from_the_root()

    def _from_the_root(self) -> int:
        fd = os.dup(self._root)
        for part in self.parts:
            try:
                inner = enter(fd, part)
            finally:
                os.close(fd)
            fd = inner
        return fd


def enter(above: int, name: str) -> int:
    """Open the folder `name` in the folder that is open as `above`.

    Raises:
        OSError: EXDEV where something is mounted on it, ENOTDIR or ELOOP where it is no folder.
    """
    if _has_openat2():
        return _openat2(above, name, _FOLDER)
    place = os.open(name, _PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
    try:
        if _mount_of(place) != _mount_of(above):
            raise OSError(errno.EXDEV, MOUNTED)
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        return os.open(".", _FOLDER, dir_fd=place)
    finally:
        os.close(place)


def open_file(root: int, path: str) -> int:
    """Open a regular file below a folder that is open as `root`, by its relative path.

    Raises:
        OSError: a part of the path is a link, or on another mount, or it is no regular file.
    """
    *folders, name = path.split("/")
    if _has_openat2():
        fd = _openat2(root, path, _FILE)
    else:
        cursor = Cursor(root)
        try:
            for folder in folders:
                cursor.down(folder)
            fd = os.open(name, _FILE, dir_fd=cursor.fd)
        finally:
            cursor.close()
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise OSError(errno.EINVAL, "it is no regular file")


@contextmanager
def opened(folder: Path) -> Iterator[int]:
    """Open a folder to begin a walk; it may be the root of a mount, and is no link.

    Raises:
        OSError
    """
    fd = os.open(folder, _FOLDER)
    try:
        yield fd
    finally:
        os.close(fd)


def walk(root: int, skips: Callable[[str], bool] = lambda _: False) -> Iterator[Entry]:
    """Yield everything below the folder that is open as `root`; a folder before its content.

    Folders whose name `skips` accepts are left out.
    """
    cursor = Cursor(root)
    try:
        yield from _walk(cursor, skips)
    finally:
        cursor.close()


def stamp_of(folder: Path, most: int = 20_000) -> tuple[int, int, int]:
    """Return size, latest change and latest change of status of the files below a folder.

    Times are in nanoseconds. The last one leaves out the folder itself, whose own changes with its
    name. No more than `most` entries are looked at.

    Raises:
        OSError: the folder cannot be read.
    """
    size = 0
    with opened(folder) as root:
        changed = os.fstat(root).st_mtime_ns
        status = 0
        for number, entry in enumerate(walk(root)):
            with suppress(OSError):
                now = (folder / entry.path).lstat()
                size += 1 + (now.st_size if stat.S_ISREG(now.st_mode) else 0)
                changed, status = max(changed, now.st_mtime_ns), max(status, now.st_ctime_ns)
            if number > most:
                break
    return size, changed, status


def _walk(cursor: Cursor, skips: Callable[[str], bool]) -> Iterator[Entry]:
    length = 0
    """Length of the path of the cursor's folder."""
    pending: list[list[str]] = [[]]
    yield from _list(cursor, pending[0], skips)
    while pending:
        if not pending[-1]:
            pending.pop()
            if not pending:
                return
            try:
                length -= len(os.fsencode(cursor.up())) + 1
            except OSError as error:
                yield Entry("", Kind.CLOSED, f"it was moved meanwhile ({reason_of(error)})")
                return
            continue
        name = pending[-1].pop()
        more = len(os.fsencode(name)) + 1
        path = "/".join((*cursor.parts, name))
        if length + more > LONGEST_PATH:
            yield Entry(path, Kind.CLOSED, "its path is too long")
            continue
        try:
            cursor.down(name)
        except FileNotFoundError:
            continue
        except OSError as error:
            yield Entry(path, Kind.CLOSED, reason_of(error))
            continue
        length += more
        pending.append([])
        yield Entry(path, Kind.FOLDER)
        yield from _list(cursor, pending[-1], skips)


def _list(cursor: Cursor, folders: list[str], skips: Callable[[str], bool]) -> Iterator[Entry]:
    """List one folder; the names of its folders go into `folders`."""
    above = "".join(f"{part}/" for part in cursor.parts)
    try:
        with os.scandir(cursor.fd) as listing:
            entries = list(listing)
    except OSError as error:
        yield Entry(above.rstrip("/"), Kind.CLOSED, reason_of(error))
        return
    for entry in entries:
        path = above + entry.name
        try:
            if entry.is_dir(follow_symlinks=False):
                if not skips(entry.name):
                    folders.append(entry.name)
            elif entry.is_file(follow_symlinks=False):
                yield Entry(path, Kind.FILE)
            else:
                yield Entry(path, Kind.OTHER)
        except OSError as error:
            yield Entry(path, Kind.CLOSED, reason_of(error))


def read(fd: int, size: int) -> bytes:
    """Read from an open file, as `os.read` does.

    Raises:
        ReadFailed
    """
    try:
        return os.read(fd, size)
    except OSError as error:
        raise ReadFailed(reason_of(error)) from error


def reason_of(error: OSError) -> str:
    """Say why something failed, in words."""
    return error.strerror or str(error) or type(error).__name__


def _identity(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def _mount_of(fd: int) -> tuple[int, str]:
    """Identify a mount; bind mounts of one disk share its device (proc_pid_fdinfo(5))."""
    number = ""
    if sys.platform.startswith("linux"):
        text = Path(f"/proc/self/fdinfo/{fd}").read_text(encoding="ascii")
        number = next((line for line in text.splitlines() if line.startswith("mnt_id:")), "")
    return os.fstat(fd).st_dev, number


class _How(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def _openat2(above: int, path: str, flags: int) -> int:
    how = _How(flags, 0, _NO_XDEV | _NO_MAGICLINKS | _NO_SYMLINKS)
    raw, size = ctypes.c_char_p(os.fsencode(path)), ctypes.c_size_t(ctypes.sizeof(how))
    while True:
        fd = _libc().syscall(
            ctypes.c_long(_OPENAT2), ctypes.c_int(above), raw, ctypes.byref(how), size
        )
        if fd >= 0:
            return int(fd)
        number = ctypes.get_errno()
        if number == errno.EXDEV:
            raise OSError(number, MOUNTED)
        if number not in (errno.EINTR, errno.EAGAIN):
            raise OSError(number, os.strerror(number))


@cache
def _has_openat2() -> bool:
    """Return whether openat2 works: it needs Linux 5.6, and a container's filter that knows it."""
    if not sys.platform.startswith("linux"):
        return False
    fd = os.open("/", _FOLDER)
    try:
        os.close(_openat2(fd, ".", _FOLDER))
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def make_private(folder: Path) -> None:
    """Make a folder that is this user's alone, and those above it if somebody cleaned them away.

    Raises:
        OSError: it cannot be made, or one above it has come that is another user's.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except FileNotFoundError:
        make_private(folder.parent)
        status = folder.parent.stat(follow_symlinks=False)
        if status.st_uid != os.getuid() or not stat.S_ISDIR(status.st_mode):
            raise PermissionError(f"{folder.parent} is somebody else's") from None
        folder.mkdir(mode=0o700, exist_ok=True)
