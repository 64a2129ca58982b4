"""Reads a client's request: the body, the waiting time and the idempotency key of a `POST /run`.

Pure. Touches neither disk nor socket.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel

from runner.config import Settings
from runner.contract.job_ids import id_of_key
from runner.contract.names import MAX_NAME_BYTES, is_job_name, job_name
from runner.contract.outcome import ErrorType, refuse
from runner.contract.request import (
    Form,
    Request,
    Resources,
    hint_of_key,
    keys_with,
    library_path,
    read_document,
    read_request,
)
from runner.contract.text.strict_json import JsonValue, StrictJsonError
from runner.contract.text.strict_json import loads as load_json
from runner.inbox.ignore import objection_to_name

MAX_WAIT_SECONDS = 86_400
_ITEM_KEYS = frozenset({"json", "binary", "pairedItem", "index", "error", "executionStatus"})
_MAX_PACKINGS = 5
_MAPPINGS = keys_with(Request, dict, BaseModel)
_NUMBERS = keys_with(Request, int, float)
_NEEDS = keys_with(Resources, int, float)
_EMPTY_IS_NONE = Request.model_fields.keys() - {"notebook"} | {"name"}
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,15})(\.[0-9]{1,15})?")


@dataclass(frozen=True)
class Asked:
    """A request that may be submitted: its keys, and the facts that only HTTP knows."""

    request: Mapping[str, Any]
    name: str | None
    job_id: str | None

    def submitted_by(self, face: str) -> "Asked":
        """Set the interface as submitter, unless the request names one."""
        return replace(self, request={"submitted_by": face, **self.request})


def read_body(raw: bytes, settings: Settings) -> Asked:
    """Read a body in any of its forms: `{"notebook": …}`, a notebook, or a list of one of them.

    Raises:
        Refused: as the runner would, and before anything is written.
    """
    return read_asked(read_document(raw, Form.JSON), settings)


def read_form(texts: Mapping[str, str], files: Sequence[bytes], settings: Settings) -> Asked:
    """Read a form with a notebook as its one file, or named by its field; the other keys are texts.

    Raises:
        Refused: as `read_body`.
    """
    fields: dict[str, JsonValue] = {key: text for key, text in texts.items() if text}
    if len(files) > 1:
        message = f"The form has {len(files)} files; send one notebook a request."
        raise refuse(ErrorType.INVALID_REQUEST, message)
    nameless = None if files or "notebook" in fields else _nameless_file(texts)
    if nameless is not None:
        files = [texts[nameless].encode()]
        del fields[nameless]
    if not files:
        return read_asked(fields, settings)
    if "notebook" in fields:
        message = "The form has a file and a `notebook`; send one of them."
        raise refuse(ErrorType.INVALID_REQUEST, message)
    document = _mapping(_unpacked(read_document(files[0], Form.JSON)))
    whole = document if "notebook" in document else {"notebook": document}
    return read_asked({**whole, **fields}, settings)


def _nameless_file(texts: Mapping[str, str]) -> str | None:
    """Find a file field without a file name: .NET sends it, and n8n if it knows none."""
    if texts.get("file"):
        return "file"
    others = texts.keys() - Request.model_fields.keys() - {"name"}
    candidates = [key for key in others if texts[key].lstrip("\ufeff \t\r\n").startswith("{")]
    return candidates[0] if len(candidates) == 1 else None


def read_asked(document: JsonValue, settings: Settings) -> Asked:
    """Read a request from any of the forms that a body may have.

    Raises:
        Refused: as the runner would, and before anything is written.
    """
    body = _mapping(_unpacked(document))
    if body.get("notebook") is None:
        if "cells" not in body and "worksheets" not in body:
            raise refuse(
                ErrorType.INVALID_REQUEST,
                'The body must be a notebook, or have one as `"notebook"`: its JSON, or its path '
                f"in the library.{hint_of_key(body, 'notebook')}{_keys_of(body)}",
            )
        body = {"notebook": body}
    body = _from_texts(body)
    request = {key: value for key, value in body.items() if key != "name"}
    name = None if body.get("name") is None else _name(body["name"], settings.intake.ignore)
    checked = read_request(request, Form.JSON, beside=("name",))
    settings.rules.check(checked)
    if isinstance(checked.notebook, str):
        library_path(checked.notebook)
    return Asked(request, name, checked.id)


def with_key(asked: Asked, key: str | None) -> str | None:
    """Return the job id that a request brings along: its own, or that of its Idempotency-Key.

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


def seconds_to_wait(wait: str | None, prefer: str | None, default: float) -> float:
    """Return the client's waiting time: `?wait=`, then `Prefer` (RFC 7240), then the default.

    Raises:
        Refused: `wait` is no number from 0 to a day.
    """
    if wait is not None:
        return _seconds(wait, "wait")
    preferences = _preferences(prefer or "")
    if "wait" in preferences:
        return _seconds(preferences["wait"], "Prefer: wait")
    return 0.0 if "respond-async" in preferences else default


def _preferences(prefer: str) -> dict[str, str]:
    """Read the names and values of a header `Prefer`; the first of equal ones counts."""
    preferences: dict[str, str] = {}
    for part in prefer.split(","):
        name, _, value = part.partition(";")[0].partition("=")
        preferences.setdefault(name.strip().lower(), value.strip().strip('"').strip())
    return preferences


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


def _unpacked(document: JsonValue) -> JsonValue:
    """Take the one request out of a list, one of n8n's items (`{"json": …}`), or JSON as text.

    Raises:
        Refused: a list of none or of several.
    """
    for _ in range(_MAX_PACKINGS):
        if isinstance(document, str) and document.lstrip()[:1] in ("{", "["):
            document = read_document(document.encode(), Form.JSON)
        elif isinstance(document, list):
            if len(document) != 1:
                raise refuse(
                    ErrorType.INVALID_REQUEST,
                    f"The body is a list of {len(document)} items; send one notebook a request.",
                )
            document = document[0]
        elif isinstance(document, dict) and _is_item(document):
            document = document["json"]
        else:
            break
    return document


def _is_item(document: Mapping[str, JsonValue]) -> bool:
    """Return whether this is an item that n8n passes from node to node."""
    return isinstance(document.get("json"), dict | list) and document.keys() <= _ITEM_KEYS


def _mapping(document: JsonValue) -> dict[str, JsonValue]:
    if not isinstance(document, dict):
        raise refuse(ErrorType.INVALID_REQUEST, "The body must be a JSON object.")
    return document


def _from_texts(body: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Read a notebook, numbers and mappings that came as JSON in a text.

    Forms know only texts, and so do n8n's key/value bodies.
    """
    read = {
        key: one for key, one in body.items() if key not in _EMPTY_IS_NONE or not _is_empty(one)
    }
    for key in _MAPPINGS:
        text = read.get(key)
        if isinstance(text, str) and text.lstrip().startswith("{"):
            read[key] = _parsed(key, text)
    needs = read.get("resources")
    if isinstance(needs, dict):
        read["resources"] = needs = dict(needs)
    for key, place in (*((key, read) for key in _NUMBERS), *((key, needs) for key in _NEEDS)):
        text = place.get(key) if isinstance(place, dict) else None
        if isinstance(place, dict) and isinstance(text, str) and _NUMBER.fullmatch(text.strip()):
            place[key] = json.loads(text)
    return read


def _is_empty(value: JsonValue) -> bool:
    """Return whether n8n left a field empty, or the step before lacks it."""
    return isinstance(value, str) and not value.strip()


def _parsed(key: str, text: str) -> JsonValue:
    try:
        return load_json(text.encode())
    except (StrictJsonError, UnicodeError) as error:
        message = f"`{key}` is a text that begins as JSON but is not valid: {error}."
        raise refuse(ErrorType.INVALID_REQUEST, message) from error


def _keys_of(body: Mapping[str, JsonValue]) -> str:
    """List the keys of a wrong body: often the step before sends more than was meant."""
    if not body:
        return ""
    names = ", ".join(repr(key[:40]) for key in list(body)[:10])
    return f" It has the keys {names}{', …' if len(body) > 10 else ''}."


def _name(name: object, ignored: Sequence[str]) -> str:
    if not isinstance(name, str) or not name:
        raise refuse(ErrorType.INVALID_REQUEST, "`name` must be a text that is not empty.")
    if len(name) > MAX_NAME_BYTES:
        raise refuse(
            ErrorType.INVALID_REQUEST,
            f"`name` has {len(name)} characters, more than {MAX_NAME_BYTES}.",
        )
    if not is_job_name(name):
        raise refuse(
            ErrorType.INVALID_REQUEST,
            f"`name` is {name[:200]!r}, which some systems would misread; "
            f"{job_name(name)!r} would do.",
        )
    objection = objection_to_name(name, ignored)
    if objection is not None:
        raise refuse(
            ErrorType.INVALID_REQUEST,
            f"`name` is {name[:200]!r}, which the inbox leaves alone: {objection}. "
            "Choose another one.",
        )
    return name
