"""Decides when a notification goes, and whether alone or with others in a digest. Pure.

A receiver gets at most `MOST_SINGLES` messages of one notification in an hour, and a success only
while there were fewer than `MOST_GOOD`; all beyond go together at its end. With a window of its own
it gets one message for each window.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from runner.contract.notifications import GOOD_NEWS, Event
from runner.state.books.notifications import Stream

MOST_SINGLES, MOST_GOOD = 10, 5
HOUR = timedelta(hours=1)
FIRST_SECONDS = 5.0
LAST_SECONDS = 3600.0


class Kind(StrEnum):
    """What goes now."""

    NOTHING = "nothing"
    ASKED = "asked"
    """One that somebody asked for."""
    SINGLE = "single"
    BAD = "bad"
    """One that tells of no success."""
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
        begin = datetime.fromisoformat(stream.oldest)
        is_open = begin <= now < begin + timedelta(minutes=stream.minutes)  # else, also set back
        return Turn(Kind.NOTHING if is_open else together, stream)
    return _by_the_hour(stream, now)


def _by_the_hour(stream: Stream, now: datetime) -> Turn:
    begin = now if stream.hour_began is None else datetime.fromisoformat(stream.hour_began)
    is_over = stream.hour_began is None or not begin <= now < begin + HOUR
    if not is_over:
        return Turn(_within(stream), replace(stream, singles=stream.singles + 1))
    was_held = _holds(stream, is_good=stream.waiting > stream.bad)
    if was_held and stream.waiting > 1 and datetime.fromisoformat(stream.oldest) < begin + HOUR:
        return Turn(Kind.DIGEST, replace(stream, hour_began=iso(now), singles=0))
    return Turn(Kind.SINGLE, replace(stream, hour_began=iso(now), singles=1))


def _within(stream: Stream) -> Kind:
    """Decide what goes in an hour that is not over."""
    if not _holds(stream, is_good=True):
        return Kind.SINGLE
    return Kind.BAD if stream.bad and not _holds(stream, is_good=False) else Kind.NOTHING


def _holds(stream: Stream, *, is_good: bool) -> bool:
    """Return whether the hour has no room for a success, or for anything else."""
    return stream.singles >= (MOST_GOOD if is_good else MOST_SINGLES)


@dataclass(frozen=True)
class Hold:
    """Until when a notification is held, and why."""

    until: datetime
    why: str


def hold_of(stream: Stream, event: Event, now: datetime) -> Hold | None:
    """Return what holds a notification of a stream; None if it goes as soon as it can."""
    if stream.minutes:
        ends = datetime.fromisoformat(stream.oldest) + timedelta(minutes=stream.minutes)
        return Hold(ends, "it goes with the digest then")
    if stream.hour_began is None or not _holds(stream, is_good=event in GOOD_NEWS):
        return None
    begin = datetime.fromisoformat(stream.hour_began)
    if not begin <= now < begin + HOUR:
        return None
    why = f"more than {MOST_SINGLES} messages in this hour"
    if not _holds(stream, is_good=False):
        why = f"{MOST_SINGLES - MOST_GOOD} messages of this hour are left for failures"
    return Hold(begin + HOUR, why)


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
