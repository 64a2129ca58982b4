"""The daemon's part for submitters: keeps their companion where there is something to submit.

The companion reads the files and makes the requests; they come in by the inbox like any others. It
also looks through the files of hooks, for health.
"""

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from runner.config import Settings
from runner.daemon.companions.companion import Companion
from runner.system.companion import greeting
from runner.system.processes.forked import Forked
from runner.system.processes.patience import Looks, NoAnswer

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
ANSWER_SECONDS = 0.2


class Submitting:
    """Keeps the submitters of one runner. `clock` gives monotonic seconds."""

    def __init__(
        self, settings: Settings, clock: Callable[[], float], ahead: Forked | None = None
    ) -> None:
        self._folders = settings.schedules_folder, settings.hooks_folder, settings.rules_folder
        self._clock = clock
        self._companion = Companion("submit", greeting(settings), clock, self._read, ahead)
        self._looks = Looks()
        self._look_at = 0.0
        self._is_wanted = False
        self._notes: tuple[str, ...] = ()

    @property
    def pids(self) -> set[int]:
        """The companion's process, if it runs."""
        return self._companion.pids

    def keep(self) -> None:
        """Keep the companion running from when there is a folder for its files, or for hooks."""
        if not self._is_wanted and self._clock() >= self._look_at:
            self._look_at = self._clock() + LOOK_SECONDS
            self._is_wanted = any(map(self._is_there, self._folders))
        if self._is_wanted:
            self._companion.keep()
        else:
            self._companion.dismiss()

    def close(self) -> None:
        """End the companion."""
        self._companion.close()

    def notes(self) -> Iterator[str]:
        """Notes on what does not run by itself, and why."""
        yield from self._notes

    def _is_there(self, folder: Path) -> bool:
        """Look for a folder, by a call made aside: its mount may never answer."""
        try:
            return bool(self._looks.ask(str(folder), folder.is_dir, ANSWER_SECONDS))
        except NoAnswer:
            return False

    def _read(self, line: bytes) -> None:
        try:
            notes = json.loads(line)
        except ValueError:
            notes = None
        if not isinstance(notes, list):
            log.warning("no notes in this line of the process `submit`: %r", line[:200])
            return
        self._notes = tuple(str(one) for one in notes)
