"""The work of agents on live notebooks: look, add cells, run them in the notebook's kernel.

People who have the notebook open see it happen, and share their kernel with the agents. Edits of
one notebook go one at a time, and so do running cells.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from runner.config import Mcp
from runner.mcp.answers import ToolError
from runner.mcp.notebooks.cell import Execution, KernelGone, Message, Reply
from runner.mcp.notebooks.document import Document, DocumentLost, joined
from runner.mcp.notebooks.jupyter import (
    PYTHON3,
    Jupyter,
    JupyterAway,
    JupyterRefused,
    Listing,
    Session,
)
from runner.mcp.outputs import Outputs
from runner.mcp.pieces import Piece, pieces_of

Json = dict[str, Any]
T = TypeVar("T")
Progress = Callable[[float], Awaitable[None]]
"""Receives now and then the seconds that a cell has run."""

log = logging.getLogger(__name__)

SHOW_SECONDS = 0.2
TELL_SECONDS = 2.0
INTERRUPT_SECONDS = 10.0
_NOT_RUN = "this cell is in the notebook and was not run"


class BadCall(ToolError):
    """A tool was called with an impossible argument; the message says what to give instead."""


@dataclass(frozen=True)
class Ran:
    """A cell that was added and run."""

    notebook: str
    index: int | None
    """Its place; None if somebody removed it meanwhile."""
    cell_id: str
    status: str
    """`ok`, `error`, `timed_out`, `kernel_died` or `not_run`."""
    note: str | None
    execution_count: int | None
    seconds: float
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class Placed:
    """A cell that was added."""

    notebook: str
    index: int
    cell_id: str


@dataclass(frozen=True)
class Read:
    """One cell as it is now."""

    notebook: str
    index: int
    cell: Json
    pieces: tuple[Piece, ...]


class LiveNotebooks:
    """The notebooks of one JupyterLab. Belongs to one event loop."""

    def __init__(self, settings: Mcp, jupyter: Jupyter, closing: asyncio.Event) -> None:
        """Set it up. Once `closing` is set, nobody waits any more."""
        self._settings = settings
        self._closing = closing
        self._jupyter = jupyter
        self._edits: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._running: set[asyncio.Task[Any]] = set()

    async def list(self, folder: str) -> tuple[Listing, dict[str, Session]]:
        """List the notebooks below a folder, and those that have a kernel.

        Raises:
            JupyterAway, JupyterRefused
        """
        return await self._jupyter.list(_folder(folder)), await self._jupyter.sessions()

    async def info(self, notebook: str | None) -> tuple[str, Json, Session | None]:
        """Return a notebook's path, its content, and its kernel if it has one.

        Raises:
            BadCall, JupyterAway, JupyterRefused, DocumentLost
        """
        path = self.path_of(notebook)
        content = await self.content(path)
        return path, content, (await self._jupyter.sessions()).get(path)

    async def content(self, path: str) -> Json:
        """Return a notebook as everybody sees it now.

        Raises:
            BadCall: there is none. JupyterAway, JupyterRefused, DocumentLost
        """
        if not await self._jupyter.exists(path):
            raise BadCall(f"There is no notebook {path!r} in JupyterLab; list_notebooks shows all.")
        async with self._joined(path) as document:
            return document.content

    async def read(self, index: int, notebook: str | None) -> Read:
        """Return one cell; -1 is the last one.

        Raises:
            BadCall, JupyterAway, JupyterRefused, DocumentLost
        """
        path = self.path_of(notebook)
        cells = (await self.content(path))["cells"]
        place = index if index >= 0 else len(cells) + index
        if not 0 <= place < len(cells):
            raise BadCall(
                f"{path!r} has {len(cells)} cells; cell_index goes from 0 to {len(cells) - 1}."
            )
        cell = cells[place]
        return Read(path, place, cell, tuple(pieces_of(cell.get("outputs") or [])))

    async def append_markdown(self, source: str, notebook: str | None) -> Placed:
        """Add a Markdown cell at the end.

        Raises:
            BadCall, JupyterAway, JupyterRefused, DocumentLost
        """
        path = self.path_of(notebook)

        async def append() -> Placed:
            async with self._edited(path) as document:
                cell = _cell("markdown", source)
                document.insert(len(document), cell)
                await document.settle()
                return Placed(path, document.index_of(cell["id"]) or 0, cell["id"])

        return await asyncio.shield(self._begin(append()))

    async def run(
        self,
        source: str,
        index: int,
        notebook: str | None,
        seconds: float | None,
        tell: Progress,
    ) -> Ran:
        """Add a code cell at a place (-1: the end) and run it in the notebook's kernel.

        It goes on even if the client leaves.

        Raises:
            BadCall, JupyterAway, JupyterRefused, DocumentLost
        """
        path = self.path_of(notebook)
        limit = self._settings.cell_seconds if seconds is None else seconds
        if not 0 < limit <= 86_400:
            raise BadCall("timeout_seconds is a number above 0, and a day (86400) at most.")
        task = self._begin(self._run(path, source, index, limit))
        closing = asyncio.ensure_future(self._closing.wait())
        start = time.monotonic()
        try:
            while not task.done():
                if closing.done():
                    raise BadCall("The server ends now; the cell goes on in the notebook's kernel.")
                await asyncio.wait(
                    [task, closing], timeout=TELL_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
                if not task.done():
                    await tell(time.monotonic() - start)
        finally:
            closing.cancel()
        return task.result()

    async def _run(self, path: str, source: str, index: int, limit: float) -> Ran:
        cell_id = await self._insert(path, source, index)
        async with self._joined(path) as document:
            turn = self._lock(self._turns, path)
            try:
                await asyncio.wait_for(turn.acquire(), limit)
            except TimeoutError:
                return _not_run(path, document, cell_id, "another cell of an agent still runs")
            try:
                wanted = document.metadata.get("kernelspec") or {}
                session = await self._jupyter.session(path, wanted.get("name") or PYTHON3["name"])
                ran = await self._execute(path, document, cell_id, session, source, limit)
            finally:
                turn.release()
            try:
                await document.settle()
            except DocumentLost as lost:  # its outputs are known all the same
                said = f"the notebook may not show it: {lost}"
                return replace(ran, note=f"{ran.note}; {said}" if ran.note else said)
            return ran

    async def _insert(self, path: str, source: str, index: int) -> str:
        """Insert a code cell, and return its id."""
        async with self._edited(path) as document:
            cells = len(document)
            if not -1 <= index <= cells:
                raise BadCall(
                    f"{path!r} has {cells} cells; cell_index is a place from 0 to {cells}, "
                    "or -1 for the end."
                )
            cell = _cell("code", source)
            document.insert(cells if index == -1 else index, cell)
            await document.settle()
            return str(cell["id"])

    async def _execute(
        self,
        path: str,
        document: Document,
        cell_id: str,
        session: Session,
        source: str,
        limit: float,
    ) -> Ran:
        outputs = Outputs()
        counts: list[int] = []
        has_news = asyncio.Event()

        def take(message: Message) -> None:
            if message["header"]["msg_type"] == "execute_input":
                counts.append(message["content"]["execution_count"])
            if outputs.add(message):
                has_news.set()

        runtime = self._jupyter.runtime
        url = runtime.websocket(f"kernels/{session.kernel_id}/channels")
        execution = Execution(url, runtime.headers, source)
        document.begin(cell_id)
        showing = asyncio.create_task(_show(document, cell_id, outputs, has_news))
        try:
            status, note = await self._await(execution, take, session, limit)
        finally:
            showing.cancel()
            document.show(cell_id, outputs.items)
            document.end(cell_id, counts[-1] if counts else None)
        return Ran(
            path,
            document.index_of(cell_id),
            cell_id,
            status,
            note,
            counts[-1] if counts else None,
            0.0 if execution.sent_at is None else round(time.monotonic() - execution.sent_at, 2),
            tuple(pieces_of(outputs.items)),
        )

    async def _await(
        self,
        execution: Execution,
        take: Callable[[Message], None],
        session: Session,
        limit: float,
    ) -> tuple[str, str | None]:
        """Wait for a cell's end, as long as it may run, and return how it ended.

        Past its time it is interrupted, if the kernel has come to it.
        """
        running = asyncio.ensure_future(execution.run(take))
        free = asyncio.ensure_future(execution.is_free.wait())
        try:
            await asyncio.wait([running, free], timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            if not running.done() and not free.done() and execution.give_up():
                return "not_run", f"its kernel is busy with another cell; {_NOT_RUN}"
            await asyncio.wait([running], timeout=limit)
            if not running.done():
                return await self._stop(execution, running, session)
            return running.result().status, None
        except KernelGone as gone:
            return "kernel_died", str(gone)
        finally:
            running.cancel()
            free.cancel()

    async def _stop(
        self, execution: Execution, running: asyncio.Future[Reply], session: Session
    ) -> tuple[str, str]:
        if not execution.has_begun:
            return "not_run", "the kernel did not come to it in time; it may still run it"
        try:
            await self._jupyter.interrupt(session.kernel_id)
        except (JupyterAway, JupyterRefused) as error:
            return "timed_out", f"it could not be interrupted: {error}"
        await asyncio.wait([running], timeout=INTERRUPT_SECONDS)
        if running.done() and running.exception() is None:
            return "timed_out", "the kernel was interrupted; its variables are kept"
        return "timed_out", "the kernel was interrupted but has not stopped yet"

    @asynccontextmanager
    async def _edited(self, path: str) -> AsyncIterator[Document]:
        async with self._lock(self._edits, path), self._prepared(path) as document:
            yield document

    @asynccontextmanager
    async def _prepared(self, path: str) -> AsyncIterator[Document]:
        """Open the document of a notebook that names its kernel; make it if it is missing."""
        is_new = not await self._jupyter.exists(path)
        if is_new:
            await self._jupyter.make(path)
        async with self._joined(path) as document:
            if not (document.metadata.get("kernelspec") or {}).get("name"):
                language = {"name": "python"}
                document.metadata = {
                    **document.metadata,
                    "kernelspec": PYTHON3,
                    "language_info": language,
                }
            if is_new and _is_blank(document.content["cells"]):
                document.delete_cell(0)
            yield document

    @asynccontextmanager
    async def _joined(self, path: str) -> AsyncIterator[Document]:
        async with joined(
            await self._jupyter.room_of(path), self._jupyter.room.headers
        ) as document:
            yield document

    def path_of(self, notebook: str | None) -> str:
        """Return the intended path below Jupyter's root.

        Raises:
            BadCall
        """
        wanted = (notebook or self._settings.room_id).strip().strip("/")
        pure = PurePosixPath(wanted)
        if not wanted or ".." in pure.parts or "\0" in wanted:
            raise BadCall(f"{notebook!r} is no path of a notebook below JupyterLab's folder.")
        if pure.suffix != ".ipynb":
            raise BadCall(f"{wanted!r} is no notebook; its name must end in .ipynb.")
        return str(pure)

    def _begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start work that goes to its end, even if its caller is cancelled."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.debug("a tool ended with %r", task.exception())

    @staticmethod
    def _lock(locks: "WeakValueDictionary[str, asyncio.Lock]", path: str) -> asyncio.Lock:
        return locks.setdefault(path, asyncio.Lock())


async def _show(
    document: Document, cell_id: str, outputs: Outputs, has_news: asyncio.Event
) -> None:
    """Show outputs as they come, a few times a second."""
    while True:
        await has_news.wait()
        has_news.clear()
        document.show(cell_id, outputs.items)
        await asyncio.sleep(SHOW_SECONDS)


def _cell(kind: str, source: str) -> Json:
    cell: Json = {"id": uuid.uuid4().hex[:8], "cell_type": kind, "source": source, "metadata": {}}
    return cell | ({"outputs": [], "execution_count": None} if kind == "code" else {})


def _not_run(path: str, document: Document, cell_id: str, why: str) -> Ran:
    note = f"{why}; {_NOT_RUN}"
    return Ran(path, document.index_of(cell_id), cell_id, "not_run", note, None, 0.0, ())


def _is_blank(cells: list[Mapping[str, Any]]) -> bool:
    return len(cells) == 1 and not cells[0]["source"] and not cells[0].get("outputs")


def _folder(folder: str) -> str:
    parts = PurePosixPath(folder.strip().strip("/")).parts
    if ".." in parts:
        raise BadCall(f"{folder!r} leads out of JupyterLab's folder.")
    return "/".join(parts)
