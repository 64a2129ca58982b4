"""Says what to write where a line of YAML has one of the usual slips. Pure, over lines of text."""

import re
from collections.abc import Iterable

MOST_CHARS = 200
"""A longer line is not quoted."""
_ENTRY = re.compile(r"(?P<key>[ \t]*(?:- +)*(?:[\w.$-]+|\"[^\"]*\"|'[^']*'):[ \t]+|[ \t]*(?:- +)+)")
"""What stands before the value of a line: a key, the dash of a list, or both."""
_NO_SPACE = re.compile(r"(?P<key>[ \t]*(?:- +)*[A-Za-z_][\w-]*):(?P<value>(?!//)\S.*)")
_COMMENT = re.compile(r"[ \t]+#.*$")
_SPECIAL = re.compile(r"[*&!%@`|>?,\]}]|- |\{\{")
"""The beginning of a value that means something of its own in YAML."""
_MAPPING = re.compile(r":(?:[ \t]|$)")
_QUOTED = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^']|'')*'")
_BRACKETS = {"[": "]", "{": "}"}


def advice_on(lines: Iterable[str]) -> str | None:
    """Return what is wrong with the first line that has a slip, and what to write instead."""
    return next((advice for line in lines if (advice := _of_line(line)) is not None), None)


def _of_line(line: str) -> str | None:
    if len(line) > MOST_CHARS:
        return None
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return "YAML is indented by spaces, and here is a tab"
    entry = _ENTRY.match(line)
    if entry is None:
        loose = _NO_SPACE.match(line)
        if loose is None:
            return None
        right = f"{loose['key'].strip()}: {loose['value'].rstrip()}"
        return f"a key needs a space after its colon: `{right}`"
    value = _COMMENT.sub("", line[entry.end() :]).rstrip()
    what = _of_value(value)
    if what is None or not value:
        return None
    return f"{what} `{entry['key'].lstrip()}{_quoted(value)}`"


def _of_value(value: str) -> str | None:
    """Say what is wrong with a value, up to the words before the right one."""
    first = value[:1]
    if first in "\"'" and first:
        whole = _QUOTED.match(value)
        if whole is None:
            return "a quote is not closed; write" if value.count(first) == 1 else None
        if whole.end() == len(value):
            return "a backslash in double quotes begins an escape; write" if "\\" in value else None
        return "the quotes end before the value does; write"
    if _SPECIAL.match(value):
        return f"YAML has a meaning of its own for {_sign(value)}, so quote it:"
    if first in _BRACKETS:
        return None
    return "a colon with a space begins a mapping, so quote it:" if _MAPPING.search(value) else None


def _sign(value: str) -> str:
    """Name what a value begins with."""
    return "{{" if value.startswith("{{") else value[0]


def _quoted(value: str) -> str:
    """Write what a value is meant to be in the quotes that need no escapes."""
    first = value[0]
    if first in "\"'" and (_QUOTED.fullmatch(value) or value.count(first) == 1):
        value = value[1:].removesuffix(first)
    elif len(value) > 2 and first in "\"'" and value.endswith(first) and value.count(first) > 2:
        value = value[1:-1]
    if '"' not in value and "\\" not in value:
        return f'"{value}"'
    return "'" + value.replace("'", "''") + "'"
