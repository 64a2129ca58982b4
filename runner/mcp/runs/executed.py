"""The cells of an executed notebook, with the numbers that they have in the notebook asked for.

Pure, over the notebook's JSON. The runner's own cells, such as the injected parameters, have none.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from runner.contract.notebook import ERROR_TAG, INJECTED_TAG, source_of, tags_of
from runner.mcp.answers import BadCall
from runner.mcp.frames import Ran, renumbered
from runner.mcp.pieces import pictures_in

Json = Mapping[str, Any]

_SHOWN = ("execute_result", "display_data")


@dataclass(frozen=True)
class ExecutedCell:
    """A cell and its index, from 0."""

    index: int
    cell: Json

    @property
    def name(self) -> str:
        """Its index and id, such as `[3] 1a2b3c4d`."""
        return f"[{self.index}] {self.cell.get('id') or ''}".rstrip()

    @property
    def source(self) -> str:
        """Its source as one text."""
        return source_of(self.cell)

    @property
    def outputs(self) -> list[Json]:
        """Its outputs; none if it is no code."""
        return list(self.cell.get("outputs") or [])

    @property
    def printed(self) -> int:
        """How many characters it printed."""
        return sum(map(_length, _streams(self.outputs)))

    @property
    def printed_aside(self) -> int:
        """How many characters it printed beside its result: that is what it showed, else stdout."""
        is_shown = any(one.get("output_type") in _SHOWN for one in self.outputs)
        streams = [one for one in _streams(self.outputs) if is_shown or one.get("name") != "stdout"]
        return sum(map(_length, streams))

    @property
    def pictures(self) -> int:
        """How many pictures it showed."""
        return pictures_in(self.outputs)


@dataclass(frozen=True)
class Executed:
    """The cells of a job's executed notebook; empty if there is none."""

    cells: tuple[ExecutedCell, ...] = ()
    is_known: bool = False
    """Whether it is there, if without cells."""

    @property
    def has_no_code(self) -> bool:
        """Whether none of its cells could run."""
        code = (one for one in self.cells if one.cell.get("cell_type") == "code")
        return self.is_known and not any(one.source.strip() for one in code)

    def at(self, cell: str | int) -> ExecutedCell:
        """Return the cell with this id or index (negative: from the end), or of this `cell_N`.

        Raises:
            BadCall: there is none.
        """
        for one in self.cells:
            if str(cell) == str(one.cell.get("id")):
                return one
        if (tagged := self.of_result(str(cell))) is not None:
            return tagged
        try:
            return self.cells[int(cell)]
        except (ValueError, IndexError):
            last = len(self.cells) - 1
            has = f"an index goes from 0 to {last}" if self.cells else "it has no cells"
            raise BadCall(f"The executed notebook has no cell {str(cell)[:80]!r}: {has}.") from None

    def of_count(self, count: int | None) -> ExecutedCell | None:
        """Return the cell with this execution count."""
        if count is None:
            return None
        return next((one for one in self.cells if one.cell.get("execution_count") == count), None)

    def of_result(self, name: str) -> ExecutedCell | None:
        """Return the cell whose result is called `cell_<execution count>`."""
        count = name.removeprefix("cell_")
        return self.of_count(int(count)) if count != name and count.isdigit() else None

    def renumbered(self, traceback: str) -> str:
        """Name the cells in a traceback as all answers do, in place of their execution counts."""
        counts = ((one.cell.get("execution_count"), one.name) for one in self.cells)
        return renumbered(
            traceback, [Ran(f"Cell {name}", n) for n, name in counts if isinstance(n, int)]
        )


def executed_of(document: object, *, has_parameters: bool) -> Executed:
    """Return the cells of a parsed notebook; `has_parameters`: the run injected some."""
    added = {ERROR_TAG, INJECTED_TAG} if has_parameters else {ERROR_TAG}
    cells = document.get("cells") if isinstance(document, dict) else None
    kept = (one for one in _mappings(cells) if added.isdisjoint(tags_of(one)))
    numbered = tuple(ExecutedCell(index, one) for index, one in enumerate(kept))
    return Executed(numbered, isinstance(cells, list))


def _streams(outputs: Iterable[Json]) -> list[Json]:
    return [one for one in outputs if one.get("output_type") == "stream"]


def _length(stream: Json) -> int:
    return len("".join(stream.get("text") or ""))


def _mappings(cells: object) -> Iterable[Json]:
    return (one for one in cells if isinstance(one, dict)) if isinstance(cells, list) else ()
