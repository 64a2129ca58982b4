"""Whether a request that comes now would be run and answered, and if not, why.

Looks at the locks, the folders and the daemon's pulse. Starts and mends nothing.
"""

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runner import __version__, pulse
from runner.config import MEGABYTE, Settings
from runner.owner import holder_of
from runner.pulse import Worker

SERVICE = "papermill-gateway"


@dataclass(frozen=True)
class Health:
    """What is wrong; nothing, if healthy. Notes are of what works all the same.

    `workers`, and how many kernels are `warm`, are None while no daemon tells.
    """

    reasons: tuple[str, ...]
    notes: tuple[str, ...] = ()
    workers: tuple[Worker, ...] | None = None
    warm: int | None = None

    @property
    def status(self) -> int:
        """200 or 503."""
        return 503 if self.reasons else 200

    @property
    def slots(self) -> int | None:
        """How many notebooks may run at a time, on all workers together."""
        return None if self.workers is None else sum(one.slots for one in self.workers)

    @property
    def running(self) -> int | None:
        """How many of them do."""
        return None if self.workers is None else sum(one.running for one in self.workers)

    @property
    def public(self) -> dict[str, Any]:
        """What everybody may know, who has no token either: no other machine's name or address."""
        state = "unhealthy" if self.reasons else "healthy"
        said = {"reasons": list(self.reasons), "notes": list(self.notes)}
        return {
            "status": state,
            "service": SERVICE,
            "version": __version__,
            "slots": self.slots,
            "running": self.running,
            **{key: lines for key, lines in said.items() if lines},
        }

    @property
    def content(self) -> dict[str, Any]:
        """The JSON of `/` and `/healthz`."""
        return {**self.public, "workers": [asdict(one) for one in self.workers or ()]}


def examine(settings: Settings) -> Health:
    """Look once."""
    found = pulse.read(settings.state)
    reasons = tuple(_reasons(settings, found))
    if found is None:
        return Health(reasons)
    notes = tuple(found.notes)
    if pulse.is_stale(found, time.monotonic()):
        return Health(reasons, notes)
    return Health(reasons, notes, tuple(found.workers), found.warm)


def free_bytes(folder: Path) -> int | None:
    """Space for ordinary users below a folder; None if it is not there."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def _reasons(settings: Settings, found: pulse.Pulse | None) -> Iterator[str]:
    yield from _folder_reasons(settings)
    if settings.inbox.is_dir() and holder_of(settings.inbox) is None:
        yield _why_unwatched(settings, found)
        return
    if found is None:
        return
    if pulse.is_stale(found, time.monotonic()):
        yield _why_silent(settings, found)
    yield from found.troubles


def _why_silent(settings: Settings, found: pulse.Pulse) -> str:
    if not os.access(settings.state, os.W_OK):
        return f"the state cannot be written, and the runner (pid {found.pid}) cannot say more"
    return f"the runner (pid {found.pid}) does not move"


def _why_unwatched(settings: Settings, found: pulse.Pulse | None) -> str:
    """A runner that lives and does not hold the inbox says itself what it waits for."""
    if found is not None and holder_of(settings.state) is not None and found.troubles:
        return "; ".join(found.troubles)
    return "no runner watches the inbox; start `runner serve`"


def _folder_reasons(settings: Settings) -> Iterator[str]:
    for name in ("inbox", "outbox"):
        folder: Path = getattr(settings, name)
        if not folder.is_dir():
            yield f"the {name} is not there"
        elif not os.access(folder, os.W_OK | os.X_OK):
            yield f"the {name} cannot be written"
    for name in ("inbox", "outbox", "state"):
        free = free_bytes(getattr(settings, name))
        if free is not None and free < settings.limits.free_mb * MEGABYTE:
            yield (
                f"the disk of the {name} is nearly full: {free // MEGABYTE} MB left, "
                f"less than {settings.limits.free_mb:g} (limits.free_mb)"
            )
