"""The tools on the kernels of live notebooks."""

from typing import Annotated

from mcp.server.mcpserver import Context, MCPServer
from mcp_types import CallToolResult
from pydantic import Field

from runner.mcp.answers import READS, RUNS_CODE, answer, plainly
from runner.mcp.notebooks.editing_tools import EDITS, Timeout, Wait, progress_of
from runner.mcp.notebooks.kernels import Act
from runner.mcp.notebooks.live import Live
from runner.mcp.notebooks.reading_tools import Notebook
from runner.mcp.notebooks.running import Step
from runner.mcp.notebooks.variables import MISSING, code_of

VARIABLES_SECONDS = 10.0
BUSY = (
    "(Variables are read when no cell runs: ask again then, or end it by "
    'control_kernel(action="interrupt"); read_notebook says what runs.)'
)


def add_execute_code(server: MCPServer, live: Live) -> None:
    """Add the tool."""

    @server.tool(annotations=RUNS_CODE)
    @plainly
    async def execute_code(
        code: str,
        ctx: Context,
        notebook: Notebook = None,
        wait_seconds: Wait = None,
        timeout_seconds: Timeout = None,
    ) -> CallToolResult:
        """Run code in a notebook's kernel, without a cell: to look at something, or install."""
        path = await live.rooms.path_of(notebook)
        times = live.times(wait_seconds, timeout_seconds)
        activity = live.activities.start(path, [Step(code)], times.timeout_seconds)
        pieces, failed = await live.result(activity, times.wait_seconds, progress_of(ctx))
        return answer(pieces, is_error=failed)


def add_list_variables(server: MCPServer, live: Live) -> None:
    """Add the tool."""

    @server.tool(annotations=READS)
    @plainly
    async def list_variables(
        ctx: Context,
        notebook: Notebook = None,
        name: Annotated[
            str | None, Field(description="One of them: more of its value, a DataFrame's head.")
        ] = None,
    ) -> CallToolResult:
        """List a Python kernel's variables: name, type, shape, short value."""
        path = await live.rooms.path_of(notebook)
        await live.kernels.check_python(path)
        steps = [Step(code_of(name))]
        activity = live.activities.start(path, steps, VARIABLES_SECONDS, is_kept=False)
        pieces, failed = await live.result(activity, VARIABLES_SECONDS, progress_of(ctx))
        if activity.steps[0].status != "ok":
            busy = [BUSY] if activity.steps[0].status == "not_run" else []
            return answer([*pieces, *busy], is_error=failed)
        is_missing = any(isinstance(one, str) and one.startswith(MISSING) for one in pieces)
        return answer([*activity.steps[0].notes, *pieces[1:]], is_error=is_missing)


def add_list_kernels(server: MCPServer, live: Live) -> None:
    """Add the tool."""

    @server.tool(annotations=READS)
    @plainly
    async def list_kernels() -> CallToolResult:
        """List the running kernels with their notebooks, and the installed ones."""
        return answer([await live.kernels.listing()])


def add_control_kernel(server: MCPServer, live: Live) -> None:
    """Add the tool."""

    @server.tool(annotations=EDITS)
    @plainly
    async def control_kernel(
        action: Act,
        notebook: Notebook = None,
        kernel: Annotated[
            str | None, Field(description="choose: an installed kernel, or a running one's id.")
        ] = None,
    ) -> CallToolResult:
        """Interrupt, restart, shut down or choose a notebook's kernel."""
        path = await live.rooms.path_of(notebook, is_changed=action == "choose")
        return answer([await live.kernels.control(action, path, kernel)])
