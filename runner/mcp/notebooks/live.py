"""What agents do in live notebooks, and the texts that answer them.

People who have a notebook open see it happen, and share its kernel with the agents.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from anyio import to_thread

from runner.contract.notebook import tags_of
from runner.contract.text.plain_text import one_line
from runner.mcp.answers import BadCall, check_first_picture
from runner.mcp.frames import THIS_CALL, Ran, ran_cells, renumbered
from runner.mcp.jupyter.api import Jupyter, JupyterAway, JupyterRefused
from runner.mcp.jupyter.cells import check_unchanged, hash_of, index_of, name_of
from runner.mcp.jupyter.document import DocumentLost
from runner.mcp.jupyter.rooms import Rooms
from runner.mcp.notebooks.activities import Activities, Activity, Progress
from runner.mcp.notebooks.editing import Editor, Insertion
from runner.mcp.notebooks.kernels import Kernels
from runner.mcp.notebooks.running import UNRUN, Step
from runner.mcp.pieces import BRIEF, PART, Bounds, Piece, is_cut, pieces_of, rest_of

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
    "removed": "was removed before its turn, and not run (by somebody, or by a change on disk)",
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
            step = Step(insertion.source, placed.cell_id, placed.hash, index=placed.index)
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
        is_fixed = seen is not None
        steps = [
            Step(cell["source"], cell["id"], hash_of(cell), is_fixed, first + place)
            for place, cell in enumerate(present[first:end])
            if cell["cell_type"] == "code" and cell["source"].strip()
        ]
        if not steps:
            what = name_of(present[first], first) if cells.is_one else f"{path!r}"
            raise BadCall(f"There is no code to run. {what} has none.")
        return self.activities.start(path, steps, times.timeout_seconds)

    async def result(
        self, activity: Activity, seconds: float, tell: Progress, bounds: Bounds = BRIEF
    ) -> tuple[list[Piece], bool]:
        """Wait for an activity; return what a model reads of it, and whether it failed."""
        await self.activities.wait(activity, seconds, tell)
        steps = activity.steps
        if len(steps) > 1:
            bounds = Bounds(min(bounds.output_characters, STEPS_CHARACTERS), bounds.characters)
        return await self._told(activity, steps, bounds)

    async def result_of_step(
        self, run: "StepOfRun", seconds: float, tell: Progress, bounds: Bounds
    ) -> list[Piece]:
        """Wait for one cell of an activity; return what a model reads of it."""
        activity, step = run.activity, run.step
        await self.activities.wait(activity, seconds, tell, step)
        pieces, _ = await self._told(activity, [step], bounds)
        if len(activity.steps) == 1:
            return pieces
        states = Counter(one.status for one in activity.steps if one is not step)
        others = ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in states.items())
        call = self.rooms.call("read_cell", activity.path, cell=activity.id)
        return [*pieces, f"(the other cells of {activity.id}: {others}; {call} gives all)"]

    async def _told(
        self, activity: Activity, steps: list[Step], bounds: Bounds
    ) -> tuple[list[Piece], bool]:
        """Say how steps of an activity are now, and whether one has failed."""
        if not activity.is_over:
            await self.find_cells(activity)
        for step in steps:
            step.hindrance = ""
        if activity.is_waiting:
            steps[0].hindrance = await self.activities.hindrance(activity)
        elif (current := activity.current) is not None and len(steps) == 1:
            steps[0].hindrance = f"{activity.name} runs before it, for {current.elapsed:.0f} s now"
        check_first_picture([step.outputs.items for step in steps], bounds, "What has run so far")
        pieces: list[Piece] = []
        ran = await self._ran(activity)
        for step in steps:
            outputs = await shown(step.outputs.items, bounds)
            is_named = len(steps) == 1 and step.index is not None and step.cell_id is not None
            name = step.cell_id if is_named else activity.id
            again = self.rooms.call("read_cell", activity.path, cell=name, wait_seconds=50)
            pieces.append(step_line(activity, step, again))
            pieces += [renumbered(one, ran) if isinstance(one, str) else one for one in outputs]
            if more := rest_of(outputs, bounds):
                name = step.cell_id or activity.id
                pieces.append(f"({self.rooms.call('read_cell', activity.path, cell=name, **more)})")
            elif is_cut(outputs):
                pieces.append(PART)
        failed = any(step.status not in ("ok", "waiting", "running") for step in steps)
        return pieces, failed

    async def find_cells(self, activity: Activity) -> None:
        """Look where the cells of an activity are now; where nobody can say, they stay."""
        try:
            cells = (await self.rooms.content(activity.path))["cells"]
        except BadCall:  # the notebook is gone, and all its cells
            cells = []
        except (JupyterAway, JupyterRefused, DocumentLost):
            return
        places = {cell["id"]: index for index, cell in enumerate(cells)}
        for step in activity.steps:
            step.index = places.get(step.cell_id or "")

    async def _ran(self, activity: Activity) -> list[Ran]:
        """Return the code that a traceback may name: its own first, then the cells."""
        outputs = [one for step in activity.steps for one in step.outputs.items]
        if all(one["output_type"] != "error" for one in outputs):
            return []
        own = [
            Ran(
                f"Cell {_cell_name(step)}" if step.cell_id is not None else THIS_CALL,
                step.named_count,
                step.source,
                is_own=True,
            )
            for step in activity.steps
        ]
        try:
            cells = (await self.rooms.content(activity.path))["cells"]
        except (BadCall, JupyterAway, JupyterRefused, DocumentLost):  # the counts are true as well
            return own
        return [*own, *self.ran_in(activity.path, cells)]

    def ran_in(self, path: str, cells: Iterable[Cell]) -> list[Ran]:
        """Return the code of a notebook's cells as it ran, also of those changed since."""
        steps = [step for one in self.activities.in_notebook(path) for step in one.steps]
        sources = {(step.cell_id, step.count): step.source for step in steps if step.cell_id}
        return list(ran_cells(cells, sources))


@dataclass(frozen=True)
class Cells:
    """Cells of a notebook that are to be run."""

    first: str | int | None
    is_one: bool
    """Whether it is the first one alone, or all below it too."""


@dataclass(frozen=True)
class StepOfRun:
    """One cell of an activity."""

    activity: Activity
    step: Step


async def shown(outputs: Iterable[Cell], bounds: Bounds) -> list[Piece]:
    """Convert outputs for a model, away from the event loop: pictures take a while."""
    return await to_thread.run_sync(pieces_of, list(outputs), bounds)


def step_line(activity: Activity, step: Step, again: str) -> str:
    """Say in a line how a cell, or code without a cell, is; and what it waits for.

    `again` is the call that asks for it again.
    """
    name = activity.id
    if step.cell_id is not None:
        name = f"{_cell_name(step)} #{step.hash}"
    line = f"{activity.path} {name}: {_WORDS[step.status]}"
    if step.status not in UNRUN:
        line += f" after {step.elapsed:.3g} s"
    if step.count and step.cell_id is not None:
        line += f", count {step.count}"
    notes = list(step.notes)
    if step.status == "waiting" and step.hindrance:
        notes.append(step.hindrance)
    if step.cell_id is not None and step.index is None and step.status != "removed":
        notes.append("the cell is not in the notebook any more")
    if step.status == "running" or (step.status == "waiting" and not activity.is_over):
        notes.append(f"ask again: {again}")
    return "; ".join([line, *notes])


def _cell_name(step: Step) -> str:
    return f"[{'gone' if step.index is None else step.index}] {step.cell_id}"


@dataclass(frozen=True)
class Marks:
    """What agents' runs tell of a notebook's cells, by id."""

    waiting: frozenset[str] = frozenset()
    """Those that wait for their turn."""
    hashes: Mapping[str, str] = field(default_factory=dict)
    """The hashes of those that ran, as they ran."""

    def of(self, cell: Cell) -> str:
        """Say whether a cell runs or waits, and whether it has changed since it ran."""
        if cell.get("execution_state") == "running":
            return ", running"
        if cell.get("id") in self.waiting:
            return ", waits for its turn"
        ran = self.hashes.get(str(cell.get("id")))
        is_old = cell.get("execution_count") and ran not in (None, hash_of(cell))
        return ", changed since it ran" if is_old else ""


def marks_of(activities: Iterable[Activity]) -> Marks:
    """Return the marks by a notebook's activities, the oldest first."""
    waiting: set[str] = set()
    hashes: dict[str, str] = {}
    for one in activities:
        is_coming = not one.is_over and not one.is_stopped
        for step in one.steps:
            if step.cell_id is None:
                continue
            if step.status not in UNRUN:
                hashes[step.cell_id] = step.hash
            elif step.status == "waiting" and is_coming:
                waiting.add(step.cell_id)
    return Marks(frozenset(waiting), hashes)


def cell_line(cell: Cell, index: int, marks: Marks) -> str:
    """Describe a cell in a line: name, kind, and the start of its source."""
    first, _, rest = cell["source"].strip().partition("\n")
    head = f"{cell_head(cell, index, marks)}: {one_line(first[:FIRST_LINE_CHARACTERS])}"
    if len(first) > FIRST_LINE_CHARACTERS:
        return f"{head}… ({len(cell['source'])} characters)"
    more = f" (+{rest.count(chr(10)) + 1} lines)" if rest else ""
    return head + more


def cell_head(cell: Cell, index: int, marks: Marks) -> str:
    """Name a cell, its kind, its count, whether it runs or waits, its outputs, what it raised."""
    head = f"{name_of(cell, index)} {cell['cell_type']}"
    if cell.get("execution_count"):
        head += f", In[{int(cell['execution_count'])}]"
    head += marks.of(cell)
    if tags := tags_of(cell):
        head += f", tagged {', '.join(sorted(tags))}"
    outputs = cell.get("outputs") or []
    if outputs:
        head += f", {len(outputs)} output{'s' * (len(outputs) > 1)}"
    raised = [one.get("ename") for one in outputs if one.get("output_type") == "error"]
    return f"{head}, raised {raised[-1]}" if raised else head


def cells_text(cells: Iterable[Cell], first: int, marks: Marks) -> str:
    """Describe cells, a line each."""
    return "\n".join(cell_line(cell, first + place, marks) for place, cell in enumerate(cells))
