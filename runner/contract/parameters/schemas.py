"""Tells whether a value fits a schema, and puts into words what would.

Knows a part of JSON Schema (2020-12) without regular expressions and references, so a check takes
time in proportion to the value and the schema, up to a number of steps.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, time
from typing import Any

from runner.contract.parameters.annotations import Schema, type_of

MAX_STEPS = 200_000
SHOWN_CHOICES = 20
SHOWN_CHARS = 80
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_CLOCK = r"\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?:[zZ]|[+-]\d{2}:\d{2})?"
_TIME = re.compile(_CLOCK, re.ASCII)
_STAMP = re.compile(rf"\d{{4}}-\d{{2}}-\d{{2}}(?:[tT ]{_CLOCK})?", re.ASCII)
_DATES_AND_TIMES: Mapping[str, tuple[re.Pattern[str], Callable[[str], object]]] = {
    "date": (_DATE, date.fromisoformat),
    "date-time": (_STAMP, datetime.fromisoformat),
    "time": (_TIME, time.fromisoformat),
}
_TYPES = {
    "boolean": ("true or false", "booleans"),
    "integer": ("a whole number", "whole numbers"),
    "number": ("a number", "numbers"),
    "string": ("a text", "texts"),
    "array": ("a list", "lists"),
    "object": ("a mapping", "mappings"),
    "null": ("null", "nulls"),
}
_FORMATS = {
    "date": ("a date such as 2026-01-31", "dates such as 2026-01-31"),
    "date-time": ("a time such as 2026-01-31T12:30:00", "times such as 2026-01-31T12:30:00"),
    "time": ("a time of day such as 12:30", "times of day such as 12:30"),
}


class TooLarge(Exception):
    """A value needs more steps than a check may take."""


def fits(value: Any, schema: Schema | bool) -> bool:
    """Return whether a value of JSON fits.

    Raises:
        TooLarge
    """
    return _fits(value, schema, [MAX_STEPS])


def _fits(value: Any, schema: Schema | bool, budget: list[int]) -> bool:
    if isinstance(schema, bool):
        return schema
    budget[0] -= 1 + len(schema.get("enum", ()))
    if budget[0] < 0:
        raise TooLarge
    if not _has_type(value, schema.get("type")) or not _is_chosen(value, schema):
        return False
    if isinstance(value, str):
        own = _fits_text(value, schema)
    elif isinstance(value, dict):
        own = _fits_mapping(value, schema, budget)
    elif isinstance(value, list):
        own = _fits_list(value, schema, budget)
    else:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        own = not is_number or _fits_number(value, schema)
    return own and _fits_combined(value, schema, budget)


def _has_type(value: Any, wanted: str | Sequence[str] | None) -> bool:
    if wanted is None:
        return True
    name = type_of(value)
    types = [wanted] if isinstance(wanted, str) else wanted
    if name in types or (name == "integer" and "number" in types):
        return True
    return name == "number" and "integer" in types and float(value).is_integer()


def _is_chosen(value: Any, schema: Schema) -> bool:
    if "const" in schema and not _is_same(value, schema["const"]):
        return False
    return "enum" not in schema or any(_is_same(value, one) for one in schema["enum"])


def _is_same(one: Any, other: Any) -> bool:
    """Compare as JSON does: 1 is 1.0, but not true."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_is_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_is_same(one[key], other[key]) for key in one)
    return bool(one == other)


def _fits_number(value: float, schema: Schema) -> bool:
    step = schema.get("multipleOf")
    return (
        value >= schema.get("minimum", value)
        and value <= schema.get("maximum", value)
        and ("exclusiveMinimum" not in schema or value > schema["exclusiveMinimum"])
        and ("exclusiveMaximum" not in schema or value < schema["exclusiveMaximum"])
        and (step is None or _is_multiple(value, step))
    )


def _is_multiple(value: float, step: float) -> bool:
    if isinstance(value, int) and isinstance(step, int):
        return value % step == 0
    try:
        parts = value / step
    except OverflowError:
        return False
    return abs(parts) < 2**53 and abs(parts - round(parts)) < 1e-9 * max(1.0, abs(parts))


def _fits_text(text: str, schema: Schema) -> bool:
    is_right_size = schema.get("minLength", 0) <= len(text) <= schema.get("maxLength", len(text))
    return is_right_size and _has_format(text, schema.get("format"))


def _has_format(text: str, name: str | None) -> bool:
    """Check the formats of dates and times; the others are for readers only.

    A time needs no zone, and a day is its midnight, as `datetime.fromisoformat` has it.
    """
    form, read = _DATES_AND_TIMES.get(name or "", (None, None))
    if form is None or read is None:
        return True
    try:
        read(text.upper())
    except ValueError:
        return False
    return form.fullmatch(text) is not None


def _fits_list(values: list[Any], schema: Schema, budget: list[int]) -> bool:
    if not schema.get("minItems", 0) <= len(values) <= schema.get("maxItems", len(values)):
        return False
    if schema.get("uniqueItems") and len({_key(one) for one in values}) < len(values):
        return False
    first = schema.get("prefixItems", ())
    rest = schema.get("items", True)
    return all(_fits(value, one, budget) for value, one in zip(values, first, strict=False)) and (
        rest is True or all(_fits(value, rest, budget) for value in values[len(first) :])
    )


def _key(value: Any) -> str:
    """Return a text that equal values share: 1 and 1.0 are one."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, list):
        return f"[{','.join(map(_key, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{json.dumps(key)}:{_key(value[key])}' for key in sorted(value))}}}"
    return json.dumps(value)


def _fits_mapping(values: Mapping[str, Any], schema: Schema, budget: list[int]) -> bool:
    size = len(values)
    if not schema.get("minProperties", 0) <= size <= schema.get("maxProperties", size):
        return False
    if any(key not in values for key in schema.get("required", ())):
        return False
    known = schema.get("properties", {})
    rest = schema.get("additionalProperties", True)
    return all(_fits(one, known.get(key, rest), budget) for key, one in values.items())


def _fits_combined(value: Any, schema: Schema, budget: list[int]) -> bool:
    if "anyOf" in schema and not any(_fits(value, one, budget) for one in schema["anyOf"]):
        return False
    if "oneOf" in schema and sum(_fits(value, one, budget) for one in schema["oneOf"]) != 1:
        return False
    return all(_fits(value, one, budget) for one in schema.get("allOf", ()))


def in_words(schema: Schema | bool) -> str:
    """Say what fits, such as "a whole number from 1 to 100"."""
    if isinstance(schema, bool):
        return "anything" if schema else "nothing"
    if "const" in schema:
        return value_in_words(schema["const"])
    if "enum" in schema:
        return choices_in_words(schema["enum"])
    members = schema.get("anyOf") or schema.get("oneOf")
    if members:
        whole = {key: one for key, one in schema.items() if key not in ("anyOf", "oneOf")}
        return " or ".join(dict.fromkeys(in_words({**whole, **one}) for one in members[:5]))
    types = schema.get("type")
    if types is None:
        return "anything" + _limits_in_words(schema)
    names = [types] if isinstance(types, str) else types
    return " or ".join(_one_in_words(name, schema) for name in names)


def _one_in_words(name: str, schema: Schema) -> str:
    one, _ = _TYPES.get(name, (name, name))
    if name == "string":
        one, _ = _FORMATS.get(schema.get("format", ""), (one, ""))
        return one + _range("minLength", "maxLength", schema, " characters")
    if name in ("integer", "number"):
        return one + _limits_in_words(schema)
    if name == "array":
        return f"{one}{_of_many(schema)}" + _range("minItems", "maxItems", schema, " values")
    return one


def _of_many(schema: Schema) -> str:
    first = schema.get("prefixItems")
    if first:
        return f" of {', '.join(in_words(one) for one in first[:5])}"
    items = schema.get("items")
    if not isinstance(items, Mapping) or not items:
        return ""
    kind, name = items.get("type"), items.get("format", "")
    if "enum" in items or not isinstance(kind, str):
        return f", each {in_words(items)}"
    many = _FORMATS[name][1] if kind == "string" and name in _FORMATS else _TYPES[kind][1]
    limits = _limits_in_words(items) if kind in ("integer", "number") else ""
    return f" of {many}{limits}"


def _limits_in_words(schema: Schema) -> str:
    words = list(_bounds(schema))
    if "multipleOf" in schema:
        words.append(f"in steps of {schema['multipleOf']:g}")
    return f" {', '.join(words)}" if words else ""


def _bounds(schema: Schema) -> Iterator[str]:
    low, high = _number(schema.get("minimum")), _number(schema.get("maximum"))
    if low is not None and high is not None:
        yield f"from {low} to {high}"
    elif low is not None:
        yield f"of {low} or more"
    elif high is not None:
        yield f"of {high} or less"
    if "exclusiveMinimum" in schema:
        yield f"above {_number(schema['exclusiveMinimum'])}"
    if "exclusiveMaximum" in schema:
        yield f"below {_number(schema['exclusiveMaximum'])}"


def _number(value: Any) -> Any:
    """Return a whole float as an integer, which reads better."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _range(low: str, high: str, schema: Schema, unit: str) -> str:
    least, most = schema.get(low), schema.get(high)
    if least is not None and most is not None:
        return f" of {least} to {most}{unit}" if least != most else f" of {least}{unit}"
    if least is not None:
        return f" of {least} or more{unit}"
    return f" of {most} or fewer{unit}" if most is not None else ""


def choices_in_words(choices: Sequence[Any]) -> str:
    """List values as a sentence does: `1, 3 or 5`."""
    texts = [value_in_words(one) for one in choices[:SHOWN_CHOICES]]
    if len(choices) > SHOWN_CHOICES:
        return f"one of {', '.join(texts)} and {len(choices) - SHOWN_CHOICES} more"
    return " or ".join(part for part in (", ".join(texts[:-1]), texts[-1]) if part)


def value_in_words(value: Any) -> str:
    """Write a value as JSON, cut if it is long."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except ValueError:
        return "a number of very many digits"
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…"
