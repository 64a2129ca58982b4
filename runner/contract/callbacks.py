"""Callbacks: where the outcome of a job goes by HTTP, and where callbacks may go at all. Pure.

They are signed as Standard Webhooks has it (github.com/standard-webhooks/standard-webhooks).
"""

import hashlib
import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from runner.contract.states.status import FINAL

MAX_URL = 2_000
MAX_HEADERS = 20
MAX_HEADER_CHARS = 2_000
EVENTS = tuple(sorted(map(str, FINAL)))
EVERYWHERE = "*"
"""In the list of hosts: every address that is not of a private network."""
PORTS = {"http": 80, "https": 443}
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_VALUE = re.compile(r"[\x20-\x7e]*")
_OURS = ("host", "content-length", "content-type", "transfer-encoding", "connection")


def address_of(url: str) -> SplitResult:
    """Take an address apart.

    Raises:
        ValueError: in words.
    """
    said = "must be an address such as https://example.com/done"
    if len(url) > MAX_URL or not re.fullmatch(r"[\x21-\x7e]+", url):
        raise ValueError(f"{said}, of printable ASCII and at most {MAX_URL} characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(f"{said}; its host or port is none") from None
    if parts.scheme not in PORTS or not parts.hostname or port == 0:
        raise ValueError(said)
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"{said}, without a name before `@`; give `headers: {{Authorization: …}}`")
    return parts


def _checked_url(url: str) -> str:
    address_of(url)
    return url


def _checked_headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not _HEADER.fullmatch(name):
            raise ValueError(f"has {name[:80]!r}, which is no name of a header")
        if name.lower() in _OURS or name.lower().startswith("webhook-"):
            raise ValueError(f"has {name!r}, which the runner sets itself")
        if len(value) > MAX_HEADER_CHARS or not _VALUE.fullmatch(value):
            raise ValueError(f"has a value of {name!r} that no header can have")
    return headers


def _checked_event(event: str) -> str:
    if event not in EVENTS:
        raise ValueError(f"must be one of {', '.join(EVENTS)}")
    return event


def from_text(value: object) -> object:
    """Read an address alone as a callback to it."""
    return {"url": value} if isinstance(value, str) else value


class Callback(BaseModel):
    """A POST of a job's result once the job is over."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    url: Annotated[str, AfterValidator(_checked_url)] = Field(
        description="Where it goes: an address that the settings allow (`callbacks.allowed`)."
    )
    events: list[Annotated[str, AfterValidator(_checked_event)]] = Field(
        default_factory=lambda: list(EVENTS),
        min_length=1,
        max_length=len(EVENTS),
        description="The statuses of which it tells; by default all.",
        json_schema_extra={"items": {"type": "string", "enum": list(EVENTS)}},
    )
    headers: Annotated[dict[str, str], AfterValidator(_checked_headers)] = Field(
        default_factory=dict,
        max_length=MAX_HEADERS,
        description="Headers that it has besides the runner's own.",
    )


RequestedCallback = Annotated[
    Callback, BeforeValidator(from_text, json_schema_input_type=str | Callback)
]
"""In a request it may be the address alone."""


def host_is_named(url: str, allowed: Collection[str]) -> bool:
    """Return whether the list has the host of an address: itself, its port too, or a pattern."""
    parts = address_of(url)
    host = (parts.hostname or "").rstrip(".")
    places = host, f"{host}:{parts.port or PORTS[parts.scheme]}"
    named = (one.lower() for one in allowed if one != EVERYWHERE)
    return any(fnmatchcase(place, one) for one in named for place in places)


def may_go(url: str, allowed: Collection[str]) -> bool:
    """Return whether a callback may go to an address, as far as its host tells.

    Where a name leads is looked up when it is sent.
    """
    if host_is_named(url, allowed):
        return True
    return EVERYWHERE in allowed and not _is_here(address_of(url).hostname or "")


def _is_here(host: str) -> bool:
    """Return whether a host is this machine, or an IP address of a private network."""
    host = host.rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return is_private(host)
    except ValueError:
        return False


def is_private(address: str) -> bool:
    """Return whether an IP address is one that only some network has, or one with a meaning.

    Source: IANA's special-purpose registries, as Python's `ipaddress` has them.

    Raises:
        ValueError: it is no IP address.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is not None:
            return is_private(str(inner))
        if ip in _TRANSLATED:
            return is_private(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
    return not ip.is_global or ip.is_multicast


_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
"""Addresses of NAT64, which have an IPv4 address at their end (RFC 6052)."""


def shown(url: str) -> str:
    """Return an address as everybody may see it: the host, and the first part of the path.

    What follows is often a key: `https://hooks.slack.com/services/…` lets anybody post.
    """
    parts = address_of(url)
    first, _, rest = parts.path.removeprefix("/").partition("/")
    more = "/…" if rest or parts.query or parts.fragment else ""
    place = f"{parts.scheme}://{parts.netloc}/{first}"
    return place.rstrip("/") + more if more else place


@dataclass(frozen=True)
class ForAll:
    """A callback of the settings: for the jobs whose names fit its pattern."""

    names: str
    callback: Callback


def callbacks_of(
    name: str, status: str, asked: Callback | None, for_all: Collection[ForAll]
) -> list[Callback]:
    """List what a job's outcome is told to: the request's own first; one address once."""
    wanted = [] if asked is None else [asked]
    wanted += [one.callback for one in for_all if fnmatchcase(name, one.names)]
    by_url: dict[str, Callback] = {}
    for one in wanted:
        if status in one.events:
            by_url.setdefault(one.url, one)
    return list(by_url.values())


def webhook_id(job_id: str, url: str) -> str:
    """Return the id of a delivery; the same however often it is sent."""
    return f"msg_{hashlib.sha256(f'{job_id} {url}'.encode()).hexdigest()[:32]}"
