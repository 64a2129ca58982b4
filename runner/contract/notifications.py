"""Notifications: which jobs are told of, to whom, and what is shown of an address. Pure.

Addresses are URLs of Apprise (appriseit.com): most have a password or a key in them.
"""

import hashlib
import re
from collections.abc import Collection, Iterator
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, field_validator

from runner.contract.states.status import Status

SECRETS = "secrets"
"""The folder for secrets beside the settings, unless they name another."""
MOST_URL = 4_000
MOST_TARGETS = 50
BY_HASH = "url:"
"""Begins the key of a receiver whose URL stands in the settings; its hash follows."""
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,31})://")
_NAME = re.compile(r"[^\s/\\#:\0]{1,100}(/[^\s/\\#:\0]{1,100}){0,4}")
_HOST = re.compile(r"(?:[A-Za-z0-9-]{1,63}\.)*[A-Za-z0-9-]{1,63}|\[[0-9A-Fa-f:.]{2,45}\]")
_OF_A_SERVER = frozenset(
    """
    mailto mailtos json jsons xml xmls form forms gotify gotifys mmost mmosts apprise apprises
    hassio hassios mqtt mqtts nctalk nctalks ncloud nclouds signal signals bark barks
    """.split()
)
"""Schemes whose host is always that of a server. Those of many others is a key or a topic."""
_WITH_PATH = frozenset({"ntfy", "ntfys"})
"""Schemes whose host is that of a server if a path follows; else it is the topic."""


class Event(StrEnum):
    """What happened to a job, or to a time of a schedule."""

    FAILED = "failed"
    FIRST_FAILURE = "first_failure"
    RECOVERED = "recovered"
    SUCCEEDED = "succeeded"
    MISSED = "missed"


GOOD_NEWS = frozenset({Event.SUCCEEDED, Event.RECOVERED})
SPECIAL_FIRST = tuple(
    sorted(Event, key=lambda one: one not in (Event.FIRST_FAILURE, Event.RECOVERED))
)
FAILURES = frozenset({Status.FAILED, Status.TIMED_OUT, Status.INTERRUPTED, Status.REJECTED})
Attachment = Literal["html", "pdf", "files"]


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


class Notify(BaseModel):
    """A line of the settings: who is told of which jobs, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    to: Annotated[tuple[SecretStr, ...], BeforeValidator(_as_list)] = Field(
        min_length=1, max_length=MOST_TARGETS
    )
    when: Annotated[tuple[Event, ...], BeforeValidator(_as_list)] = Field(
        (Event.FAILED,), min_length=1
    )
    names: str = Field("*", min_length=1)
    digest_minutes: int = Field(0, ge=0, le=1440)
    attach: Annotated[tuple[Attachment, ...], BeforeValidator(_as_list)] = ()

    @field_validator("to")
    @classmethod
    def _can_be_receivers(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for one in value:
            written = one.get_secret_value()
            if "://" in written:
                check_url(written)
            elif not _NAME.fullmatch(written) or ".." in written.split("/"):
                raise ValueError(
                    "must be a URL such as mailto://…, or the name of a file in the folder of "
                    "secrets, without spaces, `#` and `:`"
                )
        return value

    @property
    def receivers(self) -> tuple[str, ...]:
        """As they are written: URLs, which nobody may see, and names of files."""
        return tuple(one.get_secret_value() for one in self.to)

    @property
    def secret_names(self) -> tuple[str, ...]:
        """The names of files among them."""
        return tuple(one for one in self.receivers if "://" not in one)

    def wants(self, names: Collection[str], events: Collection[Event]) -> Event | None:
        """Return which of its events happened, the special ones first; None if none.

        `names` are all by which people know that to which they happened.
        """
        if not any(fnmatchcase(name, self.names) for name in names):
            return None
        return next((one for one in SPECIAL_FIRST if one in self.when and one in events), None)


def check_url(url: str) -> None:
    """Check that a text may be a URL of Apprise, which alone knows its schemes.

    Raises:
        ValueError: it is none; the message has nothing of it but the scheme.
    """
    if not _SCHEME.match(url) or len(url) > MOST_URL or not url.isprintable():
        raise ValueError(
            "has something that is no URL of Apprise: it begins with a scheme and `://`, has no "
            f"control characters, and at most {MOST_URL} characters"
        )
    if " " in url:
        raise ValueError(f"has a URL {shown(url)} with a space in it; write `%20` for it")


class NoUrl(ValueError):
    """A file of secrets has no URL."""


def urls_in(text: str) -> list[str]:
    """Read a file of secrets: one URL a line; empty lines and those with `#` first are skipped.

    Raises:
        NoUrl: there is none.
        ValueError: a line is none; the message shows no secret.
    """
    urls = []
    for number, line in enumerate(text.lstrip("\ufeff").splitlines(), 1):
        url = line.strip()
        if not url or url.startswith("#"):
            continue
        try:
            check_url(url)
        except ValueError as error:
            raise ValueError(f"line {number} {error}") from None
        urls.append(url)
    if not urls:
        raise NoUrl("has no URL")
    if len(urls) > MOST_TARGETS:
        raise ValueError(f"has more than {MOST_TARGETS} URLs")
    return urls


def shown(url: str) -> str:
    """Return what everybody may see of a URL: the scheme, and the host where it is a server's."""
    scheme, _, rest = url.partition("://")
    scheme = scheme.lower()
    if not _SCHEME.fullmatch(f"{scheme}://"):
        return "…"
    authority, slash, path = re.split("[?#]", rest, maxsplit=1)[0].partition("/")
    host = authority.rpartition("@")[2]
    bare = re.sub(r":[0-9]{1,5}$", "", host)
    is_server = scheme in _OF_A_SERVER or (scheme in _WITH_PATH and bool(slash and path.strip("/")))
    if "@" in path or (scheme in _WITH_PATH and re.search(r"[?&]mode=", rest, re.I)):
        is_server = False  # part of a password that should be coded; a server that is the service's
    return f"{scheme}://{host}" if is_server and _HOST.fullmatch(bare) else f"{scheme}://…"


def key_of(url: str) -> str:
    """Return the key of a receiver whose URL stands in the settings."""
    return BY_HASH + hashlib.sha256(url.encode("utf-8", "replace")).hexdigest()[:24]


def notification_id(what: str, receiver: str) -> str:
    """Return the id of a notification of a job or time; the same however often it is recorded."""
    return f"ntf_{hashlib.sha256(f'{what} {receiver}'.encode()).hexdigest()[:32]}"


def events_of(status: Status, before: Status | None) -> tuple[Event, ...]:
    """List what a job's end is; `before` is how the job of its name before it ended."""
    if status in FAILURES:
        is_first = before is None or before not in FAILURES
        return (Event.FAILED, Event.FIRST_FAILURE) if is_first else (Event.FAILED,)
    if status is Status.SUCCEEDED:
        has_recovered = before is not None and before in FAILURES
        return (Event.SUCCEEDED, Event.RECOVERED) if has_recovered else (Event.SUCCEEDED,)
    return ()


def secrets_in(notify: Collection[Notify]) -> list[dict[str, Any]]:
    """Write lines of the settings with their URLs, for a process that must know them."""
    return [{**one.model_dump(mode="json"), "to": list(one.receivers)} for one in notify]


def wanting(
    notify: Collection[Notify], names: Collection[str], events: Collection[Event]
) -> Iterator[tuple[Notify, Event]]:
    """Yield the lines of the settings that want one of these events; see `Notify.wants`."""
    for one in notify:
        if (event := one.wants(names, events)) is not None:
            yield one, event
