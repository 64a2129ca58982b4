"""Edits cells of a live notebook: insert, overwrite, replace, delete, move, clear outputs, tag.

Each edit refuses where the cell is not as the agent read it. Runs nothing.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import unified_diff
from typing import Any, Literal

from runner.mcp.answers import BadCall
from runner.mcp.jupyter.cells import check_unchanged, hash_of, index_of, name_of, shortened
from runner.mcp.jupyter.document import Document
from runner.mcp.jupyter.rooms import Rooms

Kind = Literal["code", "markdown", "raw"]
Action = Literal["replace", "overwrite", "delete", "move", "clear_output", "tag"]
INSERTIONS = 2
"""Times that a cell is inserted whose notebook JupyterLab reads anew meanwhile."""
READ_ANEW = "the file was changed on disk, and JupyterLab read it anew. Read it, and call again."
DIFF_CHARACTERS = 4_000
_FIRST = (None, -1, "-1", 0, "0")
"""Places of the first cell."""


@dataclass(frozen=True)
class Insertion:
    """A cell to insert."""

    source: str
    kind: Kind = "code"
    at: str | int | None = None
    """The index that it gets, negative ones from the end; or the cell before which it goes."""
    make: bool | None = None
    """Whether a missing notebook is made; None: unless its path looks misspelt."""
    tags: Sequence[str] = ()


@dataclass(frozen=True)
class Placed:
    """A cell that was inserted."""

    index: int
    cell_id: str
    hash: str
    is_new: bool
    """Whether the notebook was made for it."""


@dataclass(frozen=True)
class Edit:
    """A change of one cell."""

    action: Action
    source: str | None = None
    find: str | None = None
    replace: str | None = None
    every: bool = False
    to: str | int | None = None
    tags: Sequence[str] | None = None


class Editor:
    """Edits the notebooks; each edit goes to its end, even if the client leaves."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    async def insert(self, path: str, insertion: Insertion) -> Placed:
        """Insert a cell.

        Raises:
            BadCall, JupyterAway, JupyterRefused, DocumentLost
        """
        return await self._rooms.finish(self._insert(path, insertion))

    async def _insert(self, path: str, insertion: Insertion) -> Placed:
        is_new = await self._rooms.is_to_be_made(path, insertion.make)
        if is_new and insertion.at not in _FIRST:
            raise BadCall(
                f"Nothing was done: there is no notebook {path!r} yet, so it has no cell "
                f"{str(insertion.at)[:80]!r}. Leave out `at` for its first cell."
            )
        if is_new:
            await self._rooms.make(path)
        cell = _new_cell(insertion)
        async with self._rooms.edited(path) as document:
            for _ in range(INSERTIONS):
                place = -1 if insertion.at is None else insertion.at
                document.insert(_place_of(document.cells, place, path), cell)
                await document.settle()
                if (at := document.index_of(cell["id"])) is not None:
                    return Placed(at, cell["id"], hash_of(cell), is_new)
        raise BadCall(f"Nothing was inserted: {READ_ANEW}")

    async def edit(self, path: str, cell: str | int, edit: Edit, seen: str | None) -> str:
        """Change a cell, and say how it is now. `seen` is the hash that the agent read.

        Raises:
            BadCall, JupyterAway, JupyterRefused, DocumentLost
        """
        return await self._rooms.finish(self._edit(path, cell, edit, seen))

    async def _edit(self, path: str, cell: str | int, edit: Edit, seen: str | None) -> str:
        async with self._rooms.edited(path) as document:
            if edit.action == "clear_output" and cell == "all":
                return f"{path}: {_clear_all(document)} cells have no output any more"
            cells = document.cells
            index = index_of(cells, cell, path)
            check_unchanged(cells, index, seen)
            told = f"{path} {_apply(document, index, edit, path)}"
            cell_id = str(cells[index]["id"])
            edited = _source_of(document.cells, cell_id)
            await document.settle()
            now = _source_of(document.cells, cell_id)
            if now != edited and now in (None, cells[index]["source"]):
                raise BadCall(f"The cell is not changed: {READ_ANEW}")
            return told


def _source_of(cells: Sequence[Mapping[str, Any]], cell_id: str) -> str | None:
    """Return the source of a cell; None if it is gone."""
    return next((str(one["source"]) for one in cells if one["id"] == cell_id), None)


def _place_of(cells: Sequence[Mapping[str, Any]], at: str | int, path: str) -> int:
    """Return the index that a new cell gets: one of a cell that is there, or the next.

    Raises:
        BadCall: there is none.
    """
    ids = [str(one.get("id")) for one in cells]
    try:
        index = int(at) if str(at) not in ids else ids.index(str(at))
    except ValueError:
        return index_of(cells, at, path)
    place = index if index >= 0 else len(cells) + 1 + index
    if not 0 <= place <= len(cells):
        raise BadCall(
            f"Nothing was done: `at` goes from 0 to {len(cells)} in {path!r}; -1 is the last place."
        )
    return place


def _apply(document: Document, index: int, edit: Edit, path: str) -> str:
    before = document.cells[index]
    if edit.action == "delete":
        document.remove(index)
        runs = before.get("execution_state") == "running"
        more = "; its code runs on: control_kernel interrupts it" if runs else ""
        return f"{name_of(before, index)}: deleted; {len(document)} cells are left{more}"
    if edit.action == "move":
        if edit.to is None:
            raise BadCall("`to` is missing: the index that the cell is to have.")
        target = _target_of(document.cells, index, edit.to, path)
        document.move(index, target)
        return f"{name_of(document.cells[target], target)}: moved from [{index}]"
    if edit.action == "clear_output":
        document.clear(index)
        return f"{name_of(before, index)}: has no output any more"
    if edit.action == "tag":
        if edit.tags is None:
            raise BadCall("`tags` is missing: all tags that the cell is to have; [] for none.")
        document.tag(index, edit.tags)
        return f"{name_of(before, index)}: has {_in_words(edit.tags)}"
    source = _new_source(before["source"], edit)
    document.rewrite(index, source)
    after = document.cells[index]
    return f"{name_of(after, index)}: changed\n{_diff(before['source'], after['source'])}"


def _target_of(cells: Sequence[Mapping[str, Any]], index: int, to: str | int, path: str) -> int:
    """Return the index that a moved cell gets: `to`, or that before the cell of this id.

    Raises:
        BadCall: there is no such cell.
    """
    target = index_of(cells, to, path)
    is_id = str(to) == str(cells[target].get("id"))
    return target - 1 if is_id and target > index else target


def _in_words(tags: Sequence[str]) -> str:
    return f"the tags {', '.join(tags)}" if tags else "no tags any more"


def _new_source(source: str, edit: Edit) -> str:
    if edit.action == "overwrite":
        if edit.source is None:
            raise BadCall("`source` is missing: the cell's new source.")
        return edit.source
    if not edit.find:
        raise BadCall("`find` is missing: a text of the cell's source.")
    if edit.replace is None:
        raise BadCall("`replace` is missing: the text in place of `find`; it may be empty.")
    count = source.count(edit.find)
    if count == 0:
        raise BadCall(f"`find` is not in the cell. Its source:\n{shortened(source)}")
    if count > 1 and not edit.every:
        raise BadCall(
            f"`find` is {count} times in the cell; give more of it, or `replace_all: true`."
        )
    return source.replace(edit.find, edit.replace)


def _diff(before: str, after: str) -> str:
    """Return the changed lines with one line around them."""
    lines = unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=1)
    text = "\n".join(line for line in lines if not line.startswith(("---", "+++")))
    return shortened(text, DIFF_CHARACTERS) or "(the same as before)"


def _clear_all(document: Document) -> int:
    with_output = [index for index, cell in enumerate(document.cells) if cell.get("outputs")]
    for index in with_output:
        document.clear(index)
    return len(with_output)


def _new_cell(insertion: Insertion) -> dict[str, Any]:
    cell: dict[str, Any] = {
        "id": uuid.uuid4().hex[:8],
        "cell_type": insertion.kind,
        "source": insertion.source,
        "metadata": {"tags": list(insertion.tags)} if insertion.tags else {},
    }
    if insertion.kind == "code":
        cell |= {"outputs": [], "execution_count": None}
    return cell
