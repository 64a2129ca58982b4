"""Builds the answers of tools: text, then pictures; or an error that says what to do.

Answers have content alone: clients that get a structured value too show that in its place.

Known exceptions become such an error; the protocol's library handles and logs all others.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import wraps
from typing import Any, ParamSpec

from mcp_types import CallToolResult, ImageContent, TextContent, ToolAnnotations

from runner.contract.outcome import Refused
from runner.jobs.problem import Problem
from runner.mcp.pictures import Picture
from runner.mcp.pieces import PICTURES, Bounds, Piece, pictures_in

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
    """Join pieces to a text that names each picture where it stands, and the pictures.

    Pictures of one cell have the numbers that they have there, and `first_picture` counts.
    """
    given = list(pieces)
    places = enumerate((one.number for one in given if isinstance(one, Picture)), 1)
    is_one_cell = len({number - place for place, number in places}) == 1
    lines: list[str] = []
    pictures: list[Picture] = []
    for piece in given:
        if isinstance(piece, Picture) and len(pictures) == PICTURES:
            number = f", first_picture={piece.number}" if piece.number > 1 else ""
            lines.append(f"[one more picture, left out; its cell alone gives it{number}]")
        elif isinstance(piece, Picture):
            pictures.append(piece)
            place = len(pictures)
            own = piece.number or place
            of_cell = "" if is_one_cell or own == place else f": number {own} of its cell"
            lines.append(f"[picture {own if is_one_cell else place}{of_cell}]")
        elif piece:
            lines.append(piece.removesuffix("\n"))
    return "\n".join(lines), pictures


def check_first_picture(
    cells: Iterable[Iterable[Mapping[str, Any]]], bounds: Bounds, name: str
) -> None:
    """Refuse a first picture behind the last one of each of these outputs.

    Raises:
        BadCall: with how many there are.
    """
    most = max(map(pictures_in, cells), default=0)
    if bounds.first_picture in (1, *range(most + 1)):
        return
    if not most:
        raise BadCall(f"{name} has no pictures; leave out `first_picture`.")
    raise BadCall(f"{name} has {_pictures(most)}: `first_picture` goes from 1 to {most}.")


def past_the_end(argument: str, what: str, count: int, items: str) -> str:
    """Say that a page begins behind the last item, and where one may begin."""
    last = f"`{argument}` goes from 0 to {count - 1}" if count else f"leave out `{argument}`"
    return f"{what} has {count or 'no'} {items}: {last}."


def _pictures(count: int) -> str:
    return "one picture" if count == 1 else f"{count} pictures"


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
