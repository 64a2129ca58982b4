"""The process that delivers closed jobs to followers, beside a daemon and only while it lives."""

import logging
import os
import signal
import sqlite3
from collections.abc import Callable, Mapping
from functools import partial

from runner.config import Settings
from runner.followers.delivering import LOOK_SECONDS, Delivering, Follower
from runner.followers.journal import Journal
from runner.state.ledger_reader import LedgerReader
from runner.system.clocks import Clocks
from runner.system.companion import is_alone, is_over
from runner.system.files.disk import Disk

log = logging.getLogger(__name__)

LOCK_FILE = ".followers.lock"


FOLLOWERS: Mapping[str, Callable[[Settings], Follower]] = {
    "journal": lambda settings: Journal(settings.state, Disk()),
}
"""How each follower is made, by the name that `Settings.followers` has for it."""


def followers_of(settings: Settings) -> list[Follower]:
    """Make the followers that the settings name."""
    return [FOLLOWERS[name](settings) for name in settings.followers]


def serve(settings: Settings, *, owner: int, reports: int) -> None:
    """Deliver until `owner` reads to its end. Settlements go to `reports`, a line each.

    Both are descriptors of pipes whose other ends the daemon holds.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends with its daemon
    delivering = Delivering(
        followers_of(settings),
        partial(LedgerReader, settings.state),
        lambda what: _write(reports, what.to_line()),
        Clocks(),
    )
    if not is_alone(settings.state / LOCK_FILE, owner):
        return
    seconds = 0.0
    while not is_over(owner, seconds):
        try:
            seconds = delivering.turn()
        except sqlite3.Error as error:
            log.warning("the ledger cannot be read now: %s", error)
            seconds = LOOK_SECONDS
        except BrokenPipeError:
            return


def _write(fd: int, line: bytes) -> None:
    view = memoryview(line)
    while view:
        view = view[os.write(fd, view) :]
