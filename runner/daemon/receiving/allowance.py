"""Counts how many more requests may be accepted now: by the queue's length, and by the minute."""

from collections.abc import Callable

from runner.inbox.scanning.scan import BATCH_FILES
from runner.state.ledger import Ledger


class Pace:
    """A token bucket for a limit of requests a minute.

    It is full at first, so a minute's worth may come at once.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._left = float(per_minute)
        self._at = clock()

    def allowance(self) -> int:
        """Count how many may be accepted now."""
        now = self._clock()
        grown = (now - self._at) * self._per_minute / 60
        self._left, self._at = min(self._left + grown, self._per_minute), now
        return max(int(self._left), 0)

    def spend(self, accepted: int) -> None:
        """Take off the accepted requests."""
        self._left -= accepted


class Allowance:
    """Room for more requests: below the queue's limit, and at the pace, if there is one."""

    def __init__(self, ledger: Ledger, queue: int, pace: Pace | None = None) -> None:
        self._ledger = ledger
        self._queue = queue
        self._pace = pace
        self._at_most_queued = queue
        """An upper bound: counting 100,000 for every batch would take most of its time."""

    def left(self) -> int:
        """Count how many more may be accepted."""
        if self._at_most_queued > self._queue - 2 * BATCH_FILES:
            self._at_most_queued = self._ledger.count_queued()
        room = max(self._queue - self._at_most_queued, 0)
        return room if self._pace is None else min(room, self._pace.allowance())

    def spend(self, accepted: int) -> None:
        """Take off the accepted requests."""
        self._at_most_queued += accepted
        if self._pace is not None:
            self._pace.spend(accepted)

    @property
    def is_used_up(self) -> bool:
        """Whether this minute's requests have all come."""
        return self._pace is not None and self._pace.allowance() == 0
