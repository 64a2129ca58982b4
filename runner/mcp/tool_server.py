"""The protocol's server, with short lists of tools and tolerance for the calls of models.

Knows no tool. Groups of tools may be listed alone.
"""

from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Protocol, Union, get_args, get_origin

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.utilities.func_metadata import FuncMetadata
from mcp_types import (
    CallToolResult,
    InputRequiredResult,
    ServerCapabilities,
    TextContent,
    Tool,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from runner.mcp.call_errors import (
    misspelt_arguments,
    unknown_tool,
    wrong_arguments,
    wrong_truth,
)
from runner.mcp.schemas import slim

NAMES_TOLD = 12
NAME_CHARACTERS = 80

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


class MoreTools(Protocol):
    """Tools that come and go while the server runs."""

    async def tools(self) -> list[Tool]:
        """List them as they are now."""

    async def call(
        self, name: str, arguments: Mapping[str, Any], context: Context[Any, Any]
    ) -> CallToolResult | None:
        """Call one of them; None if there is none of that name."""


class _AsSent(FuncMetadata):
    """Leaves text as it was sent where an argument is a text, also if it looks like JSON.

    The source of a cell may be `[4, 5]` or `null`. Lists and mappings that came as text are read.
    """

    def pre_parse_json(self, data: dict[str, Any]) -> dict[str, Any]:
        """Parse the texts of arguments that are none."""
        parsed = super().pre_parse_json(data)
        fields = self.arg_model.model_fields
        texts = {key for key in data if key in fields and _is_text(fields[key].annotation)}
        return {key: data[key] if key in texts else value for key, value in parsed.items()}


def _is_text(annotation: Any) -> bool:
    """Return whether an argument takes a text, and neither a list nor a mapping."""
    kinds = set(_kinds(annotation))
    return str in kinds and kinds <= {str, int, float, bool, type(None)}


def _kinds(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _kinds(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for one in get_args(annotation):
            yield from _kinds(one)
    else:
        yield annotation


def _check_truths(tool: str, fields: Mapping[str, FieldInfo], sent: Mapping[str, Any]) -> None:
    """Refuse true and false where a text or a number is wanted, for which they would be taken.

    Raises:
        ToolError
    """
    for name, value in sent.items():
        if isinstance(value, bool) and name in fields:
            kinds = set(_kinds(fields[name].annotation)) - {type(None)}
            if kinds and kinds <= {str, int, float}:
                raise ToolError(wrong_truth(tool, name, kinds))


class ToolServer(MCPServer):
    """Accepts calls as models and programs send them, and names the arguments it did not use.

    Models send null for arguments that they leave out; n8n adds one of its own (`toolCallId`).
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._say_only_what_is_there()
        self._groups: dict[str, str] = {}
        self.old_names: Mapping[str, OldName] = {}
        """Names that are not listed any more; whoever calls them is answered."""
        self._more: dict[str, MoreTools] = {}

    def answer_requests(self, method: str, params: type[Any], handler: Any) -> None:
        """Answer a method of the protocol in a way of our own."""
        self._lowlevel_server.add_request_handler(method, params, handler)

    def _say_only_what_is_there(self) -> None:
        """Announce no prompts, and no news of the list of resources: there are none."""
        server = self._lowlevel_server
        for method in ("prompts/list", "prompts/get"):
            server._request_handlers.pop(method)
        capabilities_of = server.get_capabilities

        def capabilities(*args: Any, **kwargs: Any) -> ServerCapabilities:
            found = capabilities_of(*args, **kwargs)
            assert found.resources is not None
            resources = found.resources.model_copy(update={"list_changed": False})
            update: dict[str, Any] = {"resources": resources}
            if kwargs.get("protocol_version") not in MODERN_PROTOCOL_VERSIONS:
                update["extensions"] = None  # its methods are those of the newer protocol
            return found.model_copy(update=update)

        server.get_capabilities = capabilities  # type: ignore[method-assign]

    def add_group(self, group: str, register: Callable[[], None]) -> None:
        """Register tools, and remember that they belong to a group."""
        before = {tool.name for tool in self._tool_manager.list_tools()}
        register()
        added = [tool for tool in self._tool_manager.list_tools() if tool.name not in before]
        for tool in added:
            tool.fn_metadata = _AsSent.model_construct(**dict(tool.fn_metadata))
        names = {tool.name for tool in added}
        self._groups |= dict.fromkeys(names, group)

    def add_more(self, group: str, more: MoreTools) -> None:
        """Add tools that come and go to a group."""
        self._more[group] = more

    @property
    def own_names(self) -> frozenset[str]:
        """The names of tools that stay, and those that they had."""
        return frozenset(self._groups) | frozenset(self.old_names)

    async def list_tools(self) -> list[Tool]:
        """List the tools of the wanted group, with short schemas."""
        wanted = only.get()
        own = [
            tool.model_copy(update={"input_schema": slim(tool.input_schema)})
            for tool in await super().list_tools()
            if wanted in (None, self._groups.get(tool.name))
        ]
        for group, more in self._more.items():
            if wanted in (None, group):
                own += await more.tools()
        return own

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        """Call a tool of any group."""
        sent = {key: value for key, value in arguments.items() if value is not None}
        if (old := self.old_names.get(name)) is not None:
            name = old.tool
            renamed = {old.arguments.get(key, key): value for key, value in sent.items()}
            sent = {**old.fixed, **renamed}
        if self._tool_manager.get_tool(name) is None:
            context = context or Context(mcp_server=self)
            for more in self._more.values():
                if (called := await more.call(name, sent, context)) is not None:
                    return called
        tool = self._tool_manager.get_tool(name)
        fields = {} if tool is None else tool.fn_metadata.arg_model.model_fields
        known = list(tool.parameters["properties"]) if tool is not None else []
        if (wrong := misspelt_arguments(name, sent, known)) is not None:
            raise ToolError(wrong)
        _check_truths(name, fields, sent)
        try:
            result = await super().call_tool(name, sent, context)
        except ToolError as error:
            if self._tool_manager.get_tool(name) is None:
                tools = {tool.name for tool in await self.list_tools()}
                raise ToolError(unknown_tool(name, tools)) from error
            if not isinstance(error.__cause__, ValidationError):
                raise
            raise ToolError(wrong_arguments(name, error.__cause__, sent, fields)) from error
        unknown = [key for key in sent if key not in known]
        if not unknown or not isinstance(result, CallToolResult):
            return result
        note = f"Not used, since the tool has no such argument: {_names(unknown)}. "
        note += f"It has: {_names(known)}." if known else "It has none."
        return result.model_copy(update={"content": [*result.content, TextContent(text=note)]})


def _names(names: list[str]) -> str:
    return ", ".join(f"`{name[:NAME_CHARACTERS]}`" for name in names[:NAMES_TOLD])
