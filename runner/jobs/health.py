"""Tells whether a request that comes now would be run and answered, and if not, why.

Looks at the locks, the folders and the daemon's pulse. Starts and mends nothing.
"""

import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from runner import __version__
from runner.config import MEGABYTE, Settings
from runner.contract.advice.remedies import with_remedy
from runner.state import pulse
from runner.state.locks import holder_of
from runner.state.pulse import Worker
from runner.system.processes.patience import Looks, NoAnswer

SERVICE = "papermill-gateway"
LOOKED_AT = ("inbox", "outbox", "state")
LOOK_SECONDS = 4.0
"""How long a folder may take to answer. Less would call a busy machine a dead mount."""


@dataclass(frozen=True)
class Health:
    """The reasons for ill health, empty if healthy. Notes stop nothing.

    `workers`, and the number of `warm` kernels, are None without a daemon.
    """

    reasons: tuple[str, ...]
    notes: tuple[str, ...] = ()
    workers: tuple[Worker, ...] | None = None
    warm: int | None = None
    free: Mapping[str, int] = field(default_factory=dict, compare=False)
    """Space for ordinary users below each folder that answers, in bytes."""

    @property
    def status(self) -> int:
        """The HTTP status, 200 or 503."""
        return 503 if self.reasons else 200

    @property
    def slots(self) -> int | None:
        """How many notebooks may run at a time, on all workers together."""
        return None if self.workers is None else sum(one.slots for one in self.workers)

    @property
    def running(self) -> int | None:
        """How many of them run."""
        return None if self.workers is None else sum(one.running for one in self.workers)

    @property
    def public(self) -> dict[str, Any]:
        """The part for clients without a token: no other machine's name or address."""
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


@dataclass(frozen=True)
class _Sight:
    """The result of one look at a folder."""

    trouble: str | None
    free: int | None
    holder: str | None


_LOOKS = Looks()
"""The looks of this process: one that hangs is not begun a second time."""


def examine(settings: Settings) -> Health:
    """Look once; this takes a few seconds at most, on any mount."""
    sights = _sights(settings)
    beat = pulse.read(settings.state)
    reasons = tuple(_reasons(settings, sights, beat))
    free = {name: sight.free for name, sight in sights.items() if sight.free is not None}
    if beat is None:
        return Health(reasons, free=free)
    notes = tuple(beat.notes)
    if pulse.is_stale(beat, time.monotonic()):
        return Health(reasons, notes, free=free)
    return Health(reasons, notes, tuple(beat.workers), beat.warm, free)


def is_watched(settings: Settings) -> bool:
    """Return whether a runner has the inbox."""
    return holder_of(settings.inbox) is not None


def _sights(settings: Settings) -> dict[str, _Sight]:
    """Look at all folders at once: each may be on a mount that never answers."""
    folders: dict[str, Path] = {name: getattr(settings, name) for name in LOOKED_AT}
    looks = {name: partial(_look_at, folder) for name, folder in folders.items()}
    for name, look in looks.items():
        _LOOKS.begin(folders[name], look)
    return {name: _sight(folders[name], look) for name, look in looks.items()}


def _sight(folder: Path, look: Callable[[], _Sight]) -> _Sight:
    try:
        return _LOOKS.ask(folder, look, LOOK_SECONDS)
    except NoAnswer as no_answer:
        return _Sight(f"{no_answer} (mount it anew, or look after its server)", None, None)


def _look_at(folder: Path) -> _Sight:
    try:
        if not stat.S_ISDIR(folder.stat().st_mode):
            return _Sight("is no folder", None, None)
        free = shutil.disk_usage(folder).free
    except FileNotFoundError:
        return _Sight("is not there", None, None)
    except OSError as error:
        return _Sight(f"cannot be used: {with_remedy(error)}", None, None)
    writable = os.access(folder, os.W_OK | os.X_OK)
    return _Sight(None if writable else "cannot be written", free, holder_of(folder))


def _reasons(
    settings: Settings, sights: Mapping[str, _Sight], beat: pulse.Pulse | None
) -> Iterator[str]:
    yield from _folder_reasons(settings, sights)
    inbox = sights["inbox"]
    if inbox.free is not None and inbox.holder is None:
        yield _why_unwatched(settings, beat)
        return
    if beat is None:
        return
    if pulse.is_stale(beat, time.monotonic()):
        yield _why_silent(settings, beat)
    yield from beat.troubles


def _why_silent(settings: Settings, beat: pulse.Pulse) -> str:
    if not os.access(settings.state, os.W_OK):
        return f"the state cannot be written, and the runner (pid {beat.pid}) cannot say more"
    return f"the runner (pid {beat.pid}) does not move"


def _why_unwatched(settings: Settings, beat: pulse.Pulse | None) -> str:
    """Say what a living runner without the inbox waits for, in its own words."""
    if beat is not None and holder_of(settings.state) is not None and beat.troubles:
        return "; ".join(beat.troubles)
    return "no runner watches the inbox; start `runner serve`"


def _folder_reasons(settings: Settings, sights: Mapping[str, _Sight]) -> Iterator[str]:
    for name in ("inbox", "outbox"):
        reason = sights[name].trouble
        if reason is not None:
            yield f"the {name} {reason}"
    for name, sight in sights.items():
        if sight.free is not None and sight.free < settings.limits.free_mb * MEGABYTE:
            yield (
                f"the disk of the {name} is nearly full: {sight.free // MEGABYTE} MB left, "
                f"less than {settings.limits.free_mb:g} (limits.free_mb)"
            )
