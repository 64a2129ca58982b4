"""Builds the answers of tools: text, then pictures; or an error that says what to do.

Answers have content alone: clients that get a structured value too show that in its place.

Known exceptions become such an error; the protocol's library handles and logs all others.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterable
from functools import wraps
from typing import ParamSpec

from mcp_types import CallToolResult, ImageContent, TextContent, ToolAnnotations

from runner.contract.outcome import Refused
from runner.jobs.problem import Problem
from runner.mcp.pictures import Picture
from runner.mcp.pieces import PICTURES, Piece

P = ParamSpec("P")

READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
RUNS_CODE = ToolAnnotations(
    read_only_hint=False, destructive_hint=True, idempotent_hint=False, open_world_hint=True
)
"""Hints to clients on a tool, so that they know when to ask their user."""


class ToolError(Exception):
    """A tool cannot do its work; the text says what to do."""


class BadCall(ToolError):
    """A tool was called with an impossible argument; the message says what to give instead."""


KNOWN = (Refused, Problem, OSError, ToolError)


def answer(
    pieces: Iterable[Piece], named: Iterable[Picture] = (), *, is_error: bool = False
) -> CallToolResult:
    """Make a tool's result: one text that names its pictures, then these in their order.

    `named` are pictures that the text names already.
    """
    text, pictures = with_names(pieces)
    images = [
        ImageContent(type="image", data=one.data, mime_type=one.media_type)
        for one in (*pictures, *named)
    ]
    return CallToolResult(content=[TextContent(type="text", text=text), *images], is_error=is_error)


def with_names(pieces: Iterable[Piece]) -> tuple[str, list[Picture]]:
    """Join pieces to a text that names each picture where it stands, and the pictures."""
    lines: list[str] = []
    pictures: list[Picture] = []
    for piece in pieces:
        if isinstance(piece, Picture) and len(pictures) == PICTURES:
            lines.append("[one more picture, left out; read_cell gives it]")
        elif isinstance(piece, Picture):
            pictures.append(piece)
            lines.append(f"[picture {len(pictures)}]")
        elif piece:
            lines.append(piece.removesuffix("\n"))
    return "\n".join(lines), pictures


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
