"""Reads the part of YAML that JSON can express: mappings, lists, texts, and the table's scalars.

Reads libyaml's events one by one and builds the value itself: the time is in proportion to the
text, and stops at a number of values and at a depth. Refuses aliases, merges, tags of one's own,
keys that stand twice or are no texts, and more than one document. Pure.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
    StreamStartEvent,
)

from runner.contract.text.scalars import Scalar, ScalarError, scalar_of
from runner.contract.text.strict_json import MAX_DEPTH, JsonValue, no_utf_8
from runner.contract.text.yaml_slips import advice_on

try:
    from yaml.cyaml import CParser as _Parser  # type: ignore[attr-defined]
except ImportError:  # a PyYAML that was built without libyaml
    from yaml import SafeLoader as _Parser  # type: ignore[assignment]

MAX_NODES = 200_000
"""Most keys and values of one document."""
MAX_DIRECTIVES = 100
"""Most `%TAG` lines: libyaml compares each with all others."""
_LINE_ENDS = "\n\r\x85\u2028\u2029"
_TAG = "tag:yaml.org,2002:"
_SHOWN_CHARS = 80
_HALF = re.compile(r"\\u([dD][89a-fA-F][0-9a-fA-F]{2})(?:\\u([dD][c-fC-F][0-9a-fA-F]{2}))?")
"""An escape of half a character outside of the first 65,536, and the other half."""
_IN_WORDS = {
    "mapping values are not allowed": "a key cannot stand here: look at the indentation, and quote "
    "a text that has a colon with a space",
    "parsing a block mapping, did not find expected key": "the indentation fits no line above",
    "parsing a flow sequence": "a comma is missing, or the list that begins with [ is not closed",
    "parsing a flow mapping": "a comma is missing, or the mapping that begins with { is not closed",
    "scanning an alias": "YAML has a meaning of its own for *; quote the text that begins with it",
    "cannot start any token": "no text begins with this character; quote it",
}
"""Plain words for libyaml's, where `yaml_slips` knows nothing better."""
_LONE = re.compile("[\ud800-\udfff]")


class StrictYamlError(ValueError):
    """A text is no YAML that can be read here; the message says why, and where."""


class _AtEvent(Exception):
    """An event that is refused: `what, mark`."""


@dataclass
class _Open:
    """A container that is not over yet. `key` waits for its value; `keys` is None for a list."""

    value: Any
    is_mapping: bool
    key: str | None = None


@dataclass
class _Builder:
    """The containers around the next event, the outermost first."""

    value: JsonValue = None
    around: list[_Open] = field(default_factory=list)
    nodes: int = 0

    def take(self, event: Any) -> None:
        """Take one event inside of a document."""
        if isinstance(event, ScalarEvent):
            self._count(event)
            self._add(_key(event) if self._wants_key() else _scalar(event), event)
        elif isinstance(event, MappingStartEvent):
            self._open(event, {}, "map")
        elif isinstance(event, SequenceStartEvent):
            self._open(event, [], "seq")
        elif isinstance(event, MappingEndEvent | SequenceEndEvent):
            self.around.pop()
        elif isinstance(event, AliasEvent):
            raise _at(
                event, "an alias (*name) is not supported; write the value once more, or quote it"
            )

    def _open(self, event: Any, container: Any, kind: str) -> None:
        self._count(event)
        if event.tag not in (None, "!", _TAG + kind):
            raise _unknown_tag(event)
        if self._wants_key():
            raise _at(event, "a key is a list or a mapping (unhashable); a key is a text")
        if len(self.around) >= MAX_DEPTH:
            raise _at(event, f"it is nested more than {MAX_DEPTH} deep (recursion)")
        self._add(container, event)
        self.around.append(_Open(container, kind == "map"))

    def _count(self, event: Any) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise _at(event, f"it has more than {MAX_NODES} keys and values; pass them as a file")

    def _wants_key(self) -> bool:
        return bool(self.around) and self.around[-1].is_mapping and self.around[-1].key is None

    def _add(self, value: Any, event: Any) -> None:
        if not self.around:
            self.value = value
            return
        last = self.around[-1]
        if not last.is_mapping:
            last.value.append(value)
        elif last.key is not None:
            last.value[last.key], last.key = value, None
        elif value in last.value:
            raise _at(event, f"the key {_shown(value)} stands there twice")
        else:
            last.value[value], last.key = None, value


def loads(raw: bytes) -> JsonValue:
    """Read UTF-8 YAML, with or without a byte order mark; None where nothing stands in it.

    Raises:
        StrictYamlError
    """
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise StrictYamlError(no_utf_8(error)) from error
    if sum(text.count(f"{end}%") for end in _LINE_ENDS) > MAX_DIRECTIVES:
        raise StrictYamlError(f"more than {MAX_DIRECTIVES} lines begin with %")
    try:
        value = _built(events(text))
    except _AtEvent as error:
        what, mark = error.args
        line = _line(text, mark)
        advice = advice_on([line]) if "{{" in line else None
        raise StrictYamlError(f"{advice or what} ({_place(mark)})") from error
    except yaml.MarkedYAMLError as error:
        raise StrictYamlError(_sentence(error, text)) from error
    except yaml.YAMLError as error:
        raise StrictYamlError(" ".join(str(error).split())) from error
    except RecursionError as error:
        raise StrictYamlError(f"it is nested more than {MAX_DEPTH} deep (recursion)") from error
    if isinstance(value, str) and text[:1].isalpha():
        advice = advice_on(text.splitlines()[:1])
        if advice is not None:
            raise StrictYamlError(f"{advice} (line 1)")
    return value


def events(text: str) -> Iterator[Any]:
    """Yield libyaml's events.

    Raises:
        yaml.YAMLError: the text is no YAML.
    """
    parser = _Parser(text)
    while parser.check_event():
        yield parser.get_event()


def _built(events: Iterator[Any]) -> JsonValue:
    builder = _Builder()
    documents = 0
    for event in events:
        if isinstance(event, DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise _at(event, "there is more than one document (---); one file is one request")
        elif not isinstance(event, StreamStartEvent | StreamEndEvent | DocumentEndEvent):
            builder.take(event)
    return builder.value


def _key(event: Any) -> str:
    """Read a key as it is written: a number or null needs quotes, as in JSON."""
    value = _scalar(event)
    if not isinstance(value, str):
        raise _at(event, f"the key {_shown(event.value)} is no text; put it in quotes")
    if value == "<<" and event.implicit[0]:
        raise _at(event, "a merge (<<) is not supported; write the keys once more")
    return value


def _scalar(event: Any) -> Scalar:
    """Read a scalar by its tag, or without one by the table if it is not in quotes."""
    text: str = event.value
    tag: str | None = event.tag
    if _LONE.search(text):
        raise _at(event, "a text in it is half of a surrogate pair; write the character itself")
    if tag is None and not event.implicit[0]:
        return text
    if tag in ("!", _TAG + "str"):
        return text
    try:
        value = None if not text and tag in (None, _TAG + "null") else scalar_of(text)
    except ScalarError as error:
        raise _at(event, str(error)) from error
    if tag is None:
        return value
    fits = {
        "null": value is None,
        "bool": isinstance(value, bool),
        "int": isinstance(value, int) and not isinstance(value, bool),
        "float": isinstance(value, int | float) and not isinstance(value, bool),
    }.get(tag.removeprefix(_TAG))
    if fits is None or not tag.startswith(_TAG):
        raise _unknown_tag(event)
    if not fits:
        raise _at(event, f"{_shown(text)} is no {tag.removeprefix(_TAG)}, as its tag says")
    return float(value) if tag == _TAG + "float" and isinstance(value, int) else value


def _unknown_tag(event: Any) -> _AtEvent:
    return _at(event, f"the tag {_shown(event.tag)} is not known here; quote it if it is a text")


def _sentence(error: yaml.MarkedYAMLError, text: str) -> str:
    """Turn libyaml's words into a sentence with the place; for a tab it has none."""
    words = ", ".join(" ".join(part.split()) for part in (error.context, error.problem) if part)
    words = next((said for part, said in _IN_WORDS.items() if part in words), words)
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return words
    if text[mark.index : mark.index + 1] == "\t":
        words = "YAML is indented by spaces, and here is a tab"
    words, mark = _slip(error, text) or (words, mark)
    if mark is error.problem_mark and error.context_mark and words.endswith("not closed"):
        mark = error.context_mark
    half = _HALF.match(text, max(mark.index - 2, 0))
    if half is not None:
        words = _of_half(half[1], half[2])
    return f"{words} ({_place(mark)})"


def _slip(error: yaml.MarkedYAMLError, text: str) -> tuple[str, Any] | None:
    """Return the advice on the usual slips, and its place: the line before may be the wrong one."""
    for mark in (error.problem_mark, error.context_mark):
        advice = None if mark is None else advice_on([_line(text, mark)])
        if advice is not None:
            return advice, mark
    return None


def _line(text: str, mark: Any) -> str:
    """Return the line of a place."""
    start = max(text.rfind(end, 0, mark.index) for end in _LINE_ENDS) + 1
    ends = (text.find(end, mark.index) for end in _LINE_ENDS)
    return text[start : min((one for one in ends if one >= 0), default=len(text))]


def _of_half(high: str, low: str | None) -> str:
    """Say what to write for what JSON writes as two escapes; `low` is the second, if it is one."""
    what = "write the character itself"
    if low is not None and int(high, 16) < 0xDC00:
        code = 0x10000 + ((int(high, 16) - 0xD800) << 10) + (int(low, 16) - 0xDC00)
        what = f'write "{chr(code)}" or "\\U{code:08X}"'
    pair = f"\\u{high}" + ("" if low is None else f"\\u{low}")
    return f"YAML has no surrogate pairs, as {pair} is in JSON: {what}"


def _at(event: Any, what: str) -> _AtEvent:
    return _AtEvent(what, event.start_mark)


def _place(mark: Any) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}"


def _shown(text: object) -> str:
    whole = str(text)
    return repr(whole) if len(whole) <= _SHOWN_CHARS else f"{whole[:_SHOWN_CHARS]!r}..."
