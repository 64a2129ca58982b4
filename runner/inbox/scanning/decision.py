"""Decides on one group of files: the drops they make now, or how long to wait for more."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.contract.request import Kind
from runner.inbox import write_lease
from runner.inbox.drop import Drop, Group, Held, Stays, Wait
from runner.inbox.scanning.grouping import drops_of, why_unused
from runner.inbox.scanning.inspection import LOOK_SECONDS, Inspection, Trust
from runner.inbox.scanning.memory import Memo, Memory
from runner.inbox.scanning.remaining import Remaining
from runner.inbox.unclaimed import Reason
from runner.system.clocks import Clocks

DAY_NS = 86_400 * 10**9

SettingsWait = Callable[[str, float], float | None]
"""For settings without a notebook, by the request's path and how many seconds ago they came: for
how many seconds more they wait for one before they count as too late for an accepted request (0
or less: now). None if there is no such request."""


@dataclass(frozen=True)
class Decision:
    """The decision on one group at one look."""

    drops: tuple[Drop, ...] = ()
    waits: tuple[float, ...] = ()
    """Seconds after which to look again."""
    lone_settings: tuple[tuple[str, str], ...] = ()
    """As in `Scan`."""


class Decisions:
    """Decides on the groups of one inbox; held files never leak."""

    def __init__(
        self,
        inspection: Inspection,
        memory: Memory,
        remaining: Remaining,
        settings_wait: SettingsWait,
        clocks: Clocks,
    ) -> None:
        self._inspection = inspection
        self._memory = memory
        self._remaining = remaining
        self._settings_wait = settings_wait
        self._clocks = clocks

    def decide(self, group: Group, trust: Trust) -> Decision:
        """Look into the files of a group, and note those that stay."""
        memos = [self._memory.of(seen) for seen in group.files]
        if memos and all(memo.stays for memo in memos):
            for memo in memos:
                if memo.stays is not None:
                    self._remaining.note_file(memo.sighting, memo.stays.reason, memo.stays.detail)
            return Decision()
        put_off = max((memo.not_before for memo in memos), default=0.0) - self._clocks.seconds()
        if put_off > 0:
            self._note_put_off(memos)
            return Decision(waits=(put_off,))
        return self._look(group, trust)

    def _note_put_off(self, memos: Sequence[Memo]) -> None:
        for memo in memos:
            if memo.failures:
                self._remaining.note_file(memo.sighting, Reason.NOT_REMOVABLE, memo.refusal)

    def _look(self, group: Group, trust: Trust) -> Decision:
        held: list[Held] = []
        waits: list[Wait] = []
        for seen in group.files:
            look = self._inspection.inspect(seen, trust)
            if isinstance(look, Held):
                held.append(look)
            elif isinstance(look, Wait):
                waits.append(look)
            elif isinstance(look, Stays):
                self._memory.of(seen).stay(look)
                self._remaining.note_file(seen, look.reason, look.detail)
        if waits:
            self._note_waits(group, waits)
            self._leave(held, waits=True)
            return Decision(waits=(min(wait.seconds for wait in waits),))
        return self._combine(group, held, trust)

    def _combine(self, group: Group, held: Sequence[Held], trust: Trust) -> Decision:
        """Make drops of the group's whole files."""
        made = list(
            drops_of(group, held, lambda path, one: self._wait_for_notebook(path, one, trust))
        )
        drops = tuple(one for one in made if isinstance(one, Drop))
        lingering = [one for one in made if isinstance(one, Wait)]
        self._note_waits(group, lingering)
        used = {one.fd for drop in drops for one in drop.files}
        unused = [one for one in held if one.fd not in used]
        waits = [wait.seconds for wait in lingering]
        if any(one.contents.kind is Kind.NOTEBOOK for one in unused):
            waits.append(LOOK_SECONDS)  # another notebook of the name is taken first
        self._leave(unused, waits=bool(waits))
        return Decision(
            drops,
            tuple(waits),
            tuple((group.path, Path(wait.path).name) for wait in lingering),
        )

    def _note_waits(self, group: Group, waits: Sequence[Wait]) -> None:
        for wait in waits:
            changed = (seen.ctime_ns for seen in group.files if seen.path == wait.path)
            self._remaining.note(wait.path, wait.reason, next(changed, 0), wait.detail)

    def _leave(self, unused: Sequence[Held], *, waits: bool) -> None:
        """Leave those that make no request now; they are looked at again if some wait."""
        for one in unused:
            write_lease.close(one.fd)
            stays = why_unused(one)
            if not waits:
                self._memory.of(one.sighting).stay(stays)
                self._remaining.note_file(one.sighting, stays.reason, stays.detail)
            elif not self._remaining.knows(one.sighting.path):
                self._remaining.note_file(one.sighting, Reason.NEIGHBOUR)

    def _wait_for_notebook(self, path: str, held: Held, trust: Trust) -> float | None:
        """Ask how long settings wait for their notebook before they are late."""
        seen = held.sighting
        age = self._clocks.seconds() - self._memory.of(seen).since
        changed = self._clocks.wall_ns() - seen.ctime_ns
        if trust.leases and 0 <= changed < DAY_NS:  # they may have come before this start
            age = max(age, changed / 1e9)
        return self._settings_wait(path, age)
