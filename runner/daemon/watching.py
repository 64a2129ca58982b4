"""Notices changes in the inbox: by events if its mounts can be trusted, else by looks."""

import logging
from collections.abc import Callable

from runner.config import Settings
from runner.inbox.claim import is_of_claim, is_of_rule
from runner.inbox.scanning.inspection import Trust
from runner.inbox.scanning.scan import Inbox
from runner.system.files.disk import is_whole
from runner.system.files.mounts import MountTable, least_trusted, polls
from runner.system.files.watch import Watch

log = logging.getLogger(__name__)


class Watching:
    """Watches one inbox. Another thread calls `wake` when something may have changed.

    It says whether that is a request which a client of ours has made in one piece.
    """

    def __init__(
        self, settings: Settings, inbox: Inbox, table: MountTable, wake: Callable[[bool], None]
    ) -> None:
        self._settings = settings
        self._inbox = inbox
        self._wake = wake
        self._mount_table = table
        self._watch = Watch(settings.inbox, self._on_event)
        self._table = ""
        self._polls = False
        self._kind: str | None = None
        self.choose()

    @property
    def trouble(self) -> str | None:
        """Reason why events are missing; None if they are not."""
        return None if self._polls else self._watch.trouble

    @property
    def is_lost(self) -> bool:
        """Whether events have stopped, so that somebody must look."""
        return not self._polls and not self._watch.is_current()

    def begin(self) -> float:
        """Listen for events before a look; return the seconds until the next look without one."""
        intake = self._settings.intake
        listens = not self._polls and self._watch.ensure()
        return intake.rescan_seconds if listens else intake.poll_seconds

    @property
    def poll_seconds(self) -> float:
        """The seconds between two looks while nobody listens."""
        return self._settings.intake.poll_seconds

    def stop(self) -> None:
        """Listen no longer, for now."""
        self._watch.stop()

    def has_other_mounts(self) -> bool:
        """Return whether the mount table has changed since the choice."""
        return self._mount_table() != self._table

    def choose(self) -> None:
        """Choose between events and looks by the present mounts."""
        self._table = self._mount_table()
        intake = self._settings.intake
        mount = least_trusted(self._settings.inbox, self._table)
        self._polls = polls(intake.mode, mount)
        trust = Trust(mount.tells_the_truth, intake.poll_seconds) if self._polls else Trust()
        self._inbox.rely_on(trust)
        if self._polls:
            self._watch.stop()
        kind = mount.kind if self._polls else None
        if kind is not None and kind != self._kind:
            log.info("polling the inbox every %g s (%s mount)", intake.poll_seconds, kind)
        elif kind is None and self._kind is not None:
            log.info("watching the inbox by events again")
        self._kind = kind

    def _on_event(self, path: str) -> None:
        """Wake, except for the runner's own changes in claim folders and with files of rules."""
        inside = path.removeprefix(str(self._settings.inbox))
        if not is_of_claim(inside) and not is_of_rule(inside):
            self._wake(is_whole(path))
