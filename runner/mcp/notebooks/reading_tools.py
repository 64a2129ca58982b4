"""The tools that read live notebooks."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from mcp.server.mcpserver import Context, MCPServer
from mcp_types import CallToolResult
from pydantic import Field

from runner.contract.text.plain_text import excerpt
from runner.mcp.answers import READS, BadCall, answer, check_first_picture, past_the_end, plainly
from runner.mcp.frames import Ran, renumbered
from runner.mcp.jupyter.api import JupyterRefused
from runner.mcp.jupyter.cells import index_of, name_of
from runner.mcp.jupyter.paths import folder_path, shown_path
from runner.mcp.notebooks.activities import Activity
from runner.mcp.notebooks.live import (
    Live,
    StepOfRun,
    cell_head,
    cells_text,
    marks_of,
    shown,
)
from runner.mcp.pieces import BRIEF, FULL, PART, Bounds, Detail, Piece, is_cut, rest_of
from runner.mcp.progress import Progress

Notebook = Annotated[
    str | None, Field(description="Path below JupyterLab's folder; default: the server's notebook.")
]
CellRef = Annotated[str | int, Field(description="Its id, or index from 0 (-1: the last).")]
BRIEF_CELLS, FULL_CELLS = 100, 20
LOOK_SECONDS = 0.5
MAX_WAIT_SECONDS = 3600


def add_list_notebooks(server: MCPServer, live: Live) -> None:
    """Add the tool."""

    @server.tool(annotations=READS)
    @plainly
    async def list_notebooks(
        folder: Annotated[str, Field(description="Only below this folder.")] = "",
    ) -> CallToolResult:
        """List the notebooks in JupyterLab's folder, and which have a kernel."""
        try:
            listing = await live.jupyter.list(folder_path(folder))
        except JupyterRefused as refused:
            if refused.args[0] != 404:
                raise
            raise BadCall(
                f"There is no folder {shown_path(folder)} in JupyterLab; without `folder` all "
                "notebooks are listed."
            ) from refused
        sessions = await live.jupyter.sessions()
        lines = [
            f"{one.path} (kernel {sessions[one.path].state})" if one.path in sessions else one.path
            for one in listing.notebooks
        ]
        if listing.is_cut:
            lines.append("… and more; name a folder to see them.")
        if listing.is_outbox_hidden:
            lines.append("(executed copies in the outbox are not listed; name its folder)")
        return answer(["\n".join(lines) or "There are no notebooks."])


def add_read_notebook(server: MCPServer, live: Live) -> None:
    """Add the tool."""

    @server.tool(annotations=READS)
    @plainly
    async def read_notebook(
        notebook: Notebook = None,
        detail: Annotated[
            Detail, Field(description="brief: a line a cell; full: sources and outputs too.")
        ] = "brief",
        start: Annotated[int, Field(ge=0, description="First cell.")] = 0,
        limit: Annotated[int | None, Field(ge=1, le=500, description="Most cells.")] = None,
    ) -> CallToolResult:
        """Read a notebook: its kernel, and each cell's index, id and #hash."""
        path = await live.rooms.path_of(notebook)
        content = await live.rooms.content(path)
        cells = content["cells"]
        session = (await live.jupyter.sessions()).get(path)
        spec = (content["metadata"].get("kernelspec") or {}).get("name") or "no kernelspec"
        kernel = f"kernel {session.state}" if session is not None else "no kernel runs"
        pieces: list[Piece] = [f"{path}: {len(cells)} cells, {spec}, {kernel}"]
        if start and start >= len(cells):
            raise BadCall(past_the_end("start", path, len(cells), "cells"))
        end = start + (limit or (BRIEF_CELLS if detail == "brief" else FULL_CELLS))
        page = cells[start:end]
        pieces += (
            [cells_text(page, start, marks_of(live.activities.in_notebook(path)))]
            if detail == "brief"
            else await _in_full(live, path, cells[:end], start)
        )
        if end < len(cells):
            pieces.append(f"({len(cells) - end} more cells: start={end})")
        return answer(pieces)


def add_read_cell(server: MCPServer, live: Live) -> None:
    """Add the tool."""

    @server.tool(annotations=READS)
    @plainly
    async def read_cell(
        cell: Annotated[
            str | int, Field(description="Its id, or index from 0 (-1: the last); or a run's id.")
        ],
        ctx: Context,
        notebook: Notebook = None,
        detail: Detail = "brief",
        first_picture: Annotated[int, Field(ge=1)] = 1,
        wait_seconds: Annotated[
            float,
            Field(ge=0, le=MAX_WAIT_SECONDS, description="Wait so long for its end, if it runs."),
        ] = 0,
    ) -> CallToolResult:
        """Read a cell's source and outputs, or what a run has given so far."""
        full = FULL if detail == "full" else BRIEF
        bounds = Bounds(full.output_characters, full.characters, first_picture)
        path = await live.rooms.path_of(notebook)

        reported = Progress(ctx)

        async def tell(seconds: float) -> None:
            await reported.tell(seconds, None, f"running for {seconds:.0f} s")

        run = await _run_of(live, path, cell)
        if isinstance(run, StepOfRun):
            return answer(await live.result_of_step(run, wait_seconds, tell, bounds))
        if run is not None:
            pieces, _ = await live.result(run, wait_seconds, tell, bounds)
            return answer(pieces)
        cells, index = await _settled(live, path, cell, wait_seconds)
        return answer(await _cell(live, path, cells, index, bounds))


async def _run_of(live: Live, path: str, cell: str | int) -> Activity | StepOfRun | None:
    """Return the run that is meant by its id, or the cell's part of one that has not ended.

    Raises:
        BadCall: there is no such cell; of one that is gone it names the last run.
    """
    last = live.activities.of(path, str(cell))
    if last is not None and last.id == str(cell):
        await live.find_cells(last)
        return last
    cells = (await live.rooms.content(path))["cells"]
    try:
        index = index_of(cells, cell, path)
    except BadCall:
        if last is None:
            raise
        raise BadCall(
            f"Cell {cell!r} is not in {path!r} any more. "
            f"What its last run gave: {live.rooms.call('read_cell', path, cell=last.id)}."
        ) from None
    cell_id = str(cells[index]["id"])
    run = live.activities.of(path, cell_id)
    if run is None or run.is_over:
        return None
    [step] = [one for one in run.steps if one.cell_id == cell_id]
    return None if step.has_ended.is_set() else StepOfRun(run, step)


async def _cell(
    live: Live, path: str, cells: list[Mapping[str, Any]], index: int, bounds: Bounds
) -> list[Piece]:
    """Describe a cell that does not run: its source and outputs, or why it was not run."""
    cell = cells[index]
    name = f"Cell {name_of(cell, index)}"
    check_first_picture([cell.get("outputs") or []], bounds, name)
    outputs = await shown(cell.get("outputs") or [], bounds)
    marks = marks_of(live.activities.in_notebook(path))
    head = f"{path} {cell_head(cell, index, marks)}"
    last = live.activities.of(path, str(cell["id"]))
    steps = [] if last is None else [one for one in last.steps if one.cell_id == cell["id"]]
    if steps and steps[0].status == "not_run":
        head += f" (the last call to run it did not: {'; '.join(steps[0].notes)})"
    elif steps and steps[0].status == "kernel_died":
        head += f" (its last run had no end: {'; '.join(steps[0].notes)})"
    pieces: list[Piece] = [f"{head}\n{excerpt(cell['source'], bounds.output_characters)}"]
    if outputs:
        pieces += ["Output:", *_with_cells(outputs, live.ran_in(path, cells))]
    if more := rest_of(pieces, bounds):
        return [*pieces, f"({live.rooms.call('read_cell', path, cell=cell['id'], **more)})"]
    return [*pieces, PART] if is_cut(pieces) else pieces


async def _settled(
    live: Live, path: str, cell: str | int, seconds: float
) -> tuple[list[Mapping[str, Any]], int]:
    """Return the cells, and where one is, once that does not run any more, or the time is over."""
    until = time.monotonic() + seconds
    while True:
        cells = (await live.rooms.content(path))["cells"]
        index = index_of(cells, cell, path)
        is_running = cells[index].get("execution_state") == "running"
        if not is_running or time.monotonic() >= until:
            return cells, index
        await asyncio.sleep(LOOK_SECONDS)


async def _in_full(
    live: Live, path: str, cells: list[Mapping[str, Any]], first: int
) -> list[Piece]:
    """Return cells from one on, sources and outputs; pictures and texts share one measure."""
    pieces: list[Piece] = []
    left = FULL.characters // 4
    marks, ran = marks_of(live.activities.in_notebook(path)), live.ran_in(path, cells)
    for place, cell in enumerate(cells[first:], first):
        source = excerpt(cell["source"], BRIEF.output_characters)
        head = f"{cell_head(cell, place, marks)}\n{source}"
        if left <= 0:
            pieces.append(f"(cut here: start={place} reads on)")
            break
        bounds = Bounds(BRIEF.output_characters // 4, BRIEF.characters // 4)
        outputs = _with_cells(await shown(cell.get("outputs") or [], bounds), ran)
        pieces += [head, "Output:", *outputs] if outputs else [head]
        if more := rest_of([source, *outputs], bounds):
            pieces.append(f"({live.rooms.call('read_cell', path, cell=cell['id'], **more)})")
        left -= len(head) + sum(len(piece) for piece in outputs if isinstance(piece, str))
    return pieces


def _with_cells(outputs: Iterable[Piece], ran: Iterable[Ran]) -> list[Piece]:
    """Name cells in tracebacks as all answers do."""
    known = list(ran)
    return [renumbered(one, known) if isinstance(one, str) else one for one in outputs]
