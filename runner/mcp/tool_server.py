"""The protocol's server, with short lists of tools and tolerance for the calls of models.

Knows no tool. Groups of tools may be listed alone.
"""

import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
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


@dataclass(frozen=True)
class OldName:
    """What a tool that has another name now is called with."""

    tool: str
    fixed: Mapping[str, object]
    """Arguments that it did not have."""
    arguments: Mapping[str, str]
    """Old names of arguments, and their new ones."""


class ToolServer(MCPServer):
    """Accepts calls as models and programs send them, and names the arguments it did not use.

    Models send null for arguments that they leave out; n8n adds one of its own (`toolCallId`).
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._groups: dict[str, str] = {}
        self.old_names: Mapping[str, OldName] = {}
        """Names that are not listed any more; whoever calls them is answered."""

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
        if (old := self.old_names.get(name)) is not None:
            name = old.tool
            renamed = {old.arguments.get(key, key): value for key, value in sent.items()}
            sent = {**old.fixed, **renamed}
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
