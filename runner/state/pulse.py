"""The daemon's own word on how it is, in a small file of the state folder, for whoever reads it.

Written every few seconds and never synced: after a crash it says nothing, and need not.
"""

import errno
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

PULSE_FILE = "pulse.json"
PULSE_SECONDS = 2.0
STALE_SECONDS = 20.0
ROOM_BYTES = 4096
"""Padded to a block, so that there is room for news when there is none for a new file."""


@dataclass(frozen=True)
class Worker:
    """What runs notebooks: this machine, or a worker of a cluster."""

    host: str
    slots: int
    running: int
    warm: int
    address: str | None = None
    """In a cluster, such as `tcp://10.0.0.7:40001`."""


@dataclass(frozen=True)
class Pulse:
    """`at` is the monotonic clock, which all processes of one machine share."""

    pid: int
    at: float
    running: int
    warm: int
    troubles: list[str] = field(default_factory=list)
    workers: list[Worker] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What is not as it could be, though everything is done."""


def write(state: Path, pulse: Pulse) -> None:
    """Replace the file; on a full disk, write it anew where it lies: that takes no space.

    Raises:
        OSError
    """
    told = json.dumps(asdict(pulse)).encode().ljust(ROOM_BYTES)
    temp, file = state / f".{PULSE_FILE}", state / PULSE_FILE
    try:
        temp.write_bytes(told)
        temp.replace(file)
    except OSError as error:
        temp.unlink(missing_ok=True)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        with file.open("r+b") as old:
            old.write(told)
            old.truncate()


def read(state: Path) -> Pulse | None:
    """The last word, however old; None if there is none, or nobody may read it."""
    try:
        found = json.loads((state / PULSE_FILE).read_bytes())
        workers = [Worker(**worker) for worker in found.pop("workers")]
        return Pulse(**found, workers=workers)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def remove(state: Path) -> None:
    """The daemon is gone.

    Raises:
        OSError
    """
    (state / PULSE_FILE).unlink(missing_ok=True)


def is_stale(pulse: Pulse, now: float) -> bool:
    """Whether the daemon should have written since: it hangs, or it is another start's word."""
    return not -PULSE_SECONDS < now - pulse.at < STALE_SECONDS
