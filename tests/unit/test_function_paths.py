"""Promises of a notebook's operation in the OpenAPI document."""

import json
from typing import Any

from jsonschema import Draft202012Validator

from runner.contract.parameters.sidecar import read_sidecar
from runner.contract.parameters.signature import signature_of
from runner.gateway.function_paths import MAX_BODY_CHARS, example_of, paths_of
from runner.gateway.openapi import document
from runner.jobs.functions import Function
from tests.conftest import code, notebook

WHOLE = document(with_token=False)
TYPES = """
a: Literal["x", "y"]
b: date
c: Annotated[int, Ge(5)]
d: list[int]
e: tuple[int, str]
f: bool
g: int | None
h: dict[str, int]
i: int | date
j = 3
k: datetime = None
"""


def function(source: str, sidecar: str = "", path: str = "a.ipynb") -> Function:
    declared = read_sidecar(sidecar.encode())
    return Function(path, signature_of(notebook(code(source, "parameters")), declared))


def body(one: Function, *, is_closed: bool = False) -> dict[str, Any]:
    (ways,) = paths_of([one], WHOLE, is_closed=is_closed).values()
    media: dict[str, Any] = ways["post"]["requestBody"]["content"]["application/json"]
    return media


def test_an_example_fits_its_own_schema() -> None:
    """With a value for all that is required."""
    media = body(function(TYPES))
    assert set(media["schema"]["required"]) == set("abcdefghi")
    assert media["schema"]["required"] == sorted(media["schema"]["required"])
    Draft202012Validator(media["schema"]).validate(media["example"])
    assert media["example"]["j"] == 3


def test_there_is_no_example_where_none_is_known() -> None:
    """A wrong one would be worse."""
    sidecar = "properties: {a: {minLength: 30, type: string}}\nrequired: [a]"
    assert example_of(function("", sidecar).signature) is None
    assert "example" not in body(function("", sidecar))


def test_a_runner_that_refuses_unknown_parameters_says_so() -> None:
    """So does the file beside the notebook."""
    assert body(function("a = 1"), is_closed=True)["schema"]["additionalProperties"] is False
    closed = body(function("a = 1", "additionalProperties: false"))
    assert closed["schema"]["additionalProperties"] is False
    assert "additionalProperties" not in body(function("a = 1"))["schema"]


def test_one_huge_notebook_makes_no_huge_document() -> None:
    """Its own address has all of it."""
    huge = body(function("\n".join(f"parameter_{n} = {n}" for n in range(3000))))
    assert len(json.dumps(huge)) < MAX_BODY_CHARS
    assert huge["schema"]["type"] == "object"


def test_names_are_escaped_and_braces_are_left_out() -> None:
    """They would be a template."""
    functions = [function("", path=path) for path in ("a b/ü.ipynb", "{x}.ipynb")]
    assert list(paths_of(functions, WHOLE, is_closed=False)) == ["/notebooks/a%20b/%C3%BC"]
