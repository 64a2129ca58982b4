"""Remembers failed actions: what, why, and when to try again."""

import logging
from collections.abc import Callable

from runner.contract.advice.remedies import with_remedy
from runner.system.backoff import Backoff

log = logging.getLogger(__name__)


class PutOff:
    """Puts off one kind of action, by its key. Logs each reason once.

    `words` come before the key in messages: "publish", "go on with".
    """

    def __init__(self, words: str, clock: Callable[[], float]) -> None:
        self._words = words
        self._delays = Backoff(clock)

    def hold(self, key: str, error: Exception) -> None:
        """Put an action off, for twice as long as the last time."""
        why = with_remedy(error)
        if self._delays.hold(key, why):
            log.warning("cannot %s: %s; tried again", self._in_words(key), why)

    def release(self, key: str = "") -> None:
        """Forget an action that was done, or is no longer needed."""
        self._delays.release(key)

    def is_held(self, key: str = "") -> bool:
        """Say whether an action must wait."""
        return self._delays.why_held(key) is not None

    def held(self) -> list[str]:
        """List the actions that must wait."""
        return self._delays.held()

    def next_due(self) -> float | None:
        """Return the seconds until an action may be tried again; None if none is put off."""
        return self._delays.next_due()

    @property
    def reasons(self) -> dict[str, str]:
        """The reasons, by key."""
        return self._delays.reasons

    @property
    def troubles(self) -> dict[str, str]:
        """The reasons, by a description of the action."""
        return {self._in_words(key): why for key, why in self._delays.reasons.items()}

    def _in_words(self, key: str) -> str:
        return f"{self._words} {key}".strip()
