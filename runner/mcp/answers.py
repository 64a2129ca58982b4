"""Builds the answers of tools: text and pictures, a value, or an error that says what to do.

Known exceptions become such an error; the protocol's library handles and logs all others.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterable
from functools import wraps
from typing import ParamSpec

from mcp_types import CallToolResult, ContentBlock, ImageContent, TextContent, ToolAnnotations
from pydantic import BaseModel

from runner.contract.outcome import Refused
from runner.jobs.problem import Problem
from runner.mcp.outputs import Picture, Piece

P = ParamSpec("P")

READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
RUNS_CODE = ToolAnnotations(
    read_only_hint=False, destructive_hint=True, idempotent_hint=False, open_world_hint=True
)
"""Hints to clients on a tool, so that they know when to ask their user."""


class ToolError(Exception):
    """A tool cannot do its work; the text says what to do."""


KNOWN = (Refused, Problem, OSError, ToolError)


def answer(
    pieces: Iterable[Piece], value: BaseModel | None = None, *, is_error: bool = False
) -> CallToolResult:
    """Make a tool's result: text for a model, and the same as a value."""
    return CallToolResult(
        content=[_block(piece) for piece in pieces],
        structured_content=None if value is None else value.model_dump(mode="json"),
        is_error=is_error,
    )


def plainly(tool: Callable[P, Awaitable[CallToolResult]]) -> Callable[P, Awaitable[CallToolResult]]:
    """Turn a tool's known exceptions into answers."""

    @wraps(tool)
    async def wrapped(*args: P.args, **kwargs: P.kwargs) -> CallToolResult:
        try:
            return await tool(*args, **kwargs)
        except KNOWN as error:
            return answer([said(error)], is_error=True)

    wrapped.__doc__ = inspect.cleandoc(tool.__doc__ or "")  # a model reads this
    return wrapped


def said(error: BaseException) -> str:
    """Return the sentence of a known exception."""
    if isinstance(error, Refused):
        return f"{error.failure.error_type}: {error.failure.message}"
    if isinstance(error, Problem):
        return f"{error.error_type}: {error.message}"
    if isinstance(error, OSError):
        return f"The runner's folders cannot be used: {error}"
    return str(error)


def _block(piece: Piece) -> ContentBlock:
    if isinstance(piece, Picture):
        return ImageContent(type="image", data=piece.data, mime_type=piece.media_type)
    return TextContent(type="text", text=piece)
