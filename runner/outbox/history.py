"""Moves a name's files from the outbox to the history, and records which job they belong to.

The outbox has the files and the ledger knows the jobs; the two change together here.
"""

import logging
from dataclasses import dataclass

from runner.outbox.history_folders import Retirement
from runner.outbox.publish import Outbox, OutboxGone
from runner.state.ledger import Ledger
from runner.system.clocks import Clocks

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Moved:
    """A name whose files were moved, the jobs that they are of, and how to undo it."""

    name: str
    owners: tuple[str, ...]
    retirement: Retirement


class History:
    """The runs before the last one of each name."""

    def __init__(self, ledger: Ledger, outbox: Outbox, clocks: Clocks) -> None:
        self._ledger = ledger
        self._outbox = outbox
        self._clocks = clocks

    def retire(self, name: str) -> None:
        """Move the files of a name to the history, and record it.

        Raises:
            OSError, OutboxGone: not all of it is moved.
        """
        self.record(self.move(name))

    def retire_known(self, name: str) -> None:
        """Do the same if the ledger knows of files there.

        Raises:
            OSError, OutboxGone: not all of it is moved.
        """
        if self._ledger.current(name):
            self.retire(name)

    def move(self, name: str) -> Moved:
        """Move the files only; `record` or `bring_back` follows.

        Raises:
            OSError, OutboxGone: not all of them are moved.
        """
        owners = tuple(job.job_id for job in self._ledger.current(name))
        retirement = self._outbox.retire(name, owners[-1] if owners else None, self._clocks.now())
        return Moved(name, owners, retirement)

    def record(self, moved: Moved) -> None:
        """Record that the files of a name are in the history."""
        if moved.owners:
            self._ledger.retired(moved.owners)

    def bring_back(self, moved: Moved) -> None:
        """Undo a move, and record the files that stay in the history."""
        try:
            self._outbox.bring_back(moved.retirement)
        except (OSError, OutboxGone) as error:
            log.warning("earlier results of %s stay in the history: %s", moved.name, error)
            self.record(moved)
