"""Looks into the inbox when it is time, and has its drops accepted and started."""

import logging
import shutil
import sqlite3
from collections.abc import Iterator

from runner.config import MEGABYTE, Settings
from runner.daemon.folders import GONE_SECONDS, FolderMissing
from runner.daemon.receiving.reception import Received, take_batch
from runner.daemon.startup import Parts
from runner.outbox.publish import OutboxGone
from runner.state.locks import Owned
from runner.system.clocks import Clocks

log = logging.getLogger(__name__)

BURST_SECONDS = 0.01
"""A burst of events is one scan, this long after the first event."""


class DiskFull(Exception):
    """The disk has too little space for more requests: `folder, needed_mb`."""

    def __str__(self) -> str:
        return (
            f"the disk of {self.args[0]} has less than {self.args[1]:g} MB left (limits.free_mb); "
            "requests stay in the inbox"
        )


class Looking:
    """Decides when to look, and looks. Events, the timer and the start all lead to one scan."""

    def __init__(self, settings: Settings, parts: Parts, clocks: Clocks) -> None:
        self._settings = settings
        self._parts = parts
        self._clocks = clocks
        self._woken_at: float | None = None
        self._look_at = 0.0
        self._has_backlog = False
        self.trouble: str | None = None
        """Reason why no request can be taken now."""

    def wake(self, *, at_once: bool) -> None:
        """Note that something may have changed; `at_once` if it need not wait for a burst's end."""
        if at_once:
            self.look_now()
        self._woken_at = self._woken_at or self._clocks.seconds()

    def look_now(self) -> None:
        """Look at the next opportunity."""
        self._look_at = self._clocks.seconds()

    def due(self) -> Iterator[float]:
        """Return the times of the next looks, on the clock."""
        yield self._look_at
        if self._woken_at is not None:
            yield self._woken_at + BURST_SECONDS

    def look(self) -> None:
        """Take one batch out of the inbox.

        While there is another batch, nobody listens for events, because each claim would be five of
        them. One more look, after listening begins again, finds the meantime's drops.
        """
        self._woken_at = None
        began = self._clocks.seconds()
        regular = self._parts.watching.poll_seconds
        dispatch, reception = self._parts.dispatch, self._parts.reception
        try:
            self._ensure_inbox()
            if not self._has_backlog:
                regular = self._parts.watching.begin()
            full = self._disk_full()
            dispatch.close_published()
            received = take_batch(
                reception, self._parts.ledger, dispatch.reserve, only_cancels=full is not None
            )
            dispatch.launch()
            reception.release(received.batch)
        except (OSError, OutboxGone, Owned, FolderMissing, sqlite3.OperationalError) as error:
            self._say(error)
            self._look_at = self._clocks.seconds() + GONE_SECONDS
            return
        self._say(full)
        if received.entries.accepted:
            dispatch.expect_status()
        dispatch.cancel(received.entries.cancelled)
        self._plan(received, regular, began)

    def _plan(self, received: Received, regular: float, began: float) -> None:
        """Decide when to look again; a slow look is not repeated at once."""
        again = received.batch.look_again
        had_backlog, self._has_backlog = self._has_backlog, again == 0
        if self._has_backlog:
            self._parts.watching.stop()
        now = self._clocks.seconds()
        soon = regular if again is None else min(again, regular)
        at_once = self._has_backlog or had_backlog
        self._look_at = now + (0.0 if at_once else max(soon, now - began))

    def _say(self, error: Exception | None) -> None:
        """Log a reason once; the pulse has the last one."""
        text = None if error is None else str(error)
        if text is None and self.trouble is not None:
            log.info("taking requests again")
        if text is not None and text != self.trouble:
            log.warning("cannot take requests: %s", text)
        self.trouble = text

    def _disk_full(self) -> DiskFull | None:
        """Check for space, so that every accepted job has a place for its outcome."""
        state, needed = self._settings.state, self._settings.limits.free_mb
        free = shutil.disk_usage(state).free
        return DiskFull(str(state), needed) if free < needed * MEGABYTE else None

    def _ensure_inbox(self) -> None:
        """Make sure that the inbox is there, on its mount, and ours.

        Raises:
            FolderMissing, Owned, OSError: nothing is taken until it is.
        """
        inbox, parts = self._settings.inbox, self._parts
        reason = parts.folders.trouble(inbox)
        if reason is not None:
            parts.watching.stop()
            raise FolderMissing(str(inbox), reason)
        parts.lock.ensure()
        if parts.watching.has_other_mounts():
            parts.watching.choose()
            parts.folders.remember_mounts()
