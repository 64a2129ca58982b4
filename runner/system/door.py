"""Decides who gets in at a door to the network, and where a server may listen.

Rules over header values, the same for every server of the program. Never gives a token away.
"""

import hmac
import ipaddress
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from runner.config import Listening
from runner.contract.text.shortfall import Shortfall

_WILDCARDS = frozenset({"", "0.0.0.0", "::", "*"})  # noqa: S104 - to tell them apart
_HOST = re.compile(
    r"(\[(?P<address>[0-9A-Fa-f:.]{2,45}(%[\w.~-]{1,40})?)\]|(?P<name>[^\s\[\]:/?#@\\]{1,255}))"
    r"(:(?P<port>[0-9]{0,5}))?",
    re.ASCII,
)
_MAX_PORT = 65_535
_CONTAINER_MARKS = ("/.dockerenv", "/run/.containerenv")


class CannotListen(Shortfall):
    """A server may not start; the message says why and what to do."""


class Denial(StrEnum):
    """The reason why a request does not get in."""

    HOST = "host"
    ORIGIN = "origin"
    TOKEN = "token"  # noqa: S105 - a word, no secret


@dataclass(frozen=True)
class Binding:
    """Where a server listens, and who may reach it there."""

    who: str
    """Name in messages: "the gateway"."""
    section: str
    """Section of the settings: `gateway`; its short names in the environment begin with it too."""
    host: str
    bind_address: str | None
    secret: str | None = field(repr=False)
    insecure: bool


def binding_of(who: str, section: str, server: Listening) -> Binding:
    """Take a server's address from its `section` of the settings. `who` is for messages."""
    return Binding(who, section, server.host, server.bind_address, server.secret, server.insecure)


class Door:
    """The rules of one server."""

    def __init__(self, host: str, allowed_hosts: Collection[str], secret: str | None) -> None:
        self._token = secret.encode() if secret else None
        own = set() if host in _WILDCARDS else {host.lower()}
        self._hosts = {name.lower() for name in allowed_hosts} | own

    def denial(
        self, headers: Mapping[str, str], *, is_open: bool, is_health: bool = False
    ) -> Denial | None:
        """Say why a request with these headers (lower-case names) may not come in; None if it may.

        `is_open`: it needs no token. `is_health`: probes may name an address, or nothing.
        """
        host = headers.get("host", "")
        if not self.knows(host) and not (is_health and is_nameless(host)):
            return Denial.HOST
        if is_foreign(headers, host):
            return Denial.ORIGIN
        if not is_open and not self.is_token(bearer(headers.get("authorization", ""))):
            return Denial.TOKEN
        return None

    def knows(self, host: str) -> bool:
        """Return whether a Host is on the list. This defeats DNS rebinding: a foreign name."""
        name = host_name(host)
        return name is not None and (name in self._hosts or is_loopback(name))

    def is_token(self, value: str | None) -> bool:
        """Return whether the token is right or not needed; takes equally long either way."""
        if self._token is None:
            return True
        token = (value or "").encode("utf-8", "surrogateescape")
        return hmac.compare_digest(token, self._token)


def bearer(authorization: str) -> str | None:
    """Take the token from a header `Authorization`; None if there is none."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def host_name(host: str) -> str | None:
    """Take the name from a Host header, without port, in lower case; None if malformed."""
    match = _HOST.fullmatch(host)
    if match is None or int(match["port"] or 0) > _MAX_PORT:
        return None
    return (match["address"] or match["name"]).lower()


def is_nameless(host: str) -> bool:
    """Return whether a Host header is an address or missing, as in probes.

    A page that reached us by a name of its own (DNS rebinding) sends that name.
    """
    try:
        return not host or ipaddress.ip_address(host_name(host) or "") is not None
    except ValueError:
        return False


def is_loopback(name: str) -> bool:
    """Return whether a host's name or address means this machine alone."""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def objection(binding: Binding, *, in_container: bool) -> str | None:
    """Say why a server may not listen at its address; None if it may.

    In a container, the address to which the port is published counts.
    """
    reached_at = binding.host
    if in_container and binding.bind_address:
        reached_at = binding.bind_address
    if is_loopback(reached_at) or binding.secret or binding.insecure:
        return None
    return (
        f"{binding.who} would be reached at {reached_at!r} by everybody in the network, without a "
        f"token. Set {binding.section}.token ({binding.section.upper()}_TOKEN), or bind to "
        f"127.0.0.1, or say {binding.section}.insecure: true"
    )


def check_binding(binding: Binding) -> None:
    """Refuse to be open to a network without a token.

    Raises:
        CannotListen
    """
    reason = objection(binding, in_container=any(Path(mark).exists() for mark in _CONTAINER_MARKS))
    if reason is not None:
        raise CannotListen(reason)


def is_foreign(headers: Mapping[str, str], host: str) -> bool:
    """Return whether a page of another site sent a request, as far as its browser says."""
    if headers.get("sec-fetch-site", "").lower() == "cross-site":
        return True
    origin = headers.get("origin")
    return origin is not None and not is_origin(origin, host)


def is_origin(origin: str, host: str) -> bool:
    """Return whether an Origin is that of the pages at this Host."""
    return origin.lower() in (f"http://{host}".lower(), f"https://{host}".lower())
