"""Promises of the form of parameters: what a notebook says of them, and what is asked for."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.contract.parameters.listing import Parameter, parameters_of
from runner.contract.parameters.sidecar import read_sidecar
from runner.contract.parameters.signature import signature_of
from runner.gateway.page.fields import Kind, fields_of
from runner.gateway.page.form import (
    Typed,
    blamed,
    filled,
    named,
    request_of,
    typed,
)
from tests.conftest import code, notebook

SOURCE = """# settings of the report
amount = 20_000
rate: float = 0.045  # a year
region = "EU"  # type: str where it is sold
colour = "#ff0000"
query = "a=b"
strict = True
tags = ["a", "b"]
options = {"deep": {"x": 1}}
when = None
day: Optional[int] = None
today = datetime.date.today()
"""


def parameters(source: str, **metadata: Any) -> dict[str, Parameter]:
    document = notebook("1", code(source, "parameters"))
    document["metadata"] = {**document["metadata"], **metadata}
    return {one.name: one for one in parameters_of(document)}


def form(source: str, sidecar: str = "") -> Typed:
    document = notebook("1", code(source, "parameters"))
    declared = read_sidecar(sidecar.encode())
    return filled(fields_of(signature_of(document, declared).parameters), {})


def asked(source: str, **texts: str) -> tuple[dict[str, Any], Typed]:
    return typed_into(form(source), **texts)


def typed_into(form: Typed, **texts: str) -> tuple[dict[str, Any], Typed]:
    fields = form.fields
    names = {one.name for one in fields}
    given = {f"p.{name}" if name in names else name: text for name, text in texts.items()}
    return request_of(typed(fields, given.get), "x.ipynb")


def test_names_defaults_types_and_comments_are_found() -> None:
    """As papermill finds them, and what it loses: `#` and `=` inside of a text."""
    found = parameters(SOURCE)
    assert list(found) == [
        *("amount", "rate", "region", "colour", "query", "strict", "tags", "options"),
        *("when", "day", "today"),
    ]
    assert found["amount"] == Parameter("amount", "20_000")
    assert found["rate"] == Parameter("rate", "0.045", "float", "a year")
    assert found["region"] == Parameter("region", '"EU"', "str", "where it is sold")
    assert found["colour"].default == '"#ff0000"'
    assert found["query"].default == '"a=b"'
    assert found["day"].type == "Optional[int]"
    assert found["today"].default == "datetime.date.today()"


def test_a_default_may_take_many_lines() -> None:
    """The remark stands at its end."""
    found = parameters("regions = [\n  'EU',  # first\n  'US',\n]  # all of them\n")
    assert found["regions"].help == "all of them"


def test_a_magic_does_not_hide_the_rest() -> None:
    """What Python does not parse, papermill reads line by line."""
    assert parameters("%load_ext autoreload\namount = 3  # how many")["amount"] == Parameter(
        "amount", "3", "", "how many"
    )


def test_another_language_is_papermills() -> None:
    """R has its own arrow; papermill does not read it, and nothing is made up."""
    r = {"kernelspec": {"name": "ir", "language": "R"}, "language_info": {"name": "R"}}
    assert parameters("amount <- 3", **r) == {}


@pytest.mark.parametrize(
    "document",
    [{}, {"cells": None}, {"cells": [1, None]}, notebook("amount = 1"), notebook()],
)
def test_without_a_tagged_cell_there_are_none(document: dict[str, Any]) -> None:
    """Whatever the document is."""
    assert parameters_of(document) == ()


def test_each_type_has_its_field() -> None:
    """By its default, else by its annotation, else anything."""
    kinds = {one.name: (one.kind, one.text) for one in form(SOURCE).fields}
    assert kinds == {
        "amount": (Kind.INTEGER, "20000"),
        "rate": (Kind.NUMBER, "0.045"),
        "region": (Kind.TEXT, "EU"),
        "colour": (Kind.TEXT, "#ff0000"),
        "query": (Kind.TEXT, "a=b"),
        "strict": (Kind.TRUTH, "true"),
        "tags": (Kind.LIST, '["a", "b"]'),
        "options": (Kind.MAPPING, '{"deep": {"x": 1}}'),
        "when": (Kind.ANY, ""),
        "day": (Kind.INTEGER, ""),
        "today": (Kind.ANY, ""),
    }


def test_a_default_is_hinted_as_it_is_typed() -> None:
    """JSON, not Python; a computed one by its code."""
    hints = {one.name: one.default for one in form(SOURCE).fields}
    assert hints["amount"] == "20000"
    assert hints["region"] == "EU"
    assert hints["strict"] == "true"
    assert hints["tags"] == '["a", "b"]'
    assert hints["when"] == "null"
    assert hints["today"] == "datetime.date.today()"


def test_only_what_was_changed_is_asked_for() -> None:
    """So that a default which the notebook computes stays its own."""
    request, found = asked(SOURCE, amount="20000", rate="0.05", today="", tags='["a", "b"]')
    assert not found.is_wrong
    assert request == {"notebook": "x.ipynb", "parameters": {"rate": 0.05}}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("amount", " 35000 ", 35000),
        ("amount", "-3", -3),
        ("amount", "2.5", 2.5),
        ("amount", "many", "many"),
        ("amount", "007", "007"),
        ("tags", "{}", {}),
        ("options", "[1]", [1]),
        ("rate", "2", 2.0),
        ("region", "", ""),
        ("region", " US ", " US "),
        ("region", "a\r\nb", "a\nb"),
        ("strict", "false", False),
        ("tags", "[1]", [1]),
        ("options", '{"y": null}', {"y": None}),
        ("when", "5", 5),
        ("when", "tomorrow", "tomorrow"),
        ("when", '"5"', "5"),
        ("day", "7", 7),
        ("today", '"2026-01-01"', "2026-01-01"),
    ],
)
def test_what_is_typed_has_the_type_of_its_field(name: str, text: str, value: object) -> None:
    """And no other; where the type is a guess by the default, what is typed may be another."""
    request, found = asked(SOURCE, **{name: text})
    assert not found.is_wrong
    assert request["parameters"] == {name: value}
    assert type(request["parameters"][name]) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("day", "2.5", "whole number"),
        ("day", "many", "whole number"),
        ("rate", "4 %", "a number"),
        ("rate", "inf", "number"),
        ("rate", "1e999", "too large"),
        ("rate", ".nan", "JSON"),
        ("amount", "1e999", "too large"),
        ("tags", "a, b", "JSON"),
        ("strict", "maybe", "true or false"),
    ],
)
def test_what_does_not_fit_is_said_beside_its_field(name: str, text: str, said: str) -> None:
    """And what was typed is still there."""
    _, found = asked(SOURCE, **{name: text})
    wrong = {one.name: one for one in found.fields if one.error}
    assert list(wrong) == [name]
    assert said in wrong[name].error
    assert wrong[name].text == text


@pytest.mark.parametrize(
    ("texts", "place"),
    [
        ({"more": "[1]"}, "more"),
        ({"more": "{"}, "more"),
        ({"timeout": "soon"}, "timeout"),
        ({"memory": "1 GB"}, "memory"),
        ({"retries": "2.5"}, "retries"),
    ],
)
def test_the_rest_of_the_form_has_its_errors_too(texts: dict[str, str], place: str) -> None:
    """By the field that they are about."""
    _, found = asked(SOURCE, **texts)
    assert list(found.errors) == [place]


def test_the_rest_of_the_form_becomes_keys_of_the_request() -> None:
    """A field of its own wins over the raw JSON."""
    request, _ = asked(
        SOURCE,
        more='{"extra": [1], "amount": 1}',
        amount="2",
        timeout="2.5",
        memory="200",
        retries="2",
        name="a/b",
    )
    assert request == {
        "notebook": "x.ipynb",
        "name": "a/b",
        "timeout_seconds": 2.5,
        "resources": {"memory_mb": 200},
        "retries": 2,
        "parameters": {"extra": [1], "amount": 2},
    }


def test_an_earlier_request_fills_the_form() -> None:
    """Asked for once more without a change, it asks for the same."""
    fields = form(SOURCE).fields
    before = {"amount": 5, "tags": ["z"], "when": "x", "extra": {"k": 1}, "strict": False}
    again = filled(fields, before)
    request, found = request_of(again, "x.ipynb")
    assert not found.is_wrong
    assert request["parameters"] == before


def test_the_other_keys_of_an_earlier_request_fill_the_form() -> None:
    """As they would be typed; what was not asked for stays empty."""
    asked = {"timeout_seconds": 90.0, "retries": 3, "resources": {"memory_mb": 200, "gpus": 1}}
    filled_in = named(Typed(), asked, "a")
    assert (filled_in.timeout, filled_in.memory, filled_in.name) == ("90", "200", "a")
    assert filled_in.retries == "3"
    assert named(Typed(), {}, "") == Typed()


@pytest.mark.parametrize(
    ("message", "place"),
    [
        ("`timeout_seconds` is 9, above the limit", "timeout"),
        ("`resources.memory_mb` is 2000, above the limit", "memory"),
        ("`retries`: Input should be less than or equal to 10 (got 11).", "retries"),
        ("`name` is '..', which some systems would misread", "name"),
        ("The parameter name 'a b' is no Python identifier.", "more"),
        ("20 requests wait already", ""),
    ],
)
def test_a_refusal_stands_where_it_belongs(message: str, place: str) -> None:
    """The contract's own words, beside the field."""
    assert blamed(Typed(), message).errors == {place: message}


@given(st.text())
def test_no_source_breaks_the_form(source: str) -> None:
    """A notebook of a stranger may hold anything."""
    fields = fields_of(signature_of(notebook(code(source, "parameters"))).parameters)
    request, _ = request_of(filled(fields, {}), "x")
    assert "parameters" not in request


TYPED = """years: Literal[1, 3, 5] = 3
share: Annotated[float, Ge(0), Lt(1)] = 0.5
count: Annotated[int, Gt(0), Le(9)] = 2
day: date
since: date = date(2020, 1, 1)
at: datetime = None
mode: Literal["a", "b"] | None = None
names: list[str] = ["x"]
flag: bool
"""


def test_each_declared_type_has_its_own_field() -> None:
    """A menu, a number with limits, a day, a time."""
    fields = {one.name: one for one in form(TYPED).fields}
    assert [(one, fields[one].kind, fields[one].input_type) for one in fields] == [
        ("years", Kind.CHOICE, "text"),
        ("share", Kind.NUMBER, "number"),
        ("count", Kind.INTEGER, "number"),
        ("day", Kind.DATE, "date"),
        ("since", Kind.DATE, "date"),
        ("at", Kind.STAMP, "datetime-local"),
        ("mode", Kind.CHOICE, "text"),
        ("names", Kind.LIST, "text"),
        ("flag", Kind.TRUTH, "text"),
    ]
    assert fields["years"].menu == [("1", "1"), ("3", "3"), ("5", "5")]
    assert fields["mode"].menu == [('"a"', "a"), ('"b"', "b"), ("null", "null")]
    assert fields["share"].limits == {"step": "any", "min": 0, "max": 1}
    assert fields["count"].limits == {"step": 1, "min": 1, "max": 9}
    assert [one for one in fields if fields[one].is_required] == ["day", "flag"]
    assert fields["share"].typed == "a number of 0 or more, below 1"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("years", "5", 5),
        ("share", "0.25", 0.25),
        ("count", "9", 9),
        ("day", "2026-01-31", "2026-01-31"),
        ("at", "2026-01-31T12:30", "2026-01-31T12:30"),
        ("mode", '"b"', "b"),
        ("mode", "null", None),
    ],
)
def test_a_value_of_a_declared_type_is_sent(name: str, text: str, value: object) -> None:
    """As JSON has it."""
    needed = {"day": "2026-01-01", "flag": "true"}
    request, found = typed_into(form(TYPED), **{**needed, name: text})
    assert not found.is_wrong
    assert request["parameters"][name] == value
    assert type(request["parameters"][name]) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("years", "7", "Choose 1, 3 or 5."),
        ("share", "1", "Enter a number of 0 or more, below 1."),
        ("count", "0", "Enter a whole number of 9 or less, above 0."),
        ("day", "soon", "Enter a date such as 2026-01-31."),
        ("day", "", "Enter a date such as 2026-01-31."),
        ("flag", "", "Enter true or false."),
        ("names", "[1]", "Enter a list of texts."),
    ],
)
def test_a_value_that_does_not_fit_its_type_is_said_beside_its_field(
    name: str, text: str, said: str
) -> None:
    """With what would fit; a text that a browser's own field would lose stays in a plain one."""
    needed = {"day": "2026-01-01", "flag": "true"}
    _, found = typed_into(form(TYPED), **{**needed, name: text})
    assert {one.name: one.error for one in found.fields if one.error} == {name: said}
    (field,) = [one for one in found.fields if one.name == name]
    assert text != "soon" or field.input_type == "text"


def test_an_earlier_value_that_fits_no_more_stays_in_the_menu() -> None:
    """So that a person sees what it was."""
    again = filled(form(TYPED).fields, {"years": 7})
    assert ("7", "7") in again.fields[0].menu


def test_the_file_beside_the_notebook_makes_fields_too() -> None:
    """Its defaults stand in them, but not one that moves; that one is a hint."""
    sidecar = (
        "properties: {n: {enum: [1, 2], default: 2}, d: {format: date, type: string, default: -7d}}"
    )
    number, day = form("n = 1", sidecar).fields
    assert (number.kind, number.text) == (Kind.CHOICE, "2")
    assert (day.kind, day.text, day.code) == (Kind.DATE, "", "-7d")
    request, _ = request_of(form("n = 1", sidecar), "x")
    assert "parameters" not in request


@pytest.mark.parametrize(
    ("source", "value", "kind"),
    [
        ("day: date = date(2026, 1, 1)", "2024-02-29", Kind.DATE),
        ("day: date", "2024-02-29", Kind.DATE),
        ("day: datetime = None", "2025-05-05T10:30", Kind.STAMP),
        ('day: Literal["EU", "US"] = "EU"', "US", Kind.CHOICE),
    ],
)
def test_an_earlier_value_comes_back_into_its_field(source: str, value: str, kind: Kind) -> None:
    """As it is typed there, so that it may be sent again without a change."""
    document = notebook(code(source, "parameters"))
    fields = fields_of(signature_of(document).parameters)
    again = filled(fields, {"day": value})
    assert again.fields[0].kind is kind
    request, read = request_of(again, "x.ipynb")
    assert not read.is_wrong
    assert request["parameters"] == {"day": value}


def test_a_required_value_is_sent_also_at_its_default() -> None:
    """The default of the notebook does not count then."""
    sidecar = "properties: {region: {enum: [EU, US]}}\nrequired: [region]"
    request, read = typed_into(form('region = "EU"', sidecar))
    assert not read.is_wrong
    assert request["parameters"] == {"region": "EU"}


def test_a_day_that_the_code_makes_fills_its_field() -> None:
    """One that does not move; it is sent only where it is changed."""
    source = "import datetime\nfrom datetime import date\n" + "\n".join(
        ("a: date = date(2026, 1, 1)", "b: datetime.date = datetime.date(2026, 1, 2)")
    )
    made = form(f"{source}\nc: date = date.today()\nn: Annotated[int, Gt(0)] = 1")
    texts = {one.name: (one.kind, one.initial) for one in made.fields}
    assert texts["a"] == (Kind.DATE, "2026-01-01")
    assert texts["b"] == (Kind.DATE, "2026-01-02")
    assert texts["c"] == (Kind.DATE, "")
    document = notebook(code(source, "parameters"))
    properties = signature_of(document).schema()["properties"]
    assert [properties[one].get("default") for one in "ab"] == ["2026-01-01", "2026-01-02"]
    beside = form("a = date(2026, 1, 1)", "properties: {a: {format: date}}").fields[0]
    assert (beside.kind, beside.initial) == (Kind.DATE, "2026-01-01")
    other = signature_of(notebook(code("a: date = datetime(2026, 1, 1, 5)", "parameters")))
    assert other.parameters[0].is_declared
    limits = {one.name: one.limits for one in made.fields}
    assert limits["n"].get("min") == 1
    assert "parameters" not in typed_into(made)[0]
