"""Whether a request that comes now would be run and answered, and if not, why.

Looks at the locks, the folders and the daemon's pulse. Starts and mends nothing.
"""

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner import __version__, pulse
from runner.config import MEGABYTE, Settings
from runner.owner import holder_of

SERVICE = "papermill-gateway"


@dataclass(frozen=True)
class Health:
    """What is wrong; nothing, if healthy. Notes are of what works all the same."""

    reasons: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def status(self) -> int:
        """200 or 503."""
        return 503 if self.reasons else 200

    @property
    def content(self) -> dict[str, Any]:
        """The JSON of `/` and `/healthz`."""
        state = "unhealthy" if self.reasons else "healthy"
        said = {"reasons": list(self.reasons), "notes": list(self.notes)}
        told = {key: lines for key, lines in said.items() if lines}
        return {"status": state, "service": SERVICE, "version": __version__, **told}


def examine(settings: Settings) -> Health:
    """Look once."""
    found = pulse.read(settings.state)
    return Health(tuple(_reasons(settings, found)), tuple(found.notes) if found else ())


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
