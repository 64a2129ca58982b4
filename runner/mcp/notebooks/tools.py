"""The five tools on live notebooks: their names, arguments and answers.

Holds no rules; `live` does the work.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from mcp.server.mcpserver import Context, MCPServer
from mcp_types import CallToolResult, ToolAnnotations
from pydantic import BaseModel, Field

from runner.contract.text.plain_text import excerpt
from runner.mcp.answers import READS, RUNS_CODE, answer, plainly
from runner.mcp.notebooks.live import LiveNotebooks, Ran
from runner.mcp.outputs import Picture, Piece

SOURCE_CHARACTERS = 300
"""Longest source of each cell in a list."""
LISTED_CELLS = 200

Notebook = Annotated[
    str | None,
    Field(
        description="Path of the notebook below JupyterLab's folder, such as "
        "`work/report.ipynb`. Left out: the default notebook (ROOM_ID)."
    ),
]


class CellPlaced(BaseModel):
    """Where a cell was added."""

    notebook: str
    cell_index: int
    cell_id: str


class CellRun(BaseModel):
    """A code cell that was added and run."""

    notebook: str
    cell_index: int | None
    cell_id: str
    status: str = Field(description="ok, error, timed_out, kernel_died or not_run")
    note: str | None
    execution_count: int | None
    seconds: float
    outputs: list[str] = Field(description="in text; a picture is named by its type")


class CellRead(BaseModel):
    """One cell as it is now."""

    notebook: str
    cell_index: int
    cell_id: str | None
    cell_type: str
    source: str
    execution_count: int | None
    outputs: list[str]


class CellLine(BaseModel):
    """One cell in a list."""

    cell_index: int
    cell_type: str
    execution_count: int | None
    outputs: int
    source: str


class NotebookInfo(BaseModel):
    """A notebook and its cells, shortened."""

    notebook: str
    kernelspec: str | None
    kernel_state: str | None = Field(description="null: no kernel runs for it")
    cells: int
    listed: list[CellLine]


class NotebookLine(BaseModel):
    """A notebook in a list."""

    path: str
    last_modified: str | None
    bytes: int | None
    kernel_state: str | None


class NotebookList(BaseModel):
    """The notebooks in JupyterLab's folder."""

    notebooks: list[NotebookLine]
    is_complete: bool


def register(server: MCPServer, live: LiveNotebooks) -> None:
    """Add the tools to a server."""

    @server.tool(
        title="Add a code cell and run it",
        annotations=RUNS_CODE,
    )
    @plainly
    async def insert_execute_code_cell(
        cell_source: Annotated[str, Field(description="The code. Magics and `!` work.")],
        ctx: Context,
        cell_index: Annotated[
            int, Field(ge=-1, description="Its place, from 0; -1: at the end.")
        ] = -1,
        notebook: Notebook = None,
        timeout_seconds: Annotated[
            float | None,
            Field(
                description="How long it may run; past that the kernel is interrupted. It waits "
                "as long, at most, for other cells to end. Left out: 60, unless the server says "
                "else."
            ),
        ] = None,
    ) -> Annotated[CallToolResult, CellRun]:
        """Add a code cell to a live notebook in JupyterLab and run it in that notebook's kernel.

        For step-by-step work: the kernel is kept between calls, so variables and imports stay,
        and a person who has the notebook open sees the cell and its output appear. The notebook
        (and a kernel) is made if it is not there. Gives back what the cell printed and showed,
        plots as images; a cell that raised is an error with its traceback, and stays in the
        notebook. For whole notebooks, long or unattended runs use run_notebook.
        """

        async def tell(seconds: float) -> None:
            await ctx.report_progress(seconds, None, f"running for {seconds:.0f} s")

        ran = await live.run(cell_source, cell_index, notebook, timeout_seconds, tell)
        return answer([_headline(ran), *ran.pieces], _cell_run(ran), is_error=ran.status != "ok")

    @server.tool(
        title="Add a Markdown cell",
        annotations=ToolAnnotations(
            read_only_hint=False,
            destructive_hint=False,
            idempotent_hint=False,
            open_world_hint=False,
        ),
    )
    @plainly
    async def append_markdown_cell(
        cell_source: Annotated[str, Field(description="The Markdown text.")],
        notebook: Notebook = None,
    ) -> Annotated[CallToolResult, CellPlaced]:
        """Add a Markdown cell at the end of a live notebook in JupyterLab.

        For headings and explanations between code cells. The notebook is made if it is not
        there. Gives back where the cell is.
        """
        placed = await live.append_markdown(cell_source, notebook)
        value = CellPlaced(
            notebook=placed.notebook, cell_index=placed.index, cell_id=placed.cell_id
        )
        return answer([f"Added cell {placed.index} to {placed.notebook}."], value)

    @server.tool(
        title="Look at a notebook",
        annotations=READS,
    )
    @plainly
    async def get_notebook_info(
        notebook: Notebook = None,
    ) -> Annotated[CallToolResult, NotebookInfo]:
        """Tell what is in a live notebook: its kernel, and each cell with the start of its source.

        Use it before you add to a notebook that you did not make. Sources are cut and outputs
        only counted; read_cell gives one cell in full.
        """
        path, content, session = await live.info(notebook)
        cells = content["cells"]
        info = NotebookInfo(
            notebook=path,
            kernelspec=((content["metadata"].get("kernelspec") or {}).get("name")) or None,
            kernel_state=None if session is None else session.state,
            cells=len(cells),
            listed=[_line(index, cell) for index, cell in enumerate(cells[:LISTED_CELLS])],
        )
        return answer([_info_text(info)], info)

    @server.tool(
        title="Read a cell",
        annotations=READS,
    )
    @plainly
    async def read_cell(
        cell_index: Annotated[int, Field(description="From 0; -1 is the last one.")],
        notebook: Notebook = None,
    ) -> Annotated[CallToolResult, CellRead]:
        """Give one cell of a live notebook: its source, and its outputs, plots as images."""
        read = await live.read(cell_index, notebook)
        cell = read.cell
        value = CellRead(
            notebook=read.notebook,
            cell_index=read.index,
            cell_id=cell.get("id"),
            cell_type=cell["cell_type"],
            source=cell["source"],
            execution_count=cell.get("execution_count"),
            outputs=_texts(read.pieces),
        )
        head = f"Cell {read.index} of {read.notebook} ({cell['cell_type']}):\n{cell['source']}"
        return answer([head, *read.pieces], value)

    @server.tool(
        title="List notebooks in JupyterLab",
        annotations=READS,
    )
    @plainly
    async def list_notebooks(
        folder: Annotated[
            str, Field(description="Only below this folder of JupyterLab; empty: all.")
        ] = "",
    ) -> Annotated[CallToolResult, NotebookList]:
        """List the notebooks in JupyterLab's folder, and which of them have a kernel now.

        These are the paths for `notebook` in the other tools on live notebooks, and
        run_notebook takes them too. The runner's own library is the resource
        `runner://notebooks`.
        """
        listing, sessions = await live.list(folder)
        lines = [
            NotebookLine(
                path=one.path,
                last_modified=one.last_modified,
                bytes=one.bytes,
                kernel_state=sessions[one.path].state if one.path in sessions else None,
            )
            for one in listing.notebooks
        ]
        value = NotebookList(notebooks=lines, is_complete=not listing.is_cut)
        text = "\n".join(
            f"{line.path} (kernel {line.kernel_state})" if line.kernel_state else line.path
            for line in lines
        )
        more = "\n… and more; name a folder to see them." if listing.is_cut else ""
        return answer([f"{text or 'There are no notebooks.'}{more}"], value)


def _headline(ran: Ran) -> str:
    place = "a cell that somebody removed meanwhile" if ran.index is None else f"cell {ran.index}"
    words = {
        "ok": "ran",
        "error": "raised an error",
        "timed_out": "ran out of time",
        "kernel_died": "lost its kernel",
        "not_run": "was not run",
    }
    count = "" if ran.execution_count is None else f" [{ran.execution_count}]"
    head = f"{ran.notebook}, {place}{count} {words.get(ran.status, ran.status)}"
    head += f" after {ran.seconds:g} s" if ran.status != "not_run" else ""
    return f"{head}: {ran.note}." if ran.note else f"{head}."


def _cell_run(ran: Ran) -> CellRun:
    return CellRun(
        notebook=ran.notebook,
        cell_index=ran.index,
        cell_id=ran.cell_id,
        status=ran.status,
        note=ran.note,
        execution_count=ran.execution_count,
        seconds=ran.seconds,
        outputs=_texts(ran.pieces),
    )


def _texts(pieces: tuple[Piece, ...]) -> list[str]:
    return [f"[{p.media_type}]" if isinstance(p, Picture) else p for p in pieces]


def _line(index: int, cell: Mapping[str, Any]) -> CellLine:
    return CellLine(
        cell_index=index,
        cell_type=cell["cell_type"],
        execution_count=cell.get("execution_count"),
        outputs=len(cell.get("outputs") or []),
        source=excerpt(cell["source"], SOURCE_CHARACTERS),
    )


def _info_text(info: NotebookInfo) -> str:
    kernel = f"kernel {info.kernel_state}" if info.kernel_state else "no kernel runs"
    head = f"{info.notebook}: {info.cells} cells, {info.kernelspec or 'no kernelspec'}, {kernel}"
    lines = [
        f"[{line.cell_index}] {line.cell_type}"
        + (f", {line.outputs} outputs" if line.outputs else "")
        + f": {line.source}"
        for line in info.listed
    ]
    return "\n".join([head, *lines])
