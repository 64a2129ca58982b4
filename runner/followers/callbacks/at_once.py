"""Sends the callbacks of a runner that ends with its one job, before its folders may go."""

import time
from contextlib import closing

from runner.config import CALLBACKS, Settings
from runner.followers.callbacks.follower import Callbacks
from runner.state.books.callbacks import CALLBACKS_FILE, CallbackBook
from runner.state.ledger_reader import LedgerReader
from runner.system.clocks import Clocks

SECONDS = 15.0
LOOK_SECONDS = 0.05
MOST = 100


def send_at_once(settings: Settings, seconds: float = SECONDS) -> list[str]:
    """Send what waits; return a sentence for each address that has not taken it in time.

    The ledger keeps its rows: who starts on it next records them again, which changes nothing.

    Raises:
        OSError, sqlite3.Error: the records cannot be used.
    """
    with closing(LedgerReader(settings.state)) as reader:
        jobs = [row.job for row in reader.deliveries(CALLBACKS, MOST)]
    if not jobs:
        return []
    with closing(Callbacks(settings, Clocks())) as callbacks:
        callbacks.deliver(jobs)
        deadline = time.monotonic() + seconds
        while _is_waiting(settings) and time.monotonic() < deadline:
            callbacks.work()
            time.sleep(LOOK_SECONDS)
        return list(callbacks.notes())


def _is_waiting(settings: Settings) -> bool:
    if not (settings.state / CALLBACKS_FILE).exists():
        return False
    with closing(CallbackBook(settings.state)) as book:
        return book.count_waiting() > 0
