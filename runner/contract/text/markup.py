"""Reads HTML and SVG as text: tables row by row, without styles and scripts.

Pure, over strings. Goes once from tag to tag: Python's own parser needs quadratic time for hostile
input, and raises for some of it.
"""

import re
from html import unescape

MARKUP_CHARACTERS = 500_000
"""Longest HTML that is read; the text of the rest would be cut anyhow."""
_SILENT = frozenset({"style", "script", "head", "template"})
_RAW = frozenset({"style", "script"})
"""Elements whose content is no markup: only their own end tag ends them."""
_BLOCKS = frozenset(
    {"p", "div", "br", "tr", "table", "li", "ul", "ol", "pre", "section", "caption"}
    | {f"h{level}" for level in range(1, 7)}
)
_TAG = re.compile(r"(/?)([a-zA-Z][\w:-]{0,40})((?:[^>\"']|\"[^\"]*\"|'[^']*')*)>")
"""Matches a tag behind its `<`, with attributes that may hold `>` in quotes."""
_ALT = re.compile(r"\balt\s*=\s*(?:\"([^\"]*)\"|'([^']*)')", re.I)
_LONG_NUMBER = re.compile(r"&#[xX]?[0-9a-fA-F]{9,};?")
"""Matches a character's number that is none; Python raises for a very long one."""
_SIZE = re.compile(r'<svg\b[^>]*?\bwidth="([^"]+)"[^>]*?\bheight="([^"]+)"', re.S)


class _Reader:
    """Collects the text of a document."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self._raw = ""
        self._silent = 0
        self._preformatted = 0
        self._is_first_cell = True

    def read(self, html: str) -> None:
        """Read a document, piece by piece between its `<`."""
        first, *pieces = html.split("<")
        self._say(first)
        for piece in pieces:
            tag = _TAG.match(piece)
            if self._raw:
                if tag is None or not tag[1] or tag[2].lower() != self._raw:
                    continue
                self._raw = ""
            if tag is not None:
                (self._end if tag[1] else self._start)(tag[2].lower(), tag[3])
                self._say(piece[tag.end() :])
            elif piece[:1] in ("!", "?", "/"):
                self._say(piece.partition(">")[2])
            else:
                self._say(f"<{piece}")

    def _start(self, tag: str, attributes: str) -> None:
        if tag in _RAW:
            self._raw = tag
        self._silent += tag in _SILENT
        self._preformatted += tag == "pre"
        if tag in _BLOCKS:
            self.parts.append("\n")
        if tag == "tr":
            self._is_first_cell = True
        elif tag in ("td", "th"):
            self.parts.append("" if self._is_first_cell else " | ")
            self._is_first_cell = False
        elif tag == "img" and not self._silent:
            alt = _ALT.search(attributes)
            words = "" if alt is None else _unescaped(alt[1] or alt[2] or "")
            self.parts.append(f"[image {words}".rstrip() + "]")

    def _end(self, tag: str, _: str) -> None:
        self._silent = max(0, self._silent - (tag in _SILENT))
        self._preformatted = max(0, self._preformatted - (tag == "pre"))
        if tag in _BLOCKS:
            self.parts.append("\n")

    def _say(self, text: str) -> None:
        if not self._silent and not self._raw:
            plain = _unescaped(text)
            self.parts.append(plain if self._preformatted else re.sub(r"\s+", " ", plain))


def html_text(html: str) -> str:
    """Return the text of HTML, a table's cells parted by bars; empty if it has none."""
    reader = _Reader()
    reader.read(_without_comments(html[:MARKUP_CHARACTERS]))
    lines = (line.strip() for line in "".join(reader.parts).splitlines())
    return "\n".join(line for line in lines if line.strip(" |"))


def svg_text(svg: str) -> str:
    """Describe a drawing: its size, and the texts in it."""
    size = _SIZE.search(svg[:10_000])
    words = "; ".join(html_text(re.sub(r"</(text|title|desc)>", "<br>", svg)).splitlines())
    head = f"an SVG drawing, {size[1]} by {size[2]}" if size else "an SVG drawing"
    return f"[{head}; its texts: {words}]" if words else f"[{head}, without text]"


def _without_comments(html: str) -> str:
    """Leave comments out; one without an end hides all that follows."""
    first, *pieces = html.split("<!--")
    return first + "".join(piece.partition("-->")[2] for piece in pieces)


def _unescaped(text: str) -> str:
    return unescape(_LONG_NUMBER.sub("\ufffd", text))
