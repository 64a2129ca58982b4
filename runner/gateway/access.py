"""Who gets in: Host, Origin and token, by the settings; and what the gateway may bind to.

Pure rules over header values. Reads no request and never gives a token away.
"""

import hmac
import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from runner.config import Gateway
from runner.gateway.problem import Problem, ProblemType

_WILDCARDS = frozenset({"", "0.0.0.0", "::", "*"})  # noqa: S104 - to tell them apart


class Access:
    """The rules of one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._token = gateway.secret.encode() if gateway.secret else None
        own = set() if gateway.host in _WILDCARDS else {gateway.host.lower()}
        self._hosts = {name.lower() for name in gateway.allowed_hosts} | own

    def check(self, headers: Mapping[str, str], *, is_open: bool) -> None:
        """Let a request in, or say why not. `is_open`: it needs no token.

        `headers` have lower-case names.

        Raises:
            Problem: 403 for a foreign Host or Origin, 401 without the right token.
        """
        host = headers.get("host", "")
        if not self._knows(host):
            raise Problem(
                403,
                ProblemType.FORBIDDEN,
                f"The Host {host[:200]!r} is not known here. Add its name to "
                "gateway.allowed_hosts (GATEWAY_ALLOWED_HOSTS).",
            )
        if _is_foreign(headers, host):
            raise Problem(
                403, ProblemType.FORBIDDEN, "Requests from pages of other sites are not answered."
            )
        if not is_open and not self._is_authorized(headers.get("authorization", "")):
            raise Problem(
                401,
                ProblemType.UNAUTHORIZED,
                "Send the gateway's token: `Authorization: Bearer TOKEN`.",
                {"WWW-Authenticate": 'Bearer realm="inbox-runner"'},
            )

    def _knows(self, host: str) -> bool:
        """An exact list defeats DNS rebinding: a foreign name that leads to this address."""
        name = host_name(host)
        return name is not None and (name in self._hosts or is_loopback(name))

    def _is_authorized(self, given: str) -> bool:
        if self._token is None:
            return True
        scheme, _, token = given.partition(" ")
        found = token.strip().encode("utf-8", "surrogateescape")
        return scheme.lower() == "bearer" and hmac.compare_digest(found, self._token)


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


def _is_foreign(headers: Mapping[str, str], host: str) -> bool:
    if headers.get("sec-fetch-site", "").lower() == "cross-site":
        return True
    origin = headers.get("origin")
    if origin is None:
        return False
    return origin.lower() not in (f"http://{host}".lower(), f"https://{host}".lower())
