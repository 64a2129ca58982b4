"""Sends the notifications of a runner that ends with its one job, before its folders may go."""

import time
from contextlib import closing

from runner.config import NOTIFICATIONS, Settings
from runner.followers.notifications.follower import Notifications, Ways
from runner.followers.notifications.receivers import NoReceiver, all_receivers
from runner.followers.notifications.sending import Senders
from runner.state.books.notifications import NOTIFICATIONS_FILE, NotificationBook
from runner.state.ledger_reader import LedgerReader
from runner.system.clocks import Clocks

SECONDS = 15.0
LOOK_SECONDS = 0.05
MOST = 100


def send_at_once(settings: Settings, seconds: float = SECONDS) -> list[str]:
    """Send what waits, digests too; return a sentence for each receiver that did not get it.

    The ledger keeps its rows: who starts on it next records them again, which changes nothing.

    Raises:
        OSError, sqlite3.Error: the records cannot be used.
    """
    with closing(LedgerReader(settings.state)) as reader:
        jobs = [row.job for row in reader.deliveries(NOTIFICATIONS, MOST)]
    if not jobs:
        return []
    with closing(Senders()) as senders:
        ways = Ways(senders.send, senders.look, is_last=True)
        with closing(Notifications(settings, Clocks(), ways)) as notifications:
            notifications.deliver(jobs)
            deadline = time.monotonic() + seconds
            while _may_go(settings) and time.monotonic() < deadline:
                notifications.work()
                time.sleep(LOOK_SECONDS)
            notes = list(notifications.notes())
    if not notes and (waiting := _waiting(settings)):
        notes = [f"{waiting} notifications were not taken in {seconds:g} s"]
    return notes


def _may_go(settings: Settings) -> bool:
    """Return whether something waits that was not tried, or whose receiver is there."""
    if not (settings.state / NOTIFICATIONS_FILE).exists():
        return False
    without = {one.key for one in all_receivers(settings) if isinstance(one, NoReceiver)}
    with closing(NotificationBook(settings.state)) as book:
        return any(not one.failures or one.receiver not in without for one in book.streams())


def _waiting(settings: Settings) -> int:
    if not (settings.state / NOTIFICATIONS_FILE).exists():
        return 0
    with closing(NotificationBook(settings.state)) as book:
        return book.count_waiting()
