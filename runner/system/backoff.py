"""Remembers failed actions with their reasons, and when to try them again: after growing pauses.

Keeps an entry for each name, job or folder, so that none holds up the others. Does nothing itself.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

FIRST_SECONDS = 0.5
LAST_SECONDS = 60.0


@dataclass
class _Delay:
    at: float
    seconds: float
    why: str


class Backoff:
    """Delays by key. `clock` gives monotonic seconds."""

    def __init__(
        self,
        clock: Callable[[], float],
        first_seconds: float = FIRST_SECONDS,
        last_seconds: float = LAST_SECONDS,
    ) -> None:
        self._clock = clock
        self._first = first_seconds
        self._last = last_seconds
        self._delays: dict[str, _Delay] = {}

    def hold(self, key: str, why: str) -> bool:
        """Put off the next try, twice as long as before; return whether the failure is news."""
        old = self._delays.get(key)
        seconds = self._first if old is None else min(old.seconds * 2, self._last)
        self._delays[key] = _Delay(self._clock() + seconds, seconds, why)
        return old is None or old.why != why

    def release(self, key: str) -> None:
        """Forget a key, because its action is done or no longer needed."""
        self._delays.pop(key, None)

    def keep(self, keys: Iterable[str]) -> None:
        """Forget all keys but these."""
        kept = set(keys)
        self._delays = {key: delay for key, delay in self._delays.items() if key in kept}

    def why_held(self, key: str) -> str | None:
        """Say why a key is not tried now; None if it may be."""
        delay = self._delays.get(key)
        return delay.why if delay is not None and delay.at > self._clock() else None

    def held(self) -> list[str]:
        """Return the keys that may not be tried now."""
        now = self._clock()
        return [key for key, delay in self._delays.items() if delay.at > now]

    def due(self) -> list[str]:
        """Return the keys that may be tried again."""
        now = self._clock()
        return [key for key, delay in self._delays.items() if delay.at <= now]

    def next_due(self) -> float | None:
        """Return the seconds until a key may be tried again; None if nothing waits."""
        now = self._clock()
        left = (max(delay.at - now, 0.0) for delay in self._delays.values())
        return min(left, default=None)

    @property
    def reasons(self) -> dict[str, str]:
        """The reasons, by key."""
        return {key: delay.why for key, delay in self._delays.items()}
