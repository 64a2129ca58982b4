"""Promises of scalars: one table says what plain text means, in every form of a request."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.cli.request_options import _value
from runner.contract.parameters.signature import TypedParameter
from runner.contract.request import Form, read_document
from runner.contract.text.scalars import Scalar, ScalarError, scalar_of
from runner.contract.text.strict_json import StrictJsonError
from runner.contract.text.strict_json import loads as load_json
from runner.gateway.page.fields import Field, Kind
from runner.gateway.page.form import Typed, request_of

TABLE: list[tuple[str, Scalar]] = [
    *[(text, None) for text in ("null", "Null", "NULL", "~")],
    *[(text, True) for text in ("true", "True", "TRUE")],
    *[(text, False) for text in ("false", "False", "FALSE")],
    *[("0", 0), ("-0", 0), ("12", 12), ("-3", -3), ("+5", 5)],
    *[("0o17", 15), ("0x1F", 31), ("0xdeadBEEF", 0xDEADBEEF)],
    *[("1.5", 1.5), ("-.5", -0.5), ("1.", 1.0), ("0.1", 0.1), ("1e-3", 0.001), ("1E3", 1000.0)],
    *[("+12.3e+4", 123000.0), ("0e0", 0.0)],
    *[(text, text) for text in ("01234", "007", "-01", "00", "01.5", "00.5", "08", "01e3")],
    *[(text, text) for text in ("NO", "no", "Yes", "on", "OFF", "y", "n", "None", "nUll", "TrUe")],
    *[(text, text) for text in ("10:30", "1:1:1", "190:20:30", "2026-01-02", "1_000", "0b101")],
    *[(text, text) for text in ("+", ".", "e3", ".e3", "1e", "1e+", "1.2.3", "0x", "0o8")],
    *[
        (text, text)
        for text in ("-0x1F", "0xG", "1,5", "nan", "inf", "Infinity", "NaN", "١٢", "1²")
    ],
    *[(text, text) for text in ("north", "a b", "..", ".infinity", "5 MB", "v1.2")],
]


def in_a_mapping(text: str) -> Any:
    """What YAML makes of it as the value of a key."""
    found: Any = read_document(f"{{a: '', b: {text}}}".encode(), Form.YAML)
    return found["b"]


def typed(text: str) -> Any:
    """What a field of the page's form makes of a text where any value may be."""
    field = Field(TypedParameter("a", {}), Kind.ANY, text, "")
    request, form = request_of(Typed((field,)), "x.ipynb")
    assert not form.is_wrong
    return request["parameters"]["a"]


@pytest.mark.parametrize(("text", "expected"), TABLE)
def test_a_text_means_the_same_in_every_form(text: str, expected: Scalar) -> None:
    """In YAML alone, in a list and as a value, after `-p`, and in a field of the page."""
    found = [
        scalar_of(text),
        read_document(text.encode(), Form.YAML),
        in_a_mapping(text) if "," not in text else expected,
        _value("a", text),
        typed(text),
    ]
    if text in ("null", "Null", "NULL", "~"):
        found[1] = None  # a document that is null says nothing
    assert [(type(one), one) for one in found] == [(type(expected), expected)] * 5


@pytest.mark.parametrize(("text", "expected"), TABLE)
def test_what_json_reads_as_a_scalar_is_that_scalar(text: str, expected: Scalar) -> None:
    """The table says more than JSON, and nothing else where JSON speaks."""
    try:
        found = load_json(text.encode())
    except StrictJsonError:
        return
    assert (type(found), found) == (type(expected), expected)


@pytest.mark.parametrize("text", [".inf", "-.INF", "+.Inf", ".nan", "1e999", "9" * 5000])
def test_a_number_that_json_cannot_express_is_refused(text: str) -> None:
    """The message says what to write."""
    with pytest.raises(ScalarError, match=r"quotes|write"):
        scalar_of(text)


@given(st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False)))
def test_numbers_as_python_writes_them_come_back(number: float) -> None:
    """So that a program may write `repr` into a YAML file or behind `-p`."""
    assert scalar_of(repr(number)) == number


@given(st.text(alphabet="0123456789abxoeE+-._:~ ntruels"))
def test_any_text_is_itself_or_a_scalar(text: str) -> None:
    """And whatever is no text has no needless zero at its beginning."""
    try:
        found = scalar_of(text)
    except ScalarError:
        return
    assert found == text or not isinstance(found, str)
    if isinstance(found, int | float) and not isinstance(found, bool):
        digits = text.lstrip("+-")
        assert not (len(digits) > 1 and digits[0] == "0" and digits[1] in "0123456789")
