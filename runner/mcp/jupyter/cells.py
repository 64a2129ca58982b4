"""Names cells for a model: by a stable id or an index, with a hash that changes with the cell.

Pure, over cells in nbformat's form.
"""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from hashlib import sha256
from typing import Any

from runner.contract.text.plain_text import excerpt
from runner.mcp.answers import BadCall

Cell = Mapping[str, Any]

HASH_CHARACTERS = 6
NAME_CHARACTERS = 80
SOURCE_CHARACTERS = 2_000


def hash_of(cell: Cell) -> str:
    """Return a short hash of a cell's kind and source; its outputs do not count."""
    text = f"{cell['cell_type']}\0{cell['source']}"
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:HASH_CHARACTERS]


def name_of(cell: Cell, index: int) -> str:
    """Name a cell by place, id and hash, such as `[3] 1a2b3c4d #9f8e7d`."""
    return f"[{index}] {cell.get('id') or '-'} #{hash_of(cell)}"


def index_of(cells: Sequence[Cell], cell: str | int, path: str) -> int:
    """Return the place of a cell that is named by its id, or by an index (negative: from the end).

    Raises:
        BadCall: there is none.
    """
    ids = [str(one.get("id")) for one in cells]
    if str(cell) in ids:
        return ids.index(str(cell))
    try:
        index = int(cell)
    except ValueError:
        near = get_close_matches(str(cell)[:NAME_CHARACTERS], ids, 1)
        hint = f"; did you mean {near[0]!r}?" if near else "; read_notebook lists the ids."
        name = str(cell)[:NAME_CHARACTERS]
        raise BadCall(f"{path!r} has no cell {name!r}{hint}") from None
    place = index if index >= 0 else len(cells) + index
    if not 0 <= place < len(cells):
        raise BadCall(
            f"{path!r} has {len(cells)} cells; an index goes from 0 to {len(cells) - 1}."
            if cells
            else f"{path!r} has no cells."
        )
    return place


def shortened(text: str, characters: int = SOURCE_CHARACTERS) -> str:
    """Cut a cell's source, or what was changed in it; a cut says where all of it is."""
    return text if len(text) <= characters else f"{excerpt(text, characters)}\n(read_cell has all)"


def check_unchanged(cells: Sequence[Cell], index: int, seen: str | None) -> None:
    """Refuse where a cell is not as its reader saw it.

    Raises:
        BadCall: with its source as it is now.
    """
    cell = cells[index]
    if seen is None or seen.removeprefix("#") == hash_of(cell):
        return
    if not re.fullmatch(r"#?\w{6}", seen):
        raise BadCall(
            f"`if_unchanged` {seen[:NAME_CHARACTERS]!r} is no hash of a cell, such as "
            f"#{hash_of(cell)}; leave it out to change the cell in any case."
        )
    raise BadCall(
        f"Nothing was done: cell {name_of(cell, index)} has changed since you read it "
        f"(#{seen.removeprefix('#')[:40]}). Its source now:\n{shortened(cell['source'])}"
    )
