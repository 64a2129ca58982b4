"""A notebook's parameters as fields of a form, and what was typed there as a request.

Pure rules over values: only what differs from the notebook's own default is asked for, so that a
default which is computed stays so. Submits nothing.
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
    """What is typed into a field, and so how it looks."""

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
    """What was typed is no value of its field: why, as a sentence."""


@dataclass(frozen=True)
class Field:
    """One parameter. `text` stands in the field, `initial` did when nothing was changed.

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
        """What to type, in words."""
        return _TYPED[self.kind]

    @property
    def is_long(self) -> bool:
        """Whether it needs more than one line."""
        many = self.kind in (Kind.LIST, Kind.MAPPING)
        return many or len(self.initial) > LONG or "\n" in self.initial + self.text

    @property
    def may_be_left(self) -> bool:
        """Whether nothing stands in it unless somebody types: its default is computed."""
        return not self.initial

    @property
    def is_changed(self) -> bool:
        """Whether it says something else than the notebook itself."""
        return self.text != self.initial


@dataclass(frozen=True)
class Typed:
    """Everything of the form as it was typed."""

    fields: tuple[Field, ...] = ()
    more: str = ""
    name: str = ""
    timeout: str = ""
    memory: str = ""
    retries: str = ""
    errors: Mapping[str, str] = field(default_factory=dict)
    """By the names of the fields above, and `""` for what belongs to none of them."""

    @property
    def is_wrong(self) -> bool:
        """Whether something has to be corrected."""
        return bool(self.errors) or any(one.error for one in self.fields)


def fields_of(parameters: tuple[Parameter, ...]) -> tuple[Field, ...]:
    """Empty fields for what is computed, the defaults in all others."""
    return tuple(_field(one) for one in parameters)


def filled(fields: tuple[Field, ...], values: Mapping[str, Any]) -> Typed:
    """The form as an earlier request filled it; what has no field of its own goes to the rest."""
    names = {one.name for one in fields}
    more = {name: value for name, value in values.items() if name not in names}
    shown = tuple(
        replace(one, text=_text_of(one.kind, values[one.name])) if one.name in values else one
        for one in fields
    )
    return Typed(shown, json.dumps(more, ensure_ascii=False, indent=2) if more else "")


def named(form: Typed, asked: Mapping[str, Any], name: str) -> Typed:
    """The form with the rest of an earlier request, of which `asked` has the keys."""
    timeout, memory = asked.get("timeout_seconds"), asked.get("resources", {}).get("memory_mb")
    retries = asked.get("retries")
    return replace(
        form,
        timeout="" if timeout is None else f"{timeout:g}",
        memory="" if memory is None else str(memory),
        retries="" if retries is None else str(retries),
        name=name,
    )


def typed(fields: tuple[Field, ...], given: Callable[[str], str | None]) -> Typed:
    """What came in. `given` has the text of a field by its name on the form, None for no such."""
    texts = [(one, given(f"p.{one.name}")) for one in fields]
    return Typed(
        tuple(one if text is None else replace(one, text=_plain(text)) for one, text in texts),
        more=_plain(given("more") or "").strip(),
        name=(given("name") or "").strip(),
        timeout=(given("timeout") or "").strip(),
        memory=(given("memory") or "").strip(),
        retries=(given("retries") or "").strip(),
    )


def request_of(form: Typed, notebook: object) -> tuple[dict[str, Any], Typed]:
    """The request, and the form with what is wrong in it; the former counts if nothing is."""
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
    """The form with a refusal beside the field that it speaks of."""
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
    """Tuples and sets as lists, which is what JSON has."""
    if isinstance(value, dict):
        return {key: _listed(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_listed(part) for part in value]
    if isinstance(value, set):
        return sorted((_listed(part) for part in value), key=repr)
    return value


def _plain(text: str) -> str:
    """Forms send the line ends of another time."""
    return text.replace("\r\n", "\n")


def _value(one: Field) -> Any:
    """What a field asks for; nothing where it leaves the notebook's default.

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
    """JSON where it is some, else what the table of scalars makes of it."""
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
    found = _json(text, example)
    if not isinstance(found, wanted):
        raise Wrong(f"Enter JSON such as {example}.")
    return found


def _more(text: str) -> dict[str, Any]:
    if not text:
        return {}
    found = _json(text, '{"region": "EU"}')
    if not isinstance(found, dict):
        raise Wrong('Enter a JSON object, such as {"region": "EU"}.')
    return found


def _json(text: str, example: str) -> Any:
    try:
        return loads(text.encode())
    except StrictJsonError as error:
        raise Wrong(f"This is no JSON ({error}). Enter something such as {example}.") from None
