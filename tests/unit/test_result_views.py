"""Promises of how results are shown: tables where there are tables, and never any markup."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.gateway.page.result_views import (
    MAX_CHARS,
    MAX_COLUMNS,
    MAX_ROWS,
    Described,
    Fields,
    Folded,
    Image,
    Table,
    Text,
    Value,
    figure,
    html_table,
    shown,
    view_of,
)

PANDAS = """<div><style scoped>.dataframe tbody tr th {vertical-align: top}</style>
<table border="1" class="dataframe"><thead><tr style="text-align: right;"><th></th><th>region</th>
<th>n</th></tr></thead><tbody><tr><th>0</th><td>EU &amp; UK</td><td>1,204</td></tr>
<tr><th>1</th><td><b onclick="x()">US</b></td><td>NaN</td></tr></tbody></table></div>"""
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def frame(columns: list[Any], index: list[Any], data: list[list[Any]]) -> dict[str, Any]:
    return {"columns": columns, "index": index, "data": data}


def test_a_dataframe_is_a_table() -> None:
    """Figures stand to the right, nothing stands for null, and a plain index is left out."""
    found = view_of(frame(["a", "b"], [0, 1], [[1, "x"], [2.5, None]]))
    assert isinstance(found, Table)
    assert (found.columns, found.rows) == (("a", "b"), (("1", "x"), ("2.5", "")))
    assert (found.numeric, found.has_index) == ((True, False), False)


def test_figures_of_a_column_are_aligned() -> None:
    """As many decimals as the longest has, six at most; what is very small stays as it is."""
    data = [
        [75.0, 1.5e-9, 1, 1 / 3, 0.0004123456],
        [73.88, 2.0, 2.5, 1.0, 1.0],
        [None, 1.0, 3, 2.0, 0.0],
    ]
    found = view_of(frame(["a", "b", "c", "d", "e"], [0, 1, 2], data))  # type: ignore[arg-type]
    assert isinstance(found, Table)
    assert found.rows == (
        ("75.00", "1.5e-09", "1", "0.333333", "0.0004123456"),
        ("73.88", "2.0", "2.5", "1.000000", "1.0"),
        ("", "1.0", "3", "2.000000", "0.0"),
    )


def test_an_index_with_a_meaning_is_shown() -> None:
    """Labels and dates; several levels become one."""
    found = view_of(frame([["a", "x"]], [["EU", 1]], [[7]]))
    assert isinstance(found, Table)
    assert (found.columns, found.rows) == (("", "a / x"), (("EU / 1", "7"),))
    assert found.has_index


def test_a_large_table_is_cut_and_says_so() -> None:
    """A page stays a page; the rest is in the JSON."""
    wide = list(range(MAX_COLUMNS + 3))
    found = view_of(frame(wide, list(range(MAX_ROWS + 7)), [wide] * (MAX_ROWS + 7)))
    assert isinstance(found, Table)
    assert (len(found.rows), len(found.columns)) == (MAX_ROWS, MAX_COLUMNS)
    assert (found.all_rows, found.all_columns) == (MAX_ROWS + 7, MAX_COLUMNS + 3)
    assert found.is_cut


@pytest.mark.parametrize(
    "value",
    [
        frame(["a"], [0], [[1, 2]]),
        frame(["a"], [0, 1], [[1]]),
        {"columns": 1, "index": 2, "data": 3},
        frame(["a"], [0], ["x"]),  # type: ignore[list-item]
    ],
)
def test_what_only_looks_like_a_dataframe_is_no_table(value: object) -> None:
    """It is shown as the mapping that it is."""
    assert not isinstance(view_of(value), Table)


def test_records_of_one_shape_are_a_table() -> None:
    """As many libraries give their rows."""
    found = view_of([{"a": 1, "b": "x"}, {"a": 2, "b": "y"}])
    assert isinstance(found, Table)
    assert found.rows == (("1", "x"), ("2", "y"))
    assert isinstance(view_of([{"a": 1}, {"b": 2}]), Value | Folded)
    assert isinstance(view_of([{"a": [1]}, {"a": [2]}]), Value | Folded)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (42, Value("42", is_figure=True)),
        (True, Value("true", is_figure=True)),
        (None, Value("null")),
        ("short", Value("short")),
        ("", Value('""')),
        ("two\nlines", Text("two\nlines")),
        ({"a": 1, "b": "x"}, Fields((("a", "1"), ("b", "x")))),
        ([1, 2], Value("[1, 2]")),
        ([], Value("[]")),
        ({}, Value("{}")),
    ],
)
def test_small_things_stay_small(value: object, expected: object) -> None:
    """Figures and words on a line."""
    assert view_of(value) == expected


def test_what_is_nested_is_folded() -> None:
    """With what is inside of it told, and cut where it is very long."""
    found = view_of({"a": {"b": list(range(50_000))}})
    assert isinstance(found, Folded)
    assert found.summary == "1 key"
    assert len(found.text) == MAX_CHARS
    assert found.more > 0


def test_pandas_html_becomes_words_in_a_table() -> None:
    """Nothing of its markup is left: not a tag, not a handler."""
    found = html_table(PANDAS)
    assert found is not None
    assert found.columns == ("", "region", "n")
    assert found.rows == (("0", "EU & UK", "1,204"), ("1", "US", "NaN"))
    assert (found.numeric[1:], found.has_index) == ((False, True), True)


def test_the_named_index_of_a_group_is_a_column_of_the_table() -> None:
    """What `groupby` gives has a second row in its head, with the index's name alone."""
    html = PANDAS.replace("</thead>", "<tr><th>CITY</th><th></th><th></th></tr></thead>")
    found = html_table(html)
    assert found is not None
    assert found.columns == ("CITY", "region", "n")
    assert (found.listed_columns, found.has_index) == (2, True)
    two_names = PANDAS.replace("</thead>", "<tr><th>a</th><th>b</th><th></th></tr></thead>")
    assert html_table(two_names) is None


@pytest.mark.parametrize(
    "html",
    [
        "<b>no table</b>",
        "<table><tr><td>no head</td></tr></table>",
        "<table><thead><tr><th>a</th></tr></thead><tr><td>1</td><td>2</td></tr></table>",
        "<table><thead><tr><th colspan=2>a</th></tr></thead><tr><td>1</td></tr></table>",
        "<table><table></table></table>",
        "<table",
    ],
)
def test_other_html_is_not_guessed_at(html: str) -> None:
    """The executed notebook shows it; here stands its plain text."""
    assert html_table(html) is None
    assert view_of({"text/html": html, "text/plain": "plain"}) == Value("plain")


def test_of_a_bundle_the_best_form_is_shown() -> None:
    """A picture before a table, a table before a value, a value before its text."""
    png = base64.b64encode(b"\x89PNG").decode()
    assert view_of({"image/png": png + "\n", "text/plain": "<Figure>"}) == Image(
        f"data:image/png;base64,{png}"
    )
    assert isinstance(view_of({"text/html": PANDAS, "text/plain": "x"}), Table)
    assert view_of({"text/plain": "[1]", "application/json": [1]}) == Value("[1]")
    assert isinstance(view_of({"application/x-own": {}}), Described)


def test_html_that_is_no_table_is_given_as_its_text() -> None:
    """In place of the name of its class; a note says where all of it is."""
    view = view_of({"text/html": "<b>bold</b> &amp; <i>more</i>", "text/plain": "<x.HTML object>"})
    assert isinstance(view, Described)
    assert (view.text, "executed notebook" in view.note) == ("bold & more", True)
    named = {"text/markdown": "# m", "text/plain": "<x.Markdown object>"}
    assert view_of(named) == Value("# m")


def test_a_picture_is_nothing_but_a_picture() -> None:
    """What is no base64 is none, and a drawing goes into an address of its own."""
    assert view_of({"image/png": '"><script>', "text/plain": "x"}) == Value("x")
    found = view_of({"image/svg+xml": "<svg onload='x()'/>"})
    assert isinstance(found, Image)
    assert found.url.startswith("data:image/svg+xml;base64,")
    assert "<" not in found.url


def test_cells_are_told_from_scraps() -> None:
    """A tagged cell by its number, a glued value by its name, also one named like a cell."""
    found = shown({"cell_6": {"text/plain": "42"}, "cell_7": 1, "x": 2})
    assert [(one.name, one.is_cell) for one in found] == [
        ("Cell 6", True),
        ("cell_7", False),
        ("x", False),
    ]


@given(JSON)
def test_whatever_json_is_shown(value: object) -> None:
    """Nothing that a notebook gives breaks its page."""
    assert view_of(value).kind


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1 / 3, "0.333333"),
        (0.1 + 0.2, "0.3"),
        (12.0, "12.0"),
        (1.5, "1.5"),
        (-1234567.891, "-1234567.891"),
        (1e-9 / 3, "3.33333e-10"),
        (2.5e16, "2.5e+16"),
        (3, "3"),
        (True, "true"),
        (None, "null"),
    ],
)
def test_a_figure_has_six_decimals_at_most(value: object, text: str) -> None:
    """The result JSON has all of them."""
    assert figure(value) == text
