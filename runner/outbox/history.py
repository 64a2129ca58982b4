"""Moves a name's files from the outbox to the history, and records which job they belong to.

The outbox has the files and the ledger knows the jobs; the two change together here.
"""

import logging

from runner.outbox.history_folders import Retirement
from runner.outbox.publish import Outbox, OutboxGone
from runner.state.ledger import Ledger
from runner.system.clocks import Clocks

log = logging.getLogger(__name__)


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
        self.move(name)
        self.record(name)

    def retire_known(self, name: str) -> None:
        """Do the same if the ledger knows of files there.

        Raises:
            OSError, OutboxGone: not all of it is moved.
        """
        if self._ledger.current(name):
            self.retire(name)

    def move(self, name: str) -> Retirement:
        """Move the files only; `record` or `bring_back` follows.

        Raises:
            OSError, OutboxGone: not all of them are moved.
        """
        current = self._ledger.current(name)
        owner = current[-1].job_id if current else None
        return self._outbox.retire(name, owner, self._clocks.now())

    def record(self, name: str) -> None:
        """Record that the files of a name are in the history."""
        current = self._ledger.current(name)
        if current:
            self._ledger.retired([job.job_id for job in current])

    def bring_back(self, name: str, retirement: Retirement) -> None:
        """Undo a move, and record the files that stay in the history."""
        try:
            self._outbox.bring_back(retirement)
        except (OSError, OutboxGone) as error:
            log.warning("earlier results of %s stay in the history: %s", name, error)
            self.record(name)
