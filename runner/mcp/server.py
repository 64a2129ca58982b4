"""The MCP server: tools and resources over HTTP at `/mcp`, or over stdin and stdout.

Owns the addresses, who gets in, health and the end. Needs neither Jupyter nor an inbox to start.
"""

import asyncio
import json
import logging
import os
import signal
import socket
from typing import Any

import anyio
import uvicorn
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types import (
    SubscribeRequestParams,
    SubscriptionsListenRequestParams,
    UnsubscribeRequestParams,
)
from starlette.datastructures import Headers, QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from runner import __version__
from runner.config import MEGABYTE, Mcp, Settings
from runner.mcp.cancels import Cancels
from runner.mcp.discovery import DESCRIPTION, TITLE, card, is_for_all, is_oauth, no_oauth
from runner.mcp.jupyter.api import Jupyter
from runner.mcp.jupyter.rooms import Rooms
from runner.mcp.notebooks import tools as notebook_tools
from runner.mcp.notebooks.activities import Activities
from runner.mcp.notebooks.editing import Editor
from runner.mcp.notebooks.kernels import Kernels
from runner.mcp.notebooks.live import Live, Times
from runner.mcp.runs import tools as runner_tools
from runner.mcp.runs.backend import Runs
from runner.mcp.runs.jobs import Jobs
from runner.mcp.runs.library_tools import LibraryTools, ToolChanges
from runner.mcp.runs.tasks import Tasks
from runner.mcp.runs.watching import Watching
from runner.mcp.tool_server import ToolServer, only
from runner.system.door import CannotListen, Denial, Door, binding_of, check_binding
from runner.system.files.disk import Disk

log = logging.getLogger(__name__)

SERVICE = "jupyter-mcp-server"
PROTOCOL_PATH = "/mcp"
HEALTH_PATH = "/health"
OTHER_BYTES = MEGABYTE
"""Most bytes of a request beside the notebook in it."""
PLAIN_BYTES = 64 * 1024
LAST_ANSWERS_SECONDS = 1
GROUPS = ("notebooks", "runs")
"""Values of `?only=` in the server's address."""
NOISY = (
    "mcp",
    "uvicorn",
    "httpx2",
    "httpcore2",
    "websockets",
    "websocket",
    "jupyter_kernel_client",
)
INSTRUCTIONS = """\
Two groups of tools. On live notebooks in JupyterLab, whose kernel keeps its variables and where
people see every change: read_notebook, read_cell, insert_cell, edit_cell, run_cells, execute_code
and others. For whole notebooks that run unattended in a fresh kernel, with parameters:
list_library, run_notebook, get_job, list_jobs, cancel_job, check_notebook, schedules; library
notebooks that are marked as tools are tools of their own. Cells are named by id, or by index
from 0. Try things out live; run what works, and whatever is long, with run_notebook."""


class Service:
    """The tools over one JupyterLab and one set of folders."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._jupyter = Jupyter(settings.mcp, settings.outbox.name)
        self._closing = asyncio.Event()
        self._jobs = Jobs(settings, self._closing, Disk())
        live = self._live(settings.mcp, settings.notebooks.name)
        functions = self._jobs.functions
        changes = ToolChanges(functions)
        self.server = ToolServer(
            name=SERVICE,
            title=TITLE,
            description=DESCRIPTION,
            instructions=INSTRUCTIONS,
            version=__version__,
            subscriptions=changes,
            extensions=[Tasks(self._jobs, lambda job: runs.answer(job, failed_is_error=True))],
        )
        self.server.old_names = notebook_tools.OLD_NAMES
        self.server.add_group(GROUPS[0], lambda: notebook_tools.register(self.server, live))
        runs = Runs(self._jobs, live.rooms, settings.mcp.wait_seconds, settings.results.tag)
        self.server.add_group(GROUPS[1], lambda: runner_tools.register(self.server, runs))
        library = LibraryTools(functions, runs, lambda: self.server.own_names)
        self.server.add_more(GROUPS[1], library)
        self._watching = Watching(self._jobs, changes)
        self.server.answer_requests(
            "subscriptions/listen", SubscriptionsListenRequestParams, self._watching.listen
        )

    def _live(self, settings: Mcp, library: str) -> Live:
        rooms = Rooms(self._jupyter, settings.room_id, library)
        activities = Activities(rooms, self._jupyter, self._closing, settings.cell_seconds)
        return Live(
            self._jupyter,
            rooms,
            Editor(rooms),
            activities,
            Kernels(self._jupyter, rooms, activities),
            Times(settings.wait_seconds, settings.cell_seconds),
        )

    def app(self) -> ASGIApp:
        """Build the HTTP app, behind the door."""
        self.server.custom_route(HEALTH_PATH, methods=["GET"])(self._health)
        self.server.custom_route("/", methods=["GET"])(self._greet)
        self.server.custom_route("/", methods=["POST"])(self._plain)
        limit = int(self._settings.limits.notebook_mb * MEGABYTE) + OTHER_BYTES
        app = self.server.streamable_http_app(
            streamable_http_path=PROTOCOL_PATH,
            stateless_http=True,  # so that no client is lost when the server starts anew
            max_request_body_size=limit,
            # The door looks at hosts and origins, for every path and not for this one only.
            transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
        )
        return Doorkeeper(Cancels(app), self._settings.mcp)

    async def over_stdio(self) -> None:
        """Answer the one client of stdin and stdout, for which more can be kept."""
        watching = self._watching
        self.server.answer_requests(
            "resources/subscribe", SubscribeRequestParams, watching.subscribe
        )
        self.server.answer_requests(
            "resources/unsubscribe", UnsubscribeRequestParams, watching.unsubscribe
        )
        await self.server.run_stdio_async()

    def close(self) -> None:
        """End all waits."""
        self._closing.set()

    async def _health(self, _: Request) -> Response:
        """Answer 503 while the tools on live notebooks would fail; report the runner beside it."""
        reason = await self._jupyter.trouble()
        runner = await self._jobs.health()
        content: dict[str, Any] = {
            "status": "healthy" if reason is None else "unhealthy",
            "service": SERVICE,
            "version": __version__,
            "reasons": [] if reason is None else [reason],
            "jupyter": {"url": self._jupyter.room.shown, "reachable": reason is None},
            "runner": {"status": runner.content["status"], "reasons": list(runner.reasons)},
        }
        return JSONResponse(content, 200 if reason is None else 503)

    async def _greet(self, _: Request) -> Response:
        where = {"protocol": PROTOCOL_PATH, "health": HEALTH_PATH}
        return JSONResponse({"service": SERVICE, "version": __version__, **where})

    async def _plain(self, request: Request) -> Response:
        """List the tools for clients without the protocol's handshake."""
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > PLAIN_BYTES:
                return _rpc_error(None, -32600, "This is more than a list of tools needs.", 413)
        try:
            question = json.loads(body)
        except (ValueError, RecursionError):
            question = None
        if not isinstance(question, dict):
            return _rpc_error(None, -32700, "Send a JSON object, such as {method, params}.", 400)
        if question.get("method") != "tools/list":
            text = f"Only tools/list is answered here; the protocol is at {PROTOCOL_PATH}."
            return _rpc_error(question.get("id"), -32601, text, 404)
        tools = [
            tool.model_dump(mode="json", by_alias=True, exclude_none=True)
            for tool in await self.server.list_tools()
        ]
        return JSONResponse(
            {"jsonrpc": "2.0", "id": question.get("id"), "result": {"tools": tools}}
        )


class HttpServer(uvicorn.Server):
    """uvicorn, with a last word to waiting clients before it closes their connections."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Shut down as uvicorn does; connections cut off then are no fault to be logged."""
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        self._service.close()
        await super().shutdown(sockets)


class Doorkeeper:
    """Applies the rules of the door to every request before anything else."""

    def __init__(self, app: ASGIApp, settings: Mcp) -> None:
        self._app = app
        self._door = Door(settings.host, settings.allowed_hosts, settings.secret)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, in ASGI's form."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value for name, value in Headers(scope=scope).items()}
        path = scope["path"]
        is_health = path == HEALTH_PATH
        is_open = is_health or is_for_all(path)
        denial = self._door.denial(headers, is_open=is_open, is_health=is_health)
        if denial is not None:
            await _denied(denial, headers)(scope, receive, send)
            return
        if is_for_all(path):
            found = card(headers, scope["scheme"], PROTOCOL_PATH) if not is_oauth(path) else None
            await (found or no_oauth())(scope, receive, send)
            return
        group = QueryParams(scope["query_string"]).get("only")
        if group not in (None, *GROUPS):
            text = f"`only` is one of {', '.join(GROUPS)}; without it all tools are listed."
            await _rpc_error(None, -32602, text, 400)(scope, receive, send)
            return
        token = only.set(group)
        try:
            await self._app(scope, receive, send)
        finally:
            only.reset(token)


def serve(settings: Settings) -> None:
    """Answer over HTTP until SIGTERM or SIGINT.

    Raises:
        CannotListen: the address is in use, not ours, or not allowed.
    """
    check_binding(binding_of("the MCP server", "mcp", settings.mcp))
    _hush()
    service = Service(settings)
    listening = _listen(settings.mcp)
    host, port = listening.getsockname()[:2]
    name = f"[{host}]" if ":" in host else host
    config = uvicorn.Config(
        service.app(),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=LAST_ANSWERS_SECONDS,
    )
    # uvicorn gives its signals back when it has ended; then they mean nothing any more.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    log.info("MCP at http://%s:%s%s", name, port, PROTOCOL_PATH)
    HttpServer(config, service).run([listening])


def serve_stdio(settings: Settings) -> None:
    """Answer over stdin and stdout until stdin ends, or a signal comes."""
    _hush()
    service = Service(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        # At once: a thread waits for stdin and cannot be called away from there.
        signal.signal(number, lambda *_: os._exit(0))
    anyio.run(service.over_stdio)


def _hush() -> None:
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)


def _listen(settings: Mcp) -> socket.socket:
    try:
        addresses = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, _, _, _, address = addresses[0]
        return socket.create_server(address[:2], family=family, backlog=256)
    except OSError as error:
        raise CannotListen(
            f"the MCP server cannot listen on {settings.host}:{settings.port} ({error}); "
            "choose another mcp.port (MCP_PORT)"
        ) from error


def _denied(denial: Denial, headers: dict[str, str]) -> Response:
    if denial is Denial.TOKEN:
        text = "Send the server's token (MCP_TOKEN): `Authorization: Bearer TOKEN`."
        return _rpc_error(None, -32001, text, 401, {"WWW-Authenticate": "Bearer"})
    if denial is Denial.ORIGIN:
        return _rpc_error(None, -32001, "Requests from pages of other sites are not answered.", 403)
    text = (
        f"The Host {headers.get('host', '')[:200]!r} is not known here. Add its name to "
        "mcp.allowed_hosts (MCP_ALLOWED_HOSTS) and start the server again."
    )
    return _rpc_error(None, -32001, text, 403)


def _rpc_error(
    request_id: object, code: int, text: str, status: int, headers: dict[str, str] | None = None
) -> Response:
    error = {"code": code, "message": text}
    return JSONResponse({"jsonrpc": "2.0", "id": request_id, "error": error}, status, headers)
