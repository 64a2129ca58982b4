"""What cannot be done now: what it is, why, and when it is tried again."""

import logging
from collections.abc import Callable

from runner.contract.remedies import with_remedy
from runner.system.backoff import Backoff

log = logging.getLogger(__name__)


class PutOff:
    """One kind of thing that is put off, by its key. Logs each reason once.

    `words` come before the key where a person reads it: "publish", "go on with".
    """

    def __init__(self, words: str, clock: Callable[[], float]) -> None:
        self._words = words
        self._delays = Backoff(clock)

    def hold(self, key: str, error: Exception) -> None:
        """Put a thing off, for twice as long as the last time."""
        why = with_remedy(error)
        if self._delays.hold(key, why):
            log.warning("cannot %s: %s; tried again", self._in_words(key), why)

    def release(self, key: str = "") -> None:
        """Forget a thing that was done, or need not be any more."""
        self._delays.release(key)

    def is_held(self, key: str = "") -> bool:
        """Say whether a thing is not to be tried now."""
        return self._delays.why_held(key) is not None

    def held(self) -> list[str]:
        """List what is not to be tried now."""
        return self._delays.held()

    def next_due(self) -> float | None:
        """Seconds until something may be tried again; None if nothing is put off."""
        return self._delays.next_due()

    @property
    def reasons(self) -> dict[str, str]:
        """Why, by key."""
        return self._delays.reasons

    @property
    def troubles(self) -> dict[str, str]:
        """Why, by what cannot be done in words."""
        return {self._in_words(key): why for key, why in self._delays.reasons.items()}

    def _in_words(self, key: str) -> str:
        return f"{self._words} {key}".strip()
