"""Folders that the program makes in the inbox for a request's name, and removes when empty.

Each is marked where it is made, so that a folder of a person is never removed. Where a file system
keeps no marks, only the folders of requests without a name (`http/DATE`) are known to be ours.
"""

import logging
import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from runner.contract.names import MADE_NAMES, is_made_folder
from runner.system.files.disk import Disk

log = logging.getLogger(__name__)

MARK = "user.inbox_runner.made"


def make(inbox: Path, folder: Path, why: str, disk: Disk) -> None:
    """Make `folder` and what lies between it and the inbox, durable and marked.

    Raises:
        FileNotFoundError: one was removed between two steps, or the inbox is not there.
        OSError
    """
    for made in disk.make_folders(inbox, folder, why):
        disk.mark(made, MARK)


class MadeFolders:
    """The emptied folders of one inbox that may be ours."""

    def __init__(self, inbox: Path, disk: Disk) -> None:
        self._inbox = inbox
        self._disk = disk
        self._emptied: set[Path] | None = None

    def note(self, folder: Path) -> None:
        """Note that something has left this folder of the inbox."""
        self._noted().add(folder)

    def remove_empty(self, busy: Collection[Path] = ()) -> None:
        """Remove folders that are empty and ours, and their empty parents; leave `busy` ones."""
        for folder in self._noted().difference(busy):
            self._noted().discard(folder)
            self._climb(folder)

    def _noted(self) -> set[Path]:
        """Add the folders of days, which a killed run may have left."""
        if self._emptied is None:
            made = self._inbox / MADE_NAMES
            with suppress(OSError):  # it is not there
                self._emptied = {made / name for name in os.listdir(made)}
            self._emptied = self._emptied or set()
        return self._emptied

    def _climb(self, folder: Path) -> None:
        while folder != self._inbox and self._is_ours(folder):
            try:
                self._disk.remove_folder(folder)
            except OSError as error:  # as a rule something lies in it
                log.debug("folder %s stays: %s", folder, error)
                return
            folder = folder.parent

    def _is_ours(self, folder: Path) -> bool:
        if is_made_folder(folder.relative_to(self._inbox).as_posix()):
            return folder.is_dir() and not folder.is_symlink()
        return self._disk.has_mark(folder, MARK)
