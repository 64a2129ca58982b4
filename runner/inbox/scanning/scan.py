"""Scans one inbox, batch by batch. The folder is the truth; events are hints.

Reads whole files and holds them open until they are claimed. Never decides on the job.
"""

import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from runner.inbox.bundles.pending import Bundles
from runner.inbox.drop import Drop, Group, Scan, Sighting
from runner.inbox.scanning.decision import Decision, Decisions, SettingsWait
from runner.inbox.scanning.grouping import groups_of
from runner.inbox.scanning.inspection import Bounds, Inspection, Places, Trust
from runner.inbox.scanning.listing import Lister
from runner.inbox.scanning.memory import EmptyClaims, Memory
from runner.inbox.scanning.remaining import Remaining
from runner.inbox.unclaimed import Reason, WaitingList
from runner.system.clocks import Clocks

BATCH_FILES = 128
BATCH_BYTES = 32 * 1024 * 1024
NO_ROOM_SECONDS = 2.0
"""Pause between two looks for cancels while there is no room for more."""


@dataclass(frozen=True)
class Selection:
    """Which files of an inbox are taken, and when they count as whole."""

    bounds: Bounds
    ignore: Sequence[str] = ()
    """Shell patterns of names that are left alone."""
    only: frozenset[str] | None = None
    """Paths to take; None for all."""
    bundles: Bundles | None = None
    """Reader of requests that bring files; None: these are left alone."""


def never_late(_path: str, _age: float) -> float | None:
    """Let all settings without a notebook wait for one."""
    return None


class Inbox:
    """One inbox, scanned again and again."""

    def __init__(
        self,
        folder: Path,
        selection: Selection,
        clocks: Clocks,
        trust: Trust | None = None,
        settings_wait: SettingsWait = never_late,
    ) -> None:
        """Open it. By default, trust the file system as if it was a local disk's."""
        self.folder = folder
        self._only = selection.only
        self._trust = trust or Trust()
        self._memory = Memory(clocks.seconds)
        self._empty_claims = EmptyClaims(clocks.seconds)
        self._remaining = Remaining(clocks.seconds)
        self._lister = Lister(folder, selection.ignore, self._remaining, clocks.wall_ns)
        self._inspection = Inspection(
            Places(folder, selection.bundles),
            selection.bounds,
            clocks,
            self._memory,
            self._lister.is_downloaded,
        )
        self._decisions = Decisions(
            self._inspection, self._memory, self._remaining, settings_wait, clocks
        )
        self._clock = clocks.seconds
        self._listed: deque[Group] = deque()
        self._waits: list[float] = []
        self._lone_settings: list[tuple[str, str]] = []

    @property
    def waiting(self) -> WaitingList:
        """The files that stay in the inbox, by the last completed listing."""
        return self._remaining.waiting

    @property
    def pids(self) -> set[int]:
        """The process that reads slow files, if there is one."""
        return self._inspection.pids

    def close(self) -> None:
        """Look at nothing more."""
        self._inspection.close()

    def scan(self, room: int) -> Scan:
        """Look at everything; return one batch of drops, the oldest first: at most `room`, above 0.

        One listing serves many batches, so that 100,000 files are listed once and not a thousand
        times. Claim folders come first, and abandoned ones are returned alone: settings in them go
        back before their notebook is taken.

        Raises:
            OSError: the inbox itself is not there or cannot be read.
        """
        if not self._listed:
            self._list()
        drops: list[Drop] = []
        abandoned: list[str] = []
        size = 0
        while self._listed and len(drops) < min(room, BATCH_FILES) and size < BATCH_BYTES:
            if abandoned and self._listed[0].claim is None:
                self._listed.clear()
                return Scan(tuple(drops), 0.0, len(self._waits), tuple(abandoned))
            group = self._listed.popleft()
            decision = self._decisions.decide(group, self._trust)
            size += self._note(decision)
            drops.extend(decision.drops)
            if group.claim is not None and self._is_abandoned(group.claim, decision):
                abandoned.append(group.claim)
        return Scan(
            tuple(drops),
            self._look_again(),
            len(self._waits),
            tuple(abandoned),
            tuple(self._lone_settings),
        )

    def _note(self, decision: Decision) -> int:
        """Note the decision on a group; return how many bytes are held for it."""
        self._waits.extend(decision.waits)
        self._lone_settings.extend(decision.lone_settings)
        held = [one for drop in decision.drops for one in drop.files]
        for one in held:
            self._memory.give(one.sighting)
            self._remaining.drop(one.sighting.path)
        return sum(len(one.raw) for one in held)

    def _is_abandoned(self, claim: str, decision: Decision) -> bool:
        has_request = bool(decision.drops or decision.waits)
        return not has_request and self._empty_claims.is_due(claim)

    def _look_again(self) -> float | None:
        if self._listed:
            return 0.0
        self.conclude()
        return min(self._waits, default=None)

    def scan_cancels(self) -> Scan:
        """Look only for cancels, which make room: this lists the folder anew each time.

        Raises:
            OSError: the inbox itself is not there or cannot be read.
        """
        self._listed.clear()
        groups = self._groups()
        cancels = [g for g in groups if {s.suffix for s in g.files} == {".cancel"}]
        decisions = [self._decisions.decide(one, self._trust) for one in cancels[:BATCH_FILES]]
        drops = tuple(drop for decision in decisions for drop in decision.drops)
        for seen in (seen for group in groups for seen in group.files):
            if seen.suffix != ".cancel":
                self.tell(seen, Reason.HELD_BACK)
        self.conclude()
        return Scan(drops, NO_ROOM_SECONDS, len(self._waits), ())

    def _list(self) -> None:
        """List the inbox anew."""
        self._listed.extend(self._groups())
        self._waits, self._lone_settings = [], []
        present = {seen.path for group in self._listed for seen in group.files}
        self._memory.keep(present)
        self._inspection.keep(present)
        self._empty_claims.keep(group.claim for group in self._listed)

    def _groups(self) -> list[Group]:
        self._remaining.begin()
        return groups_of(self._lister.entries(has_inodes=self._trust.leases), self._only)

    def rely_on(self, trust: Trust) -> None:
        """Rely on the mounts so far, from now on; nothing is put off any longer."""
        self._trust = trust
        self._memory.retry_all()

    def put_off(self, drop: Drop, error: OSError, claim: str | None = None) -> float:
        """Put off a whole drop that cannot be taken; return the seconds until the next try.

        The pauses grow while nothing about its files changes. With `claim` it is in that folder,
        and cannot be taken out of it.
        """
        detail = error.strerror or str(error)
        pause = 0.0
        for seen in (held.sighting for held in drop.files):
            if claim is not None:
                seen = self._moved(seen, f"{claim}/{Path(seen.path).name}")
            pause = self._memory.of(seen).put_off(detail, self._clock())
            self.tell(seen, Reason.NOT_REMOVABLE, detail)
        self.conclude()
        return pause

    def _moved(self, seen: Sighting, path: str) -> Sighting:
        """Return the sighting of the same file at another place; a rename changes its times."""
        try:
            changed = (self.folder / path).lstat().st_ctime_ns
        except OSError:
            changed = seen.ctime_ns
        return replace(seen, path=path, ctime_ns=changed)

    def tell(self, seen: Sighting, reason: Reason, detail: str = "") -> None:
        """Note why a file stays in the inbox; log the unexpected once."""
        self._remaining.note_file(seen, reason, detail)

    def conclude(self) -> None:
        """Complete a listing."""
        self._remaining.conclude(self._memory.paths)

    def still_has(self, drop: Drop) -> bool:
        """Tell whether a drop's request still lies where it was dropped."""
        return os.path.lexists(self.folder / drop.main.sighting.path)
