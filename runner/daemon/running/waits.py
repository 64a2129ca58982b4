"""What queued jobs wait for besides a slot: a time, the end of a pause, room in their group."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from runner.contract.outcome import Failure
from runner.contract.states.status import ErrorType
from runner.contract.triggers.causes import trigger_of
from runner.state.jobs import Barred, Job
from runner.state.ledger import Ledger
from runner.state.pauses import Pauses
from runner.system.clocks import Clocks

SOON_SECONDS = 0.05
"""A time that is over by now is looked at again that soon."""
EXPIRED = Failure(
    error_type=ErrorType.EXPIRED,
    message="It did not start within `start_within_seconds`: the runner was busy, paused or off. "
    "Send it again if it is still wanted, with more time or a higher `priority`.",
)


class Waits:
    """Decides what must not start now. `groups`: how many of each may run at once."""

    def __init__(
        self, ledger: Ledger, pauses: Pauses, groups: Mapping[str, int], clocks: Clocks
    ) -> None:
        self._ledger = ledger
        self._pauses = pauses
        self._groups = groups
        self._clocks = clocks

    def keep_time(self) -> bool:
        """Let jobs start whose time has come, and refuse those whose time is over; say if any.

        Raises:
            sqlite3.OperationalError: the ledger cannot take it now.
        """
        now = self._clocks.stamp()
        moment = self._ledger.next_moment()
        if moment is None or moment > now:
            return False
        self._ledger.keep_time(now, EXPIRED)
        return True

    def next_due(self) -> float | None:
        """Return the seconds until there is something for `keep_time`; None if there never is."""
        moment = self._ledger.next_moment()
        if moment is None:
            return None
        wait = datetime.fromisoformat(moment) - self._clocks.now()
        return max(wait.total_seconds(), SOON_SECONDS)

    def barred(
        self, running: Iterable[Job], names: Sequence[str], demands: Sequence[str]
    ) -> Barred | None:
        """Return what must not start beside these running jobs; None if nothing may.

        Jobs of `names` and with `demands` are barred in any case.

        Raises:
            OSError: the pauses cannot be read.
        """
        pauses = self._pauses.all()
        if any(not pause.name for pause in pauses):
            return None
        numbers = Counter(job.waiting.group for job in running)
        return Barred(
            demands=demands,
            names=[*names, *(pause.name for pause in pauses if not pause.is_pattern)],
            patterns=[pause.name for pause in pauses if pause.is_pattern],
            triggers=[pause.name for pause in pauses if trigger_of(pause.name)],
            groups=[
                group
                for group, number in numbers.items()
                if group is not None and number >= self._groups.get(group, 1)
            ],
        )

    @property
    def notes(self) -> list[str]:
        """One line for each pause."""
        try:
            return [pause.in_words for pause in self._pauses.all()]
        except OSError as error:
            return [f"the pauses in the state folder cannot be read: {error}"]
