"""The daemon's part for followers: keeps their companion, and records its settlements.

The companion delivers; nothing that a follower does can hold up the loop.
"""

import json
import logging
import sqlite3
from collections.abc import Callable, Iterator
from datetime import datetime

from runner.config import Settings
from runner.daemon.companions.companion import Companion
from runner.state.books.callbacks import CALLBACKS_FILE
from runner.state.books.notifications import NOTIFICATIONS_FILE
from runner.state.deliveries import MOST_WAITING, Backlog, Settlement
from runner.state.ledger import Ledger
from runner.system.clocks import Clocks
from runner.system.companion import greeting
from runner.system.processes.forked import Forked

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
BEHIND_SECONDS = 60.0
"""A follower that is behind for longer is named in health's notes."""


class Following:
    """Keeps the followers of this ledger. `put` takes a settlement to the loop, from any thread."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        clocks: Clocks,
        put: Callable[[Settlement], None],
        ahead: Forked | None = None,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._clocks = clocks
        self._put = put
        self._companion = Companion("follow", greeting(settings), clocks.seconds, self._read, ahead)
        self._lost = 0
        self._notes: tuple[str, ...] = ()
        self._is_wanted = settings.journal or bool(settings.callbacks.send or settings.notify)
        self._look_at = 0.0

    @property
    def pids(self) -> set[int]:
        """The companion's process, if it runs."""
        return self._companion.pids

    def keep(self) -> None:
        """Keep the companion running from when there is something to deliver."""
        if not self._is_wanted and self._clocks.seconds() >= self._look_at:
            self._look_at = self._clocks.seconds() + LOOK_SECONDS
            books = (CALLBACKS_FILE, NOTIFICATIONS_FILE)
            has_book = any((self._settings.state / one).exists() for one in books)
            self._is_wanted = has_book or bool(self._ledger.backlogs())
        if self._is_wanted:
            self._companion.keep()
        else:
            self._companion.dismiss()

    def close(self) -> None:
        """End the companion; undelivered rows wait for the next start."""
        self._companion.close()

    def record(self, what: Settlement) -> None:
        """Record a settlement; the companion repeats one that the ledger cannot take now."""
        try:
            self._ledger.settle(what)
        except sqlite3.OperationalError as error:
            log.debug("a settlement is not recorded: %s", error)

    def bound(self) -> None:
        """Drop rows of former followers, and the surplus of all others."""
        lost = self._ledger.bound_deliveries(self._settings.followers)
        if lost:
            self._lost += lost
            log.warning("%s", _lost_in_words(lost))

    def notes(self) -> Iterator[str]:
        """Notes on the followers that are behind, and why."""
        for backlog in self._ledger.backlogs():
            if self._is_behind(backlog):
                yield _in_words(backlog)
        yield from self._notes
        if self._lost:
            yield _lost_in_words(self._lost)

    def _is_behind(self, backlog: Backlog) -> bool:
        waits = (self._clocks.now() - datetime.fromisoformat(backlog.since)).total_seconds()
        return backlog.error is not None or waits > BEHIND_SECONDS

    def _read(self, line: bytes) -> None:
        try:
            said = json.loads(line)
            if isinstance(said, list):
                self._notes = tuple(map(str, said))
            else:
                self._put(Settlement(**said))
        except (ValueError, TypeError):
            log.warning("no settlement in this line of the process `follow`: %r", line[:200])


def _in_words(backlog: Backlog) -> str:
    why = f": {backlog.error}" if backlog.error else ""
    return f"the {backlog.follower} is {backlog.jobs} jobs behind since {backlog.since}{why}"


def _lost_in_words(jobs: int) -> str:
    return f"followers will not be told of {jobs} jobs: more than {MOST_WAITING:,} waited"
