"""Short-lived texts by which the frames of a report get its figures.

A report has an origin of its own. So its frames bring no cookie, and their address must do.
"""

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

SECONDS = 3600.0
MOST = 1000


class Tickets:
    """Those of one gateway, until it ends. Safe for many threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._jobs: OrderedDict[str, tuple[float, str]] = OrderedDict()

    def make(self, job_id: str) -> str:
        """Make a text that nobody can guess, for the figures of one job."""
        ticket = secrets.token_urlsafe(24)
        with self._lock:
            self._jobs[ticket] = (self._clock() + SECONDS, job_id)
            while len(self._jobs) > MOST:
                self._jobs.popitem(last=False)
        return ticket

    def job_of(self, ticket: str) -> str | None:
        """Return the job whose figures it shows; None if it shows none, or is over."""
        with self._lock:
            until, job_id = self._jobs.get(ticket, (0.0, ""))
        return job_id if self._clock() < until else None
