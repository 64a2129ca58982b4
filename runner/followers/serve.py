"""The process that delivers closed jobs to followers, beside a daemon and only while it lives."""

import json
import logging
import os
import signal
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Protocol, runtime_checkable

from runner.config import CALLBACKS, NOTIFICATIONS, Settings
from runner.followers.callbacks.follower import Callbacks
from runner.followers.delivering import LOOK_SECONDS, Delivering, Follower
from runner.followers.journal import Journal
from runner.followers.notifications.follower import Notifications
from runner.state.ledger_reader import LedgerReader
from runner.system.clocks import Clocks
from runner.system.companion import is_alone, is_over
from runner.system.files.disk import Disk

log = logging.getLogger(__name__)

LOCK_FILE = ".followers.lock"
MOST_NOTES = 20


@runtime_checkable
class Working(Follower, Protocol):
    """A follower that goes on by itself with what it has taken."""

    def work(self) -> float:
        """Go on; return the seconds until there may be more to do."""

    def notes(self) -> Iterator[str]:
        """Say what keeps it from that."""


FOLLOWERS: Mapping[str, Callable[[Settings], Follower | Working]] = {
    "journal": lambda settings: Journal(settings.state, Disk()),
    CALLBACKS: lambda settings: Callbacks(settings, Clocks()),
    NOTIFICATIONS: lambda settings: Notifications(settings, Clocks()),
}
"""How each follower is made, by the name that `Settings.followers` has for it."""


def followers_of(settings: Settings) -> list[Follower | Working]:
    """Make the followers that the settings name."""
    return [FOLLOWERS[name](settings) for name in settings.followers]


def serve(settings: Settings, *, owner: int, reports: int) -> None:
    """Deliver until `owner` reads to its end. Settlements go to `reports`, a line each.

    So do notes for health, a JSON list of texts, when they have changed. Both are descriptors of
    pipes whose other ends the daemon holds.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends with its daemon
    followers = followers_of(settings)
    workers = [one for one in followers if isinstance(one, Working)]
    delivering = Delivering(
        followers,
        partial(LedgerReader, settings.state),
        lambda what: _write(reports, what.to_line()),
        Clocks(),
    )
    if not is_alone(settings.state / LOCK_FILE, owner):
        return
    seconds = 0.0
    said: list[str] = []
    while not is_over(owner, seconds):
        try:
            seconds = min(delivering.turn(), *(one.work() for one in workers))
            notes = [note for one in workers for note in one.notes()][:MOST_NOTES]
            if notes != said:
                _write(reports, json.dumps(notes).encode() + b"\n")
                said = notes
        except sqlite3.Error as error:
            log.warning("the ledger cannot be read now: %s", error)
            seconds = LOOK_SECONDS
        except BrokenPipeError:
            return


def _write(fd: int, line: bytes) -> None:
    view = memoryview(line)
    while view:
        view = view[os.write(fd, view) :]
