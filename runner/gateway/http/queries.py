"""The keys that each route knows in its query; what else a caller sends there is refused.

A key that is ignored may change what a call does: `/pause?nme=x` would pause all jobs.
"""

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from bottle import request

from runner.gateway.http.negotiation import wants_page
from runner.gateway.http.problems import bad

_WAITING = (
    ("POST", "/run"),
    ("POST", r"/notebooks/<path:re:[\s\S]+>"),
    ("POST", r"/schedules/<name:re:[\s\S]+>/run"),
    ("GET", "/jobs/<job_id>"),
    ("POST", "/jobs/<job_id>/retry"),
)
_WITH_BODY = (
    ("POST", "/run"),
    ("POST", r"/notebooks/<path:re:[\s\S]+>"),
    ("POST", "/jobs/<job_id>/shares"),
)
_QUERIES: dict[tuple[str, str], tuple[str, ...]] = {
    ("GET", "/metrics"): ("format",),
    ("GET", "/jobs"): ("limit", "status", "name", "before"),
    ("GET", "/jobs/<job_id>/notebook"): ("format",),
    ("GET", "/jobs/<job_id>/report"): ("format", "code", "theme", "title", "figures"),
    ("POST", "/pause"): ("name",),
    ("POST", "/resume"): ("name",),
    **dict.fromkeys(_WAITING, ("wait",)),
}
"""Routes that are not here know no key."""
_OPEN = ("/", "/healthz")
"""Whoever probes health may add what it likes, such as a number against caches."""
_HOOKS = "/hooks/"
"""Query and body of a call are its sender's."""
_SHARED = "/shared/"
"""Mail programs and chats add keys of their own to a link."""
_NO_BODY = (b"", b"{}", b"[]", b"null")
_SHORT = 64
"""A body that says nothing is shorter."""


def strictly(method: str, path: str, answer: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse what a route does not know: keys of its query, and a body where it takes none.

    Not for addresses with data of the caller's own in the query. Browsers' pages ignore keys.
    """
    if path in _OPEN or path.startswith((_HOOKS, _SHARED)):
        return answer
    known = _QUERIES.get((method, path), ())
    takes_body = method != "POST" or (method, path) in _WITH_BODY

    def checked(**parts: Any) -> Any:
        if method != "GET" or not _is_browser():
            _check_keys(known)
            _leave_out_empty()
        if not takes_body:
            _check_body(known)
        return answer(**parts)

    return checked


def _check_keys(known: tuple[str, ...]) -> None:
    for key in request.query:
        if key in known:
            continue
        if not known:
            raise bad(f"`{key[:40]}` is no key of this query, which has none.")
        near = get_close_matches(key.lower(), known, 1, 0.6)
        hint = f"; did you mean `{near[0]}`?" if near else "."
        raise bad(f"`{key[:40]}` is no key of this query, which knows {_listed(known)}{hint}")


def _leave_out_empty() -> None:
    """Let a key without a value mean what no key means, as in requests.

    Forms and the expressions of n8n send `status=` where nothing was chosen.
    """
    for key in [key for key, value in request.query.items() if not value]:
        del request.query[key]


def _check_body(known: tuple[str, ...]) -> None:
    raw: bytes = request.environ["wsgi.input"].read(_SHORT)
    if raw.strip() not in _NO_BODY:
        where = f"; its query knows {_listed(known)}." if known else ", and no keys."
        raise bad(f"This route takes no body{where}")


def _listed(known: tuple[str, ...]) -> str:
    return ", ".join(f"`{one}`" for one in known)


def _is_browser() -> bool:
    return wants_page(request.get_header("accept"), request.get_header("user-agent"))
