"""Reads `NAME.parameters.yaml`, the JSON Schema of a notebook's parameters beside it.

    tool: true
    report: {code: show}
    properties:
      years: {enum: [1, 3, 5], default: 3, description: How long.}
      since: {type: string, format: date, default: month_start}
    required: [region]

A default in it is injected where a request leaves the parameter out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from difflib import get_close_matches
from typing import Any

from runner.contract.outcome import Refused, refuse
from runner.contract.parameters.annotations import Schema
from runner.contract.parameters.keywords import Flaw, flaws
from runner.contract.parameters.moving import GRAMMAR, is_moving, resolve
from runner.contract.parameters.schemas import TooLarge, fits, in_words, value_in_words
from runner.contract.report_choices import ReportChoices
from runner.contract.request import check_parameters, report_choices
from runner.contract.states.status import ErrorType
from runner.contract.text.strict_yaml import StrictYamlError, loads
from runner.contract.text.yaml_places import line_of

SUFFIX = ".parameters.yaml"
SUFFIXES = (SUFFIX, ".parameters.yml")
MAX_BYTES = 16 * 1024
"""YAML up to this size is read in 20 ms at the most."""
_KEYS = (
    *("properties", "required", "additionalProperties", "tool", "report", "title", "description"),
    *("type", "$schema", "$id", "$comment"),
)


class SidecarError(Exception):
    """The file is wrong; the message says where, as the end of a sentence."""


@dataclass(frozen=True)
class Sidecar:
    """The declared parameters. `is_closed`: a request may name no others."""

    properties: Mapping[str, Schema] = field(default_factory=dict)
    required: Sequence[str] = ()
    is_closed: bool = False
    is_tool: bool = False
    title: str = ""
    description: str = ""
    report: ReportChoices | None = None


def stem_of(notebook: str) -> str:
    """Return a notebook's path or name without its suffix; that of the sidecar follows it."""
    return notebook.removesuffix(".ipynb")


def read_sidecar(raw: bytes) -> Sidecar:
    """Read the file.

    Raises:
        SidecarError
    """
    if len(raw) > MAX_BYTES:
        raise SidecarError(f"it has {len(raw)} bytes; at most {MAX_BYTES} are read")
    try:
        document = loads(raw)
    except StrictYamlError as error:
        raise SidecarError(str(error)) from error
    for place, what in _flaws(document):
        line = line_of(raw.decode("utf-8-sig"), place)
        raise SidecarError(what if line is None else f"{what} (line {line})")
    keys: Any = document or {}
    return Sidecar(
        properties=keys.get("properties") or {},
        required=tuple(keys.get("required") or ()),
        is_closed=keys.get("additionalProperties") is False,
        is_tool=keys.get("tool") is True,
        title=keys.get("title") or "",
        description=keys.get("description") or "",
        report=None if keys.get("report") is None else report_choices(keys["report"]),
    )


def defaults_of(sidecar: Sidecar, today: date) -> dict[str, Any]:
    """Return the defaults to inject; a moving one as the day that it means today."""
    defaults = {}
    for name, schema in sidecar.properties.items():
        if "default" in schema:
            value = schema["default"]
            moves = is_date(schema) and is_moving(value)
            defaults[name] = resolve(value, today) if moves else value
    return defaults


def is_date(schema: Schema) -> bool:
    """Return whether a schema is of dates, whose default may move."""
    return schema.get("format") == "date"


def refuse_sidecar(path: str, error: SidecarError) -> Refused:
    """Make the refusal of every run of a notebook whose sidecar, at `path`, is wrong."""
    return refuse(ErrorType.INVALID_NOTEBOOK, f"The library's {path!r} is wrong: {error}.")


def _flaws(document: object) -> Sequence[Flaw]:
    """List what is wrong, the first first; later ones may follow from it."""
    if document is None:
        return ()
    if not isinstance(document, dict):
        return [((), "it must be a mapping with `properties`")]
    unknown = next((key for key in document if key not in _KEYS and not key.startswith("x-")), None)
    if unknown is not None:
        near = get_close_matches(unknown, _KEYS, 1, 0.7) if len(unknown) < 60 else []
        hint = f" (did you mean `{near[0]}`?)" if near else ". Parameters stand below `properties`"
        return [((unknown,), f"`{unknown[:60]}` is no key of this file{hint}")]
    if document.get("type", "object") != "object":
        return [(("type",), "the `type` of all parameters together is object")]
    if not isinstance(document.get("tool", False), bool):
        return [(("tool",), "`tool` must be true or false")]
    if not isinstance(document.get("additionalProperties", True), bool):
        return [(("additionalProperties",), "`additionalProperties` must be true or false")]
    try:
        report_choices(document.get("report") or {})
    except Refused as refused:
        return [(("report",), refused.failure.message.rstrip("."))]
    ours = ("tool", "report")
    schema = {key: one for key, one in document.items() if key not in ours and one is not None}
    return [*flaws(schema)] or _flaws_of_properties(schema)


def _flaws_of_properties(schema: Mapping[str, Any]) -> list[Flaw]:
    properties = schema.get("properties", {})
    for name, one in properties.items():
        place = ("properties", name)
        try:
            check_parameters({name: None})
        except Refused:
            return [(place, f"the name {name[:60]!r} is no Python identifier")]
        if not isinstance(one, dict):
            return [(place, "a schema is a mapping of keywords, such as `type: integer`")]
        if "default" in one and not _is_fit_default(one):
            return [((*place, "default"), _wrong_default(one))]
    missing = [name for name in schema.get("required", ()) if name not in properties]
    if missing:
        return [(("required",), f"`required` names {missing[0][:60]!r}, which is no property")]
    return []


def _is_fit_default(schema: Schema) -> bool:
    if is_date(schema) and is_moving(schema["default"]):
        return True
    try:
        return fits(schema["default"], schema)
    except TooLarge:
        return False


def _wrong_default(schema: Schema) -> str:
    wanted = in_words(schema)
    moving = f", or {GRAMMAR}" if is_date(schema) else ""
    return f"the default {value_in_words(schema['default'])} does not fit; {wanted} would{moving}"
