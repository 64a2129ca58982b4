"""Draws a year of a schedule's outcomes: 53 weeks, a column each, from Monday to Sunday. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from runner.contract.states.status import Status

WEEKS = 53
_BAD = (Status.FAILED, Status.TIMED_OUT, Status.REJECTED, Status.INTERRUPTED)
_ORDER = (Status.SUCCEEDED, *_BAD, Status.CANCELLED, "skipped")
_MONTH_WEEKS = 3
"""Columns that the name of a month needs."""


@dataclass(frozen=True)
class Square:
    """A day. `kind`: `good`, `bad` as soon as one run was, `idle` if none ran, or empty."""

    week: int
    weekday: int
    kind: str
    text: str


@dataclass(frozen=True)
class Year:
    """The days up to today; `months` are names and the weeks where they begin."""

    squares: tuple[Square, ...]
    months: tuple[tuple[int, str], ...]
    text: str


def first_day(today: date) -> date:
    """Return the Monday with which the year begins."""
    return today - timedelta(days=today.weekday(), weeks=WEEKS - 1)


def year_of(days: Mapping[str, Mapping[str, int]], today: date) -> Year:
    """Draw the outcomes by day, `{"2026-11-26": {"succeeded": 24}}`, up to today."""
    first = first_day(today)
    dates = [first + timedelta(days=count) for count in range((today - first).days + 1)]
    squares = tuple(_square(day, days.get(day.isoformat(), {}), first) for day in dates)
    total: Counter[str] = Counter()
    for day in dates:
        total.update(days.get(day.isoformat(), {}))
    return Year(squares, tuple(_months(first, today)), f"The last year: {_words(total)}")


def _square(day: date, outcomes: Mapping[str, int], first: date) -> Square:
    kind = "idle" if outcomes else ""
    if outcomes.get(Status.SUCCEEDED):
        kind = "good"
    if any(outcomes.get(status) for status in _BAD):
        kind = "bad"
    text = f"{day:%a} {day.day} {day:%b %Y}: {_words(outcomes)}"
    return Square((day - first).days // 7, day.weekday(), kind, text)


def _words(outcomes: Mapping[str, int]) -> str:
    """Write `24 succeeded, 1 failed, 2 skipped`."""
    known = [*_ORDER, *sorted(outcomes.keys() - set(_ORDER))]
    counts = [(outcomes.get(one, 0), str(one).replace("_", " ")) for one in known]
    return ", ".join(f"{count:,} {word}" for count, word in counts if count) or "no run"


def _months(first: date, today: date) -> Iterator[tuple[int, str]]:
    """Name the months at the week in which they begin, where there is room."""
    for week in range(WEEKS):
        last = first + timedelta(weeks=week, days=6)
        is_new = last.day <= 7 or week == 0
        has_room = week <= WEEKS - _MONTH_WEEKS
        cut = week == 0 and (last + timedelta(weeks=_MONTH_WEEKS - 1)).month != last.month
        if is_new and has_room and not cut and last - timedelta(days=6) <= today:
            yield week, f"{last:%b}"
