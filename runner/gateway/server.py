"""Runs the app in waitress, until a signal, or until the daemon that started it is gone.

Owns sockets, threads and limits of the server. Knows nothing of jobs.
"""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

from waitress import create_server
from waitress.channel import HTTPChannel
from waitress.task import ErrorTask, ThreadedTaskDispatcher

from runner.config import MEGABYTE, Settings
from runner.gateway.app import App
from runner.gateway.http.access import NAMED
from runner.gateway.http.answers import forget, without_route
from runner.jobs.submissions import too_large
from runner.system import door as access
from runner.system.door import CannotListen
from runner.system.processes.allocator import Allocator

log = logging.getLogger(__name__)

FIRST_THREADS = 4
QUICK_THREADS = 16
"""Threads for health, metrics and submits, beside those in which clients wait."""
SPARE_CONNECTIONS = 500
ROOM_CONNECTIONS = 100
"""Idle connections are closed so long before no more are accepted."""
LAST_ANSWERS_SECONDS = 0.3
LOOK_SECONDS = 5.0
DRAINED_BYTES = 64 * MEGABYTE
"""How much of an oversized body is read, so that its sender sees the 413."""


class _Threads(ThreadedTaskDispatcher):  # type: ignore[misc]
    """Makes a thread for each request up to `most` if none is free; idle, it holds a few."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self.set_thread_count(min(FIRST_THREADS, most))

    def add_task(self, task: object) -> None:
        """Queue a task; never raises: if no more threads can be had, the present ones do it."""
        with self.lock:
            self.queue.append(task)
            self.queue_cv.notify()
            working = len(self.threads) - self.stop_count
            is_short = len(self.queue) > working - self.active_count and working < self._most
            before = set(self.threads)
        if not is_short:
            return
        try:
            self.set_thread_count(working + 1)
        except RuntimeError as error:
            log.warning("no more threads for requests than %d: %s", working, error)
            with self.lock:
                self.threads &= before


class _JsonErrorTask(ErrorTask):  # type: ignore[misc]
    def execute(self) -> None:
        error, server = self.request.error, self.channel.server
        problem = None
        if error.code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            is_form = self.request.headers.get("CONTENT_TYPE", "").startswith("multipart/")
            problem = too_large(server.limits, with_files=is_form)
        body = without_route(error.code, error.body, problem)
        self.status = f"{error.code} {error.reason}"
        self.response_headers.append(("Content-Type", "application/json"))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class _Channel(HTTPChannel):  # type: ignore[misc]
    """A connection. It answers a client that has closed its own half after its request.

    From here one that has closed all of it looks the same. What is sent to that one is answered
    with a reset, so it is sent a `100 Continue` (RFC 9110, 15.2), which others pass over.
    """

    error_task_class = _JsonErrorTask
    _is_half_closed = False
    _has_begun_answer = False
    _has_left = False

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        _make_room(self.server.adj.connection_limit, self._map.values())

    @property
    def is_idle(self) -> bool:
        """Whether it can be closed without the loss of an answer."""
        return not (self.requests or self.total_outbufs_len or self.will_close)

    def readable(self) -> bool:
        return not self._is_half_closed and bool(super().readable())

    def handle_read(self) -> None:
        if self.requests and self._is_at_end():
            self._is_half_closed = True
            self._probe()
            if not self.requests:  # answered meanwhile
                self.close_when_flushed = True
            return
        super().handle_read()

    def write_soon(self, data: Any) -> int:
        with self.outbuf_lock:
            self._has_begun_answer = True
        return int(super().write_soon(data))

    def check_client_disconnected(self) -> bool:
        """Return whether nobody is there to read the answer."""
        if self._is_half_closed and not self._has_left and self.connected:
            try:
                self._has_left = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
            except OSError:
                self._has_left = True
        return self._has_left or bool(super().check_client_disconnected())

    def _is_at_end(self) -> bool:
        try:
            return bool(self.socket.recv(1, socket.MSG_PEEK) == b"")
        except OSError:
            return False

    def _probe(self) -> None:
        """Find out whether the client is still there; do not wait for one that gives no sign."""
        with self.outbuf_lock:
            current = self.requests[:1]
            if self._has_begun_answer or not current or current[0].version != "1.1":
                self._has_left = True
                return
            try:
                self.socket.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            except OSError:
                self._has_left = True

    def service(self) -> None:
        """Answer one request to the end of its stream; hold nothing while waiting for another."""
        self._has_begun_answer = False
        try:
            super().service()
        finally:
            forget()
        if self._is_half_closed and not self.requests:
            self.close_when_flushed = True
            self.server.pull_trigger()


def _make_room(most: int, open_now: Iterable[object]) -> None:
    """Close the connections that are idle for longest, so that who comes next finds room."""
    channels = [one for one in open_now if isinstance(one, _Channel) and not one.will_close]
    too_many = len(channels) - (most - ROOM_CONNECTIONS)
    if too_many <= 0:
        return
    idle = sorted((one for one in channels if one.is_idle), key=lambda one: one.last_activity)
    for channel in idle[:too_many]:
        channel.will_close = True


def check_binding(settings: Settings) -> None:
    """Refuse to be open to a network without a token.

    Raises:
        CannotListen
    """
    access.check_binding(access.binding_of(*NAMED, settings.gateway))


def serve(settings: Settings, *, owner: int | None = None) -> None:
    """Answer until SIGTERM or SIGINT, or, beside a daemon, until `owner` reads to its end.

    `owner` is the descriptor of a pipe whose other end only the daemon holds.

    Raises:
        CannotListen: the address is in use, not ours, or not allowed.
    """
    check_binding(settings)
    # Below a warning, it logs every client that leaves early.
    logging.getLogger("waitress").setLevel(logging.WARNING)
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    gateway = settings.gateway
    app = App(settings)
    threading.Thread(target=_keep_small, args=(Allocator(),), daemon=True).start()
    connections = gateway.max_waiting + SPARE_CONNECTIONS
    most = settings.limits.notebook_mb + settings.limits.inputs_mb
    sockets: dict[int, Any] = {}
    try:
        server = create_server(
            app.wsgi,
            map=sockets,
            host=gateway.host,
            port=gateway.port,
            _dispatcher=_Threads(gateway.max_waiting + QUICK_THREADS),
            connection_limit=connections,
            backlog=1024,
            channel_request_lookahead=1,
            max_request_body_size=int(most * MEGABYTE) + DRAINED_BYTES,
            asyncore_use_poll=True,
            ident="inbox-runner",
            clear_untrusted_proxy_headers=True,
        )
    except (OSError, ValueError) as error:
        raise CannotListen(
            "the page and HTTP have no address: the gateway cannot listen on "
            f"{gateway.host}:{gateway.port} ({error}). Give another port, such as "
            f"GATEWAY_PORT={gateway.port % 65535 + 1} before the command, or gateway.port in the "
            "settings"
        ) from error
    for listening in sockets.values():
        if hasattr(listening, "channel_class"):
            listening.channel_class = _Channel
            listening.limits = settings.limits
    end = _ender(app)
    signal.signal(signal.SIGTERM, lambda *_: end())
    signal.signal(signal.SIGINT, signal.SIG_IGN if owner is not None else lambda *_: end())
    if owner is not None:
        threading.Thread(target=_await_end, args=(owner, end), daemon=True).start()
    for host, port in _addresses(server):
        log.info("gateway at http://%s:%s", host, port)
    try:
        server.run()
    finally:
        app.arrivals.close()
        for process in app.aside:
            process.close()


def _ender(app: App) -> Callable[[], None]:
    """Make a function that answers waiting clients with a job id, and then ends the loop."""

    def leave(*_: object) -> None:
        raise SystemExit

    signal.signal(signal.SIGALRM, leave)

    def end() -> None:
        app.arrivals.close()
        signal.setitimer(signal.ITIMER_REAL, LAST_ANSWERS_SECONDS)

    return end


def _keep_small(allocator: Allocator) -> None:
    """Keep no memory of the reports of megabytes that pass through."""
    while True:
        allocator.look()
        time.sleep(LOOK_SECONDS)


def _await_end(owner: int, end: Callable[[], None]) -> None:
    while os.read(owner, 65536):
        pass
    end()


def _addresses(server: Any) -> list[tuple[str, int]]:
    addresses = getattr(server, "effective_listen", None)
    return addresses or [(server.effective_host, server.effective_port)]
