"""Kinds of time: seconds to measure with, and the time of day, for people and for files."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime


def utc_now() -> datetime:
    """Read the time of day, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Clocks:
    """`seconds` counts up from anywhere; `now` is the time of day in UTC.

    `wall_ns` is the time of day as files have it, in nanoseconds since the epoch. `cpu` counts the
    seconds of a processor that this thread has had.
    """

    seconds: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = utc_now
    wall_ns: Callable[[], int] = time.time_ns
    cpu: Callable[[], float] = time.thread_time

    def stamp(self) -> str:
        """Write the time of day in ISO form, with milliseconds."""
        return self.now().isoformat(timespec="milliseconds")
