"""Promises of the form of parameters: what a notebook says of them, and what is asked for."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.contract.parameters import Parameter, parameters_of
from runner.gateway.page.form import (
    Kind,
    Typed,
    blamed,
    fields_of,
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


def form(source: str) -> Typed:
    return filled(fields_of(tuple(parameters(source).values())), {})


def asked(source: str, **texts: str) -> tuple[dict[str, Any], Typed]:
    fields = form(source).fields
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
    """And no other."""
    request, found = asked(SOURCE, **{name: text})
    assert not found.is_wrong
    assert request["parameters"] == {name: value}
    assert type(request["parameters"][name]) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("amount", "2.5", "whole number"),
        ("amount", "many", "whole number"),
        ("rate", "4 %", "a number"),
        ("rate", "inf", "number"),
        ("rate", "1e999", "too large"),
        ("rate", ".nan", "JSON"),
        ("amount", "007", "whole number"),
        ("tags", "a, b", "JSON"),
        ("tags", "{}", "JSON such as"),
        ("options", "[1]", "JSON such as"),
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
    fields = fields_of(parameters_of(notebook(code(source, "parameters"))))
    request, _ = request_of(filled(fields, {}), "x")
    assert "parameters" not in request
