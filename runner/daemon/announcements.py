"""Announces the daemon's state: its pulse, and the files that stay in the inbox."""

import logging
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, replace

from runner.config import Settings
from runner.daemon.startup import Parts
from runner.inbox import unclaimed
from runner.state import pulse
from runner.system.clocks import utc_now

log = logging.getLogger(__name__)

MOST = 10
"""Most troubles and notes that are named."""


class Announcements:
    """Writes both into the state folder, for every client to read."""

    def __init__(self, settings: Settings, parts: Parts) -> None:
        self._settings = settings
        self._parts = parts
        self._written: unclaimed.WaitingList | None = None

    def write(self, *, is_stopping: bool, inbox_trouble: str | None) -> None:
        """Write how the daemon is. `inbox_trouble` is why it cannot take requests."""
        parts = self._parts
        workers = parts.execution.workers
        word = pulse.Pulse(
            pid=os.getpid(),
            at=time.monotonic(),
            running=parts.dispatch.running,
            warm=sum(worker.warm for worker in workers),
            troubles=list(self._troubles(is_stopping, inbox_trouble))[:MOST],
            workers=[pulse.Worker(**asdict(worker)) for worker in workers],
            notes=list(self._notes())[:MOST],
        )
        try:
            pulse.write(self._settings.state, word)
            self._write_unclaimed()
        except OSError as error:
            log.debug("no pulse: %s", error)

    def remove(self) -> None:
        """Remove both, because the daemon is gone.

        Raises:
            OSError
        """
        unclaimed.remove(self._settings.state)
        pulse.remove(self._settings.state)

    def _troubles(self, is_stopping: bool, inbox_trouble: str | None) -> Iterator[str]:
        """Yield reasons why requests are not run and answered as they should be."""
        parts = self._parts
        if is_stopping:
            yield "it is stopping; requests wait for its start"
        for what, why in parts.dispatch.troubles.items():
            yield f"cannot {what}: {why}"
        if inbox_trouble is not None:
            yield f"cannot take requests: {inbox_trouble}"
        for name, why in parts.reception.troubles.items():
            yield f"{name} stays in the inbox: its old results cannot be moved: {why}"
        yield from parts.execution.troubles
        lost = parts.folders.library_trouble()
        if lost is not None:
            library = self._settings.notebooks
            yield f"the library {library} {lost}; requests that name it wait"

    def _notes(self) -> Iterator[str]:
        """Yield shortcomings that others may mend, though the runner does its part."""
        parts = self._parts
        if parts.watching.trouble is not None:
            yield parts.watching.trouble
        yield from parts.execution.notes
        yield from parts.dispatch.notes
        if parts.reception.is_held_back:
            yield "as many requests as intake.per_minute allows were taken; more wait in the inbox"
        yield from parts.following.notes()
        yield from parts.submitting.notes()
        yield from unclaimed.notes_of(parts.inbox.waiting)

    def _write_unclaimed(self) -> None:
        """Write the list of the inbox when it has changed.

        Raises:
            OSError
        """
        waiting = self._parts.inbox.waiting
        if waiting != self._written:
            at = utc_now().isoformat(timespec="seconds")
            unclaimed.write(self._settings.state, replace(waiting, at=at))
            self._written = waiting
