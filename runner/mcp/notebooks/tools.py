"""Registers the tools on live notebooks, and knows the names that they had before."""

from collections.abc import Mapping

from mcp.server.mcpserver import MCPServer

from runner.mcp.notebooks.editing_tools import add_edit_cell, add_insert_cell, add_run_cells
from runner.mcp.notebooks.kernel_tools import (
    add_control_kernel,
    add_execute_code,
    add_list_kernels,
    add_list_variables,
)
from runner.mcp.notebooks.live import Live
from runner.mcp.notebooks.reading_tools import add_list_notebooks, add_read_cell, add_read_notebook
from runner.mcp.tool_server import OldName

_SOURCE = {"cell_source": "source", "cell_index": "at"}
OLD_NAMES: Mapping[str, OldName] = {
    "insert_execute_code_cell": OldName("insert_cell", {}, _SOURCE),
    "append_markdown_cell": OldName("insert_cell", {"kind": "markdown"}, _SOURCE),
    "get_notebook_info": OldName("read_notebook", {}, {}),
    "read_cell": OldName("read_cell", {}, {"cell_index": "cell"}),
}
"""Names of tools and arguments before."""


def register(server: MCPServer, live: Live) -> None:
    """Add the tools to a server."""
    for add in (
        add_list_notebooks,
        add_read_notebook,
        add_read_cell,
        add_insert_cell,
        add_edit_cell,
        add_run_cells,
        add_execute_code,
        add_list_variables,
        add_list_kernels,
        add_control_kernel,
    ):
        add(server, live)
