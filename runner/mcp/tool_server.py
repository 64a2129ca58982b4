"""The protocol's server, with short lists of tools and tolerance for the calls of models.

Knows no tool. Groups of tools may be listed alone.
"""

import re
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import CallToolResult, InputRequiredResult, TextContent, Tool

from runner.mcp.schemas import slim

NAMES_TOLD = 12
NAME_CHARACTERS = 80
_LINK = re.compile(r"\n\s*For further information visit https://errors\.pydantic\.dev/\S*")
"""Matches a link to a page on the rule; the error stands before it."""

only: ContextVar[str | None] = ContextVar("only", default=None)
"""The group that the present request wants listed; all where there is none."""


class ToolServer(MCPServer):
    """Accepts calls as models and programs send them, and names the arguments it did not use.

    Models send null for arguments that they leave out; n8n adds one of its own (`toolCallId`).
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._groups: dict[str, str] = {}

    def add_group(self, group: str, register: Callable[[], None]) -> None:
        """Register tools, and remember that they belong to a group."""
        before = {tool.name for tool in self._tool_manager.list_tools()}
        register()
        names = {tool.name for tool in self._tool_manager.list_tools()} - before
        self._groups |= dict.fromkeys(names, group)

    async def list_tools(self) -> list[Tool]:
        """List the tools of the wanted group, with short schemas."""
        wanted = only.get()
        return [
            tool.model_copy(update={"input_schema": slim(tool.input_schema)})
            for tool in await super().list_tools()
            if wanted in (None, self._groups.get(tool.name))
        ]

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        """Call a tool of any group."""
        sent = {key: value for key, value in arguments.items() if value is not None}
        try:
            result = await super().call_tool(name, sent, context)
        except ToolError as error:
            said = _LINK.sub("", str(error))
            if said == str(error):
                raise
            raise ToolError(said) from error
        tool = self._tool_manager.get_tool(name)
        known = list(tool.parameters["properties"]) if tool is not None else []
        unknown = [key for key in sent if key not in known]
        if not unknown or not isinstance(result, CallToolResult):
            return result
        note = f"Not used, since the tool has no such argument: {_names(unknown)}. "
        note += f"It has: {_names(known)}."
        return result.model_copy(update={"content": [*result.content, TextContent(text=note)]})


def _names(names: list[str]) -> str:
    return ", ".join(f"`{name[:NAME_CHARACTERS]}`" for name in names[:NAMES_TOLD])
