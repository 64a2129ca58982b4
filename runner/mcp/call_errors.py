"""Says in plain words why the arguments of a tool's call cannot be used. Pure."""

import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

LONGEST_VALUE = 80
UNKNOWN = "is not known there"
MOST_ARGUMENTS = 5
NEAR = 0.75
"""How like a known name one is that is meant for it; n8n's `toolCallId` is like none."""
_WORDS = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+")
_TYPES = {str: "a text", int: "a whole number", float: "a number"}
_KINDS = {
    "a valid string": "a text",
    "a valid dictionary": "an object",
    "a valid list": "a list",
    "a valid number": "a number",
    "a valid integer": "a whole number",
    "a valid boolean": "true or false",
}


def wrong_arguments(
    tool: str, error: ValidationError, sent: Mapping[str, Any], fields: Mapping[str, FieldInfo]
) -> str:
    """Return a sentence for each argument: its name, what it must be, and what came.

    `fields` are the tool's arguments.
    """
    by_argument: dict[str, list[str]] = {}
    values: dict[str, Any] = {}
    for one in error.errors(include_url=False, include_context=False):
        name = _name(one["loc"], sent)
        values.setdefault(name, one.get("input"))
        said = by_argument.setdefault(name, [])
        words = _words(one["type"], one["msg"])
        if one["type"] == "extra_forbidden":
            words += _instead(str(one["loc"][-1]), fields.get(str(one["loc"][0])))
        if words not in said:
            said.append(words)
    lines = [
        f"`{name}` {_joined(said)}{_came(said, values[name])}."
        for name, said in list(by_argument.items())[:MOST_ARGUMENTS]
    ]
    return f"{tool} was not called: {' '.join(lines)}"


def wrong_truth(tool: str, name: str, kinds: Collection[type]) -> str:
    """Return a sentence on true or false for an argument that is neither."""
    wanted = " or ".join(words for kind, words in _TYPES.items() if kind in kinds)
    return f"{tool} was not called: `{name}` must be {wanted}, not true or false."


def misspelt_arguments(tool: str, sent: Mapping[str, Any], known: Collection[str]) -> str | None:
    """Refuse arguments that are meant for others of the tool; None if there are none.

    Such a name is like another one, or the two begin with the same whole words
    (`notebook_path`, `timeout`), or its value is a path of a notebook. One that was sent as well is
    not meant. Programs add names of their own, which are like none.
    """
    free = [name for name in known if name not in sent]
    meant = [
        (name, "notebook" if _is_path(value) and "notebook" in free else _meant(name, free))
        for name, value in sent.items()
        if name not in known
    ]
    words = [
        f"it has no argument `{name[:LONGEST_VALUE]}`, did you mean `{near}`?"
        for name, near in meant[:MOST_ARGUMENTS]
        if near is not None
    ]
    if not words:
        return None
    return f"{tool} was not called: {' '.join(words)} Nothing was done."


def _is_path(value: object) -> bool:
    return isinstance(value, str) and value.strip().endswith(".ipynb")


def _meant(name: str, known: Collection[str]) -> str | None:
    """Return the argument for which a name is meant, if it is like one."""
    near = get_close_matches(name[:LONGEST_VALUE].lower(), known, 1, NEAR)
    if near:
        return near[0]
    words = [word.lower() for word in _WORDS.findall(name[:LONGEST_VALUE])]
    for one in known:
        parts = one.split("_")
        shared = min(len(parts), len(words))
        if shared and parts[:shared] == words[:shared]:
            return one
    return None


def unknown_tool(name: str, tools: Collection[str]) -> str:
    """Return what to call in place of a tool that is not there."""
    near = get_close_matches(name[:LONGEST_VALUE], tools, 1)
    meant = f"Did you mean `{near[0]}`?" if near else f"The tools are: {', '.join(sorted(tools))}."
    return f"There is no tool `{name[:LONGEST_VALUE]}`. {meant}"


def _name(place: tuple[int | str, ...], sent: Mapping[str, Any]) -> str:
    """Name the place of a wrong value; a type that was tried there is no part of it."""
    value: Any = sent
    parts: list[str] = []
    for part in place:
        is_in_mapping = isinstance(value, Mapping) and (not parts or part in value)
        is_in_list = isinstance(value, list) and isinstance(part, int) and part < len(value)
        if not (is_in_mapping or is_in_list):
            break
        parts.append(str(part))
        value = value.get(part) if isinstance(value, Mapping) else value[int(part)]
    return ".".join(parts) or "arguments"


def _words(kind: str, message: str) -> str:
    if kind in ("missing", "missing_argument"):
        return "is missing"
    if kind == "extra_forbidden":
        return UNKNOWN
    said = message.partition(", unable to parse")[0].partition(", got a number with")[0]
    if not said.startswith("Input should be "):
        return f"is wrong: {said}"
    wanted = said.removeprefix("Input should be ")
    return f"must be {_KINDS.get(wanted, wanted)}"


def _instead(key: str, field: FieldInfo | None) -> str:
    """Name the keys of an argument, and the one that was probably meant."""
    kinds = () if field is None else (field.annotation, *get_args(field.annotation))
    known = [
        name
        for kind in kinds
        if isinstance(kind, type) and issubclass(kind, BaseModel)
        for name in kind.model_fields
    ]
    if not known:
        return ""
    near = get_close_matches(key[:LONGEST_VALUE], known, 1)
    meant = f" (did you mean `{near[0]}`?)" if near else ""
    return f"{meant}; its keys are: {', '.join(known)}"


def _joined(said: list[str]) -> str:
    if all(one.startswith("must be ") for one in said):
        return f"must be {' or '.join(one.removeprefix('must be ') for one in said)}"
    return " and ".join(said)


def _came(said: list[str], value: Any) -> str:
    if "is missing" in said or any(one.startswith(UNKNOWN) for one in said):
        return ""
    try:
        shown = repr(value)
    except ValueError:  # an integer of thousands of digits
        return ""
    return f", not {shown[:LONGEST_VALUE]}{'…' if len(shown) > LONGEST_VALUE else ''}"
