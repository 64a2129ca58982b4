"""The five tools on live notebooks: their names, arguments and answers.

Holds no rules; `live` does the work.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from mcp.server.mcpserver import Context, MCPServer
from mcp_types import CallToolResult, ToolAnnotations
from pydantic import Field

from runner.contract.text.plain_text import excerpt
from runner.mcp.answers import READS, RUNS_CODE, answer, plainly
from runner.mcp.notebooks.live import LiveNotebooks, Ran

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


def register(server: MCPServer, live: LiveNotebooks) -> None:
    """Add the tools to a server."""

    @server.tool(
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
    ) -> CallToolResult:
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
        return answer([_headline(ran), *ran.pieces], is_error=ran.status != "ok")

    @server.tool(
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
    ) -> CallToolResult:
        """Add a Markdown cell at the end of a live notebook in JupyterLab.

        For headings and explanations between code cells. The notebook is made if it is not
        there. Gives back where the cell is.
        """
        placed = await live.append_markdown(cell_source, notebook)
        return answer([f"{placed.notebook} [{placed.index}] {placed.cell_id}: added."])

    @server.tool(
        annotations=READS,
    )
    @plainly
    async def get_notebook_info(
        notebook: Notebook = None,
    ) -> CallToolResult:
        """Tell what is in a live notebook: its kernel, and each cell with the start of its source.

        Use it before you add to a notebook that you did not make. Sources are cut and outputs
        only counted; read_cell gives one cell in full.
        """
        path, content, session = await live.info(notebook)
        cells = content["cells"]
        kernelspec = (content["metadata"].get("kernelspec") or {}).get("name")
        kernel = f"kernel {session.state}" if session is not None else "no kernel runs"
        head = f"{path}: {len(cells)} cells, {kernelspec or 'no kernelspec'}, {kernel}"
        lines = [_line(index, cell) for index, cell in enumerate(cells[:LISTED_CELLS])]
        if len(cells) > LISTED_CELLS:
            lines.append(f"({len(cells) - LISTED_CELLS} more cells, left out; read_cell has them)")
        return answer(["\n".join([head, *lines])])

    @server.tool(
        annotations=READS,
    )
    @plainly
    async def read_cell(
        cell_index: Annotated[int, Field(description="From 0; -1 is the last one.")],
        notebook: Notebook = None,
    ) -> CallToolResult:
        """Give one cell of a live notebook: its source, and its outputs, plots as images."""
        read = await live.read(cell_index, notebook)
        cell = read.cell
        head = f"Cell {read.index} of {read.notebook} ({cell['cell_type']}):\n{cell['source']}"
        return answer([head, *read.pieces])

    @server.tool(
        annotations=READS,
    )
    @plainly
    async def list_notebooks(
        folder: Annotated[
            str, Field(description="Only below this folder of JupyterLab; empty: all.")
        ] = "",
    ) -> CallToolResult:
        """List the notebooks in JupyterLab's folder, and which of them have a kernel now.

        These are the paths for `notebook` in the other tools on live notebooks, and
        run_notebook takes them too. The runner's own library is the resource
        `runner://notebooks`.
        """
        listing, sessions = await live.list(folder)
        paths = [one.path for one in listing.notebooks]
        text = "\n".join(
            f"{path} (kernel {sessions[path].state})" if path in sessions else path
            for path in paths
        )
        more = "\n… and more; name a folder to see them." if listing.is_cut else ""
        return answer([f"{text or 'There are no notebooks.'}{more}"])


def _headline(ran: Ran) -> str:
    place = "removed meanwhile" if ran.index is None else str(ran.index)
    words = {
        "ok": "ran",
        "error": "raised an error",
        "timed_out": "ran out of time",
        "kernel_died": "lost its kernel",
        "not_run": "was not run",
    }
    count = "" if ran.execution_count is None else f", count {ran.execution_count}"
    head = f"{ran.notebook} [{place}] {ran.cell_id}: {words.get(ran.status, ran.status)}"
    head += f" after {ran.seconds:g} s{count}" if ran.status != "not_run" else ""
    return f"{head}; {ran.note}" if ran.note else head


def _line(index: int, cell: Mapping[str, Any]) -> str:
    outputs = len(cell.get("outputs") or [])
    head = f"[{index}] {cell.get('id') or ''} {cell['cell_type']}"
    head += f", {outputs} outputs" if outputs else ""
    return f"{head}: {excerpt(cell['source'], SOURCE_CHARACTERS)}"
