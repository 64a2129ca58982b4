"""Holds every call that changes a disk, so that tests can make any of them fail.

Owns the few durable steps (write, rename, link, sync, remove). Each sync has a `why`: the promise
that breaks without it, in words. The fault harness takes syncs away by these words.
"""

import errno
import logging
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, TypeVar

from runner.system.files.folders import NOT_A_FOLDER, Cursor, enter, read, reason_of

T = TypeVar("T")
Fill = Callable[[IO[bytes]], object]
"""Writes into an open file."""
log = logging.getLogger(__name__)

CHUNK = 1024 * 1024
SHOWN_PATH = 200
WHOLE = "user.inbox_runner.whole"
"""The extended attribute of files that `create_whole` made in one piece."""
REMEMBERED = 4096
"""How many durable folders are remembered; beyond them all are forgotten, and synced again."""


class Disk:
    """The real disk. Methods raise `OSError` as the system does."""

    def __init__(self) -> None:
        self._durable: set[Path] = set()
        """Folders that outlast a power cut, with all those above them."""

    def make_folder(self, path: Path) -> bool:
        """Make one folder below an existing one; an existing one is fine."""
        try:
            path.mkdir()
        except FileExistsError:
            if not path.is_dir():
                raise
            return False
        return True

    def make_folders(self, root: Path, path: Path, why: str | None = None) -> tuple[Path, ...]:
        """Make `path` and the folders between it and `root`; never `root` itself.

        They are then durable, if there is a `why`: unless its own name in the folder above is
        synced, everything synced in a folder is lost (fsync(2)). An existing folder may come from a
        process that was killed before its sync.
        """
        missing: list[Path] = []
        while path != root and not self._is_made(path, why):
            missing.append(path)
            path = path.parent
        made: list[Path] = []
        for folder in reversed(missing):
            if self.make_folder(folder):
                made.append(folder)
            if why is not None:
                self.sync_folder(folder.parent, why)
                self._remember(folder)
        return tuple(made)

    def mark(self, folder: Path, name: str) -> None:
        """Give a folder an extended attribute (xattr(7)), where the file system keeps them."""
        _mark(folder, name)

    def has_mark(self, folder: Path, name: str) -> bool:
        """Return whether `mark` has marked this folder."""
        return _has_mark(folder, name)

    def _is_made(self, path: Path, why: str | None) -> bool:
        return (why is None or path in self._durable) and path.is_dir()

    def _remember(self, path: Path) -> None:
        if len(self._durable) >= REMEMBERED:
            self._durable.clear()
        self._durable.add(path)

    def write(self, path: Path, content: bytes, why: str | None = None) -> None:
        """Write a new file, synced if there is a `why`; it must not exist."""
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(fd, view) :]
            if why is not None:
                self.sync(fd, why)
        finally:
            os.close(fd)

    def append(self, path: Path, size: int, content: bytes, why: str) -> None:
        """Keep `size` bytes of a file, add `content` and sync it; it is made where it is not."""
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            os.ftruncate(fd, size)
            os.lseek(fd, size, os.SEEK_SET)
            view = memoryview(content)
            while view:
                view = view[os.write(fd, view) :]
            self.sync(fd, why)
        finally:
            os.close(fd)

    def create_whole(self, path: Path, content: bytes | Fill, why: str) -> None:
        """Create a synced file that gets its name only once it is whole.

        `content` are its bytes, or a function that writes them.

        If the folder takes no file without a name (O_TMPFILE, open(2)), it is first written under a
        hidden one beside it, and what fails then is the reason: file systems refuse the first way
        with whatever they like, in a folder that is gone too.

        In the first way it is marked, so that nobody waits for a rest of it; see `is_whole`.

        Raises:
            FileExistsError: the name is taken.
        """
        try:
            fd = os.open(path.parent, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o666)
        except OSError:
            self._create_beside(path, content, why)
            return
        try:
            with open(fd, "w+b", closefd=False) as file:
                _fill(content)(file)
            _mark(fd, WHOLE)
            self.sync(fd, why)
            # A reader's lease is refused while anybody has the file open for writing.
            readable = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.close(fd)
        try:
            # With a folder's descriptor Python calls linkat(2), which follows; link(2) does not.
            os.link(f"/proc/self/fd/{readable}", path, src_dir_fd=readable)
        finally:
            os.close(readable)

    def _create_beside(self, path: Path, content: bytes | Fill, why: str) -> None:
        temp = path.with_name(f".submit-{secrets.token_hex(8)}.tmp")
        try:
            self.fill(temp, _fill(content), why)
            self.link(temp, path)
        finally:
            self.unlink(temp)

    def fill(self, path: Path, write: Callable[[IO[bytes]], T], why: str) -> T:
        """Make a new file, let `write` fill it, and sync it; return what `write` does."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        with open(fd, "w+b") as file:
            result = write(file)
            file.flush()
            self.sync(fd, why)
        return result

    def copy(self, source: int, target: Path, why: str) -> Iterator[bytes]:
        """Copy from an open file to a new one and sync it; yield every chunk, to be hashed.

        Raises:
            OSError: it cannot be written.
            ReadFailed: it cannot be read.
        """
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            while chunk := read(source, CHUNK):
                view = memoryview(chunk)
                while view:
                    view = view[os.write(fd, view) :]
                yield chunk
            self.sync(fd, why)
        finally:
            os.close(fd)

    def read_synced(self, source: int, why: str) -> Iterator[bytes]:
        """Sync an open file where it lies, and yield every chunk of it.

        Raises:
            ReadFailed: it cannot be read.
        """
        self.sync(source, why)
        while chunk := read(source, CHUNK):
            yield chunk

    def sync(self, fd: int, why: str) -> None:  # noqa: ARG002
        """Make an open file's bytes, or an open folder's names, durable."""
        os.fsync(fd)

    def sync_folder(self, path: Path, why: str) -> None:
        """Make the names in a folder durable."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.sync(fd, why)
        finally:
            os.close(fd)

    def rename(self, old: Path, new: Path) -> None:
        """Rename within one mount. An existing file at `new` is replaced: look before."""
        old.rename(new)

    def link(self, old: Path, new: Path) -> None:
        """Give a file a second name, which must be free."""
        os.link(old, new)

    def unlink(self, path: Path) -> None:
        """Remove a file; a missing one is fine."""
        path.unlink(missing_ok=True)

    def remove_folder(self, path: Path) -> None:
        """Remove an empty folder; a missing one is fine."""
        try:
            path.rmdir()
        except FileNotFoundError:
            return

    def remove_tree(self, path: Path) -> None:
        """Remove a folder of the runner's own with everything in it; a missing one is fine.

        Follows no link and crosses no mount, however deep folders are nested. An entry that cannot
        be removed stays, and everything else goes.

        Raises:
            OSError: something stays; its number is that of the first such entry.
        """
        if _is_removed_if_empty(path):  # as most are, and far quicker
            return
        try:
            above = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            removal = _Removal()
            removal.remove(above, path.name)
        finally:
            os.close(above)
        removal.check()

    def discard_tree(self, path: Path) -> None:
        """Remove a folder in which nothing matters, as far as `remove_tree` can."""
        try:
            self.remove_tree(path)
        except OSError as error:
            log.debug("%s stays: %s", path, error)


def _fill(content: bytes | Fill) -> Fill:
    return (lambda file: file.write(content)) if isinstance(content, bytes) else content


def _is_removed_if_empty(path: Path) -> bool:
    """Remove an empty folder; tell whether nothing lies there now."""
    try:
        path.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


class _Removal:
    """One removal of a tree, and its failures."""

    def __init__(self) -> None:
        self._first: tuple[OSError, str] | None = None
        self._left = 0

    def remove(self, above: int, name: str) -> None:
        """Remove the entry `name` of the folder that is open as `above`."""
        try:
            top = _enter_own(above, name)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno in NOT_A_FOLDER:
                self._unlink(above, name, name)
            else:
                self._note(error, name)
            return
        try:
            self._empty(top)
        finally:
            os.close(top)
        self._remove_folder(above, name, name)

    def check(self) -> None:
        """Raise the first failure.

        Raises:
            OSError: something stays.
        """
        if self._first is None:
            return
        error, where = self._first
        more = f" and {self._left - 1} more" if self._left > 1 else ""
        raise OSError(error.errno, f"{reason_of(error)}: {where}{more}")

    def _empty(self, top: int) -> None:
        cursor = Cursor(top)
        try:
            pending = [self._remove_files(cursor)]
            while pending:
                if pending[-1]:
                    self._go_down(cursor, pending)
                    continue
                pending.pop()
                if pending:
                    name = cursor.up()
                    self._remove_folder(cursor.fd, name, _shown(cursor, name))
        except OSError as error:
            self._note(error, _shown(cursor, ""))
        finally:
            cursor.close()

    def _go_down(self, cursor: Cursor, pending: list[list[str]]) -> None:
        name = pending[-1].pop()
        try:
            cursor.down(name, _enter_own)
        except FileNotFoundError:
            return
        except OSError as error:
            self._note(error, _shown(cursor, name))
            return
        pending.append(self._remove_files(cursor))

    def _remove_files(self, cursor: Cursor) -> list[str]:
        """Remove everything in one folder except folders; return the names of those."""
        folders: list[str] = []
        with os.scandir(cursor.fd) as listing:
            entries = list(listing)
        for entry in entries:
            try:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                    continue
            except OSError as error:
                self._note(error, _shown(cursor, entry.name))
                continue
            self._unlink(cursor.fd, entry.name, _shown(cursor, entry.name))
        return folders

    def _unlink(self, above: int, name: str, path: str) -> None:
        try:
            os.unlink(name, dir_fd=above)
        except FileNotFoundError:
            return
        except OSError as error:
            self._note(error, path)

    def _remove_folder(self, above: int, name: str, path: str) -> None:
        try:
            os.rmdir(name, dir_fd=above)
        except FileNotFoundError:
            return
        except OSError as error:
            # What stays in it has been noted already.
            if self._first is None or error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                self._note(error, path)

    def _note(self, error: OSError, path: str) -> None:
        self._first = self._first or (error, path[-SHOWN_PATH:])
        self._left += 1


def _shown(cursor: Cursor, name: str) -> str:
    return "/".join([*cursor.parts[-3:], name])


def _enter_own(above: int, name: str) -> int:
    """Open a folder of ours, and give its owner the rights to empty it.

    Raises:
        OSError: see `enter`.
    """
    try:
        fd = enter(above, name)
    except PermissionError:
        _open_up(above, name)
        fd = enter(above, name)
    if os.fstat(fd).st_mode & stat.S_IRWXU != stat.S_IRWXU:
        with suppress(OSError):  # the next call raises the error
            os.fchmod(fd, stat.S_IRWXU)
    return fd


def _open_up(above: int, name: str) -> None:
    """Give rights to a folder that cannot be opened: the way over /proc needs none (proc(5))."""
    place = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
    try:
        if stat.S_ISDIR(os.fstat(place).st_mode):
            Path(f"/proc/self/fd/{place}").chmod(stat.S_IRWXU)
    finally:
        os.close(place)


def read_regular(path: Path) -> bytes:
    """Read a regular file. Never waits for the other end of a pipe.

    Raises:
        OSError: it cannot be read, or is something else.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        return file.read()


def is_whole(path: Path | str) -> bool:
    """Return whether `create_whole` made this file, so that its first sight shows all of it."""
    return _has_mark(path, WHOLE)


def _mark(place: Path | int, name: str) -> None:
    if hasattr(os, "setxattr"):
        with suppress(OSError):  # the file system keeps none
            os.setxattr(place, name, b"1", follow_symlinks=isinstance(place, int))


def _has_mark(path: Path | str, name: str) -> bool:
    if not hasattr(os, "getxattr"):
        return False
    try:
        return os.getxattr(path, name, follow_symlinks=False) == b"1"
    except OSError:  # it has none, or is gone
        return False


def same_file(path: Path, content: bytes) -> bool:
    """Return whether a regular file with exactly this content lies at `path`."""
    try:
        status = path.lstat()
        return (
            stat.S_ISREG(status.st_mode)
            and status.st_size == len(content)
            and path.read_bytes() == content
        )
    except OSError:
        return False
