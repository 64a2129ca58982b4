"""Reads a value's text as JSON: a literal of JSON or Python, or a known `repr`.

Takes texts apart by Python's own parser and never runs them. Refuses clock and network, and of the
disk all but the system's time zones.

| value | as JSON | |---|---| | numbers and truth values, also numpy's | the same; NaN and the
infinities are null | | None, `NaT`, `<NA>` | null | | tuples, sets, arrays, an index, `deque`,
`range`, keys of a mapping | list; a set is in order | | `OrderedDict`, `Counter`, `defaultdict` |
object | | dates and times, also pandas' and numpy's | ISO text, in UTC with a `Z` where a zone is
known | | durations | ISO text, such as `P1DT2H0M0S` | | `Decimal`, `Fraction`, `UUID`, `Period`,
paths | text |

Floats in arrays have the digits that numpy prints; an array that it prints with `...`, complex
numbers and all other objects have none.
"""

import ast
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Any, TypeAlias
from warnings import catch_warnings, simplefilter
from zoneinfo import ZoneInfo

from runner.contract.text.strict_json import StrictJsonError, loads

MAX_CHARS = 1_000_000
"""Longest text that is read."""

Call: TypeAlias = Callable[[list[Any], Mapping[str, Any]], object]

_NAMES: dict[str, object] = {
    **dict.fromkeys(("nan", "inf", "NaN", "Infinity", "NaT", "np.nan", "np.inf")),
    **{f"{module}.True_": True for module in ("np", "numpy")},
    **{f"{module}.False_": False for module in ("np", "numpy")},
    "datetime.timezone.utc": UTC,
}
_PANDAS_ARRAY = re.compile(r"<\w{1,40}Array>\n(\[.*\])\nLength: \d+, dtype: ([^\n]*)", re.DOTALL)
"""Matches what `unique()` of a column of texts gives, for one."""
_CATEGORICAL = re.compile(r"(\[.*\])\nCategories \(\d+, [^\n]*", re.DOTALL)
_DEFAULT_DICT = re.compile(r"defaultdict\(<[^<>]{1,200}>, ")
_MISSING = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|<NA>")
"""Matches pandas' NA, and texts, which may contain it."""
_FRACTION = re.compile(r"\.(\d{6})(\d{3})(?!\d)")
_DURATION = re.compile(r"(-?\d{1,9}) days(?: ([+-]?)(\d\d):(\d\d):(\d\d(?:\.\d{1,9})?))?", re.ASCII)
_OFFSET = re.compile(r"P(0|-1)DT(\d{1,2})H(\d{1,2})M(\d{1,2})S", re.ASCII)
_UTC_NAMES = ("UTC", "utc")


class NoLiteralError(ValueError):
    """A text is no value, or none that JSON can express."""


def value_of(text: str) -> object:
    """Read the value of a text, as `strict_json.clean` takes it.

    Raises:
        NoLiteralError
    """
    if len(text) > MAX_CHARS:
        raise NoLiteralError("too long to be tried")
    plain = text.strip()
    try:
        return loads(plain.encode())
    except StrictJsonError:
        pass
    except UnicodeEncodeError as error:
        raise NoLiteralError("half of a surrogate pair") from error
    try:
        return _read(_expression(plain))
    except (ArithmeticError, LookupError, MemoryError, RecursionError) as error:
        raise NoLiteralError(type(error).__name__) from error
    except (AttributeError, SyntaxError, TypeError, ValueError) as error:
        raise NoLiteralError(str(error)) from error


def instant_text(value: datetime) -> str | None:
    """Write a time as ISO text in milliseconds, or as fine as it needs; None for pandas' NaT."""
    if value != value:  # only NaT differs from itself
        return None
    whole = value.microsecond % 1000 == 0 and not getattr(value, "nanosecond", 0)
    spec = "milliseconds" if whole else "auto"
    if value.tzinfo is None:
        return value.isoformat(timespec=spec)
    return f"{value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=spec)}Z"


def _expression(text: str) -> ast.expr:
    match = _DEFAULT_DICT.match(text)
    if match and text.endswith(")"):
        text = text[match.end() : -1]
    array = _PANDAS_ARRAY.fullmatch(text)
    if array:
        text = f"array({array[1]}, dtype={array[2]!r})"
    elif category := _CATEGORICAL.fullmatch(text):
        text = category[1]
    if "<NA>" in text:
        text = _MISSING.sub(lambda match: "NaT" if match[0] == "<NA>" else match[0], text)
    with catch_warnings():  # Python warns of escapes such as "\d"
        simplefilter("ignore")
        return ast.parse(text, mode="eval").body


def _read(node: ast.expr) -> object:
    if isinstance(node, ast.Constant):
        return _constant(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        return _signed(node)
    if isinstance(node, ast.List | ast.Tuple):
        return [_read(part) for part in node.elts]
    if isinstance(node, ast.Set):
        return _in_order([_read(part) for part in node.elts])
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return {_key(key): _read(part) for key, part in pairs}
    if isinstance(node, ast.Name | ast.Attribute):
        return _NAMES[name] if (name := _name(node)) in _NAMES else _no_value(name)
    if isinstance(node, ast.Call):
        name = _name(node.func)
        call = _CALLS.get(name)
        if call is None or any(one.arg is None for one in node.keywords):
            return _no_value(name)
        named = {str(one.arg): _named(one.value) for one in node.keywords}
        return call([_read(one) for one in node.args], named)
    return _no_value(type(node).__name__)


def _named(node: ast.expr) -> object:
    """Read a keyword's value: `dtype=float64` and the like are names, not values."""
    is_name = isinstance(node, ast.Name | ast.Attribute) and _name(node) not in _NAMES
    return _name(node) if is_name else _read(node)


def _constant(value: object) -> object:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return _no_value(type(value).__name__)


def _signed(node: ast.UnaryOp) -> object:
    """Read a number with its sign; NaN and the infinities become null."""
    if isinstance(node.operand, ast.Name | ast.Attribute) and _name(node.operand) in _NAMES:
        return None
    value = node.operand.value if isinstance(node.operand, ast.Constant) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _no_value("sign")
    return _constant(-value if isinstance(node.op, ast.USub) else value)


def _key(node: ast.expr | None) -> object:
    if node is None or isinstance(node, ast.List | ast.Set | ast.Dict):
        return _no_value("key of this kind")
    value = _read(node)
    return ast.unparse(node) if isinstance(value, list | dict) else value


def _name(node: ast.expr) -> str:
    parts: list[str] = []
    while isinstance(node, ast.Attribute) and len(parts) < 3:
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([node.id, *reversed(parts)])


def _no_value(what: str) -> Any:
    raise TypeError(f"JSON has no {what}")


def _in_order(members: list[Any]) -> list[Any]:
    try:
        return sorted(members)
    except TypeError:
        return sorted(members, key=repr)


# Calls that stand in the text of a value


def _first(arguments: list[Any], _: Mapping[str, Any]) -> object:
    (value, *_rest) = arguments
    return value


def _number(arguments: list[Any], _: Mapping[str, Any]) -> object:
    (value,) = arguments
    if isinstance(value, str):  # np.longdouble('0.1')
        value = float(value)
    if value is None or isinstance(value, bool | int):
        return value
    number = float(value)
    return number if math.isfinite(number) else None


def _text(arguments: list[Any], _: Mapping[str, Any]) -> str:
    return str(arguments[0])


def _fraction(arguments: list[Any], _: Mapping[str, Any]) -> str:
    above, below = arguments
    return f"{above:d}/{below:d}"


def _list(arguments: list[Any], _: Mapping[str, Any]) -> object:
    value = arguments[0] if arguments else []
    return value if isinstance(value, list) else _no_value("list")


def _set(arguments: list[Any], named: Mapping[str, Any]) -> object:
    return _in_order(list(_list(arguments, named)))  # type: ignore[call-overload]


def _array(arguments: list[Any], named: Mapping[str, Any]) -> object:
    value, kind = arguments[0], str(named.get("dtype", ""))
    if isinstance(value, str) and not kind:  # of Python's module `array`, by its type code
        return arguments[1] if len(arguments) > 1 else []
    if kind.startswith("datetime64"):
        return _each(_instant, value)
    if kind.startswith("timedelta64"):
        return _each(_duration, value)
    if kind.startswith(("complex", "[", "interval")):
        return _no_value("array of this type")
    return value


def _each(read: Call, value: object) -> object:
    """Apply `read` to each element of an array, of any number of dimensions."""
    if isinstance(value, list):
        return [_each(read, part) for part in value]
    return read([value], {})


def _range(arguments: list[Any], named: Mapping[str, Any]) -> object:
    """Read Python's range, and pandas' index of this kind."""
    bounds = range(*arguments) if arguments else range(named["start"], named["stop"], named["step"])
    return list(bounds) if len(bounds) <= MAX_CHARS // 10 else _no_value("range of this length")


def _mapping(arguments: list[Any], _: Mapping[str, Any]) -> object:
    value = arguments[0] if arguments else {}
    return value if isinstance(value, dict) else dict(value)


def _instant(arguments: list[Any], _: Mapping[str, Any]) -> object:
    """Read pandas' Timestamp and numpy's datetime64, which may have nanoseconds."""
    text = arguments[0]
    if text in (None, "NaT"):
        return None
    if not isinstance(text, str):
        return _no_value("time of this kind")
    fraction = _FRACTION.search(text)
    finer = fraction[2] if fraction and fraction[2] != "000" else ""
    if len(text) <= 7:  # numpy's 2026 and 2026-01
        text = f"{text}-01" if len(text) == 7 else f"{text}-01-01"
    moment = datetime.fromisoformat(_FRACTION.sub(r".\1", text))
    if not finer:
        return instant_text(moment)
    fine = (moment.astimezone(UTC) if moment.tzinfo else moment).replace(tzinfo=None)
    return f"{fine.isoformat(timespec='microseconds')}{finer}{'Z' if moment.tzinfo else ''}"


def _datetime(arguments: list[Any], named: Mapping[str, Any]) -> object:
    return instant_text(datetime(*arguments, **named))


def _date(arguments: list[Any], _: Mapping[str, Any]) -> str:
    return date(*arguments).isoformat()


def _time(arguments: list[Any], named: Mapping[str, Any]) -> str:
    return time(*arguments, **named).isoformat()


def _zone(arguments: list[Any], _: Mapping[str, Any]) -> object:
    """Read a zone by its offset, which is a duration as `_timedelta` writes it."""
    match = _OFFSET.fullmatch(arguments[0])
    if match is None:
        return _no_value("zone")
    days, hours, minutes, seconds = (int(part) for part in match.groups())
    return timezone(timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds))


def _zone_info(_: list[Any], named: Mapping[str, Any]) -> object:
    key = named.get("key")
    if key in _UTC_NAMES:
        return UTC
    try:
        return ZoneInfo(key) if isinstance(key, str) else _no_value("zone")
    except OSError:  # `Europe` is a folder
        return _no_value("zone")


def _timedelta(_: list[Any], named: Mapping[str, Any]) -> str:
    whole = timedelta(**named)
    hours, rest = divmod(whole.seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    fine = f".{whole.microseconds:06}".rstrip("0") if whole.microseconds else ""
    return f"P{whole.days}DT{hours}H{minutes}M{seconds}{fine}S"


def _duration(arguments: list[Any], _: Mapping[str, Any]) -> object:
    """Read pandas' Timedelta: `-1 days +23:00:00`."""
    if arguments[0] in (None, "NaT"):
        return None
    match = _DURATION.fullmatch(arguments[0])
    if match is None:
        return _no_value("duration")
    days, hours, minutes, seconds = match.group(1, 3, 4, 5)
    whole, _point, decimals = (seconds or "0").partition(".")
    fine = f".{decimals}".rstrip("0").rstrip(".")
    return f"P{int(days)}DT{int(hours or 0)}H{int(minutes or 0)}M{int(whole)}{fine}S"


_NUMPY_NUMBERS = (
    *("float16", "float32", "float64", "float128", "longdouble"),
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    *("longlong", "ulonglong", "bool_", "bool"),
)
_CALLS: dict[str, Call] = {
    **{f"{m}.{kind}": _number for m in ("np", "numpy") for kind in _NUMPY_NUMBERS},
    **{f"{m}.str_": _text for m in ("np", "numpy")},
    **{f"{m}.datetime64": _instant for m in ("np", "numpy")},
    **dict.fromkeys(("array", "Index", "DatetimeIndex", "TimedeltaIndex"), _array),
    **dict.fromkeys(("PeriodIndex", "CategoricalIndex", "MultiIndex"), _array),
    **dict.fromkeys(("range", "RangeIndex"), _range),
    **dict.fromkeys(("deque", "dict_keys", "dict_values", "dict_items"), _list),
    **dict.fromkeys(("odict_keys", "odict_values", "odict_items"), _list),
    **dict.fromkeys(("set", "frozenset"), _set),
    **dict.fromkeys(("OrderedDict", "Counter", "mappingproxy"), _mapping),
    **dict.fromkeys(("Decimal", "UUID", "Period"), _text),
    **dict.fromkeys(("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath"), _text),
    "Fraction": _fraction,
    "Timestamp": _instant,
    "Timedelta": _duration,
    "datetime.datetime": _datetime,
    "datetime.date": _date,
    "datetime.time": _time,
    "datetime.timedelta": _timedelta,
    "datetime.timezone": _zone,
    "zoneinfo.ZoneInfo": _zone_info,
}
