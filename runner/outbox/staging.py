"""Stages files to publish in a hidden folder of the outbox, and renames them to their places."""

import errno
import logging
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from runner.contract.names import FILES
from runner.outbox.layout import Layout
from runner.system.files.disk import Disk
from runner.system.files.folders import Kind, opened, reason_of, walk
from runner.system.files.output_folder import FileCaps, NotTaken, Staged, collect

log = logging.getLogger(__name__)

NOTEBOOK, REPORT = "notebook", "report"
STAGED = (NOTEBOOK, REPORT)
"""The files of a job that are written here before they are renamed to their places."""
LONGEST_PATH = 4095
"""Longest whole path in bytes (PATH_MAX)."""
EVERYBODYS = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE),
        *(errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ESTALE, errno.ETIMEDOUT),
        *(errno.ENOMEM, errno.ENODEV, errno.ENXIO),
    }
)
"""Error numbers of a file system that would take no file at all."""


class Staging:
    """The staging folder of one outbox."""

    def __init__(self, layout: Layout, disk: Disk) -> None:
        self._layout = layout
        self._disk = disk

    def stage(self, job_id: str, source: Path, caps: FileCaps, name: str) -> Staged:
        """Copy the regular files below `source` to the staging folder, and sync them.

        Links are never followed, and not published.

        Raises:
            OSError: it could not be written; nothing of it is visible.
        """
        place = self._layout.staging(job_id)
        self._clear(place)
        copying = place / "copying"

        def copy(fd: int, relative: str) -> Iterator[bytes]:
            self._ensure_reachable(name, relative)
            target = copying / relative
            self._disk.make_folders(self._layout.folder, place, "staged: folder")
            try:
                self._disk.make_folders(place, target.parent)
                yield from self._disk.copy(fd, target, "staged: bytes")
            except OSError as error:
                if not self._takes_others(error, place):
                    raise
                with suppress(OSError):  # a part of it; nothing names it
                    self._disk.unlink(target)
                raise NotTaken(f"the outbox refuses it ({reason_of(error)})") from error

        staged = collect(source, caps, name, copy)
        if staged.files:
            self._sync_tree(copying)
            self._disk.rename(copying, self._layout.staged_files(job_id))
            self._disk.sync_folder(place, "staged: files")
        return staged

    def survey(self, source: Path, caps: FileCaps, name: str) -> Staged:
        """Return the result of `stage` without it, for an outbox that cannot take files now.

        Syncs the files and their names where they lie.

        Raises:
            OSError: they cannot be read.
        """
        staged = collect(
            source, caps, name, lambda fd, _: self._disk.read_synced(fd, "kept: bytes")
        )
        if staged.files:
            self._sync_tree(source)
            self._disk.sync_folder(source.parent, "kept: work folder")
        return staged

    def write(self, job_id: str, what: str, content: bytes) -> None:
        """Write a file of a job, synced, in the staging folder.

        Raises:
            OSError
        """
        self._write(self._layout.staged(job_id, what), content, "published: bytes")

    def place(self, job_id: str, what: str, target: Path) -> None:
        """Rename what `write` has written to its place.

        Raises:
            OSError
        """
        self._disk.rename(self._layout.staged(job_id, what), target)

    def place_unsynced(
        self, temp_name: str, content: bytes, target: Path, why: str | None = None
    ) -> None:
        """Write a file that a power cut may take, and then rename it to its place.

        With a reason, its bytes are synced: nothing writes it again if it were empty.
        """
        temp = self._layout.all_staging / temp_name
        self._write(temp, content, why)
        self._disk.rename(temp, target)

    def _write(self, temp: Path, content: bytes, why: str | None) -> None:
        """Write a file in the staging folder; most often that is there, and the name is free."""
        try:
            self._disk.write(temp, content, why)
        except FileNotFoundError:
            self._disk.make_folder(temp.parent)
            self._disk.write(temp, content, why)
        except FileExistsError:  # an earlier try was cut off
            self._disk.unlink(temp)
            self._disk.write(temp, content, why)

    def remove(self, job_id: str) -> None:
        """Remove what is left of a job: its folder, and files that a power cut brought back."""
        folder = self._layout.staging(job_id)
        for place in (folder, *(self._layout.staged(job_id, what) for what in STAGED)):
            if os.path.lexists(place):
                self._remove(place)

    def clean(self, keep: Iterable[str]) -> None:
        """Remove staged leftovers of all jobs but those in `keep`.

        Raises:
            OSError
        """
        kept = set(keep)
        staging = self._layout.all_staging
        if not staging.is_dir():
            return
        for entry in list(os.scandir(staging)):
            if entry.name.partition(".")[0] not in kept:
                self._remove(Path(entry.path))

    def _remove(self, place: Path) -> None:
        """Remove it; a hidden rest of no job stays until the next start tries again."""
        try:
            self._disk.remove_tree(place)
        except OSError as error:
            log.warning("%s stays until the next start: %s", place, error)

    def _clear(self, place: Path) -> None:
        try:
            self._disk.remove_tree(place)
        except OSError:
            self._disk.rename(place, place.with_name(f"left-{secrets.token_hex(8)}"))

    def _sync_tree(self, place: Path) -> None:
        """Sync the folders; unreachable and unreadable ones are not published."""
        with opened(place) as root:
            below = [entry.path for entry in walk(root) if entry.kind is Kind.FOLDER]
        for folder in (*reversed(below), "."):
            self._disk.sync_folder(place / folder, "files: names")

    def _ensure_reachable(self, name: str, relative: str) -> None:
        """Make sure that a file can be read by its whole path, here and later in the history.

        Raises:
            NotTaken: that would be too long.
        """
        last = name.rpartition("/")[2]
        place = self._layout.history(name) / ("0" * 32) / f"{last}{FILES}"
        if len(os.fsencode(place)) + 1 + len(os.fsencode(relative)) > LONGEST_PATH:
            raise NotTaken("its path in the outbox would be too long")

    def _takes_others(self, error: OSError, place: Path) -> bool:
        """Tell whether the outbox refuses this one file, and would take another one beside it."""
        if error.errno in EVERYBODYS:
            return False
        probe = place / "probe"
        try:
            self._disk.unlink(probe)
            self._disk.write(probe, b"probe")
            self._disk.unlink(probe)
        except OSError:
            return False
        return True
