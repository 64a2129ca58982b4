"""Checks that a schema uses only the keywords that values are checked against.

A keyword that would be ignored is an error, because its author relies on it. Words for readers
(`title`, `examples`) and keywords that begin with `x-` are fine.
"""

from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

Flaw = tuple[tuple[str | int, ...], str]
"""The place of an error in a schema, and a sentence without its end."""
TYPES = ("string", "integer", "number", "boolean", "array", "object", "null")
READERS = frozenset(
    "$schema $id $comment title description examples deprecated readOnly writeOnly "
    "contentMediaType contentEncoding default".split()
)
REFUSED = {
    "pattern": "a regular expression may take for ever; use `enum`, `format` or the notebook",
    "patternProperties": "a regular expression may take for ever; use `additionalProperties`",
    "$ref": "a schema here refers to no other; write it once more",
    "$dynamicRef": "a schema here refers to no other; write it once more",
}
MAX_SHOWN = 60


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_step(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _is_type(value: object) -> bool:
    types = value if isinstance(value, list) else [value]
    return bool(types) and all(isinstance(one, str) and one in TYPES for one in types)


def _is_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


_RULES: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "type": (_is_type, f"one or more of {', '.join(TYPES)}"),
    "enum": (lambda value: isinstance(value, list) and bool(value), "a list of values"),
    "const": (lambda _: True, "a value"),
    **dict.fromkeys(
        ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), (_is_number, "a number")
    ),
    "multipleOf": (_is_step, "a number above 0"),
    **dict.fromkeys(
        (
            *("minLength", "maxLength", "minItems", "maxItems"),
            *("minProperties", "maxProperties"),
        ),
        (_is_size, "a whole number of 0 or more"),
    ),
    "uniqueItems": (lambda value: isinstance(value, bool), "true or false"),
    "format": (lambda value: isinstance(value, str), "a text such as date"),
    "required": (_is_names, "a list of names"),
    "properties": (lambda value: isinstance(value, dict), "a mapping of names to schemas"),
    **dict.fromkeys(
        ("anyOf", "oneOf", "allOf", "prefixItems"),
        (lambda value: isinstance(value, list) and bool(value), "a list of schemas"),
    ),
    **dict.fromkeys(
        ("items", "additionalProperties"),
        (lambda value: isinstance(value, dict | bool), "a schema"),
    ),
    **dict.fromkeys(("title", "description"), (lambda value: isinstance(value, str), "a text")),
    "examples": (lambda value: isinstance(value, list), "a list of values"),
}
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")


def flaws(schema: object, place: tuple[str | int, ...] = ()) -> Iterator[Flaw]:
    """Yield what is wrong with a schema, in its order."""
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        yield place, "a schema is a mapping of keywords, such as `type: integer`"
        return
    for key, value in schema.items():
        here = (*place, key)
        if key in REFUSED:
            yield here, f"`{key}` is not supported: {REFUSED[key]}"
        elif key in _RULES:
            is_right, words = _RULES[key]
            if not is_right(value):
                yield here, f"`{key}` must be {words}"
            else:
                yield from _inner(key, value, here)
        elif key not in READERS and not key.startswith("x-"):
            yield here, f"`{key[:MAX_SHOWN]}` is no keyword that is known here{_hint(key)}"


def _inner(key: str, value: Any, place: tuple[str | int, ...]) -> Iterator[Flaw]:
    if key == "properties":
        for name, one in value.items():
            yield from flaws(one, (*place, name))
    elif key in _LISTS:
        for index, one in enumerate(value):
            yield from flaws(one, (*place, index))
    elif key in ("items", "additionalProperties"):
        yield from flaws(value, place)


def _hint(key: str) -> str:
    known = [*_RULES, *READERS]
    near = get_close_matches(key, known, 1, 0.7) if len(key) <= MAX_SHOWN else []
    return f" (did you mean `{near[0]}`?)" if near else ""
