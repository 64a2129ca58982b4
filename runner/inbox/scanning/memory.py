"""Remembers between two scans the state of each file, and the empty claim folders."""

from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass

from runner.inbox.drop import Sighting, Stays

PAUSE_SECONDS = 60.0
"""Longest pause before a file that cannot be taken is tried again."""


@dataclass(slots=True)
class Memo:
    """The memory of a file while it does not change."""

    sighting: Sighting
    since: float
    broken_since: float | None = None
    stays: Stays | None = None
    failures: int = 0
    refusal: str = ""
    not_before: float = 0.0
    """Time before which a file that could not be taken is not tried again."""
    digest: bytes | None = None
    """Digest of its bytes, if only the time of change was new at the last look."""
    before: "Memo | None" = None
    """The earlier memo of the same path and size, to be compared by the bytes."""

    def restart(self, now: float) -> None:
        """Count anew: somebody is writing."""
        self.since, self.broken_since = now, None

    def take_before(self) -> "Memo | None":
        """Take the earlier memo, once."""
        before, self.before = self.before, None
        return before

    def compare(self, before: "Memo", digest: bytes) -> None:
        """Continue the count if its bytes are the same as before."""
        self.digest = digest
        if digest == before.digest:
            self.since, self.broken_since = before.since, before.broken_since

    def broken_for(self, now: float) -> float:
        """Return the seconds since it was first seen broken, and start the count."""
        if self.broken_since is None:
            self.broken_since = now
        return now - self.broken_since

    def is_no_longer_broken(self) -> None:
        """Forget that it was broken."""
        self.broken_since = None

    def stay(self, stays: Stays) -> None:
        """Leave it where it is until it changes."""
        self.stays = stays

    def put_off(self, detail: str, now: float) -> float:
        """Note that it could not be taken; return the seconds until the next try."""
        self.failures, self.refusal = self.failures + 1, detail
        pause = min(2.0 ** (self.failures - 1), PAUSE_SECONDS)
        self.not_before = now + pause
        return pause

    def retry(self) -> None:
        """Put it off no longer."""
        self.not_before = 0.0


class Memory:
    """The memory of one inbox, by path. `clock` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._memos: dict[str, Memo] = {}

    @property
    def paths(self) -> Set[str]:
        """The remembered paths."""
        return self._memos.keys()

    def of(self, seen: Sighting) -> Memo:
        """Recall a file; a changed one begins anew."""
        memo = self._memos.get(seen.path)
        if memo is None or not memo.sighting.is_same(seen):
            before, memo = memo, Memo(seen, self._clock())
            if before is not None and seen.inode is None and before.sighting.size == seen.size:
                memo.before, before.before = before, None
            self._memos[seen.path] = memo
        return memo

    def give(self, seen: Sighting) -> None:
        """Forget a file that becomes part of a drop, unless it could not be taken before."""
        if not self.of(seen).failures:
            del self._memos[seen.path]

    def keep(self, present: Set[str]) -> None:
        """Forget all files except the present ones."""
        for path in self._memos.keys() - present:
            del self._memos[path]

    def retry_all(self) -> None:
        """Put nothing off any longer."""
        for memo in self._memos.values():
            memo.retry()


class EmptyClaims:
    """Empty claim folders, and when to give each of them up again."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._next: dict[str, float] = {}

    def is_due(self, claim: str) -> bool:
        """Tell whether to give one up now; one that stays is tried again later."""
        now = self._clock()
        if now < self._next.get(claim, now):
            return False
        self._next[claim] = now + PAUSE_SECONDS
        return True

    def keep(self, present: Iterable[str | None]) -> None:
        """Forget all except the present ones."""
        kept = set(present)
        self._next = {claim: at for claim, at in self._next.items() if claim in kept}
