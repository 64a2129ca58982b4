"""Decides when a notification goes, and whether alone or with others in a digest. Pure.

A receiver gets at most `MOST_SINGLES` messages of one notification in an hour; all beyond go
together at its end. With a window of its own it gets one message for each window.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from runner.state.books.notifications import Stream

MOST_SINGLES = 10
HOUR = timedelta(hours=1)
FIRST_SECONDS = 5.0
LAST_SECONDS = 3600.0


class Kind(StrEnum):
    """What goes now."""

    NOTHING = "nothing"
    ASKED = "asked"
    """One that somebody asked for."""
    SINGLE = "single"
    DIGEST = "digest"


@dataclass(frozen=True)
class Turn:
    """What goes now, and how its stream is then, if it is sent."""

    kind: Kind
    stream: Stream


def turn_of(stream: Stream, now: datetime, *, is_last: bool = False) -> Turn:
    """Decide what of a stream goes now. `is_last`: nobody sends after this process."""
    if stream.wants_now:
        return Turn(Kind.ASKED, stream)
    if not _is_due(stream, now):
        return Turn(Kind.NOTHING, stream)
    together = Kind.DIGEST if stream.waiting > 1 else Kind.SINGLE
    if is_last:
        return Turn(together if stream.waiting > MOST_SINGLES else Kind.SINGLE, stream)
    if stream.minutes:
        ends = datetime.fromisoformat(stream.oldest) + timedelta(minutes=stream.minutes)
        return Turn(Kind.NOTHING if now < ends else together, stream)
    return _by_the_hour(stream, now)


def _by_the_hour(stream: Stream, now: datetime) -> Turn:
    begin = now if stream.hour_began is None else datetime.fromisoformat(stream.hour_began)
    is_over = stream.hour_began is None or not begin <= now < begin + HOUR
    is_full = stream.singles >= MOST_SINGLES
    if not is_over:
        kind = Kind.NOTHING if is_full else Kind.SINGLE
        return Turn(kind, replace(stream, singles=stream.singles + 1))
    if is_full and stream.waiting > 1 and datetime.fromisoformat(stream.oldest) < begin + HOUR:
        return Turn(Kind.DIGEST, replace(stream, hour_began=iso(now), singles=0))
    return Turn(Kind.SINGLE, replace(stream, hour_began=iso(now), singles=1))


def sent(turn: Turn) -> Stream:
    """Return the stream after a message that went."""
    return replace(turn.stream, failures=0, due_at=None)


def failed(stream: Stream, now: datetime) -> Stream:
    """Return a stream, as it was before, after a message that did not go."""
    seconds = pause(stream.failures)
    due = iso(now + timedelta(seconds=seconds))
    return replace(stream, failures=stream.failures + 1, due_at=due)


def pause(attempts: int) -> float:
    """Return the seconds until the next attempt."""
    return min(FIRST_SECONDS * 2.0 ** min(attempts, 20), LAST_SECONDS)


def _is_due(stream: Stream, now: datetime) -> bool:
    """Return whether it may be tried again; also where the clock was set back."""
    if stream.due_at is None:
        return True
    left = (datetime.fromisoformat(stream.due_at) - now).total_seconds()
    return not 0 < left <= LAST_SECONDS


def iso(moment: datetime) -> str:
    """Write a time as the record has it."""
    return moment.isoformat(timespec="milliseconds")
