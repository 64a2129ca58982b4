"""Opens the notebooks of one JupyterLab, makes missing ones, and lets edits go one at a time.

Belongs to one event loop. Runs no code.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from runner.mcp.answers import BadCall
from runner.mcp.jupyter.api import PYTHON3, Jupyter, JupyterAway, JupyterRefused
from runner.mcp.jupyter.document import Document, Unreadable, joined
from runner.mcp.jupyter.paths import misspelt, notebook_path, other_spelling, suggestions

Json = dict[str, Any]
T = TypeVar("T")

log = logging.getLogger(__name__)


class Locks:
    """A lock for each path, as long as somebody uses it."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def of(self, path: str) -> asyncio.Lock:
        """Return the lock of a path."""
        return self._locks.setdefault(path, asyncio.Lock())


class Rooms:
    """The notebooks, each as one more client of its collaboration room."""

    def __init__(self, jupyter: Jupyter, default: str, library: str) -> None:
        """Set it up. `default` is the notebook that is meant where none is named.

        `library` is the name of the folder in which JupyterLab may show the runner's library.
        """
        self._jupyter = jupyter
        self._default = default
        self._library = library
        self._edits = Locks()
        self._running: set[asyncio.Task[Any]] = set()

    async def path_of(self, notebook: str | None, *, is_changed: bool = False) -> str:
        """Return the intended path below Jupyter's root.

        A path as the runner's library has it is that of the same notebook in JupyterLab, unless
        there is one of that path. Who `is_changed` says changes only what is named as it stands.

        Raises:
            BadCall
        """
        path = notebook_path(self._default if notebook is None else notebook)
        if notebook is None or is_changed:
            return path
        other = other_spelling(path, self._library)
        try:
            is_other = not await self._jupyter.exists(path) and await self._jupyter.exists(other)
        except (JupyterAway, JupyterRefused):  # whoever opens it hears of that
            return path
        return other if is_other else path

    def call(self, tool: str, path: str, **arguments: object) -> str:
        """Write a call on a notebook that works as it stands."""
        if path != self._default:
            arguments["notebook"] = path
        words = (f"{name}={json.dumps(one, ensure_ascii=False)}" for name, one in arguments.items())
        return f"{tool}({', '.join(words)})"

    async def content(self, path: str) -> Json:
        """Return a notebook as everybody sees it now; every cell has an id.

        Raises:
            BadCall: there is none. JupyterAway, JupyterRefused, DocumentLost
        """
        async with self.opened(path) as document:
            return {**document.content, "cells": document.cells}

    async def check_there(self, path: str) -> None:
        """Refuse a path at which no notebook is, and name similar ones.

        Raises:
            BadCall, JupyterAway, JupyterRefused
        """
        if await self._jupyter.exists(path):
            return
        near = suggestions(path, await self._paths(), self._library)
        hint = f"Did you mean {', '.join(near)}?" if near else "list_notebooks shows all."
        raise BadCall(f"There is no notebook {path!r} in JupyterLab. {hint}")

    @asynccontextmanager
    async def opened(self, path: str) -> AsyncIterator[Document]:
        """Open a notebook that is there.

        Raises:
            BadCall: there is none; it names similar ones. JupyterAway, JupyterRefused, DocumentLost
        """
        await self.check_there(path)
        url, headers = await self._jupyter.room_of(path), self._jupyter.room.headers
        async with AsyncExitStack() as stack:
            try:
                document = await stack.enter_async_context(joined(url, headers))
            except Unreadable as error:
                why = (
                    await self._jupyter.flaw_of(path)
                    or "its file is empty, broken, or of another kind"
                )
                raise Unreadable(f"{error}: {why}. Mend or remove the file on disk.") from error
            yield document

    @asynccontextmanager
    async def edited(self, path: str) -> AsyncIterator[Document]:
        """Open a notebook alone among the agents, and settle the edits at the end.

        Raises:
            BadCall, JupyterAway, JupyterRefused, DocumentLost
        """
        async with self._edits.of(path), self.opened(path) as document:
            _name_kernel(document)
            yield document
            await document.settle()

    async def is_to_be_made(self, path: str, wanted: bool | None) -> bool:
        """Return whether a notebook is missing, and is to be made. Makes nothing.

        `wanted` is what the agent says: None if it does not, and then a path that is almost that
        of another notebook is refused.

        Raises:
            BadCall, JupyterAway, JupyterRefused
        """
        if await self._jupyter.exists(path):
            return False
        if wanted is False:
            return False  # opening it says that it is missing
        near = None if wanted else misspelt(path, await self._paths(), self._library)
        if near is not None:
            raise BadCall(
                f"There is no notebook {path!r}. Did you mean {near}? `make: true` makes a new one."
            )
        return True

    async def make(self, path: str) -> None:
        """Make a notebook without cells.

        Raises:
            JupyterAway, JupyterRefused, DocumentLost
        """
        await self._jupyter.make(path)
        async with self.edited(path) as document:
            await document.refresh()  # the room of a file that was deleted still has its cells
            if _is_blank(document.cells):
                document.remove(0)

    async def kernelspec(self, path: str) -> tuple[str, bool]:
        """Return the kernelspec that a notebook names, and whether cells of it have ever run."""
        async with self.opened(path) as document:
            wanted = document.metadata.get("kernelspec") or {}
            has_run = any(cell.get("execution_count") for cell in document.cells)
        return str(wanted.get("name") or PYTHON3["name"]), has_run

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Do work to its end, even if its caller is cancelled meanwhile."""
        return await asyncio.shield(self.begin(work))

    def begin(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Start work that its caller need not wait for."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: "asyncio.Task[Any]") -> None:
        self._running.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.debug("a tool ended with %r", task.exception())

    async def _paths(self) -> list[str]:
        return [one.path for one in (await self._jupyter.list()).notebooks]


def _name_kernel(document: Document) -> None:
    """Write a Python kernel into a notebook that names none."""
    if (document.metadata.get("kernelspec") or {}).get("name"):
        return
    language = {"name": "python"}
    document.metadata = {**document.metadata, "kernelspec": PYTHON3, "language_info": language}


def _is_blank(cells: list[Json]) -> bool:
    return len(cells) == 1 and not cells[0]["source"] and not cells[0].get("outputs")
