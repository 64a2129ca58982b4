"""The typed parameters of a notebook, as one JSON Schema for every face.

A type comes from the sidecar, an annotation or a type comment, which are promises: a value that
does not fit is refused. Where there is none of them, the default is a guess, which refuses nothing.
"""

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from runner.contract.notebook import code_sources
from runner.contract.outcome import refuse
from runner.contract.parameters.annotations import Schema, is_whole, schema_of, type_of
from runner.contract.parameters.listing import (
    MAX_CHARS,
    SHOWN_CHARS,
    SHOWN_NAMES,
    Parameter,
    names_in_words,
    parameters_of,
)
from runner.contract.parameters.moving import is_moving
from runner.contract.parameters.schemas import TooLarge, fits, in_words, value_in_words
from runner.contract.parameters.sidecar import Sidecar, is_date
from runner.contract.states.status import ErrorType
from runner.contract.text import literals
from runner.contract.text.scalars import ScalarError, scalar_of

NOTHING = object()
"""A default that is computed, or that JSON cannot express."""
LONG_WORDS = 60
"""Longest description of a type that a refusal repeats."""
_CHECKS = frozenset(("type", "enum", "const", "anyOf", "oneOf", "allOf", "format"))
"""Keywords by which a sidecar replaces the notebook's own type."""
_DIGITS_DIVIDED = re.compile(r"[-+]?\d[\d.,_' ]*", re.ASCII)
_UNDERSCORES = re.compile(r"[-+]?(0|[1-9]\d*)(_\d+)+", re.ASCII)
_ONE_COMMA = re.compile(r"[-+]?(0|[1-9]\d*),\d+", re.ASCII)
_ONE_THOUSAND = re.compile(r"[-+]?[1-9]\d{0,2},\d{3}", re.ASCII)
_MOMENT = re.compile(r"(datetime\.)?(date|datetime)\([\d, ]+\)$")
_READERS = frozenset(("title", "description", "default", "examples"))


@dataclass(frozen=True)
class TypedParameter:
    """One parameter. `code` is the notebook's default; `schema` is empty where nothing is known.

    `note` says why the declared type is not used; empty if it is.
    """

    name: str
    schema: Schema
    code: str = ""
    is_declared: bool = False
    is_required: bool = False
    note: str = ""

    @property
    def help(self) -> str:
        """The description."""
        return str(self.schema.get("description", ""))

    @property
    def moving_default(self) -> str:
        """The default that moves with the day; empty if there is none."""
        default = self.schema.get("default")
        return str(default) if is_date(self.schema) and is_moving(default) else ""

    def objection(self, value: Any) -> str | None:
        """Say what would fit in place of a value; None if it fits."""
        try:
            if fits(value, self.schema):
                return None
        except TooLarge:
            return f"`{self.name}` is too large to be checked against its type."
        return (
            f"`{self.name}` is {value_in_words(value)}; it must be {in_words(self.schema)}."
            f"{_advice(value, self.schema)}"
        )


@dataclass(frozen=True)
class Signature:
    """The parameters of a notebook, those of its cell first. `is_closed`: there are no others."""

    parameters: tuple[TypedParameter, ...] = ()
    is_closed: bool = False

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of all values together, for clients."""
        required = [one.name for one in self.parameters if one.is_required]
        return {
            "type": "object",
            "properties": {one.name: _for_clients(one) for one in self.parameters},
            **({"required": required} if required else {}),
            **({"additionalProperties": False} if self.is_closed else {}),
        }

    def objections(self, values: Mapping[str, Any]) -> dict[str, str]:
        """Say for each parameter whose value is missing or does not fit, what would."""
        objections = {}
        for one in self.parameters:
            if one.name not in values:
                if one.is_required:
                    objections[one.name] = (
                        f"`{one.name}` is missing; it must be {in_words(one.schema)}."
                    )
            elif one.is_declared and (why := one.objection(values[one.name])) is not None:
                objections[one.name] = why
        for name in self._unknown(values):
            objections[name] = self._no_parameters([name])
        return objections

    def check(self, values: Mapping[str, Any]) -> None:
        """Refuse values that do not fit.

        Raises:
            Refused: `invalid_parameters`, naming each parameter, its value, and what would fit.
        """
        objections = list(self._sentences(values))
        if objections:
            more = len(objections) - SHOWN_NAMES
            rest = f" {more} more do not fit." if more > 0 else ""
            raise refuse(
                ErrorType.INVALID_PARAMETERS, f"{' '.join(objections[:SHOWN_NAMES])}{rest}"
            )

    def _unknown(self, values: Mapping[str, Any]) -> list[str]:
        """List the values that no parameter takes, where there are no others."""
        known = {one.name for one in self.parameters} if self.is_closed else values.keys()
        return sorted(values.keys() - known)

    def _no_parameters(self, names: Sequence[str]) -> str:
        are = "is no parameter" if len(names) == 1 else "are no parameters"
        known = sorted(one.name for one in self.parameters)
        return (
            f"{names_in_words([name[:SHOWN_CHARS] for name in names])} {are} of the notebook. "
            f"It has {names_in_words(known)}."
        )

    def _sentences(self, values: Mapping[str, Any]) -> Iterator[str]:
        """Yield the objections; what is long in them, and fits several parameters, only once."""
        unknown = self._unknown(values)
        objections = self.objections(values)
        first: dict[str, str] = {}
        for one in self.parameters:
            if one.name not in objections:
                continue
            words = in_words(one.schema)
            before = first.setdefault(words, one.name)
            text = objections[one.name]
            if before != one.name and len(words) > LONG_WORDS:
                text = text.replace(f"must be {words}", f"must be of the same type as `{before}`")
            yield text
        if unknown:
            yield self._no_parameters(unknown)

    @property
    def notes(self) -> tuple[str, ...]:
        """Why types that the notebook declares are not used."""
        return tuple(one.note for one in self.parameters if one.note)


def signature_of(notebook: Mapping[str, Any], sidecar: Sidecar | None = None) -> Signature:
    """Return the typed parameters of a checked notebook, and those of the file beside it."""
    typed = {one.name: _typed(one) for one in parameters_of(notebook)}
    bare = [name for name, one in typed.items() if one.is_required]
    for name in _set_elsewhere(notebook, bare):
        typed[name] = replace(typed[name], is_required=False)
    if sidecar is None:
        return Signature(tuple(typed.values()))
    for name, schema in sidecar.properties.items():
        typed[name] = _with_sidecar(typed.get(name, TypedParameter(name, {})), schema)
    for name in sidecar.required:
        if "default" not in sidecar.properties[name]:
            typed[name] = replace(typed[name], is_required=True)
    return Signature(tuple(typed.values()), sidecar.is_closed)


def literal(code: str) -> Any:
    """Return a default's value as JSON; `NOTHING` for one that is computed."""
    try:
        value = json.loads(json.dumps(as_json(ast.literal_eval(code)), allow_nan=False))
        return value if is_whole(value) else NOTHING
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return NOTHING


def as_json(value: Any) -> Any:
    """Turn tuples and sets into lists, as JSON needs."""
    if isinstance(value, dict):
        return {key: as_json(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(part) for part in value]
    if isinstance(value, set):
        return sorted((as_json(part) for part in value), key=repr)
    return value


def _typed(parameter: Parameter) -> TypedParameter:
    """Return a parameter of the notebook, with its declared type, or a guess by its default."""
    default = literal(parameter.default) if parameter.default else NOTHING
    readers: dict[str, Any] = {"description": parameter.help} if parameter.help else {}
    if default is not NOTHING and default is not None:
        readers["default"] = default
    base = TypedParameter(parameter.name, readers, parameter.default)
    if parameter.type.rpartition(".")[2] in ("", "Final"):
        return replace(base, schema={**_guess(default), **readers})
    schema = schema_of(parameter.type)
    if default is NOTHING and (made := _made_moment(parameter.default, schema)) is not NOTHING:
        readers["default"] = made
        base = replace(base, schema=readers)
    if schema is None or schema == {"type": "null"}:  # `c: None = None` says nothing
        return base
    if default is None:
        schema = _or_null(schema)
    elif default is not NOTHING and not _is_fit(default, schema):
        note = (
            f"`{parameter.name}` is declared `{parameter.type[:SHOWN_CHARS]}`, but its default is "
            f"{value_in_words(default)}: its type is not used."
        )
        return replace(base, note=note)
    is_missing = not parameter.default
    return replace(base, schema={**readers, **schema}, is_declared=True, is_required=is_missing)


def _made_moment(code: str, schema: Schema | None) -> object:
    """Return the day or time that a default makes, where it is of the declared type."""
    if (schema or {}).get("format") not in ("date", "date-time"):
        return NOTHING
    made = _moment_of(code)
    return made if made is not NOTHING and _is_fit(made, schema or {}) else NOTHING


def _moment_of(code: str) -> object:
    """Read a default such as `date(2026, 1, 1)`, which names a day that does not move."""
    if not _MOMENT.match(code):
        return NOTHING
    try:
        return literals.value_of(f"datetime.{code.removeprefix('datetime.')}")
    except literals.NoLiteralError:
        return NOTHING


def _guess(default: Any) -> dict[str, Any]:
    kind = None if default is NOTHING or default is None else type_of(default)
    return {} if kind is None else {"type": kind}


def _is_fit(value: Any, schema: Schema) -> bool:
    try:
        return fits(value, schema)
    except TooLarge:
        return True


def _or_null(schema: Schema) -> Schema:
    """Allow null too: `n: int = None` means an optional number."""
    if _is_fit(None, schema):
        return schema
    if "anyOf" in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    choices = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
    return {**schema, "type": [*types, "null"], **choices}


def _with_sidecar(one: TypedParameter, schema: Schema) -> TypedParameter:
    """Let the sidecar's keywords count before those of the notebook."""
    own = one.schema
    if _CHECKS & schema.keys():
        own = {key: value for key, value in own.items() if key in _READERS}
    if "default" in own and not _is_fit(own["default"], schema):
        own = {key: value for key, value in own.items() if key != "default"}
    made = _made_moment(one.code, schema)
    if made is not NOTHING and "default" not in own:
        own = {**own, "default": made}
    is_declared = one.is_declared or bool(schema.keys() - _READERS)
    is_required = one.is_required and "default" not in schema
    return replace(
        one, schema={**own, **schema}, is_declared=is_declared, is_required=is_required, note=""
    )


def _set_elsewhere(notebook: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """List the names without a value in their cell that some code of the notebook sets."""
    if not names:
        return []
    code = "\n".join(code_sources(notebook))[:MAX_CHARS]
    return [
        name
        for name in names
        if re.search(rf"\b{re.escape(name)}[ \t]*(?::[^=\n]{{1,200}})?=(?!=)", code)
    ]


def _advice(value: Any, schema: Schema) -> str:
    """Say what to do about a text in place of a number, which quotes make."""
    types = schema.get("type")
    kinds = {types} if isinstance(types, str) else set(types or ())
    if kinds == {"string"} and isinstance(value, int | float) and "format" not in schema:
        return " Send it in quotes; on the command line, with -r."
    if not isinstance(value, str) or "string" in kinds:
        return ""
    if kinds & {"integer", "number"}:
        return f" {advice_on_number(value)}"
    return " Send true or false without quotes." if "boolean" in kinds else ""


def advice_on_number(text: str) -> str:
    """Say what to do about a text in place of a number: quotes made it one, or it is none here."""
    if _is_number(text):
        return "Send the number without quotes."
    shown = text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…"
    return f"`{shown}` is no number here{_meant(text.strip())}."


def _meant(text: str) -> str:
    """Say which number a text means: a comma may divide decimals, or thousands."""
    if len(text) > SHOWN_CHARS or not _DIGITS_DIVIDED.fullmatch(text):
        return ""
    if _UNDERSCORES.fullmatch(text):
        return f"; write {text.replace('_', '')}"
    if not _ONE_COMMA.fullmatch(text):
        return "; write digits, with a point before the decimals"
    decimals = text.replace(",", ".")
    if _ONE_THOUSAND.fullmatch(text):
        return f"; write {decimals} or {text.replace(',', '')}, whichever is meant"
    return f"; write {decimals}"


def _is_number(text: str) -> bool:
    try:
        value = scalar_of(text)
    except ScalarError:
        return True
    return isinstance(value, int | float) and not isinstance(value, bool)


def _for_clients(one: TypedParameter) -> dict[str, Any]:
    """Return a parameter's schema; a default that moves becomes words, as it is no date."""
    schema = dict(one.schema)
    moving = one.moving_default
    if moving:
        del schema["default"]
        words = f"Default: {moving}, counted from the day on which the job is accepted."
        schema["description"] = f"{one.help} {words}".strip()
    return schema
