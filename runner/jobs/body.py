"""Reads a client's request: the body, the waiting time and the idempotency key of a `POST /run`.

Pure. Touches neither disk nor socket.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel

from runner.config import MEGABYTE, Settings
from runner.contract.job_ids import id_of_key
from runner.contract.names import MAX_NAME_BYTES, is_job_name, job_name
from runner.contract.outcome import Refused, refuse
from runner.contract.request import (
    PARTS,
    Form,
    Request,
    hint_of_key,
    keys_with,
    library_path,
    read_document,
    read_request,
)
from runner.contract.states.status import ErrorType
from runner.contract.text.strict_json import JsonValue, StrictJsonError
from runner.contract.text.strict_json import loads as load_json
from runner.inbox.bundles.uploads import Upload, checked, uploads_in
from runner.inbox.ignore import objection_to_name

MAX_WAIT_SECONDS = 86_400
_ITEM_KEYS = frozenset({"json", "binary", "pairedItem", "index", "error", "executionStatus"})
_MAX_PACKINGS = 5
_MAPPINGS = keys_with(Request, dict, BaseModel)
_NUMBERS = keys_with(Request, int, float)
_NUMBERS_OF_PARTS = {key: keys_with(part, int, float) for key, part in PARTS.items()}
_EMPTY_IS_NONE = Request.model_fields.keys() - {"notebook"} | {"name"}
_DOCUMENTS = (".ipynb", ".json", ".yaml", ".yml")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,15})(\.[0-9]{1,15})?")


@dataclass(frozen=True)
class JobRequest:
    """A request that may be submitted: its keys, and the facts that only HTTP knows."""

    request: Mapping[str, Any]
    name: str | None
    job_id: str | None
    files: tuple[Upload, ...] = ()
    """Files that go along with it."""

    def submitted_by(self, face: str) -> "JobRequest":
        """Set the interface as submitter, unless the request names one."""
        return replace(self, request={"submitted_by": face, **self.request})


def read_body(raw: bytes, settings: Settings) -> JobRequest:
    """Read a body in any of its forms: `{"notebook": …}`, a notebook, or a list of one of them.

    Raises:
        Refused: as the runner would, and before anything is written.
    """
    return read_request_document(read_document(raw, Form.JSON), settings)


@dataclass(frozen=True)
class FormFile:
    """A file of a form: the name of its field, and what may go along under its own name."""

    field: str
    upload: Upload

    def read(self, most: int) -> bytes:
        """Read a document.

        Raises:
            Refused: it has more than `most` bytes.
        """
        if self.upload.size > most:
            raise refuse(
                ErrorType.NOTEBOOK_TOO_LARGE,
                f"{self.upload.path[-100:]!r} is above the limit of {most / MEGABYTE:g} MB "
                "(limits.notebook_mb).",
            )
        with self.upload.opens() as file:
            return file.read()


def read_form(
    texts: Mapping[str, str], files: Sequence[FormFile], settings: Settings
) -> JobRequest:
    """Read a form: a notebook or a request as a file or a text, and files that go along.

    The other keys are texts. A field `notebook` or `request` says which file is which; otherwise
    it is the only file, or the only one whose name ends in `.ipynb`.

    Raises:
        Refused: as `read_body`, and for files that may not go along.
    """
    fields: dict[str, JsonValue] = {key: text for key, text in texts.items() if text}
    most = int(settings.limits.notebook_mb * MEGABYTE)
    request = _text_request(fields)
    main = _main_files(files, has_notebook="notebook" in {**request, **fields})
    nameless = None if main or "notebook" in {**request, **fields} else _nameless_file(texts)
    if nameless is not None:
        fields["notebook"] = _notebook_in(read_document(texts[nameless].encode(), Form.JSON))
        del fields[nameless]
    for file in main:
        read = _document_of(file, most)
        request |= read if "notebook" in read or file.field == "request" else {"notebook": read}
    along = [file.upload for file in files if file not in main]
    wanted = read_request_document({**request, **fields}, settings)
    along = [*wanted.files, *along]
    return replace(wanted, files=checked(along, settings.bundle_limits))


def _text_request(fields: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Take the request that came as a text out of a form's fields."""
    text = fields.pop("request", None)
    if not isinstance(text, str):
        return {}
    return dict(_mapping(_unpacked(read_document(text.encode(), Form.JSON))))


def _notebook_in(document: JsonValue) -> JsonValue:
    body = _mapping(_unpacked(document))
    return body.get("notebook", body)


def _form_of(file: FormFile) -> Form:
    return Form.YAML if file.upload.path.lower().endswith((".yaml", ".yml")) else Form.JSON


def _document_of(file: FormFile, most: int) -> dict[str, JsonValue]:
    """Read a file that is meant as the notebook or the request.

    Raises:
        Refused: it is neither; the message names the file, and says what to send.
    """
    raw, path = file.read(most), file.upload.path
    try:
        return _mapping(_unpacked(read_document(raw, _form_of(file))))
    except Refused as refused:
        name, why = path.rpartition("/")[2][-60:], refused.failure.message
        if path.lower().endswith(_DOCUMENTS):
            raise refuse(ErrorType.INVALID_REQUEST, f"{name!r}: {why}") from refused
        if path.lower().endswith(".zip"):
            what = "ZIP files go into the inbox folder. By HTTP, send what is in it as files:"
        else:
            what = "A notebook ends in .ipynb. Send data beside it, under another field:"
        raise refuse(
            ErrorType.INVALID_REQUEST,
            f"{name!r} is no notebook. {what} `-F notebook=@NAME.ipynb -F file=@DATA`, or "
            "`-F notebook=PATH.ipynb` for one of the library.",
        ) from refused


def _main_files(files: Sequence[FormFile], *, has_notebook: bool) -> list[FormFile]:
    """Find the files that are the request or the notebook.

    Raises:
        Refused: nothing says which one it is.
    """
    main = [file for file in files if file.field in ("request", "notebook")]
    if len({file.field for file in main}) < len(main):
        message = "The form has more than one file called `request` or `notebook`. Keep one."
        raise refuse(ErrorType.INVALID_REQUEST, message)
    if has_notebook or any(file.field == "notebook" for file in main):
        return main
    others = [file for file in files if file not in main]
    notebooks = [file for file in others if file.upload.path.lower().endswith(".ipynb")]
    if main or (len(others) <= 1 and not notebooks):
        return [*main, *notebooks] if main else others
    if len(notebooks) == 1:
        return notebooks
    names = ", ".join(repr(file.upload.path[-60:]) for file in (notebooks or others)[:5])
    raise refuse(
        ErrorType.INVALID_REQUEST,
        f"The form has {len(others)} files, and nothing says which one is the notebook: {names}. "
        "Call the field of that one `notebook`.",
    )


def _nameless_file(texts: Mapping[str, str]) -> str | None:
    """Find a file field without a file name: .NET sends it, and n8n if it knows none."""
    if texts.get("file"):
        return "file"
    others = texts.keys() - Request.model_fields.keys() - {"name"}
    candidates = [key for key in others if texts[key].lstrip("\ufeff \t\r\n").startswith("{")]
    return candidates[0] if len(candidates) == 1 else None


def read_request_document(document: JsonValue, settings: Settings) -> JobRequest:
    """Read a request from any of the forms that a body may have.

    Raises:
        Refused: as the runner would, and before anything is written.
    """
    body = _mapping(_unpacked(document))
    if body.get("notebook") is None:
        if "cells" not in body and "worksheets" not in body:
            raise refuse(ErrorType.INVALID_REQUEST, _without_notebook(body))
        body = {"notebook": body}
    body = _from_texts(body)
    files = uploads_in(body["files"]) if body.get("files") is not None else []
    request = {key: value for key, value in body.items() if key not in ("name", "files")}
    name = None if body.get("name") is None else _name(body["name"], settings.intake.ignore)
    read = read_request(request, Form.JSON, beside=("name", "files"))
    settings.request_rules.check(read)
    if isinstance(read.notebook, str):
        library_path(read.notebook)
    return JobRequest(request, name, read.id, checked(files, settings.bundle_limits))


def _without_notebook(body: Mapping[str, JsonValue]) -> str:
    if "notebook" in body:
        return (
            "`notebook` is null: the value that should be there came empty. Give a notebook's "
            "JSON, or its path in the library."
        )
    return (
        'The body must be a notebook, or have one as `"notebook"`: its JSON, or its path '
        f"in the library.{hint_of_key(body, 'notebook')}{_keys_of(body)}"
    )


def with_key(wanted: JobRequest, key: str | None) -> str | None:
    """Return the job id that a request brings along: its own, or that of its Idempotency-Key.

    Raises:
        Refused: it brings both, or an empty key.
    """
    if key is None:
        return wanted.job_id
    if wanted.job_id is not None:
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
    _read_numbers(read, _NUMBERS)
    for key, numbers in _NUMBERS_OF_PARTS.items():
        part = read.get(key)
        if isinstance(part, dict):
            read[key] = part = dict(part)
            _read_numbers(part, numbers)
    return read


def _read_numbers(values: dict[str, JsonValue], keys: Iterable[str]) -> None:
    """Turn the texts of these keys into the numbers that they write, in place."""
    for key in keys:
        text = values.get(key)
        if isinstance(text, str) and _NUMBER.fullmatch(text.strip()):
            values[key] = json.loads(text)


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
    if not isinstance(name, str):
        raise refuse(
            ErrorType.INVALID_REQUEST,
            "`name` must be a text. Without one, or with an empty one, the job gets a name.",
        )
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
