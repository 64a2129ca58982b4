"""Fills `{{ … }}` in a request with what caused it. A closed grammar, and no template engine.

    {{ NAME }}
    {{ NAME - 1d }}             m, h, d or w; days and weeks keep the time of day
    {{ NAME - 1d | date }}      date, time, month or year
    {{ NAME.key.0.key }}        a part of a mapping or a list
    {{ NAME.key? }}             null if there is no such part

Only a moment, such as `scheduled_for`, takes an offset and a filter. Pure.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import Any

from runner.contract.text.strict_json import JsonValue

GRAMMAR = "{{ NAME }}, {{ NAME.part }}, or of a moment {{ NAME - 1d | date }}"
MAX_CHARS = 120
"""Longest placeholder; also bounds what an error shows."""

Value = JsonValue | datetime
"""What a placeholder stands for. A moment has a time zone."""

_BRACES = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_INSIDE = re.compile(
    r"\s*([a-z_][a-z0-9_]*)((?:\.[A-Za-z0-9_-]+)*)(\??)\s*"  # a name, its parts, may it lack
    r"(?:([+-])\s*(\d{1,4})([mhdw])\s*)?(?:\|\s*([a-z]+)\s*)?",
    re.ASCII,
)
_HOURS = {"m": timedelta(minutes=1), "h": timedelta(hours=1)}
_DAYS = {"d": timedelta(days=1), "w": timedelta(weeks=1)}
_FILTERS: Mapping[str, Callable[[datetime], str]] = {
    "date": lambda moment: moment.date().isoformat(),
    "time": lambda moment: f"{moment:%H:%M:%S}",
    "month": lambda moment: f"{moment:%Y-%m}",
    "year": lambda moment: f"{moment:%Y}",
}

Place = tuple[str | int, ...]
"""Keys and indices that lead to a text in a document."""


class PlaceholderError(ValueError):
    """A placeholder is none that can be filled; `place` leads to the text that has it."""

    def __init__(self, message: str, place: Place = ()) -> None:
        super().__init__(message)
        self.place = place


def fill(value: JsonValue, names: Mapping[str, Value], place: Place = ()) -> JsonValue:
    """Fill all texts of a JSON value; keys stay as they are.

    A text that is one placeholder and nothing else becomes the value itself, a number for one. A
    moment becomes ISO 8601 text with its offset.

    Raises:
        PlaceholderError: a name, an offset or a filter that does not exist, or a date out of range.
    """
    if isinstance(value, dict):
        return {key: fill(one, names, (*place, key)) for key, one in value.items()}
    if isinstance(value, list):
        return [fill(one, names, (*place, index)) for index, one in enumerate(value)]
    if not isinstance(value, str) or "{{" not in value:
        return value
    try:
        return _filled(value, names)
    except PlaceholderError as error:
        raise PlaceholderError(str(error), place) from error


def _filled(text: str, names: Mapping[str, Value]) -> JsonValue:
    whole = _BRACES.fullmatch(text)
    if whole is not None and "{{" not in whole[1]:
        return _value(whole[1], names)
    filled = _BRACES.sub(lambda match: _as_text(_value(match[1], names)), text)
    if "{{" in _BRACES.sub("", text):
        raise _unclosed(text)
    return filled


def source_of(value: JsonValue) -> str | None:
    """Return the name with which a text begins that is one placeholder and nothing else."""
    whole = _BRACES.fullmatch(value) if isinstance(value, str) else None
    match = None if whole is None else _INSIDE.fullmatch(whole[1])
    return None if match is None else match[1]


def parameters_from(request: Mapping[str, Any], sources: Collection[str]) -> frozenset[str]:
    """Name the parameters of a request that are one such placeholder, and nothing beside it."""
    parameters = request.get("parameters") or {}
    return frozenset(name for name, one in parameters.items() if source_of(one) in sources)


def _unclosed(text: str) -> PlaceholderError:
    return PlaceholderError(f"`{_short(text)}` opens a placeholder with {{{{ and never closes it")


def _value(inside: str, names: Mapping[str, Value]) -> JsonValue:
    shown = _shown(inside)
    name, path, optional, sign, count, unit, form = _parsed(inside, names).groups()
    value = names[name]
    if not isinstance(value, datetime):
        value = _part(value, path, bool(optional), shown)
        if sign is not None or form is not None:
            raise PlaceholderError(f"{shown}: only a moment takes an offset or a filter")
        return value
    if path or optional:
        raise PlaceholderError(f"{shown}: a moment has no parts")
    if form is not None and form not in _FILTERS:
        raise PlaceholderError(f"{shown}: the filters are {', '.join(_FILTERS)}")
    try:
        moment = value if sign is None else _moved(value, int(f"{sign}{count}"), unit)
    except OverflowError as error:
        raise PlaceholderError(f"{shown} is no date that a calendar has") from error
    return moment.isoformat(timespec="seconds") if form is None else _FILTERS[form](moment)


def _part(value: JsonValue, path: str, is_optional: bool, shown: str) -> JsonValue:
    keys = path.split(".")[1:]
    is_there, part = part_of(value, keys)
    if is_there or is_optional:
        return part
    raise PlaceholderError(f"{shown}: the request has no such part; `?` at its end allows that")


def part_of(value: JsonValue, keys: Sequence[str]) -> tuple[bool, JsonValue]:
    """Go down into mappings and lists; return whether there is such a part, and the part."""
    for key in keys:
        if isinstance(value, dict) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            return False, None
    return True, value


def names_in(value: JsonValue, names: Sequence[str], place: Place = ()) -> None:
    """Check all placeholders of a JSON value before their values are known.

    Raises:
        PlaceholderError: one is none, or begins with another name.
    """
    parts = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, one in parts:
        names_in(one, names, (*place, key))
    if not isinstance(value, str) or "{{" not in value:
        return
    try:
        _check(value, names)
    except PlaceholderError as error:
        raise PlaceholderError(str(error), place) from error


def _check(text: str, names: Sequence[str]) -> None:
    if "{{" in _BRACES.sub("", text):
        raise _unclosed(text)
    for inside in _BRACES.findall(text):
        _parsed(inside, names)


def _parsed(inside: str, names: Collection[str]) -> re.Match[str]:
    """Parse what stands between the braces; it must begin with one of the names."""
    match = _INSIDE.fullmatch(inside) if len(inside) <= MAX_CHARS else None
    if match is None:
        raise PlaceholderError(f"{_shown(inside)} is no placeholder; one is {GRAMMAR}")
    if match[1] not in names:
        known = _known(match[1], names)
        raise PlaceholderError(f"{_shown(inside)} names nothing that is known here{known}")
    return match


def _shown(inside: str) -> str:
    return f"`{{{{{_short(inside)}}}}}`"


def _moved(moment: datetime, count: int, unit: str) -> datetime:
    """Move by real minutes and hours, or by days of the moment's own calendar."""
    if unit in _HOURS:
        return (moment.astimezone(UTC) + count * _HOURS[unit]).astimezone(moment.tzinfo)
    return moment + count * _DAYS[unit]


def _known(name: str, names: Collection[str]) -> str:
    near = get_close_matches(name, names, 1)
    return f" (did you mean `{near[0]}`?)" if near else f": {', '.join(names) or 'no name'}"


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool | dict | list):
        raise PlaceholderError("a placeholder beside other text must be a text or a number")
    return str(value)


def _short(text: str) -> str:
    return text if len(text) <= MAX_CHARS else f"{text[:MAX_CHARS]}…"
