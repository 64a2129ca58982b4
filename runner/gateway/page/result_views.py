"""Turns results into readable views: tables, figures, texts, folded JSON and pictures.

Pure, over the JSON. All of it is text to be escaped: a notebook's markup is reduced to the words in
its cells, and never passed on.
"""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import unescape
from typing import Any

from runner.contract.displays import PICTURES, is_marked_up, needed_to_see, text_of

MAX_ROWS = 200
MAX_COLUMNS = 40
MAX_CHARS = 20_000
MAX_CELL_CHARS = 500
MAX_IMAGE_CHARS = 8_000_000
MAX_HTML_CHARS = 500_000
MAX_FIELDS = 60
MAX_FIGURE_CHARS = 50
MAX_WORDS_CHARS = 4_000
MAX_DECIMALS = 6
SMALL = 0.001
LARGE = 1e15
"""From here on a figure has an exponent."""
_MIDNIGHT = re.compile(r"(\d{4}-\d\d-\d\d)[T ]00:00:00(\.0+)?", re.ASCII)
_MOMENT = re.compile(
    r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(\.\d{1,9})?(Z|[+-]\d\d:\d\d)?", re.ASCII
)
_SHAPE = re.compile(r"<p>(\d{1,12}) rows × (\d{1,12}) columns</p>", re.ASCII)
_SHAPE_CHARS = 200
"""How near to the end of its HTML pandas writes a DataFrame's shape if it left rows out."""
_MIME = re.compile(r"[a-z]+/[\w.+-]+", re.ASCII)
_TAG_CHARS = 20
_NUMBER = re.compile(r"[-+]?[\d,]*\.?\d+(e[-+]?\d+)?%?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class Value:
    """One number, truth value, null or short text."""

    text: str
    is_figure: bool = False
    kind: str = "value"


@dataclass(frozen=True)
class Text:
    """A longer text as it is; `more` characters are left out."""

    text: str
    more: int = 0
    kind: str = "text"


@dataclass(frozen=True)
class Folded:
    """Nested JSON behind its summary."""

    summary: str
    text: str
    more: int = 0
    kind: str = "folded"


@dataclass(frozen=True)
class Described:
    """An output in words, if it has some, and a note on how to see it."""

    text: str
    note: str
    more: int = 0
    kind: str = "described"


@dataclass(frozen=True)
class Table:
    """Cells as text. `numeric` marks right-aligned columns; an index comes first."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]
    has_index: bool = False
    all_rows: int = 0
    all_columns: int = 0
    """Columns of the value itself; an index is no column."""
    is_whole: bool = True
    """Whether the result has all of it; False if pandas itself left out its middle."""
    kind: str = "table"

    @property
    def is_cut(self) -> bool:
        """Whether there is more than is listed here."""
        return self.all_rows > len(self.rows) or self.all_columns > self.listed_columns

    @property
    def listed_columns(self) -> int:
        """How many columns are listed here, without an index."""
        return len(self.columns) - self.has_index


@dataclass(frozen=True)
class Fields:
    """A flat mapping: names and their values."""

    pairs: tuple[tuple[str, str], ...]
    kind: str = "fields"


@dataclass(frozen=True)
class Image:
    """A picture as a `data:` address; scripts in it never run, because it is an image."""

    url: str
    kind: str = "image"


@dataclass(frozen=True)
class Grid:
    """All cells of a table, as in the JSON; an index is the first column."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    has_index: bool = False
    shape: tuple[int, int] | None = None
    """Rows and columns of the DataFrame, if the notebook shows only its beginning and end."""


View = Value | Text | Folded | Described | Table | Fields | Image


@dataclass(frozen=True)
class Shown:
    """A result by its name, or by its cell; `key` is its name in the JSON."""

    name: str
    view: View
    is_cell: bool = False
    key: str = ""


def shown(results: Mapping[str, Any]) -> tuple[Shown, ...]:
    """Return all results, in the order given."""
    return tuple(_shown(name, value) for name, value in results.items())


def view_of(value: Any) -> View:
    """Choose the most readable view of a JSON value."""
    if isinstance(value, Mapping):
        return _table(_frame(value)) or _bundle(value) or _fields(value) or _folded(value)
    if isinstance(value, list):
        return _table(_records(value)) or _folded(value)
    if isinstance(value, str):
        is_long = len(value) > 80 or "\n" in value
        return text_view(value) if is_long else Value(value or '""')
    return Value(figure(value), is_figure=isinstance(value, int | float))


def text_view(text: str, most: int = MAX_CHARS) -> Text:
    """Make a text view, cut if it is very long."""
    return Text(text[:most], max(len(text) - most, 0))


def json_text(value: Any) -> str:
    """Write a value as indented JSON."""
    return json.dumps(value, ensure_ascii=False, indent=2)


def _shown(name: str, value: Any) -> Shown:
    cell = re.fullmatch(r"cell_(\d+)", name)
    is_cell = cell is not None and isinstance(value, Mapping)
    return Shown(f"Cell {cell[1]}" if cell and is_cell else name, view_of(value), is_cell, name)


def grid_of(value: Any) -> Grid | None:
    """Return all cells of a result that is shown as a table; None for anything else."""
    if isinstance(value, Mapping):
        return _frame(value) or _grid_of_bundle(value)
    return _records(value) if isinstance(value, list) else None


def _frame(value: Mapping[str, Any]) -> Grid | None:
    """Read a DataFrame in the form of results."""
    if set(value) != {"columns", "index", "data"}:
        return None
    columns, index, data = value["columns"], value["index"], value["data"]
    if not all(isinstance(part, list) for part in (columns, index, data)):
        return None
    if len(index) != len(data) or any(
        not isinstance(row, list) or len(row) != len(columns) for row in data
    ):
        return None
    labels = [_label(one) for one in columns]
    if index == list(range(len(index))):
        return Grid(labels, data)
    rows = [[_label(at), *row] for at, row in zip(index, data, strict=True)]
    return Grid(["", *labels], rows, has_index=True)


def _records(value: Sequence[Any]) -> Grid | None:
    """Read a list of flat mappings with the same keys."""
    if not value or not all(isinstance(one, Mapping) for one in value):
        return None
    keys = list(value[0])
    if not keys or any(list(one) != keys for one in value):
        return None
    rows = [list(one.values()) for one in value]
    if not all(_is_flat(part) for row in rows for part in row):
        return None
    return Grid([str(key) for key in keys], rows)


def _table(grid: Grid | None) -> Table | None:
    """Take the first rows and columns of a grid, as texts."""
    if grid is None:
        return None
    kept = [row[:MAX_COLUMNS] for row in grid.rows[:MAX_ROWS]]
    width = min(len(grid.columns), MAX_COLUMNS)
    sides = [[row[place] for row in kept] for place in range(width)]
    numeric = tuple(_is_numeric(side) for side in sides)
    texts = [
        _aligned(side) if is_numeric else _dated([_cell(part) for part in side])
        for side, is_numeric in zip(sides, numeric, strict=True)
    ]
    return Table(
        columns=tuple(grid.columns[:MAX_COLUMNS]),
        rows=tuple(zip(*texts, strict=True)) if texts else tuple(() for _ in kept),
        numeric=numeric,
        has_index=grid.has_index,
        all_rows=grid.shape[0] if grid.shape else len(grid.rows),
        all_columns=grid.shape[1] if grid.shape else len(grid.columns) - grid.has_index,
        is_whole=grid.shape is None,
    )


def _dated(texts: list[str]) -> list[str]:
    """Write times as people do: a column of midnights is one of dates."""
    present = [text for text in texts if text]
    if present and all(_MIDNIGHT.fullmatch(text) for text in present):
        return [text[:10] for text in texts]
    if present and all(_MOMENT.fullmatch(text) for text in present):
        return [_moment(text) if text else "" for text in texts]
    return texts


def _moment(text: str) -> str:
    """Write `2026-01-01T10:30:00.000` as `2026-01-01 10:30:00`; other fractions stay."""
    day, clock, fraction, zone = _MOMENT.fullmatch(text).groups()  # type: ignore[union-attr]
    fraction = (fraction or "").rstrip("0").rstrip(".")
    return f"{day} {clock}{fraction}{zone or ''}"


def _aligned(parts: Sequence[Any]) -> list[str]:
    """Write figures of one column with as many decimals as the longest, for comparison.

    Six at most, as in pandas, if that leaves three digits to each; the CSV has all.
    """
    texts = [_cell(part) for part in parts]
    most = max((len(text.partition(".")[2]) for text in texts), default=0)
    floats = [abs(part) for part in parts if isinstance(part, float) and part]
    if any("e" in text or "E" in text for text in texts) or min(floats, default=1) < SMALL:
        return texts
    most = min(most, MAX_DECIMALS)
    return [
        f"{part:.{most}f}" if isinstance(part, float) else text
        for part, text in zip(parts, texts, strict=True)
    ]


def _is_numeric(parts: Sequence[Any]) -> bool:
    present = [part for part in parts if part is not None]
    return bool(present) and all(
        isinstance(part, int | float) and not isinstance(part, bool) for part in present
    )


def _label(value: Any) -> str:
    """Write a column's or a row's name; those of several levels are lists."""
    if isinstance(value, list):
        return " / ".join(_label(part) for part in value)
    return _cell(value)


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) else "" if value is None else _scalar(value)
    return text if len(text) <= MAX_CELL_CHARS else f"{text[:MAX_CELL_CHARS]}…"


def figure(value: Any) -> str:
    """Write a figure for people, with six decimals at most; the result JSON has all of them."""
    if not isinstance(value, float) or abs(value) >= LARGE:
        return _scalar(value)
    if 0 < abs(value) < SMALL:
        return f"{value:.6g}"
    text = f"{value:.6f}".rstrip("0")
    return f"{text}0" if text.endswith(".") else text


def _scalar(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _is_flat(value: Any) -> bool:
    return not isinstance(value, Mapping | list)


def _fields(value: Mapping[str, Any]) -> Fields | None:
    flat = all(_is_flat(part) and len(str(part)) <= 200 for part in value.values())
    if not value or not flat or len(value) > MAX_FIELDS:
        return None
    return Fields(
        tuple(
            (str(key), part if isinstance(part, str) else figure(part))
            for key, part in value.items()
        )
    )


def _word(value: Any) -> str:
    return value if isinstance(value, str) else _scalar(value)


def _folded(value: Any) -> View:
    text = json_text(value)
    if len(text) <= 60 and not value:
        return Value(text)
    if isinstance(value, list) and len(line := _scalar(value)) <= 80:
        return Value(line)
    kind = "keys" if isinstance(value, Mapping) else "items"
    one = {"keys": "key", "items": "item"}[kind]
    summary = f"{len(value):,} {one if len(value) == 1 else kind}"
    return Folded(summary, text[:MAX_CHARS], max(len(text) - MAX_CHARS, 0))


# MIME bundles


def _bundle(value: Mapping[str, Any]) -> View | None:
    """Choose the most readable form of a cell's output, never its markup."""
    if not value or not all(_MIME.fullmatch(str(key)) for key in value):
        return None
    image = _image(value)
    if image is not None:
        return image
    html = value.get("text/html")
    table = html_table(html) if isinstance(html, str) else None
    if table is not None:
        return table
    if "application/json" in value:
        return view_of(value["application/json"])
    text, needed = text_of(value), needed_to_see(value)
    if needed is None and text and is_marked_up(value):
        needed = "Its text; the executed notebook shows it whole."
    if needed is None:
        return _plain(text)
    return Described(text[:MAX_CHARS], needed, max(len(text) - MAX_CHARS, 0))


def _plain(text: str) -> View:
    return text_view(text) if "\n" in text or len(text) > 80 else Value(text)


def _image(bundle: Mapping[str, Any]) -> Image | None:
    for mime in PICTURES:
        raw = bundle.get(mime)
        if isinstance(raw, str) and len(raw) <= MAX_IMAGE_CHARS:
            plain = "".join(raw.split())
            if re.fullmatch(r"[A-Za-z0-9+/=]+", plain):
                return Image(f"data:{mime};base64,{plain}")
    drawing = bundle.get("image/svg+xml")
    if isinstance(drawing, str) and len(drawing) <= MAX_IMAGE_CHARS:
        coded = base64.b64encode(drawing.encode("utf-8", "replace")).decode()
        return Image(f"data:image/svg+xml;base64,{coded}")
    return None


def html_table(html: str) -> Table | None:
    """Read the one table of a DataFrame's HTML; None for anything else."""
    grid = _html_grid(html)
    table = _table(grid)
    if grid is None or table is None:
        return None
    numeric = tuple(
        all(_is_figure(row[place]) or row[place] in ("", "NaN", "...") for row in grid.rows)
        for place in range(len(table.columns))
    )
    return replace(table, numeric=numeric)


def _html_grid(html: str) -> Grid | None:
    if len(html) > MAX_HTML_CHARS or html.count("<table") != 1 or "colspan" in html:
        return None
    heads, rows = _cells_of(html)
    head, *more = heads or [[]]
    named = _index_name(head, more)
    if named is not None:
        head, more = [named, *head[1:]], []
    if more or not head or not rows or any(len(row) != len(head) for row in rows):
        return None
    shape = _SHAPE.search(html, len(html) - _SHAPE_CHARS if len(html) > _SHAPE_CHARS else 0)
    whole = None if shape is None else (int(shape[1]), int(shape[2]))
    return Grid(head, rows, has_index=named is not None or not head[0], shape=whole)


def _index_name(head: Sequence[str], more: Sequence[Sequence[str]]) -> str | None:
    """Return the name of the index, which pandas writes alone into a second head row."""
    match more:
        case [[name, *rest]] if name and len(more[0]) == len(head) and not any(rest):
            return name
    return None


def _grid_of_bundle(value: Mapping[str, Any]) -> Grid | None:
    """Return the table of a cell's output, if the page shows it as one."""
    if not value or not all(_MIME.fullmatch(str(key)) for key in value):
        return None
    html = value.get("text/html")
    grid = _html_grid(html) if isinstance(html, str) else None
    if grid is not None or "application/json" not in value:
        return grid
    return grid_of(value["application/json"])


def _is_figure(text: str) -> bool:
    return len(text) <= MAX_FIGURE_CHARS and _NUMBER.fullmatch(text) is not None


def _cells_of(html: str) -> tuple[list[list[str]], list[list[str]]]:
    """Return the texts of `th` and `td`, row by row: those of the head, and all others.

    Goes once from tag to tag and drops all other markup. Python's own parser needs quadratic time
    for hostile input, and raises for some of it.
    """
    heads: list[list[str]] = []
    rows: list[list[str]] = []
    row: list[str] | None = None
    text: list[str] | None = None
    in_head = False
    for piece in html.split("<"):
        tag, closed, words = piece.partition(">")
        name = tag[:_TAG_CHARS].lower().split()[:1] if closed else []
        match name:
            case ["thead" | "tbody" as section]:
                in_head = section == "thead"
            case ["tr"]:
                row = []
            case ["td" | "th"]:
                text = []
            case ["/td" | "/th"] if text is not None and row is not None:
                row.append(_words("".join(text)))
                text = None
            case ["/tr"] if row is not None:
                (heads if in_head else rows).append(row)
                row = None
        if text is not None:
            text.append(words)
    return heads, rows


def _words(text: str) -> str:
    """Return a cell's text without entities; cut first, because Python raises for a long one."""
    return unescape(text.strip()[:MAX_WORDS_CHARS]).strip()
