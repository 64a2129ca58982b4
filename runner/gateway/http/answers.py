"""Builds the gateway's answers: JSON, downloads, events, and the response to known exceptions.

Knows bottle and nothing of jobs. The routes decide which answer is due.
"""

import json
import logging
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from bottle import HTTPError, HTTPResponse, request, response

from runner.contract.outcome import Refused
from runner.contract.states.status import ErrorType
from runner.contract.text.strict_json import dumps, dumps_compact
from runner.gateway.http.negotiation import VARY
from runner.gateway.http.problems import HttpProblem, HttpProblemType, bad, headers_of, status_of
from runner.jobs.problem import Problem, ProblemType, gone, refused, unavailable

log = logging.getLogger(__name__)

CHUNK = 64 * 1024
HEARTBEAT_LOOKS = 15
"""So many looks without news, and a stream shows that it lives."""

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
}


def json_answer(
    status: int, content: object, headers: Mapping[str, str] | None = None
) -> HTTPResponse:
    """Answer with strict JSON and the common headers."""
    return text_answer(status, dumps(content), headers)


def text_answer(status: int, text: bytes, headers: Mapping[str, str] | None = None) -> HTTPResponse:
    """Do the same with text that is strict JSON already."""
    own = {**HEADERS, **VARY, "Content-Type": "application/json"}
    return HTTPResponse(text.rstrip() + b"\n", status, {**own, **(headers or {})})


def see_other(url: str) -> HTTPResponse:
    """Redirect with a GET, after a form."""
    return HTTPResponse(b"", 303, {**HEADERS, **VARY, "Location": url})


def told(problem: Problem) -> HTTPResponse:
    """Answer with a problem as programs read it."""
    return json_answer(status_of(problem), problem.content, headers_of(problem))


def plainly(
    answer: Callable[..., HTTPResponse], tell: Callable[[Problem], HTTPResponse] = told
) -> Callable[..., HTTPResponse]:
    """Turn known exceptions into a response, as `tell` makes it; anything else becomes a 500."""

    def wrapped(**arguments: str) -> HTTPResponse:
        try:
            return answer(**arguments)
        except Refused as refusal:
            problem = refused(refusal)
        except Problem as known:
            problem = known
        except OSError as error:
            log.warning("%s %s: %s", request.method, request.path, error)
            problem = unavailable(f"The folders cannot be used: {error.strerror or error}.")
        return tell(problem)

    return wrapped


def problem_of(error: HTTPError, *, is_person: bool) -> Problem:
    """Turn bottle's own errors into a problem: no route, no method, or a fault, which is logged.

    `is_person`: a browser asks, which gets a page with a link to the overview.
    """
    status = error.status_code
    if status >= 500 and error.exception is not None:
        log.error("%s %s failed", request.method, request.path, exc_info=error.exception)
    if status == 404:
        text = "There is nothing at this address"
        text += "." if is_person else "; GET /openapi.json lists those there are."
        return Problem(ProblemType.NOT_FOUND, f"{text}{_hint_of_case(request.path)}")
    if status == 405:
        text = f"This address knows other methods: {error.get_header('Allow')}."
        return HttpProblem(HttpProblemType.METHOD_NOT_ALLOWED, text)
    if status == 400:
        return bad("This is no valid HTTP request.")
    text = "The gateway itself failed; its log says why."
    return HttpProblem(ErrorType.GATEWAY_ERROR, text, status)


def _hint_of_case(path: str) -> str:
    lower = path.lower()
    return "" if path == lower else f" They are in lower case: {lower[:200]}."


def instead(error: HTTPError, answer: HTTPResponse) -> str | bytes:
    """Replace bottle's own error page with an answer."""
    for name, value in answer.headers.items():
        error.set_header(name, value)
    body: str | bytes = answer.body
    return body


def without_route(status: int, reason: str, problem: Problem | None = None) -> bytes:
    """Write the JSON for requests refused before any route: bad HTTP, or a problem."""
    sentence = f"This is no valid HTTP request: {reason.rstrip('.')}."
    problem = problem or HttpProblem(HttpProblemType.BAD_HTTP, sentence, status)
    return json.dumps(problem.content).encode() + b"\n"


def download(path: Path, media_type: str) -> HTTPResponse:
    """Send a regular file as an attachment; links are not followed."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise gone("It is not in the outbox any more.") from error
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        raise gone("It is no regular file any more.")
    headers = {
        **HEADERS,
        "Content-Type": media_type,
        "Content-Length": str(status.st_size),
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(path.name)}",
        "Content-Security-Policy": "sandbox; default-src 'none'",
    }
    return HTTPResponse(_chunks(fd, status.st_size), 200, headers)


def _chunks(fd: int, size: int) -> Iterable[bytes]:
    with os.fdopen(fd, "rb") as file:
        while size > 0 and (chunk := file.read(min(CHUNK, size))):
            size -= len(chunk)
            yield chunk


def has_left() -> Callable[[], bool]:
    """Return whether the client has closed its connection; False if the server cannot tell."""
    ask: Callable[[], bool] = request.environ.get("waitress.client_disconnected", lambda: False)
    return ask


def forget() -> None:
    """Release this thread's last answer; call it after the answer is written.

    Bottle's `request` and `response` hold the last ones of each thread, bodies of megabytes and
    all, until the thread has another one: with many threads, hundreds of megabytes.
    """
    request.bind({})
    response.bind()


def event(kind: str, content: object) -> bytes:
    """Format one server-sent event."""
    return b"event: " + kind.encode() + b"\ndata: " + dumps_compact(content) + b"\n\n"


def stream(news: Iterable[Sequence[tuple[str, object]]]) -> Iterator[bytes]:
    """Send the events of each look, by kind and content; when all is quiet, signs of life."""
    yield b"retry: 2000\n\n"
    quiet = 0
    for events in news:
        for kind, content in events:
            yield event(kind, content)
        quiet = 0 if events else quiet + 1
        if quiet >= HEARTBEAT_LOOKS:
            quiet = 0
            yield b": still here\n\n"


class Seated:
    """A stream that gives its seat back when it is closed, begun or not."""

    def __init__(self, stream: Iterator[bytes], leave: Callable[[], None]) -> None:
        self._stream = stream
        self._leave = leave

    def __iter__(self) -> Iterator[bytes]:
        return self._stream

    def close(self) -> None:
        """Give the seat back; WSGI servers call this at the end of every answer (PEP 3333)."""
        close = getattr(self._stream, "close", None)
        if close is not None:
            close()
        self._leave()
