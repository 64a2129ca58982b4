"""Delivers closed jobs to followers: takes their rows in order, and reports the result.

Reads the ledger and never writes: the daemon records each settlement. Until then the next rows
wait, so a crash repeats at most one batch for each follower.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from runner.state.deliveries import Delivery, Settlement
from runner.state.jobs import Job
from runner.state.ledger_reader import LedgerReader
from runner.system.clocks import Clocks

log = logging.getLogger(__name__)

BATCH = 100
FIRST_SECONDS = 1.0
LAST_SECONDS = 60.0
LOOK_SECONDS = 1.0
RECORDED_SECONDS = 0.05
"""Pause after a settlement before checking that it is recorded."""
REPEAT_SECONDS = 5.0
"""Time after which an unrecorded settlement is sent again."""


class Follower(Protocol):
    """A receiver of closed jobs."""

    @property
    def name(self) -> str:
        """Name of its rows."""

    def deliver(self, jobs: Sequence[Job]) -> None:
        """Take these jobs, at most `BATCH` of them, in the order in which they were closed.

        After a crash some of them may come again; their ids tell.

        Raises:
            OSError: it cannot take them now, and gets all of these later.
        """


class Delivering:
    """Delivers the rows of some followers. `settle` brings a settlement to the daemon."""

    def __init__(
        self,
        followers: Iterable[Follower],
        open_ledger: Callable[[], LedgerReader],
        settle: Callable[[Settlement], None],
        clocks: Clocks,
    ) -> None:
        self._followers = tuple(followers)
        self._open_ledger = open_ledger
        self._settle = settle
        self._clocks = clocks
        self._settled: dict[str, tuple[Settlement, int, float]] = {}
        """By follower: its last settlement, the attempts before, and when it was sent."""

    def turn(self) -> float:
        """Deliver one due batch to each follower; return the seconds until the next turn.

        Raises:
            sqlite3.OperationalError: the ledger cannot be read now.
        """
        reader = self._open_ledger()
        try:
            return min(
                (self._turn_for(one, reader) for one in self._followers), default=LOOK_SECONDS
            )
        finally:
            reader.close()

    def _turn_for(self, follower: Follower, reader: LedgerReader) -> float:
        rows = reader.deliveries(follower.name, BATCH)
        if not rows:
            self._settled.pop(follower.name, None)
            return LOOK_SECONDS
        if (wait := self._until_recorded(follower.name, rows[0])) is not None:
            return wait
        if (wait := self._until_due(rows[0])) > 0:
            return min(wait, LOOK_SECONDS)
        error = self._deliver(follower, [row.job for row in rows])
        self._say(follower.name, rows, error)
        return RECORDED_SECONDS

    def _deliver(self, follower: Follower, jobs: Sequence[Job]) -> str | None:
        """Deliver jobs; return the error, if there is one."""
        try:
            follower.deliver(jobs)
        except OSError as error:
            return error.strerror or str(error)
        except Exception as error:
            log.exception("the follower %s failed", follower.name)
            return f"{type(error).__name__}: {error}"
        return None

    def _say(self, name: str, rows: Sequence[Delivery], error: str | None) -> None:
        due_at = None
        if error is not None:
            delay = min(FIRST_SECONDS * 2 ** min(rows[0].attempts, 30), LAST_SECONDS)
            due_at = self._at(delay)
            log.warning("the follower %s: trying again in %.0f s: %s", name, delay, error)
        what = Settlement(name, rows[-1].seq, error, due_at)
        self._settled[name] = (what, rows[0].attempts, self._clocks.seconds())
        self._settle(what)

    def _until_recorded(self, name: str, first: Delivery) -> float | None:
        """Return the seconds to wait while the last settlement is not in the ledger; else None."""
        if name not in self._settled:
            return None
        what, attempts, said_at = self._settled[name]
        if first.seq > what.through or (what.error is not None and first.attempts > attempts):
            del self._settled[name]
            return None
        if self._clocks.seconds() - said_at > REPEAT_SECONDS:
            self._settled[name] = (what, attempts, self._clocks.seconds())
            self._settle(what)
        return RECORDED_SECONDS

    def _until_due(self, first: Delivery) -> float:
        """Return the seconds until a row is due; 0 if the clock was set back."""
        if first.due_at is None:
            return 0.0
        left = (datetime.fromisoformat(first.due_at) - self._clocks.now()).total_seconds()
        return 0.0 if left > LAST_SECONDS else left

    def _at(self, seconds: float) -> str:
        return (self._clocks.now() + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")
