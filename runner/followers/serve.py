"""The process that delivers closed jobs to followers, beside a daemon and only while it lives."""

import fcntl
import logging
import os
import select
import signal
import sqlite3
from functools import partial
from pathlib import Path

from runner.config import Settings
from runner.followers.delivering import LOOK_SECONDS, Delivering, Follower
from runner.followers.journal import Journal
from runner.state.ledger_reader import LedgerReader
from runner.system.clocks import Clocks
from runner.system.files.disk import Disk

log = logging.getLogger(__name__)

LOCK_FILE = ".followers.lock"
LOCK_SECONDS = 0.1


def followers_of(settings: Settings) -> list[Follower]:
    """Make the followers that the settings name."""
    return [Journal(settings.state, Disk())] if settings.journal else []


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
    if not _is_alone(settings.state, owner):
        return
    seconds = 0.0
    while not _is_over(owner, seconds):
        try:
            seconds = delivering.turn()
        except sqlite3.Error as error:
            log.warning("the ledger cannot be read now: %s", error)
            seconds = LOOK_SECONDS
        except BrokenPipeError:
            return


def _is_alone(state: Path, owner: int) -> bool:
    """Wait until the companion of an earlier daemon has ended; False if the own one ends first.

    Two would tell a follower of the same rows. The lock goes with the process (flock(2)).
    """
    fd = os.open(state / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if _is_over(owner, LOCK_SECONDS):
                return False
        else:
            return True


def _is_over(owner: int, seconds: float) -> bool:
    """Wait; return whether the daemon has gone."""
    ready, _, _ = select.select([owner], [], [], seconds)
    return bool(ready) and not os.read(owner, 65536)


def _write(fd: int, line: bytes) -> None:
    view = memoryview(line)
    while view:
        view = view[os.write(fd, view) :]
