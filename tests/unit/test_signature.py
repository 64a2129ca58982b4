"""Promises of typed parameters: what a type means, what fits it, and what is said of the rest."""

import json
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from runner.contract.outcome import Refused
from runner.contract.parameters.annotations import schema_of
from runner.contract.parameters.moving import is_moving, resolve
from runner.contract.parameters.schemas import MAX_STEPS, TooLarge, fits, in_words
from runner.contract.parameters.sidecar import (
    MAX_BYTES,
    Sidecar,
    SidecarError,
    defaults_of,
    read_sidecar,
)
from runner.contract.parameters.signature import Signature, TypedParameter, signature_of
from tests.conftest import code, notebook

CHOICES = [1, 3, 5]


def signature(source: str, sidecar: str | None = None) -> Signature:
    declared = None if sidecar is None else read_sidecar(sidecar.encode())
    return signature_of(notebook("1", code(source, "parameters")), declared)


def typed(source: str, sidecar: str | None = None) -> TypedParameter:
    (one,) = signature(source, sidecar).parameters
    return one


@pytest.mark.parametrize(
    ("text", "schema"),
    [
        ("int", {"type": "integer"}),
        ("builtins.float", {"type": "number"}),
        ("'bool'", {"type": "boolean"}),
        ("Literal[1, 3, 5]", {"type": "integer", "enum": CHOICES}),
        ("t.Literal[-1, 'auto', None]", {"enum": [-1, "auto", None]}),
        ("Literal['a'] | None", {"enum": ["a", None]}),
        ("Literal['a', Literal['b']]", {"type": "string", "enum": ["a", "b"]}),
        ("Optional[int]", {"type": ["integer", "null"]}),
        ("int | None", {"type": ["integer", "null"]}),
        ("Union[int, float]", {"type": "number"}),
        ("Union[int, str]", {"type": ["integer", "string"]}),
        ("int | date", {"anyOf": [{"type": "integer"}, {"type": "string", "format": "date"}]}),
        ("date | None", {"type": ["string", "null"], "format": "date"}),
        ("list[int]", {"type": "array", "items": {"type": "integer"}}),
        ("List[Any]", {"type": "array"}),
        ("set[str]", {"type": "array", "uniqueItems": True, "items": {"type": "string"}}),
        ("dict[str, float]", {"type": "object", "additionalProperties": {"type": "number"}}),
        ("typing.Mapping", {"type": "object"}),
        ("tuple[int, ...]", {"type": "array", "items": {"type": "integer"}}),
        ("tuple[int, str]", {"prefixItems": [{"type": "integer"}, {"type": "string"}]}),
        ("datetime.date", {"type": "string", "format": "date"}),
        ("dt.datetime", {"type": "string", "format": "date-time"}),
        ("pd.Timestamp", {"type": "string", "format": "date-time"}),
        ("time", {"type": "string", "format": "time"}),
        ("Decimal", {"type": ["number", "string"]}),
        ("pathlib.Path", {"type": "string"}),
        ("Final[int]", {"type": "integer"}),
        ("Annotated[int, Ge(1), Le(100)]", {"minimum": 1, "maximum": 100}),
        ("Annotated[float, at.Gt(0), at.Lt(1e3)]", {"exclusiveMinimum": 0}),
        ("Annotated[int, Interval(ge=1, lt=9)]", {"minimum": 1, "exclusiveMaximum": 9}),
        ("Annotated[int, MultipleOf(5)]", {"multipleOf": 5}),
        ("Annotated[str, Len(1, 8)]", {"minLength": 1, "maxLength": 8}),
        ("Annotated[list[str], MinLen(1)]", {"minItems": 1}),
        ("Annotated[dict, MaxLen(3)]", {"maxProperties": 3}),
        ("Annotated[int, Field(ge=-5, description='how cold')]", {"description": "how cold"}),
        ("Annotated[int, 'how many']", {"type": "integer", "description": "how many"}),
        ("Annotated[int, Ge(LOWEST), Unit('m')]", {"type": "integer"}),
        ("conint", None),
        ("Colour", None),
        ("int | Colour", None),
        ("np.ndarray", None),
        ("Callable[[int], str]", None),
        ("Literal[Colour.RED]", None),
        ("bytes", None),
        ("not a type", None),
        ("int" + "| int" * 5000, None),
        ("list[" * 300 + "int" + "]" * 300, None),
    ],
)
def test_a_type_is_what_python_means_by_it(text: str, schema: dict[str, Any] | None) -> None:
    """And what is not understood is no type, rather than an error."""
    found = schema_of(text)
    if schema is None:
        assert found is None
    else:
        assert found is not None
        assert schema.items() <= found.items()


@pytest.mark.parametrize(
    ("source", "schema", "is_declared"),
    [
        ("n: int = 3", {"type": "integer", "default": 3}, True),
        ("n = 3  # type: int how many", {"type": "integer", "description": "how many"}, True),
        ("n = 1  # type: Literal[1, 3] pick", {"enum": [1, 3], "description": "pick"}, True),
        ("n = 3  # type: ignore", {"type": "integer"}, False),
        ("n = 3  # type: ignore[assignment] years", {"description": "years"}, False),
        ("n = -7", {"type": "integer", "default": -7}, False),
        ("n = (1,\n  2)  # both", {"type": "array", "default": [1, 2]}, False),
        ("n = f'{1}'", {}, False),
        ("n = None", {}, False),
        ("n: int = None", {"type": ["integer", "null"]}, True),
        ("n: Literal[1] = None", {"enum": [1, None]}, True),
        ("n: date = date.today()", {"format": "date"}, True),
        ("n: Colour = Colour.RED", {}, False),
        ("n: Final = 3", {"type": "integer"}, False),
        ("n: NoneType = None", {}, False),
        ("n = '\\ud800'", {}, False),
        ("n: Literal['\\ud800', 'a'] = 'a'", {"default": "a"}, False),
        ("n: Annotated[int, '\\ud800'] = 1", {"type": "integer"}, True),
        ("n: int = 1  # \ud800", {"type": "integer"}, True),
        ("n = {1: 2}", {"default": {"1": 2}}, False),
        ("n: int | 'str' = 3", {"type": ["integer", "string"]}, True),
        ("n: Annotated[int, 'a \\'b'] = 3", {"description": "a 'b"}, True),
        ("n: int\nn = 3", {"type": "integer", "default": 3}, True),
        ("from __future__ import annotations\nn: 'int' = 3", {"type": "integer"}, True),
        ("%matplotlib inline\nn: int = 3  # how many", {"description": "how many"}, True),
        ("n: int = \\\n    3", {"type": "integer", "default": 3}, True),
    ],
)
def test_a_parameter_has_the_type_that_its_line_declares(
    source: str, schema: dict[str, Any], is_declared: bool
) -> None:
    """A default without a type is a guess, and says so."""
    one = typed(source)
    assert schema.items() <= one.schema.items()
    assert bool(schema) or "type" not in one.schema
    assert one.is_declared is is_declared


def test_a_type_that_its_own_default_contradicts_is_not_used() -> None:
    """Nobody checks hints of a notebook; a run that worked goes on."""
    found = signature("n: int = 1.5")
    assert found.objections({"n": "x"}) == {}
    assert "`n` is declared `int`, but its default is 1.5" in found.notes[0]


def test_a_magic_inside_of_a_text_stays() -> None:
    """It begins a line of the text, and no line of code."""
    assert typed('n = """a\n% b\n"""').schema["default"] == "a\n% b\n"


def test_a_type_without_a_value_is_required() -> None:
    """Unless the notebook sets it later by itself."""
    assert typed("day: date").is_required
    assert signature("day: date").objections({}) == {
        "day": "`day` is missing; it must be a date such as 2026-01-31."
    }
    later = notebook(code("day: date", "parameters"), "day = None")
    assert signature_of(later).objections({}) == {}


@pytest.mark.parametrize(
    ("annotation", "value", "said"),
    [
        ("Literal[1, 3, 5]", 7, "`n` is 7; it must be 1, 3 or 5."),
        ("Annotated[int, Ge(1), Le(9)]", 0, "a whole number from 1 to 9."),
        ("int", "5", '`n` is "5"; it must be a whole number. Send the number without quotes.'),
        ("int", "five", '`n` is "five"; it must be a whole number. `five` is no number here.'),
        ("str", 5, "it must be a text. Send it in quotes; on the command line, with -r."),
        ("bool", "yes", "it must be true or false. Send true or false without quotes."),
        ("date", "soon", "a date such as 2026-01-31."),
        ("list[int]", ["a"], "a list of whole numbers."),
        ("list[Literal['a', 'b']]", ["c"], 'a list, each "a" or "b".'),
        ("dict[str, int]", [], "a mapping."),
        ("Annotated[str, Len(2, 2)]", "abc", "a text of 2 characters."),
        ("int | None", "x", "a whole number or null."),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_what_would(
    annotation: str, value: object, said: str
) -> None:
    """With its name, and with the value as it came."""
    with pytest.raises(Refused) as refused:
        signature(f"n: {annotation}").check({"n": value})
    assert refused.value.failure.error_type == "invalid_parameters"
    assert said in refused.value.failure.message
    assert refused.value.failure.message.startswith("`n` is ")


def test_every_wrong_value_is_named_and_many_are_counted() -> None:
    """A thousand of them are a short sentence."""
    found = signature("a: int = 1\nb: int = 1\nc = 1")
    with pytest.raises(Refused, match=r"`a` is .*`b` is ") as refused:
        found.check({"a": "x", "b": "y" * 10_000, "c": "z", "d": 5})
    assert len(refused.value.failure.message) < 500
    many = signature("\n".join(f"n{i}: int = 1" for i in range(1000)))
    with pytest.raises(Refused, match="990 more do not fit") as refused:
        many.check({f"n{i}": "x" for i in range(1000)})
    assert len(refused.value.failure.message) < 2_000


# The file beside the notebook


def test_the_file_counts_before_the_notebook() -> None:
    """Its keywords replace the type; description and default of the notebook stay."""
    one = typed("n = 3  # how long", "properties: {n: {enum: [1, 3, 5]}}")
    assert one.schema == {"enum": CHOICES, "description": "how long", "default": 3}
    assert one.is_declared
    narrowed = typed("n = 3", "properties: {n: {minimum: 1}}")
    assert narrowed.schema == {"type": "integer", "default": 3, "minimum": 1}
    assert narrowed.objection("x") is not None
    only_words = typed("n = 3", "properties: {n: {description: years}}")
    assert not only_words.is_declared


def test_the_file_says_what_is_required_and_whether_there_are_others() -> None:
    """As JSON Schema does."""
    found = signature(
        "n = 3", "required: [n, m]\nadditionalProperties: false\nproperties: {n: {}, m: {}}"
    )
    assert set(found.objections({"m": 1})) == {"n"}
    assert "`x` is no parameter" in found.objections({"n": 1, "m": 1, "x": 2})["x"]
    assert found.schema()["required"] == ["n", "m"]
    assert found.schema()["additionalProperties"] is False


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("properties:\n  n:\n    type: integr\n", r"`type` must be one or more of .* \(line 3\)"),
        ("properties:\n  n:\n    minimun: 3\n", r"did you mean `minimum`\?\) \(line 3\)"),
        ("n: {type: integer}\n", r"`n` is no key of this file.* `properties` \(line 1\)"),
        ("propertys: {}\n", r"did you mean `properties`"),
        (
            "properties:\n  n: {anyOf: [{}, {pattern: '(a+)+$'}]}\n",
            r"`pattern` is not supp.*line 2",
        ),
        ("properties:\n  n: {items: {$ref: 'http://x'}}\n", r"`\$ref` is not supported.*line 2"),
        ("properties:\n  n:\n    default: x\n    type: integer\n", r'default "x" does not.*line 3'),
        ("properties:\n  n: {type: string, format: date, default: soon}\n", "month_start"),
        ("properties:\n  n: {}\n  n: {}\n", r"stands there twice \(line 3"),
        ("properties: [\n", "line 2"),
        ("properties:\n  a b: {}\n", r"'a b' is no Python identifier \(line 2\)"),
        ("properties:\n  n: 3\n", r"a schema is a mapping .*line 2"),
        ("required: [m]\n", r"names 'm', which is no property \(line 1\)"),
        ("- 1\n", "must be a mapping"),
        ("tool: 1\n", "`tool` must be true or false"),
        ("type: array\n", r"is object \(line 1\)"),
        ("a: " + "x" * MAX_BYTES, "at most"),
        ("!!python/object:os.system {}\n", "tag"),
    ],
)
def test_a_wrong_file_says_what_and_where(text: str, said: str) -> None:
    """With the line, as an editor counts."""
    with pytest.raises(SidecarError, match=said):
        read_sidecar(text.encode())


def test_an_empty_file_declares_nothing() -> None:
    """As empty settings are no settings."""
    assert read_sidecar(b"# later\n") == Sidecar()


def test_defaults_of_the_file_are_injected_and_move_with_the_day() -> None:
    """Only for dates; elsewhere `today` is a text."""
    sidecar = read_sidecar(
        b"properties:\n  a: {type: string, format: date, default: -7d}\n"
        b"  b: {type: string, default: today}\n  c: {type: integer, default: 3}\n  d: {}\n"
        b"  e: {type: string, format: date, default: 2026-02-03}\n"
    )
    assert defaults_of(sidecar, date(2026, 1, 3)) == {
        "a": "2025-12-27",
        "b": "today",
        "c": 3,
        "e": "2026-02-03",
    }
    moving = signature_of(notebook("1"), sidecar).schema()["properties"]["a"]
    assert "default" not in moving
    assert "-7d" in moving["description"]


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("today", "2024-02-29"),
        ("yesterday", "2024-02-28"),
        ("tomorrow", "2024-03-01"),
        ("-7d", "2024-02-22"),
        ("+1d", "2024-03-01"),
        ("-2w", "2024-02-15"),
        ("+1m", "2024-03-29"),
        ("-1y", "2023-02-28"),
        ("week_start", "2024-02-26"),
        ("week_end", "2024-03-03"),
        ("month_start", "2024-02-01"),
        ("month_end", "2024-02-29"),
        ("month_start-1m", "2024-01-01"),
        ("month_end-1m", "2024-01-31"),
        ("month_start-1d", "2024-01-31"),
        ("month_end+10m", "2024-12-31"),
        ("year_start-1y", "2023-01-01"),
        ("year_end", "2024-12-31"),
    ],
)
def test_a_moving_default_is_a_day(text: str, day: str) -> None:
    """Counted from a leap day, a Thursday."""
    assert is_moving(text)
    assert resolve(text, date(2024, 2, 29)) == day


@pytest.mark.parametrize("text", ["", "now", "7d", "-d", "-7", "Today", "today ", "-99999d", 3])
def test_anything_else_does_not_move(text: object) -> None:
    """The grammar is closed."""
    assert not is_moving(text)


# The check itself

_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.sampled_from([0.5, 2.0, -1.5])
    | st.text("ab", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
    ),
    max_leaves=5,
)
_KINDS = st.sampled_from(["string", "integer", "number", "boolean", "array", "object", "null"])
_SMALL = st.integers(0, 3)
_SCHEMAS = st.recursive(
    st.fixed_dictionaries(
        {},
        optional={
            "type": _KINDS | st.lists(_KINDS, min_size=1, max_size=3, unique=True),
            "enum": st.lists(_VALUES, min_size=1, max_size=3),
            "const": _VALUES,
            **dict.fromkeys(("minimum", "exclusiveMaximum"), st.integers(-3, 3)),
            **dict.fromkeys(("maximum", "exclusiveMinimum"), st.sampled_from([-1.5, 2.0])),
            "multipleOf": st.sampled_from([1, 2, 0.5]),
            **dict.fromkeys(("minLength", "maxItems", "minProperties"), _SMALL),
            **dict.fromkeys(("maxLength", "minItems", "maxProperties"), _SMALL),
            "uniqueItems": st.booleans(),
            "required": st.lists(st.sampled_from("ab"), unique=True),
        },
    ),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            **dict.fromkeys(("items", "additionalProperties"), inner | st.booleans()),
            **dict.fromkeys(("anyOf", "oneOf", "allOf"), st.lists(inner, min_size=1, max_size=3)),
            "prefixItems": st.lists(inner, min_size=1, max_size=2),
            "properties": st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
        },
    ),
    max_leaves=4,
)


@settings(max_examples=50)
@given(_SCHEMAS, _VALUES)
def test_what_fits_is_what_json_schema_says(schema: dict[str, Any], value: Any) -> None:
    """For every keyword that is supported, and in any combination."""
    assert fits(value, schema) == Draft202012Validator(schema).is_valid(value)
    assert isinstance(in_words(schema), str)


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("date", "2024-02-29", "2023-02-29"),
        ("date", "2026-01-02", "20260102"),
        ("date-time", "2026-01-02T10:30:00Z", "2026-01-02T25:00"),
        ("date-time", "2026-01-02T10:30", "10:30"),
        ("date-time", "2026-01-02 10:30:00.123456789+02:00", "2026-W01-1"),
        ("date-time", "2026-01-02", "2026-01-02T"),
        ("time", "10:30", "10"),
        ("time", "10:30:00z", "24:30"),
        ("email", "anything", None),
    ],
)
def test_dates_and_times_are_iso_texts(name: str, right: str, wrong: str | None) -> None:
    """A zone may be missing; other formats are for readers."""
    assert fits(right, {"format": name})
    assert wrong is None or not fits(wrong, {"format": name})


def test_a_check_ends() -> None:
    """However many values there are for however many alternatives."""
    schema = {"items": {"anyOf": [{"const": n} for n in range(1000)]}}
    many = [999] * (MAX_STEPS // 1000)
    for one in (schema, {"items": {"enum": list(range(1000))}}):
        with pytest.raises(TooLarge):
            fits(many, one)
    assert "too large" in (TypedParameter("n", schema).objection(many) or "")


def test_large_numbers_are_numbers() -> None:
    """Beyond what a float holds."""
    for step in (3, 0.5):
        assert fits(3 * 10**400, {"multipleOf": step}) is (step == 3)
    assert len(in_words({"const": 10**400})) < 100
    json.dumps(typed("n: int = 10").schema)


def test_a_refusal_tells_a_long_type_and_the_known_names_only_once() -> None:
    """Several parameters may have one type, and several values may have no parameter."""
    regions = ", ".join(f"'region number {number}'" for number in range(15))
    cell = f"from typing import Literal\na: Literal[{regions}]\nb: Literal[{regions}]\nn: int = 1"
    sidecar = read_sidecar(b"additionalProperties: false\nproperties: {n: {minimum: 1}}")
    found = signature_of(notebook(code(cell, "parameters")), sidecar)
    with pytest.raises(Refused) as refused:
        found.check({"a": "x", "b": "y", "n": 0, "one": 1, "other": 2})
    message = refused.value.failure.message
    assert message.count("region number 7") == 1
    assert '`b` is "y"; it must be of the same type as `a`.' in message
    assert "`n` is 0; it must be a whole number of 1 or more." in message
    assert message.count("It has `a`, `b`, `n`.") == 1
    assert "`one`, `other` are no parameters of the notebook." in message
