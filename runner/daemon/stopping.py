"""Ends a runner: the first signal lets running jobs end, the second interrupts them."""

import logging
import signal

from runner.daemon.running.dispatch import Dispatch
from runner.system.clocks import Clocks

log = logging.getLogger(__name__)

LAST_WORDS_SECONDS = 15.0


class Stopping:
    """Knows whether the runner must stop, and how long it waits for its jobs."""

    def __init__(self, dispatch: Dispatch, patience_seconds: float, clocks: Clocks) -> None:
        self._dispatch = dispatch
        self._patience = patience_seconds
        self._clocks = clocks
        self._at: float | None = None
        self._has_interrupted = False
        self._at_once = False

    @property
    def has_begun(self) -> bool:
        """Whether nothing more may start."""
        return self._at is not None

    @property
    def is_over(self) -> bool:
        """Whether the loop must end: there is nothing left to do, or nobody waits for it."""
        if self._at_once:
            return True
        if self._at is None:
            return False
        late = self._clocks.seconds() > self._at + LAST_WORDS_SECONDS
        return late or not self._dispatch.is_busy

    def tell(self, number: int) -> None:
        """First call: start draining. Second: interrupt what runs. Third: stop at once."""
        name, running = signal.Signals(number).name, self._dispatch.running
        jobs = f"{running} running job{'' if running == 1 else 's'}"
        if self._at is None:
            self._at = self._clocks.seconds() + self._patience
            if running:
                log.warning(
                    "%s: waiting up to %g s for %s; once more to interrupt",
                    name,
                    self._patience,
                    jobs,
                )
                self._dispatch.drain()
        elif running and not self._has_interrupted:
            log.warning("%s again: interrupting %s; once more to stop at once", name, jobs)
            self._has_interrupted = True
            self._at = self._clocks.seconds()
            self._dispatch.interrupt()
        else:
            log.warning("%s again: stopping at once", name)
            self._at_once = True

    def seconds_left(self) -> float | None:
        """Return how long to wait for running jobs; None before a stop."""
        return None if self._at is None else self._at - self._clocks.seconds()
