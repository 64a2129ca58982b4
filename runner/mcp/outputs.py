"""Turns a kernel's messages into a notebook's outputs, and these into text for a model.

Pure. Talks to no kernel and writes no notebook.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from runner.contract.text.plain_text import excerpt, plain_text

Json = dict[str, Any]

STREAM_CHARACTERS = 1_000_000
"""Longest stream, so that an endless print fills neither the shared notebook nor the memory."""
CUT = "\n[this cell's text beyond a million characters is left out]\n"
TEXT_CHARACTERS = 8_000
"""Longest text of one output, for a model."""
TEXTS_CHARACTERS = 16_000
"""Longest text of all outputs of a cell together."""
PICTURES = 4
PICTURE_CHARACTERS = 4_000_000
"""Longest picture, in base64."""
_PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_TEXTS = ("text/markdown", "text/plain", "text/latex", "application/json", "text/html")


@dataclass(frozen=True)
class Picture:
    """An image, in base64."""

    data: str
    media_type: str


Piece = str | Picture


@dataclass
class Outputs:
    """The outputs of a running cell, as its notebook holds them (nbformat 4)."""

    items: list[Json] = field(default_factory=list)
    _displays: dict[str, list[int]] = field(default_factory=dict)
    _printed: int = 0
    _clear_next: bool = False

    def add(self, message: Mapping[str, Any]) -> bool:
        """Take a message from the kernel; return whether it changed something."""
        kind, content = message["header"]["msg_type"], message["content"]
        if kind == "clear_output":
            self._clear_next = bool(content.get("wait"))
            return False if self._clear_next else self._clear()
        if kind == "update_display_data":
            return self._update(content)
        output = _output_of(kind, content)
        if output is None:
            return False
        if self._clear_next:
            self._clear()
        if kind == "stream":
            return self._print(output)
        display = (content.get("transient") or {}).get("display_id")
        if display is not None:
            self._displays.setdefault(display, []).append(len(self.items))
        self.items.append(output)
        return True

    def _print(self, output: Json) -> bool:
        """Append to the last output of the same stream, as JupyterLab does."""
        left = STREAM_CHARACTERS - self._printed
        if left <= 0:
            return False
        if len(output["text"]) > left:
            output["text"] = output["text"][:left] + CUT
        self._printed += len(output["text"])
        last = self.items[-1] if self.items else {}
        if last.get("output_type") == "stream" and last["name"] == output["name"]:
            last["text"] += output["text"]
        else:
            self.items.append(output)
        return True

    def _update(self, content: Mapping[str, Any]) -> bool:
        display = (content.get("transient") or {}).get("display_id", "")
        places = self._displays.get(display, [])
        for place in places:
            self.items[place]["data"] = dict(content["data"])
            self.items[place]["metadata"] = dict(content.get("metadata") or {})
        return bool(places)

    def _clear(self) -> bool:
        had = bool(self.items)
        self.items.clear()
        self._displays.clear()
        self._printed, self._clear_next = 0, False
        return had


def _output_of(kind: str, content: Mapping[str, Any]) -> Json | None:
    if kind == "stream":
        return {"output_type": kind, "name": content["name"], "text": content["text"]}
    if kind == "error":
        keys = ("ename", "evalue", "traceback")
        return {"output_type": kind, **{key: content.get(key) for key in keys}}
    if kind not in ("display_data", "execute_result"):
        return None
    output: Json = {
        "output_type": kind,
        "data": dict(content["data"]),
        "metadata": dict(content.get("metadata") or {}),
    }
    if kind == "execute_result":
        output["execution_count"] = content.get("execution_count")
    return output


def pieces_of(outputs: Iterable[Mapping[str, Any]]) -> list[Piece]:
    """Convert outputs for a model: plain text, cut if it is long, and pictures."""
    pieces: list[Piece] = []
    left, pictures = TEXTS_CHARACTERS, 0
    for output in outputs:
        piece = _piece(output)
        if isinstance(piece, Picture):
            pictures += 1
            if pictures > PICTURES:
                piece = "[one more picture, left out]"
            elif len(piece.data) > PICTURE_CHARACTERS:
                piece = f"[a picture of {len(piece.data)} characters of base64, left out]"
        if isinstance(piece, str) and piece:
            if left <= 0:
                pieces.append("[more outputs, left out; the notebook has them]")
                break
            piece = excerpt(piece, min(TEXT_CHARACTERS, left))
            left -= len(piece)
        if piece:
            pieces.append(piece)
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
    for media_type in _TEXTS:
        if media_type in data:
            value = data[media_type]
            is_text = isinstance(value, str | list) and media_type != "application/json"
            return plain_text(_joined(value)) if is_text else json.dumps(value)
    return f"[an output of {', '.join(data) or 'nothing'}]"


def _joined(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)


def _as_shown(text: str) -> str:
    """Keep only the last state of a line that was written over, such as a progress bar."""
    lines = text.replace("\r\n", "\n").split("\n")
    return plain_text("\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines))
