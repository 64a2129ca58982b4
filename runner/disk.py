"""Every call that changes a disk goes through here, so that tests can make any of them fail.

Owns the few durable steps (write, rename, link, sync, remove). Knows nothing of jobs.
"""

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

CHUNK = 1024 * 1024
REMEMBERED = 4096
"""So many folders are remembered to be durable; beyond them all are forgotten, and synced again."""


class Disk:
    """The real disk. Methods raise `OSError` as the system does."""

    def __init__(self) -> None:
        self._durable: set[Path] = set()
        """Folders that are known to outlast a power cut, and so are those above them."""

    def make_folder(self, path: Path) -> None:
        """Make one folder below an existing one; no matter if it is there."""
        try:
            path.mkdir()
        except FileExistsError:
            if not path.is_dir():
                raise

    def make_folders(self, root: Path, path: Path, *, sync: bool = True) -> None:
        """Make `path` and what lies between it and `root`; never `root` itself.

        They are durable then, unless `sync` says that they need not be: without its own name in
        the folder above, whatever is synced in a folder is lost (fsync(2)). One that is there
        already may be left by somebody who was killed before the sync.
        """
        known = path in self._durable if sync else True
        if path == root or (known and path.is_dir()):
            return
        self.make_folders(root, path.parent, sync=sync)
        self.make_folder(path)
        if sync:
            self.sync_folder(path.parent)
            self._remember(path)

    def _remember(self, path: Path) -> None:
        if len(self._durable) >= REMEMBERED:
            self._durable.clear()
        self._durable.add(path)

    def write(self, path: Path, content: bytes, *, sync: bool = True) -> None:
        """Write a new file; it must not exist."""
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(fd, view) :]
            if sync:
                self.sync(fd)
        finally:
            os.close(fd)

    def create_whole(self, path: Path, content: bytes) -> None:
        """A new, synced file that has its name only once it is whole.

        Where the file system knows no files without a name (O_TMPFILE, open(2)), it is written
        under a hidden one beside it first.

        Raises:
            FileExistsError: the name is taken.
        """
        try:
            fd = os.open(path.parent, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o666)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT):
                raise
            self._create_beside(path, content)
            return
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(fd, view) :]
            self.sync(fd)
            # A reader's lease is refused while anybody has the file open for writing.
            readable = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.close(fd)
        try:
            # With a folder's descriptor Python calls linkat(2), which follows; link(2) does not.
            os.link(f"/proc/self/fd/{readable}", path, src_dir_fd=readable)
        finally:
            os.close(readable)

    def _create_beside(self, path: Path, content: bytes) -> None:
        temp = path.with_name(f".submit-{secrets.token_hex(8)}.tmp")
        try:
            self.write(temp, content)
            self.link(temp, path)
        finally:
            self.unlink(temp)

    def copy(self, source: int, target: Path) -> Iterator[bytes]:
        """Copy from an open file to a new one and sync it; gives every chunk, to be hashed."""
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            while chunk := os.read(source, CHUNK):
                view = memoryview(chunk)
                while view:
                    view = view[os.write(fd, view) :]
                yield chunk
            self.sync(fd)
        finally:
            os.close(fd)

    def read_synced(self, source: int) -> Iterator[bytes]:
        """Sync an open file where it lies, and give every chunk of it."""
        self.sync(source)
        while chunk := os.read(source, CHUNK):
            yield chunk

    def sync(self, fd: int) -> None:
        """Make an open file's bytes, or an open folder's names, durable."""
        os.fsync(fd)

    def sync_folder(self, path: Path) -> None:
        """Make the names in a folder durable."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.sync(fd)
        finally:
            os.close(fd)

    def rename(self, old: Path, new: Path) -> None:
        """Rename within one mount. An existing file at `new` is replaced: look before."""
        old.rename(new)

    def link(self, old: Path, new: Path) -> None:
        """Give a file a second name, which must be free."""
        os.link(old, new)

    def unlink(self, path: Path) -> None:
        """Remove a file; no matter if it is gone."""
        path.unlink(missing_ok=True)

    def remove_folder(self, path: Path) -> None:
        """Remove an empty folder; no matter if it is gone."""
        try:
            path.rmdir()
        except FileNotFoundError:
            return

    def remove_tree(self, path: Path) -> None:
        """Remove a folder of the runner's own with all that is in it, following no links.

        No matter if it is gone, or a file. Folders are brought up to its top before they are
        looked into: a notebook may nest them deeper than a path can be long, and deeper than
        Python can call itself.
        """
        if path.is_symlink() or not path.is_dir():
            path.unlink(missing_ok=True)
            return
        mark, brought = secrets.token_hex(8), 0
        path.chmod(stat.S_IRWXU)
        pending = _remove_files(path)
        while pending:
            folder = path / pending.pop()
            for name in _remove_files(folder):
                brought += 1
                pending.append(f"{mark}-{brought}")
                (folder / name).rename(path / pending[-1])
            folder.rmdir()
        path.rmdir()


def _remove_files(folder: Path) -> list[str]:
    """Remove all in it that is no folder, and make writable what is. The names of those."""
    folders: list[str] = []
    with os.scandir(folder) as found:
        entries = list(found)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            Path(entry.path).chmod(stat.S_IRWXU)
            folders.append(entry.name)
        else:
            Path(entry.path).unlink(missing_ok=True)
    return folders


def same_file(path: Path, content: bytes) -> bool:
    """Whether a regular file with just this content lies at `path`."""
    try:
        found = path.lstat()
        return (
            stat.S_ISREG(found.st_mode)
            and found.st_size == len(content)
            and path.read_bytes() == content
        )
    except OSError:
        return False
