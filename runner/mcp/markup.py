"""Reads HTML and SVG as text: tables row by row, without styles and scripts.

Pure, over strings.
"""

import re
from html.parser import HTMLParser

MARKUP_CHARACTERS = 500_000
"""Longest HTML that is read; the text of the rest would be cut anyhow."""
_SILENT = frozenset({"style", "script", "head", "template"})
_BLOCKS = frozenset(
    {"p", "div", "br", "tr", "table", "li", "ul", "ol", "pre", "section", "caption"}
    | {f"h{level}" for level in range(1, 7)}
)
_SIZE = re.compile(r'<svg\b[^>]*?\bwidth="([^"]+)"[^>]*?\bheight="([^"]+)"', re.S)


class _Reader(HTMLParser):
    """Collects the text of a document."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._silent = 0
        self._preformatted = 0
        self._is_first_cell = True

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._silent += tag in _SILENT
        self._preformatted += tag == "pre"
        if tag in _BLOCKS:
            self.parts.append("\n")
        if tag == "tr":
            self._is_first_cell = True
        elif tag in ("td", "th"):
            self.parts.append("" if self._is_first_cell else " | ")
            self._is_first_cell = False
        elif tag == "img":
            self.parts.append(f"[image {dict(attrs).get('alt') or ''}".rstrip() + "]")

    def handle_endtag(self, tag: str) -> None:
        self._silent = max(0, self._silent - (tag in _SILENT))
        self._preformatted = max(0, self._preformatted - (tag == "pre"))
        if tag in _BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.parts.append(data if self._preformatted else re.sub(r"\s+", " ", data))


def html_text(html: str) -> str:
    """Return the text of HTML, a table's cells parted by bars; empty if it has none."""
    reader = _Reader()
    reader.feed(html[:MARKUP_CHARACTERS])
    reader.close()
    lines = (line.strip() for line in "".join(reader.parts).splitlines())
    return "\n".join(line for line in lines if line.strip(" |"))


def svg_text(svg: str) -> str:
    """Describe a drawing: its size, and the texts in it."""
    size = _SIZE.search(svg[:10_000])
    words = "; ".join(html_text(re.sub(r"</(text|title|desc)>", "<br>", svg)).splitlines())
    head = f"an SVG drawing, {size[1]} by {size[2]}" if size else "an SVG drawing"
    return f"[{head}; its texts: {words}]" if words else f"[{head}, without text]"
