"""JSON that every reader accepts: no NaN, no lone surrogates, bounded in depth, each key once.

Refuses any text that is JSON only to some readers. Pure.
"""

import json
import math
import re
from collections.abc import Callable
from itertools import chain
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

if TYPE_CHECKING:
    JsonValue: TypeAlias = (
        "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"
    )
else:
    # Pydantic cannot follow a recursive alias, and would look at every value a second time.
    JsonValue = Any

MAX_DEPTH = 200
"""How many containers may lie inside one another: readers recurse, and so do we."""
DEEPER = "..."
"""Stands for a container that lies deeper than that."""

_PLAIN = frozenset({type(None), bool, int, float, str, list, dict})
_CONTAINERS = frozenset({list, dict})
_ALWAYS_DECIMAL_BITS = 2_100
"""No setting of Python's limit on decimal integers goes below 640 digits."""
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_SHOWN_CHARS = 80


class StrictJsonError(ValueError):
    """A text is not strict JSON; the message says why, and where if that is known."""


def dumps(value: object) -> bytes:
    """Write `clean(value)` as UTF-8 JSON, indented by two, keys in their order.

    `json` writes indented text in Python, value by value, which takes five times as long.
    """
    pieces: list[str] = []
    try:
        _write(value, "\n", pieces)
        return "".join(pieces).encode()
    except (ValueError, TypeError, RecursionError):
        kept = clean(value)
        return json.dumps(kept, ensure_ascii=False, allow_nan=False, indent=2).encode()


def dumps_compact(value: object) -> bytes:
    """Do the same on one line, for messages between programs."""
    kept = clean(value)
    return json.dumps(kept, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def clean(value: object) -> JsonValue:
    """Return the nearest strict JSON value: the very same object if nothing needs a change.

    - NaN and the infinities become "NaN", "Infinity" and "-Infinity".
    - A lone surrogate becomes U+FFFD; two that make a character become that character.
    - An integer with more decimal digits than Python writes (4,300) becomes hexadecimal text,
      such as "0x1f", which `int(text, 16)` reads.
    - Keys become text, as `json` writes them (`true`, `null`, `1`); of equal ones the last stays.
    - A container more than `MAX_DEPTH` deep becomes `DEEPER`; tuples become lists.
    - What JSON does not know at all becomes its `str`.
    """
    if _is_strict(value):
        return value
    return _cleaned(value, 0)


def loads(raw: bytes) -> JsonValue:
    """Read UTF-8 JSON, with or without a byte order mark.

    Raises:
        StrictJsonError: bad UTF-8 or syntax, a key that stands twice, a number that is not
            finite or too long, a lone surrogate, more than `MAX_DEPTH` containers deep.
    """
    try:
        text = raw.decode("utf-8-sig")
        value: JsonValue = json.loads(
            text,
            object_pairs_hook=_once_each,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
    except RecursionError as error:
        raise _too_deep() from error
    except ValueError as error:
        raise _explained(error) from error
    if not _is_plain(value):
        raise _too_deep()
    if _SURROGATE_ESCAPE.search(text) and not _is_strict(value):
        raise StrictJsonError("a text in it has half of a surrogate pair (such as \\ud800)")
    return value


def _is_strict(value: object) -> TypeGuard[JsonValue]:
    """Return whether nothing needs a change. Mostly C code: results have many megabytes."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, TypeError, RecursionError):
        return False
    return _is_plain(value)


def _is_plain(value: object) -> bool:
    """Return whether it has JSON's own types only, text as keys, and at most `MAX_DEPTH` levels."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH + 1):
        kinds = set(map(type, level))
        if not kinds <= _PLAIN:
            return False
        if kinds.isdisjoint(_CONTAINERS):
            return True
        lists = [part for part in level if type(part) is list]
        dicts = [part for part in level if type(part) is dict]
        if not set(map(type, chain.from_iterable(dicts))) <= {str}:
            return False
        below = (part.values() for part in dicts)
        level = [*chain.from_iterable(lists), *chain.from_iterable(below)]
    return False


def _cleaned(value: object, depth: int) -> JsonValue:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int):
        return _integer(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else _not_finite(value)
    if not isinstance(value, dict | list | tuple):
        return _text(str(value))
    if depth >= MAX_DEPTH:
        return DEEPER
    if isinstance(value, dict):
        return {_key(key): _cleaned(part, depth + 1) for key, part in value.items()}
    return [_cleaned(part, depth + 1) for part in value]


def _key(key: object) -> str:
    if isinstance(key, str):
        return _text(key)
    if key is None or isinstance(key, bool | int | float):
        plain = _cleaned(key, 0)
        return plain if isinstance(plain, str) else json.dumps(plain)
    return _text(str(key))


def _text(text: str) -> str:
    plain = str.__str__(text)  # an enum's `str` would be its name
    try:
        plain.encode()
    except UnicodeEncodeError:
        return plain.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return plain


def _integer(value: int) -> int | str:
    if value.bit_length() <= _ALWAYS_DECIMAL_BITS:
        return int(value)
    try:
        int.__repr__(value)
    except ValueError:
        return hex(value)
    return int(value)


def _not_finite(number: float) -> str:
    if math.isnan(number):
        return "NaN"
    return "Infinity" if number > 0 else "-Infinity"


def _write(value: Any, newline: str, pieces: list[str]) -> None:
    """Add the text of a strict value, whose lines begin with `newline`.

    Raises:
        TypeError, ValueError: it is not strict.
    """
    kind = type(value)
    if kind in _SCALARS:
        pieces.append(_SCALARS[kind](value))
    elif isinstance(value, dict):
        _write_dict(value, newline, pieces)
    elif kind is list:
        _write_list(value, newline, pieces)
    else:
        raise TypeError(kind)


def _write_dict(value: dict[Any, Any], newline: str, pieces: list[str]) -> None:
    inner = _deeper(newline)
    if not value:
        pieces.append("{}")
        return
    before = "{" + inner
    for key, part in value.items():
        if type(key) is not str:
            raise TypeError(key)
        scalar = _SCALARS.get(type(part))
        if scalar is not None:
            pieces.append(f"{before}{encode_basestring(key)}: {scalar(part)}")
        else:
            pieces.append(f"{before}{encode_basestring(key)}: ")
            _write(part, inner, pieces)
        before = f",{inner}"
    pieces.append(newline + "}")


def _write_list(value: list[Any], newline: str, pieces: list[str]) -> None:
    inner = _deeper(newline)
    if not value:
        pieces.append("[]")
        return
    kinds = set(map(type, value))
    if len(kinds) == 1 and (scalar := _SCALARS.get(kinds.pop())) is not None:
        pieces += ("[", inner, f",{inner}".join(map(scalar, value)), newline, "]")
        return
    before = "[" + inner
    for part in value:
        pieces.append(before)
        _write(part, inner, pieces)
        before = f",{inner}"
    pieces.append(newline + "]")


def _deeper(newline: str) -> str:
    if len(newline) > 2 * MAX_DEPTH:
        raise _too_deep()
    return f"{newline}  "


def _finite_text(number: float) -> str:
    if not math.isfinite(number):
        raise ValueError(number)
    return float.__repr__(number)


_SCALARS: dict[type, Callable[[Any], str]] = {
    str: encode_basestring,
    int: int.__repr__,
    float: _finite_text,
    bool: {True: "true", False: "false"}.__getitem__,
    type(None): {None: "null"}.__getitem__,
}
"""How each scalar is written. Subclasses, such as those of enums, are none."""


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) == len(pairs):
        return mapping
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise StrictJsonError(f"the key {_shown(key)} stands twice in one object")
        seen.add(key)
    return mapping


def _refuse_constant(name: str) -> None:
    raise StrictJsonError(f"{name} is no JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise StrictJsonError(f"the number {_shown(text)} is too large")
    return number


def _too_deep() -> StrictJsonError:
    return StrictJsonError(f"it is nested more than {MAX_DEPTH} deep")


def _explained(error: ValueError) -> StrictJsonError:
    if isinstance(error, StrictJsonError):
        return error
    if isinstance(error, UnicodeDecodeError):
        return StrictJsonError(no_utf_8(error))
    if isinstance(error, json.JSONDecodeError):
        if not error.doc.strip():
            return StrictJsonError("it is empty")
        return StrictJsonError(str(error))
    return StrictJsonError("a number in it has too many digits")


def no_utf_8(error: UnicodeDecodeError) -> str:
    """Say why bytes are no text, in words."""
    if error.object[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "it is UTF-16 text, as PowerShell's `>` writes it; save it as UTF-8"
    return f"it is no UTF-8 text (byte {error.start})"


def _shown(text: str) -> str:
    return repr(text) if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]!r}..."
