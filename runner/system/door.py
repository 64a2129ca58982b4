"""Who gets in at a door to the network: Host, Origin and token; and what may be bound to.

Rules over header values, the same for every server of the house. Reads no request and never gives
a token away.
"""

import hmac
import ipaddress
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from runner.config import Listening

_WILDCARDS = frozenset({"", "0.0.0.0", "::", "*"})  # noqa: S104 - to tell them apart
_HOST = re.compile(
    r"(\[(?P<address>[0-9A-Fa-f:.]{2,45}(%[\w.~-]{1,40})?)\]|(?P<name>[^\s\[\]:/?#@\\]{1,255}))"
    r"(:(?P<port>[0-9]{0,5}))?",
    re.ASCII,
)
_MAX_PORT = 65_535
_CONTAINER_MARKS = ("/.dockerenv", "/run/.containerenv")


class CannotListen(Exception):
    """A server does not start; the message says why and what to do."""


class Denial(StrEnum):
    """Why a request does not get in."""

    HOST = "host"
    ORIGIN = "origin"
    TOKEN = "token"  # noqa: S105 - a word, no secret


@dataclass(frozen=True)
class Binding:
    """Where a server listens, and what its settings say about who may reach it there."""

    who: str
    """For messages: "the gateway"."""
    section: str
    """Of the settings: `gateway`; its short names in the environment begin with it too."""
    host: str
    bind_address: str | None
    secret: str | None = field(repr=False)
    insecure: bool


def binding_of(who: str, section: str, server: Listening) -> Binding:
    """Where a server listens by its settings. `who` is for messages, `section` of the settings."""
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
        """Why a request with these headers (lower-case names) may not come in; None if it may.

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
        """An exact list defeats DNS rebinding: a foreign name that leads to this address."""
        name = host_name(host)
        return name is not None and (name in self._hosts or is_loopback(name))

    def is_token(self, given: str | None) -> bool:
        """Whether this is the token, or none is needed; takes as long for right and for wrong."""
        if self._token is None:
            return True
        found = (given or "").encode("utf-8", "surrogateescape")
        return hmac.compare_digest(found, self._token)


def bearer(authorization: str) -> str | None:
    """The token in a header `Authorization`; None if there is none."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def host_name(host: str) -> str | None:
    """The name in a Host header, without its port, in lower case; None if it is no such header."""
    found = _HOST.fullmatch(host)
    if found is None or int(found["port"] or 0) > _MAX_PORT:
        return None
    return (found["address"] or found["name"]).lower()


def is_nameless(host: str) -> bool:
    """Whether a Host header is an address, or not there: probes send such.

    A page that reached us by a name of its own (DNS rebinding) sends that name.
    """
    try:
        return not host or ipaddress.ip_address(host_name(host) or "") is not None
    except ValueError:
        return False


def is_loopback(name: str) -> bool:
    """Whether a host's name or address means this machine alone."""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def objection(binding: Binding, *, in_container: bool) -> str | None:
    """Why a server may not listen where it is told to; None if it may.

    In a container the address that counts is the one that the port is published to.
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
    found = objection(binding, in_container=any(Path(mark).exists() for mark in _CONTAINER_MARKS))
    if found is not None:
        raise CannotListen(found)


def is_foreign(headers: Mapping[str, str], host: str) -> bool:
    """Whether a page of another site sent a request, as far as its browser says."""
    if headers.get("sec-fetch-site", "").lower() == "cross-site":
        return True
    origin = headers.get("origin")
    return origin is not None and not is_origin(origin, host)


def is_origin(origin: str, host: str) -> bool:
    """Whether an Origin is that of the pages at this Host."""
    return origin.lower() in (f"http://{host}".lower(), f"https://{host}".lower())
