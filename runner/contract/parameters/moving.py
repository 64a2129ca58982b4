"""Moving defaults: days that count from the day on which a job is accepted.

`today`, `month_start`, `-7d`, or a day with an offset: `month_start-1m`.
"""

import re
from calendar import monthrange
from collections.abc import Callable, Mapping
from datetime import date, timedelta

GRAMMAR = (
    "today, yesterday, tomorrow, week_start, week_end, month_start, month_end, year_start, "
    "year_end, an offset such as -7d, +2w, -1m or -1y, or both, such as month_start-1m"
)


def _month_end(day: date) -> date:
    return day.replace(day=monthrange(day.year, day.month)[1])


def _year_end(day: date) -> date:
    return day.replace(month=12, day=31)


_DAYS: Mapping[str, Callable[[date], date]] = {
    "today": lambda day: day,
    "yesterday": lambda day: day - timedelta(days=1),
    "tomorrow": lambda day: day + timedelta(days=1),
    "week_start": lambda day: day - timedelta(days=day.weekday()),
    "week_end": lambda day: day + timedelta(days=6 - day.weekday()),
    "month_start": lambda day: day.replace(day=1),
    "month_end": _month_end,
    "year_start": lambda day: day.replace(month=1, day=1),
    "year_end": _year_end,
}
_ENDS = ("month_end", "year_end")
_MOVING = re.compile(
    rf"({'|'.join(_DAYS)})?(?:([+-])(\d{{1,4}}d|\d{{1,3}}[wm]|\d{{1,2}}y))?", re.ASCII
)


def is_moving(text: object) -> bool:
    """Return whether a text is a moving default."""
    return isinstance(text, str) and text != "" and _MOVING.fullmatch(text) is not None


def resolve(text: str, today: date) -> str:
    """Return the day as ISO text. Weeks begin on Monday; a month later is the same day or the last.

    Raises:
        ValueError: it is no moving default.
    """
    match = _MOVING.fullmatch(text)
    if match is None or not text:
        raise ValueError(text)
    anchor, sign, offset = match.groups()
    day = _DAYS[anchor or "today"](today)
    if offset is None:
        return day.isoformat()
    count, unit = int(offset[:-1]) * (-1 if sign == "-" else 1), offset[-1]
    if unit in ("d", "w"):
        return (day + timedelta(days=count * (7 if unit == "w" else 1))).isoformat()
    later = _months_later(day, count * (12 if unit == "y" else 1))
    return (_month_end(later) if anchor in _ENDS else later).isoformat()


def _months_later(day: date, count: int) -> date:
    years, month = divmod(day.month - 1 + count, 12)
    year = day.year + years
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))
