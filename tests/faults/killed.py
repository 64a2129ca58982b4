"""`runner serve` that ends itself with SIGKILL at one step: `killed.py WHEN STEP PART`.

WHEN is `before` or `after`; STEP a method of `Disk`, or `commit`; PART what the step's last path
contains, or the method of the ledger that is committed. It is the first such step that counts.
"""

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from runner.config import load
from runner.daemon.loop import Daemon
from runner.daemon.startup import Backing
from runner.state.contents import Acceptance, Seal
from runner.state.deliveries import Settlement
from runner.state.jobs import State
from runner.state.ledger import Ledger
from tests.faults.failing import SteppedDisk

Kill = Callable[[str, str, str], None]


class DeadlyDisk(SteppedDisk):
    """The real disk; `kill` is asked before and after each step."""

    def __init__(self, kill: Kill) -> None:
        super().__init__()
        self._kill = kill

    @contextmanager
    def step(self, what: str, *paths: Path) -> Iterator[None]:
        self._kill("before", what, str(paths[-1]))
        yield
        self._kill("after", what, str(paths[-1]))


class DeadlyLedger(Ledger):
    """The real ledger; `kill` is asked before and after each commit, by what it records."""

    def __init__(self, state: Path, kill: Kill) -> None:
        super().__init__(state)
        self._kill = kill
        self._recorded: list[str] = []

    def accept(self, new: Acceptance) -> None:
        self._recorded.append("accept")
        super().accept(new)

    def start(self, job_id: str, started_at: str) -> None:
        self._recorded.append("start")
        super().start(job_id, started_at)

    def seal(self, seal: Seal, *, from_state: State) -> None:
        self._recorded.append("seal")
        super().seal(seal, from_state=from_state)

    def published(self, job_id: str, published_at: str, followers: Iterable[str] = ()) -> None:
        self._recorded.append("published")
        super().published(job_id, published_at, followers)

    def settle(self, what: Settlement) -> None:
        self._recorded.append("settle")
        super().settle(what)

    def commit(self) -> None:
        recorded = " ".join(self._recorded)
        self._recorded.clear()
        self._kill("before", "commit", recorded)
        super().commit()
        self._kill("after", "commit", recorded)


def main(when: str, step: str, part: str) -> None:
    """Serve the folders of the current one, until that step."""

    def kill(now: str, what: str, which: str) -> None:
        if (now, what) == (when, step) and part in which:
            os.kill(os.getpid(), signal.SIGKILL)

    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    settings = load()
    backing = Backing(disk=DeadlyDisk(kill), open_ledger=lambda state: DeadlyLedger(state, kill))
    Daemon(settings, backing=backing).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
