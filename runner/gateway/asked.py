"""What a client asks for: the body, the waiting time and the idempotency key of a `POST /run`.

Pure rules over what came in. Touches neither disk nor socket.
"""

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runner.config import Settings
from runner.names import is_job_name, job_name
from runner.outcome import ErrorType, refuse
from runner.request import (
    Form,
    check_resources,
    check_timeout,
    library_path,
    read_document,
    read_request,
)

MAX_WAIT_SECONDS = 86_400
_KEYED = b"inbox-runner idempotency key"
_PREFERENCE = re.compile(r'\s*([\w-]+)\s*(?:=\s*"?([^",;]*)"?)?\s*(?:;[^,]*)?$')


@dataclass(frozen=True)
class Asked:
    """A request that may be submitted: its keys, and what HTTP alone knows of it."""

    request: Mapping[str, Any]
    name: str | None
    job_id: str | None


def read_body(raw: bytes, settings: Settings) -> Asked:
    """A body in any of its forms: `{"notebook": …}`, a notebook, or a list of one of them.

    Raises:
        Refused: as the runner would, and before anything is written.
    """
    document = read_document(raw, Form.JSON)
    if isinstance(document, list):
        if len(document) != 1:
            raise refuse(
                ErrorType.INVALID_REQUEST,
                f"The body is a list of {len(document)} items; send one notebook a request.",
            )
        document = document[0]
    if not isinstance(document, dict):
        raise refuse(ErrorType.INVALID_REQUEST, "The body must be a JSON object.")
    if document.get("notebook") is None:
        if "cells" not in document and "worksheets" not in document:
            raise refuse(
                ErrorType.INVALID_REQUEST,
                'The body must be a notebook, or have one as `"notebook"`: its JSON, or its path '
                "in the library.",
            )
        document = {"notebook": document}
    request = {key: value for key, value in document.items() if key != "name"}
    name = None if document.get("name") is None else _name(document["name"])
    checked = read_request(request, Form.JSON)
    limits, is_cluster = settings.limits, settings.execution.is_cluster
    check_timeout(checked, limits.max_run_seconds)
    check_resources(checked, memory_mb=limits.memory_mb, is_cluster=is_cluster)
    if isinstance(checked.notebook, str):
        library_path(checked.notebook)
    return Asked(request, name, checked.id)


def with_key(asked: Asked, key: str | None) -> str | None:
    """The job id that a request brings along: its own, or that of its Idempotency-Key.

    Raises:
        Refused: it brings both, or an empty key.
    """
    if key is None:
        return asked.job_id
    if asked.job_id is not None:
        raise refuse(ErrorType.INVALID_REQUEST, "Send an Idempotency-Key or an `id`, not both.")
    if not 0 < len(key) <= 255:
        raise refuse(ErrorType.INVALID_REQUEST, "An Idempotency-Key has 1 to 255 characters.")
    return id_of_key(key)


def id_of_key(key: str) -> str:
    """The job id of an Idempotency-Key: the same at every start, so that nothing is stored."""
    return hashlib.blake2b(key.encode("latin-1", "replace"), digest_size=16, key=_KEYED).hexdigest()


def seconds_to_wait(wait: str | None, prefer: str | None, default: float) -> float:
    """How long the client wants to wait: `?wait=`, then `Prefer` (RFC 7240), then the default.

    Raises:
        Refused: `wait` is no number from 0 to a day.
    """
    if wait is not None:
        return _seconds(wait, "wait")
    found = _preferences(prefer or "")
    if "wait" in found:
        return _seconds(found["wait"], "Prefer: wait")
    return 0.0 if "respond-async" in found else default


def _preferences(prefer: str) -> dict[str, str]:
    matches = (_PREFERENCE.match(part) for part in prefer.split(","))
    found: dict[str, str] = {}
    for match in matches:
        if match is not None:
            found.setdefault(match[1].lower(), (match[2] or "").strip())
    return found


def _seconds(text: str, what: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= MAX_WAIT_SECONDS:
        raise refuse(
            ErrorType.INVALID_REQUEST,
            f"`{what}` is {text[:50]!r}; it must be seconds from 0 to {MAX_WAIT_SECONDS}.",
        )
    return seconds


def _name(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise refuse(ErrorType.INVALID_REQUEST, "`name` must be a text that is not empty.")
    if not is_job_name(name):
        raise refuse(
            ErrorType.INVALID_REQUEST,
            f"`name` is {name[:200]!r}, which some systems would misread; "
            f"{job_name(name)!r} would do.",
        )
    return name
