"""Turns a cell's outputs into pieces for a model: text, cut to a size, and pictures.

Pure. Says where it cut. The answer tells how to get the rest.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from runner.contract.text.plain_text import excerpt, plain_text
from runner.mcp.markup import html_text, svg_text
from runner.mcp.pictures import Picture, fitted

PICTURES = 4
"""Most pictures of an answer."""
_PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_TEXTS = ("text/markdown", "text/plain", "text/latex", "application/json")
_NAMED_ONLY = re.compile(r"<[^<>\n]*>")
"""Matches the text of an object that only names its class; its HTML says more."""

Piece = str | Picture


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
FULL = Bounds(100_000, 200_000)


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
            piece = fitted(piece) or "[a picture that cannot be read]"
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
        pieces.append(f"[{past} more pictures, left out; the next is number {first}]")
    return pieces


def _piece(output: Mapping[str, Any]) -> Piece:
    kind = output["output_type"]
    if kind == "stream":
        return _as_shown(_joined(output["text"]))
    if kind == "error":
        return plain_text("\n".join(output.get("traceback") or [])) or (
            f"{output.get('ename')}: {output.get('evalue')}"
        )
    data: Mapping[str, Any] = output.get("data") or {}
    for media_type in _PICTURES:
        if media_type in data:
            return Picture(_joined(data[media_type]).replace("\n", ""), media_type)
    return text_of(data) or f"[an output of {', '.join(data) or 'nothing'}]"


def text_of(data: Mapping[str, Any]) -> str:
    """Return the text of a MIME bundle that says most to a reader; empty if it has none."""
    plain = plain_text(_joined(data.get("text/plain") or ""))
    if not plain or _NAMED_ONLY.fullmatch(plain.strip()):
        if "image/svg+xml" in data:
            return svg_text(_joined(data["image/svg+xml"]))
        if "text/html" in data and (text := html_text(_joined(data["text/html"]))):
            return plain_text(text)
    for media_type in _TEXTS:
        if media_type in data:
            value = data[media_type]
            is_text = isinstance(value, str | list) and media_type != "application/json"
            return plain_text(_joined(value)) if is_text else json.dumps(value, ensure_ascii=False)
    return ""


def _joined(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)


def _as_shown(text: str) -> str:
    """Keep only the last state of a line that was written over, such as a progress bar."""
    lines = text.replace("\r\n", "\n").split("\n")
    return plain_text("\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines))
