"""How changes in the inbox are noticed: by events where mounts can be trusted, else by looks."""

import logging
from collections.abc import Callable

from runner.config import Settings
from runner.inbox.claim import is_of_claim
from runner.inbox.scanning.inspection import Trust
from runner.inbox.scanning.scan import Inbox
from runner.system.files.mounts import least_trusted, polls, read_table
from runner.system.files.watch import Watch

log = logging.getLogger(__name__)


class Watching:
    """Watches one inbox. `wake` is called from another thread when something may have changed."""

    def __init__(self, settings: Settings, inbox: Inbox, wake: Callable[[], None]) -> None:
        self._settings = settings
        self._inbox = inbox
        self._wake = wake
        self._watch = Watch(settings.inbox, self._on_event)
        self._table = ""
        self._polls = False
        self._kind: str | None = None
        self.choose()

    @property
    def trouble(self) -> str | None:
        """Why there are no events where there should be, if so."""
        return None if self._polls else self._watch.trouble

    @property
    def is_lost(self) -> bool:
        """Whether events are not to be had any more, so that somebody has to look."""
        return not self._polls and not self._watch.is_current()

    def begin(self) -> float:
        """Listen for events before a look; gives the seconds until the next look without one."""
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
        """Whether the mount table is another one than when it was chosen by."""
        return read_table() != self._table

    def choose(self) -> None:
        """Choose by the mounts as they are now: what is under the inbox may have changed."""
        self._table = read_table()
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
        """Wake; what the runner does itself in claim folders is no reason to look."""
        if not is_of_claim(path):
            self._wake()
