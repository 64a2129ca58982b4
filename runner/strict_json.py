"""JSON that every reader accepts: no NaN, no Infinity, no lone surrogates, bounded depth.

Writes any JSON-like value in that form, and reads nothing else. Pure.
"""

import json
import math
from typing import Any, TypeAlias

JsonValue: TypeAlias = Any
"""None, bool, int, float, str, list or dict with str keys; `Any` stops at this border."""

MAX_DEPTH = 200
"""Deeper values are replaced by `DEEPER`: readers recurse, and so do we."""
DEEPER = "..."
MAX_INT_BITS = 10_000
"""Python refuses to write integers beyond 4,300 digits in decimal; longer ones become hex text."""


class StrictJsonError(ValueError):
    """A text is not strict JSON; the message says what and where."""


def dumps(value: object) -> bytes:
    """`value` as strict UTF-8 JSON, indented by two."""
    return _encode(value).encode("utf-8")


def _encode(value: object) -> str:
    """The short way where nothing is wrong; only then every part is looked at."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=2)
        if _plain_keys(value):
            text.encode("utf-8")
            return text
    except (ValueError, TypeError, RecursionError):
        pass
    return json.dumps(clean(value), ensure_ascii=False, allow_nan=False, indent=2)


def _plain_keys(value: object, depth: int = 0) -> bool:
    """Whether all keys are text, and the value is not too deep."""
    if depth > MAX_DEPTH:
        return False
    if isinstance(value, dict):
        return all(isinstance(k, str) and _plain_keys(v, depth + 1) for k, v in value.items())
    if isinstance(value, list | tuple):
        return all(_plain_keys(item, depth + 1) for item in value)
    return True


def clean(value: object) -> JsonValue:
    """The nearest strict JSON value.

    NaN and the infinities become the strings "NaN", "Infinity", "-Infinity"; lone surrogates
    U+FFFD; keys text; integers beyond 10,000 bits hexadecimal text; what JSON does not know, its
    `str`.
    """
    return _clean(value, 0)


def _clean(value: object, depth: int) -> JsonValue:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _clean_text(value)
    if isinstance(value, int):
        return int(value) if value.bit_length() <= MAX_INT_BITS else hex(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else _name_of(value)
    if depth >= MAX_DEPTH:
        return DEEPER
    if isinstance(value, dict):
        return {_clean_text(str(k)): _clean(v, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item, depth + 1) for item in value]
    return _clean_text(str(value))


def _clean_text(text: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return str(text)


def _name_of(number: float) -> str:
    if math.isnan(number):
        return "NaN"
    return "Infinity" if number > 0 else "-Infinity"


def loads(raw: bytes) -> JsonValue:
    """Read UTF-8 JSON, with or without a byte order mark.

    Raises:
        StrictJsonError: bad UTF-8 or syntax, a key that stands twice, NaN or Infinity, too deep.
    """
    try:
        return json.loads(
            raw.decode("utf-8-sig"),
            object_pairs_hook=_no_double_keys,
            parse_constant=_refuse_constant,
        )
    except StrictJsonError:
        raise
    except UnicodeDecodeError as error:
        raise StrictJsonError(f"byte {error.start} is no UTF-8") from error
    except RecursionError as error:
        raise StrictJsonError("it is nested too deeply") from error
    except ValueError as error:
        raise StrictJsonError(str(error)) from error


def _no_double_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    seen: set[str] = set()
    double = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    raise StrictJsonError(f"the key {double!r} stands there twice")


def _refuse_constant(name: str) -> None:
    raise StrictJsonError(f"{name} is no JSON")
