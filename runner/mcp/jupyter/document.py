"""A notebook that is open in JupyterLab, as one more client of its collaboration room.

Owns the connection and never loses an edit silently: when `settle` returns, the server has the
edits and has saved them. Runs no code.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from jupyter_nbmodel_client import NotebookModel
from pycrdt import (
    Array,
    Decoder,
    Encoder,
    Map,
    Text,
    YMessageType,
    YSyncMessageType,
    create_awareness_message,
    create_sync_message,
    create_update_message,
    handle_sync_message,
)
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, WebSocketException

from runner.mcp.answers import ToolError

Json = dict[str, Any]

RAW = 2
"""Message type of jupyter-collaboration's own: JSON, such as a wish to save and its answer."""
UNREADABLE = "Error initializing:"
"""How a room's last word on a file begins that is no notebook."""
SYNC_SECONDS = 20
SAVE_LOOKS = 50
SAVE_LOOK_SECONDS = 0.1
MESSAGE_BYTES = 256 * 1024 * 1024
AGENT = {
    "username": "inbox-runner",
    "name": "Agent",
    "display_name": "Agent",
    "initials": "AI",
    "color": "var(--jp-collaborator-color1)",
}
"""Name under which people in JupyterLab see this client."""


class DocumentLost(ToolError):
    """The room closed the connection or does not answer; the message says which."""


class Unreadable(DocumentLost):
    """The file is no notebook; the message names it."""


class Document(NotebookModel):  # type: ignore[misc]
    """The shared notebook while connected. Use it in the event loop's thread only.

    The library's client would take a room that closed, or never answers, for an empty notebook.
    """

    def __init__(self, websocket: ClientConnection) -> None:
        super().__init__()
        self._websocket = websocket
        self._outgoing: asyncio.Queue[bytes] = asyncio.Queue()
        self._answers: dict[str, asyncio.Queue[str]] = {"sync": asyncio.Queue()}
        self._answers["save"] = asyncio.Queue()
        self._lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._changed = self._is_taking = False
        self._saves = 0

    async def settle(self) -> None:
        """Wait until the server has every edit and has written the notebook to its disk.

        Raises:
            DocumentLost: not sure.
        """
        await self._sync()
        if self._changed:
            await self.refresh()

    async def refresh(self) -> None:
        """Let the server write the notebook; or read it, if its file was changed on the disk.

        What the file does not have is gone from the document then: `index_of` tells.

        Raises:
            DocumentLost: not sure.
        """
        for _ in range(SAVE_LOOKS):
            self._saves += 1
            self._outgoing.put_nowait(_wish_to_save(self._saves))
            answer = await self._answer("save")
            if answer == "failed":
                raise DocumentLost("JupyterLab could not write the notebook to its disk")
            if answer == "success":
                self._changed = False
                await self._sync()
                return
            await asyncio.sleep(SAVE_LOOK_SECONDS)  # it was writing already

    async def _sync(self) -> None:
        self._outgoing.put_nowait(create_sync_message(self._doc.ydoc))
        await self._answer("sync")

    def index_of(self, cell_id: str) -> int | None:
        """Return a cell's present place; None if somebody removed it."""
        ids = (cell.get("id") for cell in self._doc.ycells)
        return next((index for index, present in enumerate(ids) if present == cell_id), None)

    def code_of(self, cell_id: str) -> str | None:
        """Return a code cell's present source; None if somebody removed it, or made it text."""
        index = self.index_of(cell_id)
        cell = None if index is None else self._doc.ycells[index]
        return None if cell is None or cell["cell_type"] != "code" else str(cell["source"])

    def begin(self, cell_id: str) -> None:
        """Mark a code cell as running."""
        self._change(cell_id, execution_state="running", execution_count=None)

    def end(self, cell_id: str, execution_count: int | None) -> None:
        """Mark it as no longer running."""
        self._change(cell_id, execution_state="idle", execution_count=execution_count)

    def show(self, cell_id: str, outputs: list[Json]) -> None:
        """Set a code cell's outputs, and touch only the different ones."""
        index = self.index_of(cell_id)
        if index is None:
            return
        present: Array[Any] = self._doc.ycells[index]["outputs"]
        with self._doc.ydoc.transaction():
            for place, output in enumerate(outputs):
                if place < len(present) and _grow(present[place], output):
                    continue
                del present[place:]
                present.extend(self._doc._create_youtputs(outputs[place:]))
                return
            del present[len(outputs) :]

    def remove(self, index: int) -> None:
        """Remove a cell."""
        with self._doc.ydoc.transaction():
            del self._doc.ycells[index]

    def move(self, index: int, to: int) -> None:
        """Give a cell another place: as JupyterLab does, by a copy with its id."""
        cell = self.cells[index]
        with self._doc.ydoc.transaction():
            del self._doc.ycells[index]
            self._doc.ycells.insert(to, self._doc.create_ycell(cell))

    def clear(self, index: int) -> None:
        """Remove a code cell's outputs."""
        cell = self._doc.ycells[index]
        if "outputs" in cell:
            with self._doc.ydoc.transaction():
                del cell["outputs"][:]
                cell["execution_count"] = None

    def tag(self, index: int, tags: Sequence[str]) -> None:
        """Set a cell's tags."""
        with self._doc.ydoc.transaction():
            self._doc.ycells[index]["metadata"]["tags"] = list(tags)

    def rewrite(self, index: int, source: str) -> None:
        """Set a cell's source, and touch only the different part: others may type in the rest."""
        text: Text = self._doc.ycells[index]["source"]
        before = str(text)
        start = _same(before, source)
        rest = min(len(before), len(source)) - start
        end = min(_same(before[::-1], source[::-1]), rest)
        with self._doc.ydoc.transaction():
            # Places in a shared text count bytes.
            first = len(before[:start].encode())
            last = len(before[: len(before) - end].encode())
            if last > first:
                del text[first:last]
            if new := source[start : len(source) - end]:
                text.insert(first, new)

    def _change(self, cell_id: str, **values: object) -> None:
        index = self.index_of(cell_id)
        if index is not None:
            with self._doc.ydoc.transaction():
                self._doc.ycells[index].update(values)

    @property
    def content(self) -> Json:
        """The notebook as it is now (nbformat)."""
        content: Json = self._doc.source
        return content

    @property
    def cells(self) -> list[Json]:
        """Its cells (nbformat), each with its id and `execution_state`."""
        cells: list[Json] = []
        for cell, shared in zip(self._doc.source["cells"], self._doc.ycells, strict=True):
            state = shared.get("execution_state")
            cells.append({**cell, "id": shared.get("id"), "execution_state": state})
        return cells

    async def _answer(self, kind: str) -> str:
        """Return the room's next answer.

        Raises:
            DocumentLost: there is none.
        """
        answer = asyncio.ensure_future(self._answers[kind].get())
        try:
            await asyncio.wait(
                [answer, self._lost], timeout=SYNC_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            if answer.done():
                return answer.result()
        finally:
            answer.cancel()
        if self._lost.done() and self._lost.result().startswith(UNREADABLE):
            name = self._lost.result().removeprefix(UNREADABLE).strip(" .")
            raise Unreadable(f"JupyterLab cannot read {name!r} as a notebook")
        if self._lost.done():
            raise DocumentLost(f"JupyterLab closed the notebook: {self._lost.result()}")
        raise DocumentLost(f"JupyterLab did not answer within {SYNC_SECONDS} s")

    async def _open(self) -> None:
        await self._sync()
        self._fix_model()
        self._doc.ydoc.observe(self._on_change)
        self._show_presence(AGENT)

    def _on_change(self, event: Any) -> None:
        if self._is_taking:
            return  # an edit of others, which the room has
        self._changed = True
        self._outgoing.put_nowait(create_update_message(event.update))

    def _show_presence(self, user: Json | None) -> None:
        awareness = self._doc.awareness
        if user is None:
            awareness.set_local_state(None)
        else:
            awareness.set_local_state_field("user", user)
        update = awareness.encode_awareness_update([awareness.client_id])
        self._outgoing.put_nowait(create_awareness_message(update))

    async def _receive(self) -> None:
        reason = "the connection ended"
        try:
            async for message in self._websocket:
                if isinstance(message, bytes) and message:
                    self._take(message)
            reason = self._websocket.close_reason or reason
        except WebSocketException as error:
            reason = self._websocket.close_reason or str(error)
        finally:
            if not self._lost.done():
                self._lost.set_result(reason)

    def _take(self, message: bytes) -> None:
        if message[0] == YMessageType.SYNC:
            self._is_taking = True
            try:
                reply = handle_sync_message(message[1:], self._doc.ydoc)
            finally:
                self._is_taking = False
            if message[1] == YSyncMessageType.SYNC_STEP2:
                self._answers["sync"].put_nowait("done")
            if reply is not None:
                self._outgoing.put_nowait(reply)
        elif message[0] == RAW:
            answer = json.loads(Decoder(message[1:]).read_var_string())
            if answer.get("type") == "save" and answer.get("responseTo") == self._saves:
                self._answers["save"].put_nowait(str(answer.get("status")))

    async def _send(self) -> None:
        """Send messages in order: an answer to the last one answers all before it."""
        with suppress(WebSocketException):  # the receiver tells why
            while True:
                await self._websocket.send(await self._outgoing.get())

    async def _leave(self) -> None:
        self._show_presence(None)
        for _ in range(100):
            if self._outgoing.empty() or self._lost.done():
                break
            await asyncio.sleep(0.01)


@asynccontextmanager
async def joined(url: str, headers: Mapping[str, str]) -> AsyncIterator[Document]:
    """Join a room, and yield its document once it is complete; leave at the end.

    Raises:
        DocumentLost: it cannot be joined.
    """
    try:
        websocket = await connect(
            url, additional_headers=headers, max_size=MESSAGE_BYTES, open_timeout=SYNC_SECONDS
        )
    except (OSError, TimeoutError, InvalidHandshake) as error:
        raise DocumentLost(f"the notebook cannot be opened in JupyterLab ({error})") from error
    document = Document(websocket)
    running = [asyncio.create_task(document._receive()), asyncio.create_task(document._send())]
    try:
        await document._open()
        yield document
        await document._leave()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await websocket.close()


def _same(one: str, other: str) -> int:
    """Return how many characters two texts begin with in common."""
    pairs = zip(one, other, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _grow(present: Map[Any], output: Json) -> bool:
    """Return whether a shown output is this one, or became it by later prints."""
    if output["output_type"] == "stream" and present.get("name") == output["name"]:
        text: Text = present["text"]
        had = str(text)
        if not output["text"].startswith(had):
            return False
        if len(output["text"]) > len(had):
            text += output["text"][len(had) :]
        return True
    return bool(present.to_py() == output)


def _wish_to_save(number: int) -> bytes:
    encoder = Encoder()
    encoder.write_var_uint(RAW)
    encoder.write_var_string("save")
    encoder.write_var_uint(number)
    return encoder.to_bytes()
