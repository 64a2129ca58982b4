"""What a queued job waits for besides its turn, as the ledger has it. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True)
class Waiting:
    """What a queued job waits for, besides its turn. Times are UTC in ISO 8601."""

    priority: int = 0
    group: str | None = None
    held_until: str | None = None
    """Earliest start."""
    start_by: str | None = None
    """From then on it is not started any more, but expires."""


AT_ONCE = Waiting()


def written(moment: datetime) -> str:
    """Write a time as the ledger does, so that texts compare as times do."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")
