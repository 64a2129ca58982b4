"""Asks the kernel whether anybody has a file open for writing.

A read lease (fcntl(2), F_SETLEASE) is granted only while no writer is there, and shows afterwards
whether one came. Decides nothing.
"""

import errno
import fcntl
import os
import signal
import sys
from enum import Enum


class Lease(Enum):
    """The answer to the question for a lease."""

    TAKEN = "taken"
    WRITER = "somebody has the file open for writing"
    UNAVAILABLE = "no right to a lease on this file, or none to be had here"


def ignore_breaks() -> None:
    """Ignore SIGIO of a broken lease, which would end the process. Main thread only."""
    signal.signal(signal.SIGIO, signal.SIG_IGN)


def take(fd: int) -> Lease:
    """Ask for a read lease on a file opened for reading only."""
    if not sys.platform.startswith("linux"):
        return Lease.UNAVAILABLE
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return Lease.WRITER if error.errno == errno.EAGAIN else Lease.UNAVAILABLE
    return Lease.TAKEN


def is_held(fd: int) -> bool:
    """Return whether the lease stands; it breaks as soon as a writer opens the file."""
    return fcntl.fcntl(fd, fcntl.F_GETLEASE) == fcntl.F_RDLCK


def close(fd: int) -> None:
    """Give the lease back with the descriptor, so that a writer who waits may go on."""
    os.close(fd)
