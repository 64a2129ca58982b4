"""Reads a file of the inbox into a small value: the facts that intake and admission need.

Owns the rules for that. Pure.
"""

import json
import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from runner.contract.job_ids import JOB_ID
from runner.contract.notebook import check, has_code, is_blank, parse
from runner.contract.outcome import Failure, InputFile, Refused
from runner.contract.request import Form, Kind, Request, kind_of, read_document, read_request
from runner.contract.states.status import ErrorType

SETTINGS_BYTES = 1024 * 1024
YAML_BYTES = 16 * 1024
"""YAML up to this size takes 20 ms at the most."""
JSON_VALUES = 50_000
"""JSON of so many values takes about as long, processing included."""
_LONG_NUMBER = re.compile(rb"[0-9]{500}")
"""Reading an integer takes time with the square of its digits."""
_SEPARATORS = b",[{\\"


class Syntax(StrEnum):
    """The syntax of a file, which its suffix tells."""

    IPYNB = "ipynb"
    JSON = "json"
    YAML = "yaml"
    CANCEL = "cancel"


def syntax_of(suffix: str) -> Syntax:
    """Tell the syntax of a file with one of the inbox's suffixes."""
    return Syntax.YAML if suffix == ".yml" else Syntax(suffix.removeprefix("."))


def size_limit(suffix: str, notebook_bytes: int) -> int:
    """Say how large a file of this suffix may be; a larger one is neither read nor copied."""
    if suffix in (".ipynb", ".json"):
        return notebook_bytes
    return min(SETTINGS_BYTES, notebook_bytes)


@dataclass(frozen=True)
class Bundle:
    """The files that come with a request."""

    token: str
    """Of their archive in the state folder."""
    files: tuple[InputFile, ...]
    sha256: str
    """Of the request and its files."""


@dataclass(frozen=True)
class Contents:
    """The facts about a file."""

    kind: Kind = Kind.FOREIGN
    """Kind of its document; a broken file counts by its suffix."""
    broken: str | None = None
    """Reason why it holds no document."""
    text: str | None = None
    """Text of a `.cancel` file, which holds no document."""
    is_request: bool = False
    """Whether it names or carries a notebook, or would, were it not broken."""
    has_cells: bool = False
    """Whether it is itself a notebook, with a list of cells."""
    has_code: bool = False
    is_blank: bool = False
    """Whether it has cells, all of them empty."""
    what: str = "no document"
    """A description of a document that is no request."""
    wanted_id: str | None = None
    """Valid job id that a JSON request brings along."""
    names_library: bool = False
    request: Request | None = None
    """The request without its own notebook; None for notebooks and unreadable requests."""
    refusal: Failure | None = None
    """Reason why it cannot be read as a request."""
    notebook: bytes | None = None
    """The notebook inside the request."""
    flaw: Failure | None = None
    """Reason why its notebook is none."""
    bundle: Bundle | None = None
    """Its files, if it is an archive or a folder that was read."""


def read_contents(raw: bytes, syntax: Syntax) -> Contents:
    """Read a file. Never fails: its errors are part of the result."""
    if syntax is Syntax.CANCEL:
        return Contents(text=raw.decode("ascii", "replace").strip())
    try:
        document = _document(raw, syntax)
    except ValueError as error:
        return _broken(raw, syntax, str(error))
    except Refused as refused:
        return _broken(raw, syntax, refused.failure.message)
    return _said(raw, syntax, document)


def unread(syntax: Syntax) -> Contents:
    """Describe a file that nobody has read; it counts by its suffix."""
    return Contents(kind=Kind.NOTEBOOK if syntax is Syntax.IPYNB else Kind.REQUEST)


def unreadable(syntax: Syntax, why: str) -> Contents:
    """Describe a file that must not be read to the end."""
    message = f"It cannot be read: {why}."
    return replace(
        unread(syntax),
        broken=message,
        is_request=True,
        refusal=Failure(error_type=ErrorType.INVALID_REQUEST, message=message),
        flaw=Failure(error_type=ErrorType.INVALID_NOTEBOOK, message=message),
    )


def is_quick(raw: bytes, syntax: Syntax) -> bool:
    """Return whether a file is read in milliseconds, whatever its content."""
    if syntax is Syntax.YAML:
        return len(raw) <= YAML_BYTES
    if len(raw) <= JSON_VALUES:
        return True
    values = len(raw) - len(raw.translate(None, _SEPARATORS))
    return values <= JSON_VALUES and _LONG_NUMBER.search(raw) is None


def _document(raw: bytes, syntax: Syntax) -> object:
    return read_document(raw, Form.YAML) if syntax is Syntax.YAML else parse(raw)


def _broken(raw: bytes, syntax: Syntax, why: str) -> Contents:
    flaw = f"This is no notebook: it is not JSON ({why})."
    return replace(
        unread(syntax),
        broken=why,
        is_request=True,
        refusal=_why_no_request(raw, syntax, why),
        flaw=Failure(error_type=ErrorType.INVALID_NOTEBOOK, message=flaw),
    )


def _why_no_request(raw: bytes, syntax: Syntax, why: str) -> Failure | None:
    """Say why text is no JSON at all; strict JSON has better words for some cases."""
    if syntax is Syntax.IPYNB:
        return None
    if syntax is Syntax.YAML:
        return Failure(error_type=ErrorType.INVALID_REQUEST, message=why)
    try:
        read_request(read_document(raw, Form.JSON), Form.JSON)
    except Refused as refused:
        return refused.failure
    return None


def _said(raw: bytes, syntax: Syntax, document: object) -> Contents:
    kind = _kind(syntax, document)
    keys = document if isinstance(document, dict) else {}
    contents = Contents(
        kind=kind,
        is_request=kind is Kind.REQUEST,
        has_cells=isinstance(keys.get("cells"), list),
        has_code=has_code(document),
        is_blank=is_blank(document),
        what=_in_words(document),
        names_library=kind is Kind.REQUEST and isinstance(keys.get("notebook"), str),
        flaw=None if syntax is Syntax.YAML else _flaw_of(document),
    )
    if syntax is Syntax.JSON and kind is Kind.REQUEST:
        wanted = keys.get("id")
        is_id = isinstance(wanted, str) and JOB_ID.fullmatch(wanted) is not None
        contents = replace(contents, wanted_id=wanted if is_id else None)
    is_asked = kind in (Kind.REQUEST, Kind.SETTINGS) or syntax is Syntax.YAML
    if syntax is Syntax.IPYNB or not is_asked:
        return contents
    return _with_request(contents, raw, syntax, document)


def _kind(syntax: Syntax, document: object) -> Kind:
    if syntax is Syntax.IPYNB:
        return Kind.NOTEBOOK
    kind = kind_of(document)
    return Kind.SETTINGS if kind is Kind.NOTEBOOK and syntax is Syntax.YAML else kind


def _with_request(contents: Contents, raw: bytes, syntax: Syntax, document: object) -> Contents:
    """Read JSON in its strict form, and keep its notebook apart."""
    try:
        if syntax is Syntax.YAML:
            request = read_request(document, Form.YAML)
        else:
            request = read_request(read_document(raw, Form.JSON), Form.JSON)
    except Refused as refused:
        return replace(contents, refusal=refused.failure)
    carried = request.notebook
    if not isinstance(carried, dict):
        return replace(contents, request=request)
    return replace(
        contents,
        request=request.model_copy(update={"notebook": None}),
        notebook=json.dumps(carried, ensure_ascii=False).encode("utf-8", "surrogatepass"),
        flaw=_flaw_of(carried),
    )


def _flaw_of(document: object) -> Failure | None:
    try:
        check(document)
    except Refused as refused:
        return refused.failure
    return None


def _in_words(document: Any) -> str:
    if isinstance(document, list):
        if any(isinstance(one, dict) and "notebook" in one for one in document):
            return "a list of requests; drop each as a file of its own"
        return "a list, not a mapping"
    return f"a {type(document).__name__}, not a mapping"
