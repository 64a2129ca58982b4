"""Jupyter's REST API, as far as the tools need it: files, kernels of notebooks, rooms.

Every failure becomes a sentence that says what to do. Never writes to an existing notebook: a room
that has it open would lose that silently.
"""

import asyncio
import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

import httpx2

from runner.config import Mcp
from runner.mcp.answers import ToolError

Json = dict[str, Any]

CONNECT_SECONDS = 5
ANSWER_SECONDS = 30
HEALTH_SECONDS = 4
AGAIN_SECONDS = 0.3
"""Pause before a question that Jupyter stumbled over is put once more."""
LISTED_NOTEBOOKS = 500
LOOKED_FOLDERS = 300
FLAW_CHARACTERS = 200
_FLAW = re.compile(r"\b[A-Z]\w*(?:Error|Exception)\b.*", re.S)
"""Matches the cause in Jupyter's words, without the path before it."""
_SKIPPED = frozenset({".ipynb_checkpoints", "__pycache__", "node_modules"})
PYTHON3 = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}


class JupyterAway(ToolError):
    """Jupyter cannot be reached; the message names the address."""


class JupyterRefused(ToolError):
    """Jupyter refuses a request: `status, message`."""

    def __str__(self) -> str:
        return str(self.args[1])


@dataclass(frozen=True)
class Found:
    """A notebook below Jupyter's root."""

    path: str
    last_modified: str | None
    bytes: int | None


@dataclass(frozen=True)
class Listing:
    """A list of notebooks, and whether there may be more."""

    notebooks: tuple[Found, ...]
    is_cut: bool
    is_outbox_hidden: bool = False
    """Whether the runner's copies were left out."""


@dataclass(frozen=True)
class Session:
    """A notebook's kernel, the same for people and agents."""

    id: str
    kernel_id: str
    kernel: str
    state: str


@cache
def _trusted() -> ssl.SSLContext:
    """Load the system's certificates once: that takes longer than a request."""
    return httpx2.create_ssl_context()


class Server:
    """One Jupyter server."""

    def __init__(self, url: str, token: str | None, setting: str) -> None:
        """Set it up. `setting` names the setting to correct if `url` is wrong."""
        self.url = url.rstrip("/")
        self.headers = {"Authorization": f"token {token}"} if token else {}
        self._setting = setting

    @property
    def shown(self) -> str:
        """Its address, without a possible secret in it."""
        parts = urlsplit(self.url)
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit((parts.scheme, host, parts.path, "", ""))

    def websocket(self, path: str, query: Mapping[str, str] | None = None) -> str:
        """Return the address of a socket of its API."""
        suffix = f"?{urlencode(query)}" if query else ""
        return f"ws{self.url.removeprefix('http')}/api/{path}{suffix}"

    async def ask(
        self, method: str, path: str, body: object = None, *, seconds: float = ANSWER_SECONDS
    ) -> Any:
        """Return the JSON of an answer; None if it has none.

        Raises:
            JupyterAway, JupyterRefused
        """
        timeout = httpx2.Timeout(seconds, connect=min(CONNECT_SECONDS, seconds))
        url = f"{self.url}/api/{path}"
        try:
            async with httpx2.AsyncClient(
                headers=self.headers, timeout=timeout, verify=_trusted()
            ) as client:
                answer = await client.request(method, url, json=body)
                if method == "GET" and answer.status_code == 500:  # a file went while it looked
                    await asyncio.sleep(AGAIN_SECONDS)
                    answer = await client.request(method, url)
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            why = str(error) or type(error).__name__
            raise JupyterAway(
                f"Jupyter cannot be reached at {self.shown} ({why}); start JupyterLab, "
                f"or set {self._setting} (mcp.{self._setting.lower()})"
            ) from error
        if answer.status_code in (401, 403):
            raise JupyterRefused(
                answer.status_code,
                f"Jupyter at {self.shown} refuses the token; set ROOM_TOKEN (RUNTIME_TOKEN) "
                "or JUPYTER_TOKEN to that of JupyterLab",
            )
        if not answer.is_success:
            raise JupyterRefused(answer.status_code, _reason(answer))
        return answer.json() if answer.content else None


class Jupyter:
    """The server of the notebooks, and the server of their kernels; mostly the same one."""

    def __init__(self, settings: Mcp, outbox: str = "") -> None:
        """Set it up. `outbox` names a folder of copies, which are not listed."""
        self._outbox = outbox
        self.room = Server(settings.room_url, settings.room_secret, "ROOM_URL")
        self.runtime = self.room
        if settings.runtime_url or settings.runtime_secret != settings.room_secret:
            url = settings.runtime_url or settings.room_url
            setting = "RUNTIME_URL" if settings.runtime_url else "ROOM_URL"
            self.runtime = Server(url, settings.runtime_secret, setting)

    async def trouble(self) -> str | None:
        """Say why the tools on live notebooks would fail now; None if they would not."""
        same = (self.room.url, self.room.headers) == (self.runtime.url, self.runtime.headers)
        try:
            for server in (self.room,) if same else (self.room, self.runtime):
                await server.ask("GET", "status", seconds=HEALTH_SECONDS)
        except (JupyterAway, JupyterRefused) as error:
            return str(error)
        return None

    async def exists(self, path: str) -> bool:
        """Return whether there is a notebook at a path.

        Raises:
            JupyterAway, JupyterRefused: also for a folder.
        """
        try:
            entry = await self.room.ask("GET", f"contents/{quote(path)}?content=0")
        except JupyterRefused as refused:
            if refused.args[0] == 404:
                return False
            raise
        if entry["type"] != "notebook":
            raise JupyterRefused(400, f"{path!r} is a {entry['type']}, not a notebook")
        return True

    async def flaw_of(self, path: str) -> str | None:
        """Say why a file cannot be read as a notebook; None if that is not known."""
        try:
            await self.room.ask("GET", f"contents/{quote(path)}?content=1&type=notebook")
        except (JupyterAway, JupyterRefused) as error:
            found = _FLAW.search(str(error))
            return None if found is None else found[0][:FLAW_CHARACTERS].strip(" .")
        return None

    async def make(self, path: str) -> None:
        """Make a notebook without cells, for a Python kernel, and the folders above it.

        Raises:
            JupyterAway, JupyterRefused
        """
        folders = path.split("/")[:-1]
        for depth in range(1, len(folders) + 1):
            await self._make_folder("/".join(folders[:depth]))
        content = {
            "cells": [],
            "metadata": {"kernelspec": PYTHON3, "language_info": {"name": "python"}},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
        body = {"type": "notebook", "format": "json", "content": content}
        await self.room.ask("PUT", f"contents/{quote(path)}", body)

    async def _make_folder(self, path: str) -> None:
        try:
            await self.room.ask("GET", f"contents/{quote(path)}?content=0")
        except JupyterRefused as refused:
            if refused.args[0] != 404:
                raise
            await self.room.ask("PUT", f"contents/{quote(path)}", {"type": "directory"})

    async def list(self, folder: str = "") -> Listing:
        """List the notebooks below a folder, by path, without hidden folders and, from
        the root, the outbox.

        Raises:
            JupyterAway, JupyterRefused
        """
        notebooks: list[Found] = []
        pending = [folder.strip("/")]
        looked = 0
        is_outbox_hidden = False
        while pending and looked < LOOKED_FOLDERS and len(notebooks) < LISTED_NOTEBOOKS:
            here = pending.pop(0)
            looked += 1
            for entry in await self._entries(here, is_wanted=looked == 1):
                name = entry["name"]
                if entry["type"] == "notebook":
                    notebooks.append(Found(entry["path"], entry["last_modified"], entry["size"]))
                elif entry["path"] == self._outbox:
                    is_outbox_hidden = True
                elif entry["type"] == "directory" and not _is_skipped(name):
                    pending.append(entry["path"])
        is_cut = bool(pending) or len(notebooks) > LISTED_NOTEBOOKS
        listed = sorted(notebooks, key=lambda one: one.path)[:LISTED_NOTEBOOKS]
        return Listing(tuple(listed), is_cut, is_outbox_hidden)

    async def _entries(self, folder: str, *, is_wanted: bool) -> Sequence[Json]:
        """Return what a folder has; a folder below the wanted one may go meanwhile."""
        path = f"contents/{quote(folder)}?content=1&type=directory"
        try:
            entries: Sequence[Json] = (await self.room.ask("GET", path))["content"] or []
        except JupyterRefused as refused:
            if is_wanted or refused.args[0] != 404:
                raise
            return ()
        return entries

    async def sessions(self) -> dict[str, Session]:
        """Return the notebooks that have a kernel now, by path.

        Raises:
            JupyterAway, JupyterRefused
        """
        answer = await self.runtime.ask("GET", "sessions")
        return {one["path"]: _session(one) for one in answer if one.get("kernel")}

    async def session(self, path: str, kernel: str) -> Session:
        """Return a notebook's kernel, a person's too; start one if it has none.

        Raises:
            JupyterAway, JupyterRefused
        """
        body = {
            "path": path,
            "name": path.rpartition("/")[2],
            "type": "notebook",
            "kernel": {"name": kernel},
        }
        return _session(await self.runtime.ask("POST", "sessions", body))

    async def interrupt(self, kernel_id: str) -> None:
        """Interrupt a kernel.

        Raises:
            JupyterAway, JupyterRefused
        """
        await self.runtime.ask("POST", f"kernels/{quote(kernel_id)}/interrupt")

    async def restart(self, kernel_id: str) -> None:
        """Restart a kernel; its variables are lost.

        Raises:
            JupyterAway, JupyterRefused
        """
        await self.runtime.ask("POST", f"kernels/{quote(kernel_id)}/restart")

    async def shut_down(self, session: Session) -> None:
        """End a notebook's session, with its kernel.

        Raises:
            JupyterAway, JupyterRefused
        """
        await self.runtime.ask("DELETE", f"sessions/{quote(session.id)}")

    async def give_kernel(self, session: Session, kernel: Mapping[str, str]) -> None:
        """Give a session another kernel: a new one by `name`, or a running one by `id`.

        Raises:
            JupyterAway, JupyterRefused
        """
        await self.runtime.ask("PATCH", f"sessions/{quote(session.id)}", {"kernel": dict(kernel)})

    async def kernels(self) -> dict[str, Json]:
        """Return the running kernels by id (Jupyter's JSON).

        Raises:
            JupyterAway, JupyterRefused
        """
        return {one["id"]: one for one in await self.runtime.ask("GET", "kernels")}

    async def kernelspecs(self) -> dict[str, Json]:
        """Return the installed kernelspecs by name (Jupyter's JSON).

        Raises:
            JupyterAway, JupyterRefused
        """
        specs: dict[str, Json] = (await self.runtime.ask("GET", "kernelspecs"))["kernelspecs"]
        return {name: one["spec"] for name, one in specs.items()}

    async def room_of(self, path: str) -> str:
        """Return the address of a notebook's room.

        Raises:
            JupyterAway, JupyterRefused: also where jupyter-collaboration is missing.
        """
        body = {"format": "json", "type": "notebook"}
        try:
            session = await self.room.ask("PUT", f"collaboration/session/{quote(path)}", body)
        except JupyterRefused as refused:
            if refused.args[0] in (404, 405):
                raise JupyterRefused(
                    refused.args[0],
                    f"JupyterLab cannot share {path!r}; it needs jupyter-collaboration "
                    "in its own environment",
                ) from refused
            raise
        room = f"{session['format']}:{session['type']}:{session['fileId']}"
        query = {"sessionId": session["sessionId"]}
        return self.room.websocket(f"collaboration/room/{quote(room, safe=':')}", query)


def _is_skipped(name: str) -> bool:
    return name.startswith(".") or name in _SKIPPED


def _session(answer: Mapping[str, Any]) -> Session:
    kernel = answer["kernel"]
    state = str(kernel.get("execution_state") or "unknown")
    return Session(str(answer["id"]), kernel["id"], kernel["name"], state)


def _reason(answer: httpx2.Response) -> str:
    try:
        message = answer.json().get("message")
    except (ValueError, AttributeError):
        message = None
    return f"Jupyter says {answer.status_code}: {message or answer.reason_phrase}"
