"""Wakes somebody when something may have changed in a folder.

Events are hints, with a path that may be of interest. What is there, only a look tells.
"""

import logging
import os
from collections.abc import Callable
from pathlib import Path

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

log = logging.getLogger(__name__)

_CHANGES: list[type[FileSystemEvent]] = [
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileModifiedEvent,
    FileMovedEvent,
]
"""Not `opened` and `closed_no_write`: a scan that reads a file would wake itself for ever."""


class _Wake(FileSystemEventHandler):
    def __init__(self, wake: Callable[[str], None]) -> None:
        self._wake = wake

    def on_any_event(self, event: FileSystemEvent) -> None:
        self._wake(os.fsdecode(event.dest_path or event.src_path))


class Watch:
    """An observer of one folder that is started anew when the folder was replaced."""

    def __init__(
        self, folder: Path, wake: Callable[[str], None], *, recursive: bool = True
    ) -> None:
        """`wake` is called from another thread, once an event, with the path; it must be quick."""
        self._folder = folder
        self._recursive = recursive
        self._wake = wake
        self._observer: BaseObserver | None = None
        self._watched: tuple[int, int] | None = None
        self.trouble: str | None = None

    def ensure(self) -> bool:
        """Watch the folder that is there now. False if events cannot be had: then poll.

        An observer stays alive when its folder is deleted and made anew, and sees nothing more,
        so the folder's identity is compared.
        """
        try:
            found = self._folder.stat()
        except OSError as error:
            self.stop()
            self.trouble = f"{self._folder} is not there: {error.strerror}"
            return False
        identity = (found.st_dev, found.st_ino)
        if self._observer is not None and identity == self._watched and self._observer.is_alive():
            return True
        self.stop()
        return self._start(identity)

    def is_current(self) -> bool:
        """Whether the folder that is watched is the one that is there."""
        try:
            found = self._folder.stat()
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._watched

    def stop(self) -> None:
        """End the observer's threads."""
        if self._observer is None:
            return
        self._observer.stop()
        self._observer.join(timeout=5)
        self._observer = None
        self._watched = None

    def _start(self, identity: tuple[int, int]) -> bool:
        _do_not_pair_moves()
        observer = Observer()
        try:
            observer.schedule(
                _Wake(self._wake),
                str(self._folder),
                recursive=self._recursive,
                event_filter=_CHANGES,
            )
            observer.start()
        except OSError as error:
            reason = f"no file system events ({error.strerror or error}); polling instead"
            if reason != self.trouble:
                log.warning("%s", reason)
            self.trouble = reason
            return False
        self._observer, self._watched, self.trouble = observer, identity, None
        return True


def _do_not_pair_moves() -> None:
    """Make watchdog pass every event on at once.

    It holds each rename back for half a second, and all events behind it, to find its other half.
    Each claim is such a rename, and we need no halves.
    """
    try:
        from watchdog.observers.inotify_move_event_grouper import InotifyMoveEventGrouper
    except ImportError:
        return
    InotifyMoveEventGrouper.delay = 0.0
