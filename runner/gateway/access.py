"""Who gets in: Host, Origin, token and cookie, by the settings; and what the gateway may bind to.

Pure rules over header values. Reads no request and never gives a token away.
"""

import hmac
import ipaddress
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from runner.config import Gateway
from runner.gateway import session
from runner.gateway.problem import Problem, ProblemType

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_WILDCARDS = frozenset({"", "0.0.0.0", "::", "*"})  # noqa: S104 - to tell them apart


@dataclass(frozen=True)
class Coming:
    """A request at the door. `headers` have lower-case names.

    `is_open`: it needs no token. `is_form`: pages alone send it. `is_page`: it asks for one.
    """

    headers: Mapping[str, str]
    method: str = "GET"
    cookie: str | None = None
    is_open: bool = False
    is_form: bool = False
    is_page: bool = False

    @property
    def is_visit(self) -> bool:
        """Whether somebody follows a link to a page: a browser's own word for it."""
        found = [self.headers.get(f"sec-fetch-{name}", "").lower() for name in ("mode", "dest")]
        return self.is_page and self.method == "GET" and found == ["navigate", "document"]


class Access:
    """The rules of one gateway."""

    def __init__(self, gateway: Gateway, clock: Callable[[], float] = time.time) -> None:
        self._secret = gateway.secret
        self._clock = clock
        own = set() if gateway.host in _WILDCARDS else {gateway.host.lower()}
        self._hosts = {name.lower() for name in gateway.allowed_hosts} | own

    def check(self, coming: Coming) -> None:
        """Let a request in, or say why not.

        Raises:
            Problem: 403 for a foreign Host or Origin, 401 without the right token or cookie.
        """
        host = coming.headers.get("host", "")
        if not self._knows(host):
            raise Problem(
                403,
                ProblemType.FORBIDDEN,
                f"The Host {host[:200]!r} is not known here. Add its name to "
                "gateway.allowed_hosts (GATEWAY_ALLOWED_HOSTS).",
            )
        if _is_foreign(coming.headers, host) and not coming.is_visit:
            raise _foreign()
        by_token = self.is_token(_bearer(coming.headers.get("authorization", "")))
        if not by_token and not coming.is_open and not self._has_cookie(coming):
            raise not_authorized()
        by_cookie = self._secret is not None and not by_token
        changes = coming.method not in _SAFE
        if changes and (coming.is_form or by_cookie) and not _is_own(coming.headers, host):
            raise _foreign()

    def is_in(self, coming: Coming) -> bool:
        """Whether a request would get in where a token is needed."""
        by_token = self.is_token(_bearer(coming.headers.get("authorization", "")))
        return by_token or self._has_cookie(coming)

    def is_token(self, given: str | None) -> bool:
        """Whether this is the token, or none is needed; takes as long for right and for wrong."""
        if self._secret is None:
            return True
        found = (given or "").encode("utf-8", "surrogateescape")
        return hmac.compare_digest(found, self._secret.encode())

    def cookie(self) -> str | None:
        """What a browser that has shown the token gets to keep; None where there is no token."""
        return None if self._secret is None else session.issue(self._secret, self._clock())

    def _has_cookie(self, coming: Coming) -> bool:
        if self._secret is None or coming.cookie is None:
            return False
        return session.is_valid(self._secret, coming.cookie, self._clock())

    def _knows(self, host: str) -> bool:
        """An exact list defeats DNS rebinding: a foreign name that leads to this address."""
        name = host_name(host)
        return name is not None and (name in self._hosts or is_loopback(name))


def host_name(host: str) -> str | None:
    """The name in a Host header, without its port, in lower case; None if it is no such header."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return None
    if not parts.hostname or parts.netloc != host or parts.username is not None:
        return None
    return parts.hostname


def is_loopback(name: str) -> bool:
    """Whether a host's name or address means this machine alone."""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def objection_to_binding(gateway: Gateway, *, in_container: bool) -> str | None:
    """Why the gateway may not listen where it is told to; None if it may.

    In a container the address that counts is the one that the port is published to.
    """
    reached_at = gateway.host
    if in_container and gateway.bind_address:
        reached_at = gateway.bind_address
    if is_loopback(reached_at) or gateway.secret or gateway.insecure:
        return None
    return (
        f"the gateway would be reached at {reached_at!r} by everybody in the network, without a "
        "token. Set gateway.token (GATEWAY_TOKEN), or bind to 127.0.0.1, or say "
        "gateway.insecure: true"
    )


def not_authorized() -> Problem:
    """401 for who has shown neither token nor cookie."""
    return Problem(
        401,
        ProblemType.UNAUTHORIZED,
        "Send the gateway's token: `Authorization: Bearer TOKEN`.",
        {"WWW-Authenticate": 'Bearer realm="inbox-runner"'},
    )


def _bearer(authorization: str) -> str | None:
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _is_foreign(headers: Mapping[str, str], host: str) -> bool:
    if headers.get("sec-fetch-site", "").lower() == "cross-site":
        return True
    origin = headers.get("origin")
    return origin is not None and not _is_origin(origin, host)


def _is_own(headers: Mapping[str, str], host: str) -> bool:
    """Whether the browser says itself that a page of ours sent it; one or the other always does."""
    if headers.get("sec-fetch-site", "same-origin").lower() != "same-origin":
        return False
    origin = headers.get("origin")
    return "sec-fetch-site" in headers if origin is None else _is_origin(origin, host)


def _is_origin(origin: str, host: str) -> bool:
    return origin.lower() in (f"http://{host}".lower(), f"https://{host}".lower())


def _foreign() -> Problem:
    return Problem(
        403, ProblemType.FORBIDDEN, "Requests from pages of other sites are not answered."
    )
