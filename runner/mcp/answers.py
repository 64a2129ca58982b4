"""What every tool answers with: text and pictures, a value, or an error that says what to do.

Known troubles become such an error; others are left to the protocol's library, which logs them.
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
"""What clients are told of a tool, so that they know when to ask their user."""


class ToolError(Exception):
    """A tool cannot do what it was called for; the text says what to do."""


KNOWN = (Refused, Problem, OSError, ToolError)


def answer(
    pieces: Iterable[Piece], value: BaseModel | None = None, *, is_error: bool = False
) -> CallToolResult:
    """A tool's result: what a model reads, and the same as a value."""
    return CallToolResult(
        content=[_block(piece) for piece in pieces],
        structured_content=None if value is None else value.model_dump(mode="json"),
        is_error=is_error,
    )


def plainly(tool: Callable[P, Awaitable[CallToolResult]]) -> Callable[P, Awaitable[CallToolResult]]:
    """A tool whose known troubles are answers."""

    @wraps(tool)
    async def wrapped(*args: P.args, **kwargs: P.kwargs) -> CallToolResult:
        try:
            return await tool(*args, **kwargs)
        except KNOWN as trouble:
            return answer([said(trouble)], is_error=True)

    wrapped.__doc__ = inspect.cleandoc(tool.__doc__ or "")  # it is what a model reads
    return wrapped


def said(trouble: BaseException) -> str:
    """The sentence of a known trouble."""
    if isinstance(trouble, Refused):
        return f"{trouble.failure.error_type}: {trouble.failure.message}"
    if isinstance(trouble, Problem):
        return f"{trouble.error_type}: {trouble.message}"
    if isinstance(trouble, OSError):
        return f"The runner's folders cannot be used: {trouble}"
    return str(trouble)


def _block(piece: Piece) -> ContentBlock:
    if isinstance(piece, Picture):
        return ImageContent(type="image", data=piece.data, mime_type=piece.media_type)
    return TextContent(type="text", text=piece)
