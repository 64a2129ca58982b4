"""Notes which files stay in the inbox and why, and logs the unexpected ones once."""

import logging
from collections.abc import Callable, Iterable, Set

from runner.inbox.drop import Sighting
from runner.inbox.unclaimed import LONG_SECONDS, WORDS, Care, Collector, Reason, WaitingList

log = logging.getLogger(__name__)

REMEMBERED = 1_000
"""How many non-request paths of each kind are remembered; more are only counted."""


class Remaining:
    """The files that stay in one inbox, by listing. `clock` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._collector = Collector()
        self._since: dict[str, float] = {}
        self._logged: dict[str, str] = {}
        self.waiting = WaitingList()
        """The result of the last completed listing."""

    def begin(self) -> None:
        """Begin a new listing."""
        self._collector = Collector()

    def note(self, path: str, reason: Reason, since_ns: int, detail: str = "") -> None:
        """Note why a path stays; log once that the runner would take it and cannot."""
        self._collector.add(path, reason, since_ns, detail)
        if WORDS[reason].care is Care.STUCK and len(self._logged) < REMEMBERED:
            line = f"{reason} {detail}"
            if self._logged.get(path) != line:
                why = f"{WORDS[reason].text}: {detail}" if detail else WORDS[reason].text
                log.warning("%r stays in the inbox: %s", path, why)
            self._logged[path] = line

    def note_file(self, seen: Sighting, reason: Reason, detail: str = "") -> None:
        """Note why a seen file stays."""
        self.note(seen.path, reason, seen.ctime_ns, detail)

    def has_room(self, reason: Reason) -> bool:
        """Tell whether one more is listed, and not only counted."""
        return self._collector.has_room(reason)

    def knows(self, path: str) -> bool:
        """Tell whether something is noted of a path."""
        return self._collector.knows(path)

    def drop(self, path: str) -> None:
        """Drop a note: the file is taken after all."""
        self._collector.drop(path)

    def conclude(self, remembered: Set[str]) -> None:
        """Complete a listing; log long waits once.

        `remembered` are the paths of files that are looked at again.
        """
        now, reasons = self._clock(), self._collector.reasons
        kept = reasons.keys() | remembered
        self._logged = {path: line for path, line in self._logged.items() if path in kept}
        waiting = reasons.keys() | (self._since.keys() & remembered)
        self._since = {path: self._since.get(path, now) for path in waiting}
        late = {path for path in reasons if now - self._since[path] >= LONG_SECONDS}
        self._log_late(path for path in late if WORDS[reasons[path]].care is Care.LATE)
        self.waiting = self._collector.result(late)

    def _log_late(self, late: Iterable[str]) -> None:
        reasons = self._collector.reasons
        for path in sorted(late):
            if path not in self._logged and len(self._logged) < REMEMBERED:
                self._logged[path] = ""
                log.warning(
                    "%r waits in the inbox for more than a minute: %s",
                    path,
                    WORDS[reasons[path]].text,
                )
