"""Turns a notebook's parameters into fields of a form, and the typed form into a request.

Pure. The request holds only values that differ from the notebook's default, so a computed default
stays computed. Submits nothing.
"""

import ast
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from runner.contract.parameters import Parameter
from runner.contract.text.scalars import Scalar, ScalarError, scalar_of
from runner.contract.text.strict_json import StrictJsonError, loads

LONG = 80
MAX_ANNOTATION_CHARS = 200


class Kind(StrEnum):
    """Kinds of values, which decide how a field looks."""

    TRUTH = "truth"
    INTEGER = "integer"
    NUMBER = "number"
    TEXT = "text"
    LIST = "list"
    MAPPING = "mapping"
    ANY = "any"


_TYPED = {
    Kind.TRUTH: "true or false",
    Kind.INTEGER: "whole number",
    Kind.NUMBER: "number",
    Kind.TEXT: "text",
    Kind.LIST: "list, as JSON",
    Kind.MAPPING: "mapping, as JSON",
    Kind.ANY: "JSON, or plain text",
}
_ANNOTATIONS = (
    (r"bool", Kind.TRUTH),
    (r"int", Kind.INTEGER),
    (r"float", Kind.NUMBER),
    (r"str", Kind.TEXT),
    (r"(dict|mapping)", Kind.MAPPING),
    (r"(list|tuple|set|sequence)", Kind.LIST),
)
_NOTHING = object()


class Wrong(Exception):
    """A typed text is no value of its field: why, as a sentence."""


@dataclass(frozen=True)
class Field:
    """One parameter. `text` stands in the field, `initial` before any change.

    `may_be_empty`: an empty field leaves the notebook's default, which is `code`.
    """

    name: str
    kind: Kind
    text: str
    initial: str
    code: str
    help: str = ""
    may_be_empty: bool = True
    error: str = ""

    @property
    def typed(self) -> str:
        """Words for the value to type."""
        return _TYPED[self.kind]

    @property
    def is_long(self) -> bool:
        """Whether it needs more than one line."""
        many = self.kind in (Kind.LIST, Kind.MAPPING)
        return many or len(self.initial) > LONG or "\n" in self.initial + self.text

    @property
    def may_be_left(self) -> bool:
        """Whether it is empty until somebody types: its default is computed."""
        return not self.initial

    @property
    def is_changed(self) -> bool:
        """Whether its value differs from the notebook's."""
        return self.text != self.initial


@dataclass(frozen=True)
class Typed:
    """The form as it was typed."""

    fields: tuple[Field, ...] = ()
    more: str = ""
    name: str = ""
    timeout: str = ""
    memory: str = ""
    retries: str = ""
    errors: Mapping[str, str] = field(default_factory=dict)
    """By the names of the fields above; `""` for general ones."""

    @property
    def is_wrong(self) -> bool:
        """Whether something must be corrected."""
        return bool(self.errors) or any(one.error for one in self.fields)


def fields_of(parameters: tuple[Parameter, ...]) -> tuple[Field, ...]:
    """Make the fields: empty for computed defaults, else with the default."""
    return tuple(_field(one) for one in parameters)


def filled(fields: tuple[Field, ...], values: Mapping[str, Any]) -> Typed:
    """Fill the form from an earlier request; values without a field go to the rest."""
    names = {one.name for one in fields}
    more = {name: value for name, value in values.items() if name not in names}
    fields_shown = tuple(
        replace(one, text=_text_of(one.kind, values[one.name])) if one.name in values else one
        for one in fields
    )
    return Typed(fields_shown, json.dumps(more, ensure_ascii=False, indent=2) if more else "")


def named(form: Typed, request: Mapping[str, Any], name: str) -> Typed:
    """Fill in the rest of an earlier request; `asked` has its keys."""
    timeout, memory = request.get("timeout_seconds"), request.get("resources", {}).get("memory_mb")
    retries = request.get("retries")
    return replace(
        form,
        timeout="" if timeout is None else f"{timeout:g}",
        memory="" if memory is None else str(memory),
        retries="" if retries is None else str(retries),
        name=name,
    )


def typed(fields: tuple[Field, ...], field_text: Callable[[str], str | None]) -> Typed:
    """Read the posted form. `field_text` returns the text of a named field; None if missing."""
    texts = [(one, field_text(f"p.{one.name}")) for one in fields]
    return Typed(
        tuple(one if text is None else replace(one, text=_plain(text)) for one, text in texts),
        more=_plain(field_text("more") or "").strip(),
        name=(field_text("name") or "").strip(),
        timeout=(field_text("timeout") or "").strip(),
        memory=(field_text("memory") or "").strip(),
        retries=(field_text("retries") or "").strip(),
    )


def request_of(form: Typed, notebook: object) -> tuple[dict[str, Any], Typed]:
    """Return the request, and the form with its errors; the former counts if there are none."""
    parameters: dict[str, Any] = {}
    checked = []
    for one in form.fields:
        try:
            value = _value(one)
        except Wrong as wrong:
            checked.append(replace(one, error=str(wrong)))
            continue
        checked.append(one)
        if value is not _NOTHING:
            parameters[one.name] = value
    errors = dict(form.errors)
    request: dict[str, Any] = {"notebook": notebook}
    try:
        parameters = {**_more(form.more), **parameters}
    except Wrong as wrong:
        errors["more"] = str(wrong)
    if form.timeout:
        try:
            request["timeout_seconds"] = _number(form.timeout)
        except Wrong as wrong:
            errors["timeout"] = str(wrong)
    if form.memory:
        try:
            request["resources"] = {"memory_mb": _integer(form.memory)}
        except Wrong as wrong:
            errors["memory"] = str(wrong)
    if form.retries:
        try:
            request["retries"] = _integer(form.retries)
        except Wrong as wrong:
            errors["retries"] = str(wrong)
    if form.name:
        request["name"] = form.name
    if parameters:
        request["parameters"] = parameters
    return request, replace(form, fields=tuple(checked), errors=errors)


def blamed(form: Typed, message: str) -> Typed:
    """Put a refusal beside the field that it concerns."""
    places = (
        ("`timeout_seconds`", "timeout"),
        ("`resources.memory_mb`", "memory"),
        ("`retries`", "retries"),
        ("`name`", "name"),
        ("parameter", "more"),
    )
    place = next((place for word, place in places if word in message), "")
    return replace(form, errors={**form.errors, place: message})


def _field(parameter: Parameter) -> Field:
    value = _literal(parameter.default)
    kind = _kind(value, parameter.type)
    is_known = value is not _NOTHING and value is not None
    text = _text_of(kind, value) if is_known else ""
    return Field(
        name=parameter.name,
        kind=kind,
        text=text,
        initial=text,
        code=parameter.default,
        help=parameter.help,
        may_be_empty=not (kind is Kind.TEXT and is_known),
    )


def _literal(code: str) -> object:
    try:
        value = ast.literal_eval(code)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return _NOTHING
    try:
        json.dumps(_listed(value), allow_nan=False)
    except (ValueError, TypeError, RecursionError):
        return _NOTHING
    return value


def _kind(value: object, annotation: str) -> Kind:
    if isinstance(value, bool):
        return Kind.TRUTH
    for types, kind in (
        (int, Kind.NUMBER if annotation == "float" else Kind.INTEGER),
        (float, Kind.NUMBER),
        (str, Kind.TEXT),
        (dict, Kind.MAPPING),
        ((list, tuple, set), Kind.LIST),
    ):
        if isinstance(value, types):
            return kind
    if len(annotation) > MAX_ANNOTATION_CHARS:
        return Kind.ANY
    plain = re.sub(r"optional\[(.*)\]|\s*\|\s*none|none\s*\|\s*", r"\1", annotation.lower())
    for pattern, kind in _ANNOTATIONS:
        if re.fullmatch(rf"{pattern}(\[.*\])?", plain):
            return kind
    return Kind.ANY


def _text_of(kind: Kind, value: Any) -> str:
    if kind in (Kind.TEXT, Kind.ANY) and isinstance(value, str):
        return value
    listed = _listed(value)
    flat = json.dumps(listed, ensure_ascii=False)
    is_many = isinstance(listed, dict | list) and len(flat) > LONG
    return json.dumps(listed, ensure_ascii=False, indent=2) if is_many else flat


def _listed(value: Any) -> Any:
    """Turn tuples and sets into lists, as JSON needs."""
    if isinstance(value, dict):
        return {key: _listed(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_listed(part) for part in value]
    if isinstance(value, set):
        return sorted((_listed(part) for part in value), key=repr)
    return value


def _plain(text: str) -> str:
    """Normalise the line ends of a form."""
    return text.replace("\r\n", "\n")


def _value(one: Field) -> Any:
    """Return a field's value; nothing if it leaves the notebook's default.

    Raises:
        Wrong
    """
    text = one.text if one.kind is Kind.TEXT else one.text.strip()
    if not one.is_changed or (not text and one.may_be_empty):
        return _NOTHING
    if one.kind is Kind.TEXT:
        return text
    if one.kind is Kind.TRUTH:
        if text not in ("true", "false"):
            raise Wrong("Choose true or false.")
        return text == "true"
    if one.kind is Kind.INTEGER:
        return _integer(text)
    if one.kind is Kind.NUMBER:
        return _number(text)
    if one.kind is Kind.ANY:
        return _any(text)
    return _container(text, one.kind)


def _any(text: str) -> Any:
    """Read JSON if the text is some, else by the table of scalars."""
    try:
        return loads(text.encode())
    except StrictJsonError:
        return _of_table(text)


def _of_table(text: str) -> Scalar:
    try:
        return scalar_of(text)
    except ScalarError as error:
        raise Wrong(f"Enter something else: {error}.") from None


def _integer(text: str) -> int:
    number = _of_table(text)
    if isinstance(number, int) and not isinstance(number, bool):
        return number
    raise Wrong("Enter a whole number.")


def _number(text: str) -> float:
    number = _of_table(text)
    if isinstance(number, int | float) and not isinstance(number, bool):
        return float(number)
    raise Wrong("Enter a number, such as 2.5.")


def _container(text: str, kind: Kind) -> Any:
    wanted, example = (list, '["a", 1]') if kind is Kind.LIST else (dict, '{"a": 1}')
    value = _json(text, example)
    if not isinstance(value, wanted):
        raise Wrong(f"Enter JSON such as {example}.")
    return value


def _more(text: str) -> dict[str, Any]:
    if not text:
        return {}
    value = _json(text, '{"region": "EU"}')
    if not isinstance(value, dict):
        raise Wrong('Enter a JSON object, such as {"region": "EU"}.')
    return value


def _json(text: str, example: str) -> Any:
    try:
        return loads(text.encode())
    except StrictJsonError as error:
        raise Wrong(f"This is no JSON ({error}). Enter something such as {example}.") from None
