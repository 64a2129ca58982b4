"""Turns a notebook's parameters into fields of a form, and a typed text into a value.

Pure.
"""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from runner.contract.parameters.annotations import type_of
from runner.contract.parameters.schemas import fits, in_words
from runner.contract.parameters.signature import NOTHING, TypedParameter, as_json, literal
from runner.contract.text.scalars import Scalar, ScalarError, scalar_of
from runner.contract.text.strict_json import StrictJsonError, loads

LONG = 80
MAX_CHOICES = 200
"""Most choices of a menu; more are typed."""
_LOCAL_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2})?", re.ASCII)
"""What a browser's own field for a time can hold."""


class Kind(StrEnum):
    """Kinds of values, which decide how a field looks."""

    TRUTH = "truth"
    INTEGER = "integer"
    NUMBER = "number"
    TEXT = "text"
    LIST = "list"
    MAPPING = "mapping"
    ANY = "any"
    CHOICE = "choice"
    DATE = "date"
    STAMP = "stamp"


_TYPED = {
    Kind.TRUTH: "true or false",
    Kind.INTEGER: "whole number",
    Kind.NUMBER: "number",
    Kind.TEXT: "text",
    Kind.LIST: "list, as JSON",
    Kind.MAPPING: "mapping, as JSON",
    Kind.ANY: "JSON, or plain text",
    Kind.CHOICE: "",
    Kind.DATE: "date",
    Kind.STAMP: "time",
}
_KINDS = {
    "boolean": Kind.TRUTH,
    "integer": Kind.INTEGER,
    "number": Kind.NUMBER,
    "string": Kind.TEXT,
    "array": Kind.LIST,
    "object": Kind.MAPPING,
}


class Wrong(Exception):
    """A typed text is no value of its field: why, as a sentence."""


@dataclass(frozen=True)
class Field:
    """One parameter. `text` stands in the field, `initial` before any change.

    `may_be_empty`: an empty field leaves the notebook's default, which is `code`. `choices` are
    texts as the form sends them.
    """

    parameter: TypedParameter
    kind: Kind
    text: str
    initial: str
    may_be_empty: bool = True
    choices: tuple[str, ...] = ()
    error: str = ""

    @property
    def name(self) -> str:
        """The parameter's name."""
        return self.parameter.name

    @property
    def help(self) -> str:
        """Its description."""
        return self.parameter.help

    @property
    def code(self) -> str:
        """Its default, as the notebook or the file beside it writes it."""
        return self.parameter.moving_default or self.parameter.code

    @property
    def default(self) -> str:
        """Its default as a person types it into the field; the code of one that is computed."""
        if self.may_be_left or self.parameter.moving_default:
            return "null" if self.code == "None" else self.code
        return _label(self.initial) if self.kind is Kind.CHOICE else self.initial

    @property
    def is_required(self) -> bool:
        """Whether it has no default."""
        return self.parameter.is_required

    @property
    def typed(self) -> str:
        """Words for the value to type; none beside a menu."""
        if not self.parameter.is_declared or self.kind is Kind.CHOICE:
            return _TYPED[self.kind]
        words = in_words(self.parameter.schema).removesuffix(" or null")
        return f"{words}, as JSON" if self.kind in (Kind.LIST, Kind.MAPPING) else words

    @property
    def limits(self) -> Mapping[str, object]:
        """Attributes of a field for numbers that has limits; empty for one without."""
        schema = self.parameter.schema
        if self.kind not in (Kind.INTEGER, Kind.NUMBER):
            return {}
        is_whole = self.kind is Kind.INTEGER
        low, high = schema.get("minimum"), schema.get("maximum")
        above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
        if above is not None:
            low = above + 1 if is_whole and isinstance(above, int) else above
        if below is not None:
            high = below - 1 if is_whole and isinstance(below, int) else below
        limits = {"min": low, "max": high, "step": schema.get("multipleOf")}
        known = {name: limit for name, limit in limits.items() if limit is not None}
        return {"step": 1 if is_whole else "any", **known} if known else {}

    @property
    def input_type(self) -> str:
        """The `type` of a one-line field. A text that a browser's own field would lose stays."""
        if self.kind is Kind.STAMP and _LOCAL_TIME.fullmatch(self.text or "2026-01-01T00:00"):
            return "datetime-local"
        if self.kind is Kind.DATE and (not self.text or self._fits_field()):
            return "date"
        return "number" if self.limits and (not self.text or self._fits_field()) else "text"

    @property
    def menu(self) -> Sequence[tuple[str, str]]:
        """The choices and their labels; also an earlier value that is none of them."""
        others = () if self.text in ("", *self.choices) else (self.text,)
        return [(one, _label(one)) for one in (*self.choices, *others)]

    @property
    def is_long(self) -> bool:
        """Whether it needs more than one line."""
        many = self.kind in (Kind.LIST, Kind.MAPPING)
        return many or len(self.initial) > LONG or "\n" in self.initial + self.text

    @property
    def may_be_left(self) -> bool:
        """Whether it is empty until somebody types: its default is computed."""
        return not self.initial

    def _fits_field(self) -> bool:
        if self.kind is Kind.DATE:
            return fits(self.text, {"format": "date"})
        try:
            _read(self, self.text.strip())
        except Wrong:
            return False
        return True

    @property
    def is_changed(self) -> bool:
        """Whether its value differs from the notebook's."""
        return self.text != self.initial


def fields_of(parameters: Sequence[TypedParameter]) -> tuple[Field, ...]:
    """Make the fields: empty for computed defaults, else with the default."""
    return tuple(_field(one) for one in parameters)


def _field(parameter: TypedParameter) -> Field:
    value = NOTHING if parameter.moving_default else _default_of(parameter)
    choices = _choices(parameter.schema)
    kind = Kind.CHOICE if choices else _kind(value, parameter.schema)
    is_known = value is not NOTHING and value is not None
    text = text_of(kind, value) if is_known else ""
    return Field(
        parameter=parameter,
        kind=kind,
        text=text,
        initial=text,
        may_be_empty=not (kind is Kind.TEXT and is_known),
        choices=choices,
    )


def _default_of(parameter: TypedParameter) -> object:
    if "default" in parameter.schema:
        return parameter.schema["default"]
    return literal(parameter.code) if parameter.code else NOTHING


def _choices(schema: Mapping[str, Any]) -> tuple[str, ...]:
    """List the values of a menu, as JSON; none for a type without one."""
    values = schema.get("enum", ())
    if len(values) > MAX_CHOICES or any(isinstance(one, list | dict) for one in values):
        return ()
    return tuple(json.dumps(one, ensure_ascii=False) for one in values)


def _label(choice: str) -> str:
    value = json.loads(choice)
    return value if isinstance(value, str) else choice


def _kind(value: object, schema: Mapping[str, Any]) -> Kind:
    """Return the kind of field for a type; without one by the default."""
    types = schema.get("type", ())
    names = [one for one in ([types] if isinstance(types, str) else types) if one != "null"]
    if not names and "anyOf" not in schema and "oneOf" not in schema and value is not NOTHING:
        names = [type_of(value) or ""]
    if len(names) != 1:
        return Kind.ANY
    if names == ["string"]:
        return {"date": Kind.DATE, "date-time": Kind.STAMP}.get(schema.get("format", ""), Kind.TEXT)
    return _KINDS.get(names[0], Kind.ANY)


def text_of(kind: Kind, value: Any) -> str:
    """Write a value as its field has it."""
    if kind in (Kind.TEXT, Kind.DATE, Kind.STAMP, Kind.ANY) and isinstance(value, str):
        return value
    listed = as_json(value)
    flat = json.dumps(listed, ensure_ascii=False)
    is_many = isinstance(listed, dict | list) and len(flat) > LONG
    return json.dumps(listed, ensure_ascii=False, indent=2) if is_many else flat


def value_of(one: Field) -> Any:
    """Return a field's value; nothing if it leaves the notebook's default, and need not be sent.

    Raises:
        Wrong
    """
    text = one.text if one.kind is Kind.TEXT else one.text.strip()
    if not text and one.is_required:
        raise Wrong(f"Enter {in_words(one.parameter.schema)}.")
    is_left = not one.is_changed and not one.is_required
    if is_left or (not text and one.may_be_empty):
        return NOTHING
    value = _read(one, text) if one.parameter.is_declared else _read_guessed(one, text)
    if one.parameter.is_declared and one.parameter.objection(value) is not None:
        verb = "Choose" if one.kind is Kind.CHOICE else "Enter"
        raise Wrong(f"{verb} {in_words(one.parameter.schema)}.")
    return value


def _read(one: Field, text: str) -> Any:
    """Read a text as its field's kind of value.

    Raises:
        Wrong
    """
    if one.kind in (Kind.TEXT, Kind.DATE, Kind.STAMP):
        return text
    if one.kind is Kind.TRUTH:
        if text not in ("true", "false"):
            raise Wrong("Choose true or false.")
        return text == "true"
    if one.kind is Kind.INTEGER:
        return integer_of(text)
    if one.kind is Kind.NUMBER:
        return number_of(text)
    if one.kind in (Kind.ANY, Kind.CHOICE):
        return _any(text)
    return _container(text, one.kind)


def _read_guessed(one: Field, text: str) -> Any:
    """Read a text for a field whose kind is a guess by the default, which refuses nothing.

    As a value over HTTP, it may be of another kind; the job's result warns of that.

    Raises:
        Wrong: it is no JSON where that is all that could be meant.
    """
    try:
        return _read(one, text)
    except Wrong:
        if one.kind in (Kind.INTEGER, Kind.NUMBER):
            return _any(text)
        if one.kind in (Kind.LIST, Kind.MAPPING):
            with suppress(StrictJsonError):
                return loads(text.encode())
        raise


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


def integer_of(text: str) -> int:
    """Read a whole number.

    Raises:
        Wrong
    """
    number = _of_table(text)
    if isinstance(number, int) and not isinstance(number, bool):
        return number
    raise Wrong("Enter a whole number.")


def number_of(text: str) -> float:
    """Read a number.

    Raises:
        Wrong
    """
    number = _of_table(text)
    if isinstance(number, int | float) and not isinstance(number, bool):
        return float(number)
    raise Wrong("Enter a number, such as 2.5.")


def _container(text: str, kind: Kind) -> Any:
    wanted, example = (list, '["a", 1]') if kind is Kind.LIST else (dict, '{"a": 1}')
    value = json_of(text, example)
    if not isinstance(value, wanted):
        raise Wrong(f"Enter JSON such as {example}.")
    return value


def json_of(text: str, example: str) -> Any:
    """Read JSON; `example` is some that would do.

    Raises:
        Wrong
    """
    try:
        return loads(text.encode())
    except StrictJsonError as error:
        raise Wrong(f"This is no JSON ({error}). Enter something such as {example}.") from None
