"""The tools that read live notebooks."""

import asyncio
import time
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from mcp.server.mcpserver import Context, MCPServer
from mcp_types import CallToolResult
from pydantic import Field

from runner.mcp.answers import READS, answer, plainly
from runner.mcp.jupyter.cells import index_of
from runner.mcp.jupyter.paths import folder_path
from runner.mcp.notebooks.live import Live, cell_head, cells_text, shown
from runner.mcp.pieces import BRIEF, FULL, Bounds, Piece

Notebook = Annotated[
    str | None, Field(description="Path below JupyterLab's folder; default: the server's notebook.")
]
CellRef = Annotated[str | int, Field(description="Its id, or index from 0 (-1: the last).")]
Detail = Literal["brief", "full"]
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
        listing = await live.jupyter.list(folder_path(folder))
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
        path = live.rooms.path_of(notebook)
        content = await live.rooms.content(path)
        cells = content["cells"]
        session = (await live.jupyter.sessions()).get(path)
        spec = (content["metadata"].get("kernelspec") or {}).get("name") or "no kernelspec"
        kernel = f"kernel {session.state}" if session is not None else "no kernel runs"
        pieces: list[Piece] = [f"{path}: {len(cells)} cells, {spec}, {kernel}"]
        end = start + (limit or (BRIEF_CELLS if detail == "brief" else FULL_CELLS))
        page = cells[start:end]
        pieces += [cells_text(page, start)] if detail == "brief" else await _in_full(page, start)
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
        path = live.rooms.path_of(notebook)

        async def tell(seconds: float) -> None:
            await ctx.report_progress(seconds, None, f"running for {seconds:.0f} s")

        name = str(cell)
        activity = live.activities.of(path, name)
        if activity is not None and (name == activity.id or not activity.is_over):
            pieces, _ = await live.result(activity, wait_seconds, tell, bounds)
            return answer(pieces)
        index, found = await _settled(live, path, cell, wait_seconds)
        outputs = await shown(found.get("outputs") or [], bounds)
        head = f"{path} {cell_head(found, index)}\n{found['source']}"
        if outputs:
            head += "\nOutput:"
        if detail == "brief" and any("left out" in str(piece) for piece in outputs):
            outputs.append('(detail="full" and first_picture give more)')
        return answer([head, *outputs])


async def _settled(
    live: Live, path: str, cell: str | int, seconds: float
) -> tuple[int, Mapping[str, Any]]:
    """Return a cell once it does not run any more, or the time is over."""
    until = time.monotonic() + seconds
    while True:
        cells = (await live.rooms.content(path))["cells"]
        index = index_of(cells, cell, path)
        is_running = cells[index].get("execution_state") == "running"
        if not is_running or time.monotonic() >= until:
            return index, cells[index]
        await asyncio.sleep(LOOK_SECONDS)


async def _in_full(cells: list[Mapping[str, Any]], first: int) -> list[Piece]:
    """Return the cells with sources and outputs; pictures and texts share one measure."""
    pieces: list[Piece] = []
    left = FULL.characters // 4
    for place, cell in enumerate(cells):
        head = f"{cell_head(cell, first + place)}\n{cell['source']}"
        if left <= 0:
            pieces.append(f"(cut here: start={first + place} reads on)")
            break
        bounds = Bounds(BRIEF.output_characters // 4, BRIEF.characters // 4)
        outputs = await shown(cell.get("outputs") or [], bounds)
        pieces += [head, "Output:", *outputs] if outputs else [head]
        left -= len(head) + sum(len(piece) for piece in outputs if isinstance(piece, str))
    return pieces
