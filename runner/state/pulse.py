"""The daemon's state in a small file of the state folder, for every reader.

It is written every few seconds and never synced: after a crash it is out of date anyway.
"""

import errno
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

PULSE_FILE = "pulse.json"
PULSE_SECONDS = 2.0
STALE_SECONDS = 20.0
ROOM_BYTES = 4096
"""The file is padded to a block, so that news fit when there is no room for a new file."""


@dataclass(frozen=True)
class Worker:
    """A place where notebooks run: this machine, or a worker of a cluster."""

    host: str
    slots: int
    running: int
    warm: int
    address: str | None = None
    """Its address in a cluster, such as `tcp://10.0.0.7:40001`."""


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
    """Shortcomings that stop nothing."""


def write(state: Path, pulse: Pulse) -> None:
    """Replace the file; on a full disk, overwrite it in place, which takes no space.

    Raises:
        OSError
    """
    content = json.dumps(asdict(pulse)).encode().ljust(ROOM_BYTES)
    temp, file = state / f".{PULSE_FILE}", state / PULSE_FILE
    try:
        temp.write_bytes(content)
        temp.replace(file)
    except OSError as error:
        temp.unlink(missing_ok=True)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        with file.open("r+b") as old:
            old.write(content)
            old.truncate()


def read(state: Path) -> Pulse | None:
    """Read the last pulse, however old; None if there is none, or it may not be read."""
    try:
        content = json.loads((state / PULSE_FILE).read_bytes())
        workers = [Worker(**worker) for worker in content.pop("workers")]
        return Pulse(**content, workers=workers)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def remove(state: Path) -> None:
    """Remove the pulse, because the daemon is gone.

    Raises:
        OSError
    """
    (state / PULSE_FILE).unlink(missing_ok=True)


def is_stale(pulse: Pulse, now: float) -> bool:
    """Return whether the daemon should have written since: it hangs, or was started anew."""
    return not -PULSE_SECONDS < now - pulse.at < STALE_SECONDS
