"""What agents do in live notebooks, and the texts that answer them.

People who have a notebook open see it happen, and share its kernel with the agents.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from anyio import to_thread

from runner.contract.text.plain_text import excerpt
from runner.mcp.answers import BadCall
from runner.mcp.jupyter.api import Jupyter
from runner.mcp.jupyter.cells import check_unchanged, hash_of, index_of, name_of
from runner.mcp.jupyter.rooms import Rooms
from runner.mcp.notebooks.activities import Activities, Activity, Progress
from runner.mcp.notebooks.editing import Editor, Insertion
from runner.mcp.notebooks.kernels import Kernels
from runner.mcp.notebooks.running import Step
from runner.mcp.pieces import BRIEF, Bounds, Piece, pieces_of

Cell = Mapping[str, Any]

DAY_SECONDS = 86_400
FIRST_LINE_CHARACTERS = 100
STEPS_CHARACTERS = 1_500
"""Longest output of each cell where several ran."""
_WORDS = {
    "ok": "ran",
    "error": "raised an error",
    "timed_out": "ran out of time",
    "kernel_died": "lost its kernel",
    "not_run": "was not run",
    "waiting": "waits for its turn",
    "running": "still running",
}


@dataclass(frozen=True)
class Times:
    """How long a client waits, and how long the code may take."""

    wait_seconds: float
    timeout_seconds: float

    def __post_init__(self) -> None:
        """Check them.

        Raises:
            BadCall
        """
        if not 0 < self.timeout_seconds <= DAY_SECONDS:
            raise BadCall("timeout_seconds is a number above 0, and a day (86400) at most.")


@dataclass(frozen=True)
class Live:
    """The tools' way to the notebooks of one JupyterLab."""

    jupyter: Jupyter
    rooms: Rooms
    editor: Editor
    activities: Activities
    kernels: Kernels
    default: Times
    """The times where a call does not say."""

    def times(self, wait: float | None, timeout: float | None) -> Times:
        """Return the times of a call; where it does not say, those of the settings.

        Raises:
            BadCall
        """
        return Times(
            self.default.wait_seconds if wait is None else wait,
            self.default.timeout_seconds if timeout is None else timeout,
        )

    async def insert_and_start(
        self, path: str, insertion: Insertion, times: Times
    ) -> tuple[Activity, bool]:
        """Insert a code cell and begin to run it; say whether the notebook was made for it."""

        async def begin() -> tuple[Activity, bool]:
            placed = await self.editor.insert(path, insertion)
            step = Step(
                insertion.source, placed.cell_id, placed.hash, is_new=True, index=placed.index
            )
            return self.activities.start(path, [step], times.timeout_seconds), placed.is_new

        return await self.rooms.finish(begin())

    async def start_cells(
        self, path: str, cells: "Cells", seen: str | None, times: Times
    ) -> Activity:
        """Begin to run cells that are in a notebook.

        Raises:
            BadCall
        """
        present = (await self.rooms.content(path))["cells"]
        first = 0
        if cells.first is not None:
            first = index_of(present, cells.first, path)
            check_unchanged(present, first, seen)
        end = first + 1 if cells.is_one else len(present)
        steps = [
            Step(cell["source"], cell["id"], hash_of(cell), index=first + place)
            for place, cell in enumerate(present[first:end])
            if cell["cell_type"] == "code" and cell["source"].strip()
        ]
        if not steps:
            raise BadCall("There is no code to run.")
        return self.activities.start(path, steps, times.timeout_seconds)

    async def result(
        self, activity: Activity, seconds: float, tell: Progress, bounds: Bounds = BRIEF
    ) -> tuple[list[Piece], bool]:
        """Wait for an activity; return what a model reads of it, and whether it failed."""
        await self.activities.wait(activity, seconds, tell)
        steps = activity.steps
        if len(steps) > 1:
            bounds = Bounds(min(bounds.output_characters, STEPS_CHARACTERS), bounds.characters)
        pieces: list[Piece] = []
        for step in steps:
            pieces += [step_line(activity, step), *await shown(step.outputs.items, bounds)]
        failed = any(step.status not in ("ok", "waiting", "running") for step in steps)
        return pieces, failed


@dataclass(frozen=True)
class Cells:
    """Cells of a notebook that are to be run."""

    first: str | int | None
    is_one: bool
    """Whether it is the first one alone, or all below it too."""


async def shown(outputs: Iterable[Cell], bounds: Bounds) -> list[Piece]:
    """Convert outputs for a model, away from the event loop: pictures take a while."""
    return await to_thread.run_sync(pieces_of, list(outputs), bounds)


def step_line(activity: Activity, step: Step) -> str:
    """Say in a line how a cell, or code without a cell, is."""
    name = activity.id
    if step.cell_id is not None:
        place = "gone" if step.index is None else str(step.index)
        name = f"[{place}] {step.cell_id} #{step.hash}"
    line = f"{activity.path} {name}: {_WORDS[step.status]}"
    if step.status not in ("not_run", "waiting"):
        line += f" after {step.elapsed:.3g} s"
    if step.count is not None and step.cell_id is not None:
        line += f", count {step.count}"
    notes = list(step.notes)
    if step.status == "running" or (step.status == "waiting" and not activity.is_over):
        ask = step.cell_id if len(activity.steps) == 1 and step.cell_id else activity.id
        notes.append(f'ask again: read_cell(cell="{ask}", wait_seconds=50)')
    return "; ".join([line, *notes])


def cell_line(cell: Cell, index: int) -> str:
    """Describe a cell in a line: name, kind, and the start of its source."""
    first, _, rest = cell["source"].strip().partition("\n")
    first = excerpt(first, FIRST_LINE_CHARACTERS)
    more = f" (+{rest.count(chr(10)) + 1} lines)" if rest else ""
    return f"{cell_head(cell, index)}: {first}{more}"


def cell_head(cell: Cell, index: int) -> str:
    """Name a cell, its kind, its count and its outputs."""
    head = f"{name_of(cell, index)} {cell['cell_type']}"
    if cell.get("execution_count"):
        head += f" ({int(cell['execution_count'])})"
    if cell.get("execution_state") == "running":
        head += ", running"
    outputs = len(cell.get("outputs") or [])
    return f"{head}, {outputs} output{'s' * (outputs > 1)}" if outputs else head


def cells_text(cells: Iterable[Cell], first: int) -> str:
    """Describe cells, a line each."""
    return "\n".join(cell_line(cell, first + place) for place, cell in enumerate(cells))
