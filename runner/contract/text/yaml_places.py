"""Finds the line of a key or value in YAML that `strict_yaml` has read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from yaml.events import (
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from runner.contract.text.strict_yaml import events

Path = Sequence[str | int]


@dataclass
class _Open:
    """A container that is not over yet, and the key or index of its part; None before a key."""

    is_list: bool
    at: str | int | None = None


def line_of(text: str, path: Path) -> int | None:
    """Return the line, from 1, of the deepest part of a path that the text has."""
    try:
        return _search(text, list(path))
    except yaml.YAMLError:
        return None


def _search(text: str, wanted: list[str | int]) -> int | None:
    around: list[_Open] = []
    line: int | None = None
    depth = 0
    for event in events(text):
        if isinstance(event, MappingEndEvent | SequenceEndEvent):
            around.pop()
            _go_on(around)
            continue
        if not isinstance(event, ScalarEvent | MappingStartEvent | SequenceStartEvent):
            continue
        is_key = bool(around) and around[-1].at is None
        if is_key:
            around[-1].at = str(getattr(event, "value", ""))
        if around and (is_key or around[-1].is_list):
            here = [one.at for one in around]
            if len(here) > depth and here == wanted[: len(here)]:
                line, depth = _line(event), len(here)
        if isinstance(event, MappingStartEvent):
            around.append(_Open(is_list=False))
        elif isinstance(event, SequenceStartEvent):
            around.append(_Open(is_list=True, at=0))
        elif not is_key:
            _go_on(around)
    return line


def _go_on(around: list[_Open]) -> None:
    """Move to the next part of the innermost container."""
    if around:
        last = around[-1]
        last.at = last.at + 1 if isinstance(last.at, int) else None


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1
