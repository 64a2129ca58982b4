"""Wakes a listener when something may have changed in a folder.

Events are hints, with a path that may matter. Only a look tells the truth.
"""

import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
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

from runner.system.files.inotify import Observer

log = logging.getLogger(__name__)

RETRY_SECONDS = 60.0
"""Pause before watching again after the system refused it."""

_CHANGES: list[type[FileSystemEvent]] = [
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileModifiedEvent,
    FileMovedEvent,
]
"""Without `opened` and `closed_no_write`: a scan that reads a file would wake itself."""


class _Wake(FileSystemEventHandler):
    def __init__(self, wake: Callable[[str], None]) -> None:
        self._wake = wake

    def on_any_event(self, event: FileSystemEvent) -> None:
        self._wake(os.fsdecode(event.dest_path or event.src_path))


class Watch:
    """Observes one folder, and starts anew when the folder was replaced."""

    def __init__(
        self,
        folder: Path,
        wake: Callable[[str], None],
        *,
        recursive: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Call `wake` from another thread with a path that may matter; it must be quick.

        It is called once an event, and with the folder itself when events were lost.
        """
        self._folder = folder
        self._recursive = recursive
        self._wake = wake
        self._clock = clock
        self._observer: Observer | None = None
        self._tried: tuple[int, int] | None = None
        self._retry_at = 0.0
        self.trouble: str | None = None

    def ensure(self) -> bool:
        """Watch the present folder. False if not all events can be had: then poll.

        An observer outlives its deleted folder and then sees nothing more, so the folder's identity
        is compared.
        """
        identity = self._identity()
        if identity is None:
            self.stop()
            return False
        if self._is_settled(identity):
            return self._watches_all()
        self.stop()
        return self._start(identity)

    def is_current(self) -> bool:
        """Return whether `ensure` would change nothing."""
        identity = self._identity()
        return identity is not None and self._is_settled(identity)

    def stop(self) -> None:
        """End the observer's threads."""
        self._tried = None
        if self._observer is None:
            return
        _end(self._observer)
        self._observer = None

    def _identity(self) -> tuple[int, int] | None:
        try:
            status = self._folder.stat()
        except OSError as error:
            self.trouble = f"{self._folder} is not there: {error.strerror}"
            return None
        return (status.st_dev, status.st_ino)

    def _is_settled(self, identity: tuple[int, int]) -> bool:
        if identity != self._tried or (self._observer is not None and not self._observer.sees):
            return False
        return self.trouble is None or self._clock() < self._retry_at

    def _start(self, identity: tuple[int, int]) -> bool:
        self._tried, self._retry_at = identity, self._clock() + RETRY_SECONDS
        try:
            self._observer = self._observe()
        except OSError as error:
            return self._say(f"no file system events ({error.strerror or error})")
        return self._watches_all()

    def _watches_all(self) -> bool:
        """Return whether all folders below are watched; the system may refuse one."""
        if self._observer is None:
            return False
        if self._observer.refused is not None:
            return self._say(f"not all file system events ({self._observer.refused})")
        self.trouble = None
        return True

    def _say(self, cause: str) -> bool:
        reason = f"{cause}; polling instead"
        if reason != self.trouble:
            log.warning("%s: %s", self._folder, reason)
        self.trouble = reason
        return False

    def _look_at_all(self) -> None:
        log.info(
            "%s: events were lost (fs.inotify.max_queued_events is how many may wait); "
            "all of it is looked at",
            self._folder,
        )
        self._wake(str(self._folder))

    def _observe(self) -> Observer:
        observer = Observer(self._look_at_all)
        try:
            observer.schedule(
                _Wake(self._wake),
                str(self._folder),
                recursive=self._recursive,
                event_filter=_CHANGES,
            )
            observer.start()
        except BaseException:
            _end(observer)
            raise
        return observer


def _end(observer: Observer) -> None:
    observer.stop()
    with suppress(RuntimeError):  # it was never started
        observer.join(timeout=5)
