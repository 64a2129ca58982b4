"""Locks a `state/` and an `inbox/` for one runner, and tells who holds them.

A lock goes with its process, however that ended (flock(2)).
"""

import fcntl
import json
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LOCK_FILE = ".runner.lock"
ONE_RUN = "runner run"
"""The beginning of an owner's description that runs one job, and ends."""
LOOKS = 5
LOOK_SECONDS = 0.02
ASTRAY_SECONDS = 0.2


class Owned(Exception):
    """A folder has an owner already: `folder, holder`."""

    @property
    def is_for_one_job(self) -> bool:
        """Whether the owner is a `runner run`, which goes by itself."""
        return str(self.args[1]).startswith(ONE_RUN)

    def __str__(self) -> str:
        return f"{self.args[0]} belongs to {self.args[1]}"


@dataclass(frozen=True)
class Ownership:
    """The locks of this process; keep it while the folders are used."""

    descriptors: tuple[int, ...]

    def still_holds(self, folder: Path) -> bool:
        """Return whether a lock is the folder's own: the folder may have been made anew."""
        try:
            there = (folder / LOCK_FILE).stat()
        except OSError:
            return False
        return any(os.path.samestat(os.fstat(fd), there) for fd in self.descriptors)

    def release(self) -> None:
        """Give the folders back."""
        for fd in self.descriptors:
            os.close(fd)


def own(folders: Sequence[Path], what: str, since: str) -> Ownership:
    """Lock every folder, or none. `what` describes this process in the lock.

    Raises:
        Owned: somebody else has one of them.
        OSError: a lock file cannot be written.
    """
    taken: list[int] = []
    try:
        for folder in folders:
            taken.append(_lock(folder, what, since))
    except BaseException:
        Ownership(tuple(taken)).release()
        raise
    return Ownership(tuple(taken))


def holder_of(folder: Path) -> str | None:
    """Say who owns a folder now; None if nobody does."""
    try:
        fd = os.open(folder / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _describe(fd)
    else:
        return None
    finally:
        os.close(fd)


def is_astray(inbox: Path, state: Path) -> bool:
    """Return whether a living runner does not hold this inbox, which may then not be its own.

    That is true for a second at a start, which takes its state first and the inbox a moment later.
    """
    for _ in range(LOOKS):
        if holder_of(inbox) is not None or holder_of(state) is None:
            return False
        time.sleep(ASTRAY_SECONDS)
    return True


def _lock(folder: Path, what: str, since: str) -> int:
    fd = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _take(fd)
    except BlockingIOError:
        holder = _describe(fd)
        os.close(fd)
        raise Owned(str(folder), holder) from None
    except OSError:
        os.close(fd)
        raise
    mine = {"what": what, "pid": os.getpid(), "host": socket.gethostname(), "since": since}
    os.ftruncate(fd, 0)
    os.pwrite(fd, json.dumps(mine).encode(), 0)
    return fd


def _take(fd: int) -> None:
    """Lock, without taking `holder_of`'s short look for an owner.

    Raises:
        BlockingIOError: somebody has it.
    """
    for _ in range(LOOKS):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOOK_SECONDS)
        else:
            return
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _describe(fd: int) -> str:
    try:
        holder = json.loads(os.pread(fd, 4096, 0))
        return (
            f"{holder['what']} (pid {holder['pid']} on {holder['host']}, since {holder['since']})"
        )
    except (ValueError, KeyError, TypeError):
        return "another runner"
