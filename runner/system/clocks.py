"""The two kinds of time: seconds to measure with, and the time of day that people read."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime


def utc_now() -> datetime:
    """Read the time of day, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Clocks:
    """`seconds` counts up from anywhere; `now` is the time of day in UTC."""

    seconds: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = utc_now

    def stamp(self) -> str:
        """Write the time of day in ISO form, with milliseconds."""
        return self.now().isoformat(timespec="milliseconds")
