"""Decides who gets in: the common rules of a door, and a cookie for pages.

Pure, over header values. Never gives a token away.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from runner.config import Gateway
from runner.gateway.http import session
from runner.gateway.http.negotiation import is_browser
from runner.gateway.http.problems import HttpProblem, HttpProblemType
from runner.jobs.problem import Problem
from runner.system import door as access
from runner.system.door import Door, bearer, is_foreign, is_nameless, is_origin

NAMED = ("the gateway", "gateway")
"""The gateway's name in messages and in the settings."""
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True)
class IncomingRequest:
    """A request at the door. `headers` have lower-case names.

    `is_open`: it needs no token. `is_health`: it asks for health. `is_form`: only pages send it.
    `wants_page`: a browser asks. `is_page`: it asks for the address of a page.
    `is_frame`: it asks for a part of a report, which has no origin that a browser could name.
    """

    headers: Mapping[str, str]
    method: str = "GET"
    cookie: str | None = None
    is_open: bool = False
    is_health: bool = False
    is_form: bool = False
    wants_page: bool = False
    is_page: bool = False
    is_frame: bool = False

    @property
    def is_visit(self) -> bool:
        """Whether somebody follows a link to a page: a browser says so itself."""
        purpose = [self.headers.get(f"sec-fetch-{name}", "").lower() for name in ("mode", "dest")]
        return self.is_page and self.method == "GET" and purpose == ["navigate", "document"]


class Access:
    """The rules of one gateway."""

    def __init__(self, gateway: Gateway, clock: Callable[[], float] = time.time) -> None:
        self._secret = gateway.secret
        self._clock = clock
        self._door = Door(gateway.host, gateway.allowed_hosts, gateway.secret)

    def check(self, coming: IncomingRequest) -> None:
        """Let a request in, or say why not.

        Raises:
            Problem: 403 for a foreign Host or Origin, 401 without the right token or cookie.
        """
        host = coming.headers.get("host", "")
        if not self._door.knows(host) and not (coming.is_health and is_nameless(host)):
            raise _unknown_host(host)
        if is_foreign(coming.headers, host) and not (coming.is_visit or coming.is_frame):
            raise _foreign()
        by_token = self.is_token(bearer(coming.headers.get("authorization", "")))
        if not by_token and not coming.is_open and not self._has_cookie(coming):
            raise not_authorized()
        by_cookie = self._secret is not None and not (by_token or coming.is_open)
        changes = coming.method not in _SAFE
        if changes and (coming.is_form or by_cookie) and not _is_own(coming.headers, host):
            raise _foreign()

    def check_form(self, coming: IncomingRequest) -> None:
        """Accept a form at the API's addresses from programs and from our own pages.

        Any page can make a browser send one; such a browser says where it comes from.

        Raises:
            Problem: 403.
        """
        host = coming.headers.get("host", "")
        if is_browser(coming.headers.get("user-agent")) and not _is_own(coming.headers, host):
            raise _foreign()

    def is_in(self, coming: IncomingRequest) -> bool:
        """Return whether a request has the token that others need."""
        if not self._door.knows(coming.headers.get("host", "")):
            return False
        by_token = self.is_token(bearer(coming.headers.get("authorization", "")))
        return by_token or self._has_cookie(coming)

    def is_token(self, token: str | None) -> bool:
        """Return whether the token is right or not needed; takes equally long either way."""
        return self._door.is_token(token)

    def cookie(self) -> str | None:
        """Make the cookie of a browser that has shown the token; None without a token."""
        return None if self._secret is None else session.issue(self._secret, self._clock())

    def _has_cookie(self, coming: IncomingRequest) -> bool:
        if self._secret is None or coming.cookie is None:
            return False
        return session.is_valid(self._secret, coming.cookie, self._clock())


def objection_to_binding(gateway: Gateway, *, in_container: bool) -> str | None:
    """Say why the gateway may not listen at its address; None if it may."""
    return access.objection(access.binding_of(*NAMED, gateway), in_container=in_container)


def not_authorized() -> Problem:
    """Refuse a request with neither token nor cookie."""
    return HttpProblem(
        HttpProblemType.UNAUTHORIZED,
        "Send the gateway's token: `Authorization: Bearer TOKEN`.",
        headers={"WWW-Authenticate": 'Bearer realm="inbox-runner"'},
    )


def _unknown_host(host: str) -> Problem:
    if not host:
        text = "The request names no Host. Only health answers without one; send a Host header."
    else:
        text = (
            f"The Host {host[:200]!r} is not known here. Add its name to "
            "gateway.allowed_hosts (GATEWAY_ALLOWED_HOSTS) and start the runner again."
        )
    return HttpProblem(HttpProblemType.FORBIDDEN, text)


def _is_own(headers: Mapping[str, str], host: str) -> bool:
    """Return whether the browser says that a page of ours sent it."""
    if headers.get("sec-fetch-site", "same-origin").lower() != "same-origin":
        return False
    origin = headers.get("origin")
    return "sec-fetch-site" in headers if origin is None else is_origin(origin, host)


def _foreign() -> Problem:
    return HttpProblem(
        HttpProblemType.FORBIDDEN, "Requests from pages of other sites are not answered."
    )
