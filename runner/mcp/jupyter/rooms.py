"""Opens the notebooks of one JupyterLab, makes missing ones, and lets edits go one at a time.

Belongs to one event loop. Runs no code.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from runner.mcp.answers import BadCall
from runner.mcp.jupyter.api import PYTHON3, Jupyter
from runner.mcp.jupyter.document import Document, joined
from runner.mcp.jupyter.paths import misspelt, notebook_path, suggestions

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

    def __init__(self, jupyter: Jupyter, default: str) -> None:
        """Set it up. `default` is the notebook that is meant where none is named."""
        self._jupyter = jupyter
        self._default = default
        self._edits = Locks()
        self._running: set[asyncio.Task[Any]] = set()

    def path_of(self, notebook: str | None) -> str:
        """Return the intended path below Jupyter's root.

        Raises:
            BadCall
        """
        return notebook_path(notebook or self._default)

    async def content(self, path: str) -> Json:
        """Return a notebook as everybody sees it now; every cell has an id.

        Raises:
            BadCall: there is none. JupyterAway, JupyterRefused, DocumentLost
        """
        async with self.opened(path) as document:
            return {**document.content, "cells": document.cells}

    @asynccontextmanager
    async def opened(self, path: str) -> AsyncIterator[Document]:
        """Open a notebook that is there.

        Raises:
            BadCall: there is none; it names similar ones. JupyterAway, JupyterRefused, DocumentLost
        """
        if not await self._jupyter.exists(path):
            near = suggestions(path, await self._paths())
            hint = f"Did you mean {', '.join(near)}?" if near else "list_notebooks shows all."
            raise BadCall(f"There is no notebook {path!r} in JupyterLab. {hint}")
        async with joined(
            await self._jupyter.room_of(path), self._jupyter.room.headers
        ) as document:
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

    async def make(self, path: str, wanted: bool | None) -> bool:
        """Make a notebook if it is missing; return whether it was.

        `wanted` is what the agent says: None if it does not, and then a path that is almost that
        of another notebook is refused.

        Raises:
            BadCall, JupyterAway, JupyterRefused, DocumentLost
        """
        if await self._jupyter.exists(path):
            return False
        if wanted is False:
            return False  # opening it says that it is missing
        near = None if wanted else misspelt(path, await self._paths())
        if near is not None:
            raise BadCall(
                f"There is no notebook {path!r}. Did you mean {near}? `make: true` makes a new one."
            )
        await self._jupyter.make(path)
        async with self.edited(path) as document:
            if _is_blank(document.cells):
                document.remove(0)
        return True

    async def kernelspec(self, path: str) -> str:
        """Return the kernelspec that a notebook names."""
        async with self.opened(path) as document:
            wanted = document.metadata.get("kernelspec") or {}
        return str(wanted.get("name") or PYTHON3["name"])

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
