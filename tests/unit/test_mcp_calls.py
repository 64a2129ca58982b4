"""What becomes of the arguments that models send."""

import asyncio
from typing import Annotated, Any

import pytest

pytest.importorskip("mcp", reason="the extra `mcp` is not installed")

from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import CallToolResult, TextContent
from pydantic import Field

from runner.mcp.tool_server import ToolServer

SEEN: dict[str, Any] = {}


def show(
    source: Annotated[str | None, Field(description="x")] = None,
    at: str | int | None = None,
    notebook: str | dict[str, Any] | None = None,
    parameters: dict[str, Any] | None = None,
    names: list[str] | None = None,
) -> CallToolResult:
    SEEN.clear()
    SEEN.update(source=source, at=at, notebook=notebook, parameters=parameters, names=names)
    return CallToolResult(content=[TextContent(type="text", text="ok")])


@pytest.mark.parametrize(
    ("name", "sent", "seen"),
    [
        ("source", "[4, 5]", "[4, 5]"),
        ("source", '{"a": 1}', '{"a": 1}'),
        ("source", "null", "null"),
        ("source", "true", "true"),
        ("source", "x = 1", "x = 1"),
        ("at", "[1]", "[1]"),
        ("notebook", "loan.ipynb", "loan.ipynb"),
        ("notebook", '{"cells": []}', {"cells": []}),
        ("parameters", '{"years": 3}', {"years": 3}),
        ("names", '["a"]', ["a"]),
    ],
)
def test_a_text_stays_as_it_was_sent(name: str, sent: str, seen: object) -> None:
    """Source code may look like JSON. A mapping that came as text is read all the same."""
    server = ToolServer(name="test")
    server.add_group("all", lambda: server.add_tool(show))
    asyncio.run(server.call_tool("show", {name: sent}))
    assert SEEN[name] == seen


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ({"notebok": "m"}, "notebook"),
        ({"parametrs": {}}, "parameters"),
        ({"params": {}}, "parameters"),
        ({"notebook_path": "m"}, "notebook"),
        ({"notebookPath": "m"}, "notebook"),
        ({"path": "m.ipynb"}, "notebook"),
        ({"toolCallId": "call_1"}, None),
        ({"sessionId": "1", "chatInput": "source", "tool": "show", "_meta": {}}, None),
        ({"notebook": "m", "notebok": "n"}, None),
    ],
)
def test_a_misspelt_argument_is_refused_before_anything_is_done(
    sent: dict[str, Any], meant: str | None
) -> None:
    """Else the call acts on the default notebook, or with default parameters."""
    server = ToolServer(name="test")
    server.add_group("all", lambda: server.add_tool(show))
    SEEN.clear()
    if meant is None:
        result = asyncio.run(server.call_tool("show", sent))
        assert isinstance(result, CallToolResult)
        assert "no such argument" in str(result.content)
        return
    with pytest.raises(ToolError, match=f"was not called: .* did you mean `{meant}`"):
        asyncio.run(server.call_tool("show", sent))
    assert SEEN == {}
