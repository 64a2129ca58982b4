"""Turns a cell's outputs into pieces for a model: text, cut to a size, and pictures.

Pure. Says where it cut. The answer tells how to get the rest.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from runner.contract.displays import PICTURES as PICTURE_TYPES
from runner.contract.displays import needed_to_see, text_of
from runner.contract.results import scrap_lines
from runner.contract.text.plain_text import excerpt, plain_text
from runner.contract.text.tracebacks import folded
from runner.mcp.pictures import Picture, fitted

PICTURES = 4
"""Most pictures of an answer."""
_CUT = re.compile(r"^\[… \d+ characters left out …\]$|^\[.*, left out.*\]$", re.M)
"""Matches the marks of cuts."""
_MORE_PICTURES = re.compile(r"^\[\d+ more pictures?, left out; first_picture=(\d+) .*\]$", re.M)
"""Matches the mark of pictures that are left out."""
PART = "(code that prints a part gives more)"
"""Says how to get what no bounds let through."""

Piece = str | Picture
Detail = Literal["brief", "full"]


@dataclass(frozen=True)
class Bounds:
    """How much of the outputs a model gets."""

    output_characters: int = 8_000
    """Longest text of one output."""
    characters: int = 16_000
    """Longest text of all outputs together."""
    first_picture: int = 1
    """The first picture to give, counted from 1."""


BRIEF = Bounds()
FULL = Bounds(60_000, 80_000)
"""Claude Code refuses answers of more than 25,000 tokens, and counts four characters for one."""


def is_cut(pieces: Iterable[Piece]) -> bool:
    """Return whether text of the outputs is left out."""
    texts = (piece for piece in pieces if isinstance(piece, str))
    return any(_CUT.search(_MORE_PICTURES.sub("", text)) for text in texts)


def rest_of(pieces: Iterable[Piece], bounds: Bounds) -> dict[str, object]:
    """Return the arguments that give of a cell what these bounds have left out; none if none do."""
    texts = [piece for piece in pieces if isinstance(piece, str)]
    given: dict[str, object] = {}
    if is_cut(texts) and bounds.characters < FULL.characters:
        given["detail"] = "full"
    found = (match for text in texts for match in _MORE_PICTURES.finditer(text))
    if (more := next(found, None)) is not None:
        given["first_picture"] = int(more[1])
    return given


def pieces_of(outputs: Iterable[Mapping[str, Any]], bounds: Bounds = BRIEF) -> list[Piece]:
    """Convert outputs for a model: plain text, cut if it is long, and pictures."""
    pieces: list[Piece] = []
    left, pictures, past = bounds.characters, 0, 0
    for output in outputs:
        piece = _piece(output)
        if isinstance(piece, Picture):
            pictures += 1
            if pictures < bounds.first_picture:
                continue
            if pictures >= bounds.first_picture + PICTURES:
                past += 1
                continue
            small = fitted(piece)
            unread = f"[picture {pictures}: it cannot be read]"
            piece = unread if small is None else replace(small, number=pictures)
        if isinstance(piece, str) and piece:
            if left <= 0:
                pieces.append("[more outputs, left out]")
                break
            piece = excerpt(piece, min(bounds.output_characters, left))
            left -= len(piece)
        if piece:
            pieces.append(piece)
    if past:
        first = bounds.first_picture + PICTURES
        more = f"{past} more picture{'s' * (past > 1)}"
        pieces.append(f"[{more}, left out; first_picture={first} goes on]")
    return pieces


def pictures_in(outputs: Iterable[Mapping[str, Any]]) -> int:
    """Count the outputs that a model sees as pictures."""
    bundles = (output.get("data") or {} for output in outputs)
    return sum(any(one in bundle for one in PICTURE_TYPES) for bundle in bundles)


def _piece(output: Mapping[str, Any]) -> Piece:
    kind = output["output_type"]
    if kind == "stream":
        return _as_shown(_joined(output["text"]))
    if kind == "error":
        lines = plain_text("\n".join(output.get("traceback") or [])).split("\n")
        return "\n".join(folded(lines)) or f"{output.get('ename')}: {output.get('evalue')}"
    data: Mapping[str, Any] = output.get("data") or {}
    for media_type in PICTURE_TYPES:
        if media_type in data:
            return Picture(_joined(data[media_type]).replace("\n", ""), media_type)
    if lines := scrap_lines(output):
        return "\n".join(lines)
    text, needed = text_of(data), needed_to_see(data)
    if needed is not None:
        text = f"{text}\n[{needed}]".lstrip("\n")
    return text or f"[an output of {', '.join(data) or 'nothing'}]"


def _joined(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)


def _as_shown(text: str) -> str:
    """Keep only the last state of a line that was written over, such as a progress bar."""
    lines = text.replace("\r\n", "\n").split("\n")
    return plain_text("\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines))
