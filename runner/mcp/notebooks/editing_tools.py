"""The tools that change live notebooks and run their cells."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from mcp.server.mcpserver import Context, MCPServer
from mcp_types import CallToolResult, ToolAnnotations
from pydantic import Field

from runner.mcp.answers import RUNS_CODE, BadCall, answer, plainly
from runner.mcp.notebooks.editing import Action, Edit, Insertion, Kind
from runner.mcp.notebooks.live import Cells, Live
from runner.mcp.notebooks.reading_tools import MAX_WAIT_SECONDS, CellRef, Notebook
from runner.mcp.progress import Progress

EDITS = ToolAnnotations(
    read_only_hint=False, destructive_hint=True, idempotent_hint=False, open_world_hint=False
)
Wait = Annotated[
    float | None,
    Field(
        ge=0,
        le=MAX_WAIT_SECONDS,
        description="Answer after so long at most (default 50); the code goes on.",
    ),
]
Timeout = Annotated[float | None, Field(description="Interrupt a cell after so long.")]
Tags = Annotated[list[str] | None, Field(description="Such as `parameters` or `results`.")]
Seen = Annotated[
    str | None, Field(description="The #hash that you read; refuses if the cell has changed.")
]


def progress_of(ctx: Context) -> Callable[[float], Awaitable[None]]:
    """Return what tells a client that code runs."""

    reported = Progress(ctx)

    async def tell(seconds: float) -> None:
        await reported.tell(seconds, None, f"running for {seconds:.0f} s")

    return tell


def add_insert_cell(server: MCPServer, live: Live) -> None:
    """Add the tool."""

    @server.tool(annotations=RUNS_CODE)
    @plainly
    async def insert_cell(
        source: str,
        ctx: Context,
        notebook: Notebook = None,
        kind: Kind = "code",
        at: Annotated[
            str | int | None,
            Field(description="Index it gets (-1: the last), or id of the cell it goes before."),
        ] = None,
        tags: Tags = None,
        run: Annotated[bool, Field(description="Run it, if it is code.")] = True,
        make: Annotated[
            bool | None,
            Field(description="Make the notebook if missing; default: unless it looks misspelt."),
        ] = None,
        wait_seconds: Wait = None,
        timeout_seconds: Timeout = None,
    ) -> CallToolResult:
        """Insert a cell into a live notebook, run it, and give its output and plots.

        The notebook's kernel keeps its variables, and people in JupyterLab see it happen. A cell
        that takes longer than wait_seconds goes on: ask again with read_cell. A call that you
        cancel interrupts it.
        """
        path = await live.rooms.path_of(notebook, is_changed=True)
        insertion = Insertion(source, kind, at, make, tags or ())
        times = live.times(wait_seconds, timeout_seconds)
        if kind != "code" or not run:
            placed = await live.editor.insert(path, insertion)
            made = "; the notebook is new" if placed.is_new else ""
            name = f"[{placed.index}] {placed.cell_id} #{placed.hash}"
            return answer([f"{path} {name}: added{made}"])
        activity, is_new = await live.insert_and_start(path, insertion, times)
        if is_new:
            activity.steps[0].add_note("the notebook is new")
        pieces, failed = await live.result(activity, times.wait_seconds, progress_of(ctx))
        return answer(pieces, is_error=failed)


def add_edit_cell(server: MCPServer, live: Live) -> None:
    """Add the tool."""

    @server.tool(annotations=EDITS)
    @plainly
    async def edit_cell(
        cell: Annotated[
            str | int,
            Field(description='Its id, or index from 0 (-1: the last); "all" for clear_output.'),
        ],
        action: Action,
        notebook: Notebook = None,
        source: Annotated[str | None, Field(description="overwrite: the new source.")] = None,
        find: Annotated[
            str | None, Field(description="replace: a text that is in the cell once.")
        ] = None,
        replace: Annotated[str | None, Field(description="replace: the text for it.")] = None,
        replace_all: bool = False,
        to: Annotated[
            str | int | None,
            Field(description="move: index it gets, or id of the cell it goes before."),
        ] = None,
        tags: Annotated[list[str] | None, Field(description="tag: all that it has then.")] = None,
        if_unchanged: Seen = None,
    ) -> CallToolResult:
        """Change a cell of a live notebook, without running it; gives the diff."""
        edit = Edit(action, source, find, replace, replace_all, to, tags)
        path = await live.rooms.path_of(notebook, is_changed=True)
        return answer([await live.editor.edit(path, cell, edit, if_unchanged)])


def add_run_cells(server: MCPServer, live: Live) -> None:
    """Add the tool."""

    @server.tool(annotations=RUNS_CODE)
    @plainly
    async def run_cells(
        ctx: Context,
        notebook: Notebook = None,
        cell: Annotated[
            CellRef | None, Field(description="Id or index; left out: all cells.")
        ] = None,
        and_below: Annotated[bool, Field(description="Run all cells below it too.")] = False,
        if_unchanged: Seen = None,
        wait_seconds: Wait = None,
        timeout_seconds: Timeout = None,
    ) -> CallToolResult:
        """Run cells of a live notebook, in order, until one raises; gives their outputs."""
        if if_unchanged is not None and cell is None:
            raise BadCall("`if_unchanged` is the hash of one cell: name it with `cell`.")
        path = await live.rooms.path_of(notebook, is_changed=True)
        times = live.times(wait_seconds, timeout_seconds)
        cells = Cells(cell, is_one=cell is not None and not and_below)
        activity = await live.start_cells(path, cells, if_unchanged, times)
        pieces, failed = await live.result(activity, times.wait_seconds, progress_of(ctx))
        return answer(pieces, is_error=failed)
