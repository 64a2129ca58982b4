"""What a file in the inbox says, as far as intake and admission ask: a small value, whatever it is.

Owns the rules by which a file becomes one. Refuses disk, clock and network.
"""

import json
import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from runner.notebook import check, has_code, is_blank, parse
from runner.outcome import ErrorType, Failure, Refused
from runner.request import Form, Kind, Request, kind_of, read_document, read_request

YAML_BYTES = 16 * 1024
"""YAML of this size takes 20 ms at the most."""
JSON_VALUES = 50_000
"""JSON of so many values takes about as long, with what is done with it."""
_LONG_NUMBER = re.compile(rb"[0-9]{500}")
"""The time of an integer grows with the square of its digits."""
_SEPARATORS = b",[{\\"
_JOB_ID = re.compile(r"[0-9a-f]{32}")


class Language(StrEnum):
    """How a file is to be read, which its suffix says."""

    IPYNB = "ipynb"
    JSON = "json"
    YAML = "yaml"
    CANCEL = "cancel"


def language_of(suffix: str) -> Language:
    """The language of a file with one of the suffixes that the inbox takes."""
    return Language.YAML if suffix == ".yml" else Language(suffix.removeprefix("."))


@dataclass(frozen=True)
class Contents:
    """What a file says."""

    kind: Kind = Kind.FOREIGN
    """What its document is; a broken one counts as what its suffix says."""
    broken: str | None = None
    """Why there is no document in it."""
    text: str | None = None
    """Of a `.cancel` file, in which there is no document."""
    is_request: bool = False
    """Whether it names or carries a notebook, or would, were it not broken."""
    has_cells: bool = False
    """Whether it is itself a notebook, with a list of cells."""
    has_code: bool = False
    is_blank: bool = False
    """Whether it has cells in which nothing is written."""
    what: str = "no document"
    """In words, what no request is."""
    wanted_id: str | None = None
    """The job id that a JSON request brings along, if it is a valid one."""
    names_library: bool = False
    request: Request | None = None
    """What it asks for, without the notebook that it carries; None for notebooks and where it
    cannot be read as a request."""
    refusal: Failure | None = None
    """Why it cannot be read as a request."""
    notebook: bytes | None = None
    """The notebook that it carries."""
    flaw: Failure | None = None
    """Why the notebook that it is, or carries, is none."""


def read_contents(raw: bytes, language: Language) -> Contents:
    """Read a file. Never fails: what is wrong with it is part of what is known of it."""
    if language is Language.CANCEL:
        return Contents(text=raw.decode("ascii", "replace").strip())
    try:
        document = _document(raw, language)
    except ValueError as error:
        return _broken(raw, language, str(error))
    except Refused as refused:
        return _broken(raw, language, refused.failure.message)
    return _said(raw, language, document)


def unreadable(language: Language, why: str) -> Contents:
    """Contents that nobody may read to the end."""
    message = f"It cannot be read: {why}."
    refusal = Failure(error_type=ErrorType.INVALID_REQUEST, message=message)
    return Contents(
        kind=Kind.NOTEBOOK if language is Language.IPYNB else Kind.REQUEST,
        broken=message,
        is_request=True,
        refusal=refusal,
        flaw=Failure(error_type=ErrorType.INVALID_NOTEBOOK, message=message),
    )


def is_quick(raw: bytes, language: Language) -> bool:
    """Whether a file is read in milliseconds, whatever is in it."""
    if language is Language.YAML:
        return len(raw) <= YAML_BYTES
    if len(raw) <= JSON_VALUES:
        return True
    values = len(raw) - len(raw.translate(None, _SEPARATORS))
    return values <= JSON_VALUES and _LONG_NUMBER.search(raw) is None


def _document(raw: bytes, language: Language) -> object:
    return read_document(raw, Form.YAML) if language is Language.YAML else parse(raw)


def _broken(raw: bytes, language: Language, why: str) -> Contents:
    found = Contents(
        kind=Kind.NOTEBOOK if language is Language.IPYNB else Kind.REQUEST,
        broken=why,
        is_request=True,
        flaw=Failure(
            error_type=ErrorType.INVALID_NOTEBOOK,
            message=f"This is no notebook: it is not JSON ({why}).",
        ),
    )
    if language is Language.YAML:
        failure = Failure(error_type=ErrorType.INVALID_REQUEST, message=why)
        return replace(found, refusal=failure)
    return replace(found, refusal=_refusal_of(raw))


def _refusal_of(raw: bytes) -> Failure | None:
    """Why text that is no JSON at all is no request; strict JSON has better words for some."""
    try:
        read_request(read_document(raw, Form.JSON), Form.JSON)
    except Refused as refused:
        return refused.failure
    return None


def _said(raw: bytes, language: Language, document: object) -> Contents:
    kind = _kind(language, document)
    keys = document if isinstance(document, dict) else {}
    found = Contents(
        kind=kind,
        is_request="notebook" in keys,
        has_cells=isinstance(keys.get("cells"), list),
        has_code=has_code(document),
        is_blank=is_blank(document),
        what=_in_words(document),
        names_library=kind is Kind.REQUEST and isinstance(keys.get("notebook"), str),
        flaw=None if language is Language.YAML else _flaw_of(document),
    )
    if language is Language.JSON and "notebook" in keys:
        wanted = keys.get("id")
        is_id = isinstance(wanted, str) and _JOB_ID.fullmatch(wanted) is not None
        found = replace(found, wanted_id=wanted if is_id else None)
    is_asked = kind in (Kind.REQUEST, Kind.SETTINGS) or language is Language.YAML
    if language is Language.IPYNB or not is_asked:
        return found
    return _with_request(found, raw, language, document)


def _kind(language: Language, document: object) -> Kind:
    if language is Language.IPYNB:
        return Kind.NOTEBOOK
    kind = kind_of(document)
    return Kind.SETTINGS if kind is Kind.NOTEBOOK and language is Language.YAML else kind


def _with_request(contents: Contents, raw: bytes, language: Language, document: object) -> Contents:
    """JSON is held to its strict form here, and a notebook that it carries is kept apart."""
    try:
        if language is Language.YAML:
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
