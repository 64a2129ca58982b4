"""Reads the titles of the library's notebooks: the first heading and the paragraph below.

Reads each notebook once while it does not change, and only for a moment at each look.
"""

import json
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import dropwhile
from typing import Any

from runner.contract.outcome import Refused
from runner.inbox.library import LibraryReader, Shelved

LOOK_SECONDS = 0.3
"""How long one look at the library may read; other titles come with the next look."""
MAX_BYTES = 2_000_000
MAX_CHARS = 120
MAX_LINES = 40
_HEADING = re.compile(r"#{1,6}[ \t]+(.{1,300})")
_BLOCK = re.compile(r"[-*+>|] |\|\S|\d+[.)] |```|---")
"""Matches a list item, a table, or another block that needs no empty line before it."""
_MARKUP = re.compile(r"[*#]{1,3}|(?<!\w)_{1,3}|_{1,3}(?!\w)|<[^<>]{0,200}>")
"""CommonMark takes no underscore within a word for emphasis."""
_CODE = re.compile(r"`{1,3}([^`]*)`{1,3}")


@dataclass(frozen=True)
class Title:
    """A notebook's own heading, and the first words below it; both may be empty."""

    heading: str = ""
    summary: str = ""


class Titles:
    """The titles of one library. Safe for many threads: at worst, a notebook is read twice."""

    def __init__(self, read: LibraryReader) -> None:
        self._read = read
        self._known: dict[Shelved, Title] = {}

    def of(self, notebooks: Iterable[Shelved]) -> Mapping[str, Title]:
        """Return titles by path, as far as they are known after a moment."""
        deadline = time.monotonic() + LOOK_SECONDS
        present = tuple(notebooks)
        known = {one: self._known[one] for one in present if one in self._known}
        for one in present:
            if one in known or one.bytes > MAX_BYTES:
                continue
            if time.monotonic() > deadline:
                break
            known[one] = self._title(one)
        self._known = known
        return {one.path: title for one, title in known.items()}

    def _title(self, one: Shelved) -> Title:
        try:
            return title_of(json.loads(self._read(one.path)))
        except (Refused, ValueError, RecursionError):
            return Title()  # what is no notebook is told when it is run


def title_of(document: Any) -> Title:
    """Return the title of any notebook."""
    cells = document.get("cells") if isinstance(document, Mapping) else None
    for cell in cells if isinstance(cells, list) else ():
        if not isinstance(cell, Mapping) or cell.get("cell_type") != "markdown":
            continue
        source = cell.get("source")
        text = "".join(map(str, source)) if isinstance(source, list) else str(source or "")
        return _title_of_text(text)
    return Title()


def _title_of_text(text: str) -> Title:
    lines = [line.strip() for line in text[:10_000].splitlines()[:MAX_LINES]]
    for place, line in enumerate(lines):
        heading = _HEADING.fullmatch(line)
        if heading is not None:
            return Title(_plain(heading[1]), _plain(_paragraph(lines[place + 1 :])))
    return Title()


def _paragraph(lines: Iterable[str]) -> str:
    """Return the first paragraph, over several lines; empty if a heading comes first."""
    words: list[str] = []
    for line in dropwhile(lambda one: not one, lines):
        if not line or _HEADING.fullmatch(line) or (words and _BLOCK.match(line)):
            break
        words.append(line)
    return " ".join(words)


def _plain(text: str) -> str:
    parts = _CODE.split(text[:300])  # code, which stays as it is, is every second one
    parts[::2] = [_MARKUP.sub("", part.replace("`", "")) for part in parts[::2]]
    words = "".join(parts).strip()
    return words if len(words) <= MAX_CHARS else f"{words[: MAX_CHARS - 1].rstrip()}…"
