"""Promises of extraction: what a notebook glued and showed, read as strict JSON, come what may."""

import base64
import datetime as dt
import io
import json
from decimal import Decimal
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.contract.results import Extraction, extract
from runner.contract.text.literals import MAX_CHARS
from runner.contract.text.strict_json import clean

INFINITE = float("inf")


def notebook(*cells: dict[str, Any]) -> dict[str, Any]:
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": list(cells)}


def code(*outputs: Any, count: Any = 1, tags: Any = ()) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "execution_count": count,
        "metadata": {"tags": list(tags)},
        "source": "",
        "outputs": list(outputs),
    }


def tagged(*outputs: Any, count: Any = 1) -> dict[str, Any]:
    return code(*outputs, count=count, tags=["results"])


def show(bundle: Any, kind: str = "display_data") -> dict[str, Any]:
    return {"output_type": kind, "metadata": {}, "data": bundle}


def plain(text: Any) -> dict[str, Any]:
    return show({"text/plain": text}, "execute_result")


def stream(text: Any, name: str = "stdout") -> dict[str, Any]:
    return {"output_type": "stream", "name": name, "text": text}


def glue(name: Any, value: Any, encoder: str = "json") -> dict[str, Any]:
    """What `sb.glue` of scrapbook 0.5 writes."""
    payload = {"name": name, "data": value, "encoder": encoder, "version": 1}
    return {
        "output_type": "display_data",
        "metadata": {"scrapbook": {"name": name, "data": True, "display": False}},
        "data": {f"application/scrapbook.scrap.{encoder}+json": payload},
    }


def glue_frame(name: str, frame: pd.DataFrame) -> dict[str, Any]:
    parquet = io.BytesIO()
    frame.to_parquet(parquet, engine="pyarrow")
    return glue(name, base64.b64encode(parquet.getvalue()).decode(), "pandas")


def glue_display(name: str, bundle: Any) -> dict[str, Any]:
    """What `sb.glue(name, figure, display=True)` writes after the data, or alone."""
    about = {"scrapbook": {"name": name, "data": False, "display": True}}
    return {"output_type": "display_data", "metadata": about, "data": bundle}


def results_of(*cells: dict[str, Any], **options: Any) -> dict[str, Any]:
    """The results, where nothing else is to be said."""
    found = extract(notebook(*cells), **options)
    assert found.problems == ()
    assert found.warnings == ()
    return found.results


def frame_of(frame: pd.DataFrame) -> Any:
    return results_of(code(glue_frame("frame", frame)))["frame"]


def column_of(values: Any) -> list[Any]:
    return [row[0] for row in frame_of(pd.DataFrame({"x": values}))["data"]]


# Scraps


def test_scraps_have_their_names_and_values() -> None:
    """Every glued value is there under its name, of whatever JSON type."""
    found = results_of(
        code(glue("summary", {"mean": 91.0, "n": 2}), glue("scaled", [190, 174])),
        code(glue("region", "EU", "text"), glue("done", False), glue("word", "café ☃", "text")),
    )
    assert found == {
        "summary": {"mean": 91.0, "n": 2},
        "scaled": [190, 174],
        "region": "EU",
        "done": False,
        "word": "café ☃",
    }


def test_text_scrap_stays_text() -> None:
    """Text that looks like JSON is the text that was glued."""
    found = results_of(code(glue("zip", "01234", "text"), glue("n", "12", "text")))
    assert found == {"zip": "01234", "n": "12"}


def test_later_glue_of_a_name_wins() -> None:
    """A name that is glued again has its last value, also where the first cannot be read."""
    found = results_of(code(glue("n", "broken", "pandas"), glue("n", 1)), code(glue("n", 2)))
    assert found == {"n": 2}


def test_later_glue_that_cannot_be_read_leaves_no_old_value() -> None:
    """An outdated value under the name would be taken for the right one."""
    found = extract(notebook(code(glue("n", 1), glue("n", "broken", "pandas"), glue("m", 2))))
    assert found.results == {"m": 2}
    assert [problem.name for problem in found.problems] == ["n"]


def test_papermill_record_is_a_scrap() -> None:
    """Notebooks from before scrapbook used `pm.record`."""
    record = show({"application/papermill.record+json": {"rows": 3, "text": "12"}})
    assert results_of(code(record)) == {"rows": 3, "text": "12"}


def test_displayed_scrap_gives_its_bundle() -> None:
    """A figure has no value; what was shown of it is its result."""
    figure = {"image/png": "iVBORw0=", "text/plain": ["<Figure size\n", " 640x480>"]}
    found = results_of(code(glue_display("fig", figure)))
    assert found == {"fig": {"image/png": "iVBORw0=", "text/plain": "<Figure size\n 640x480>"}}


def test_papermill_display_gives_its_bundle() -> None:
    """`pm.display` is the older way to name what is shown."""
    output = show({"text/plain": "<Figure>"}) | {"metadata": {"papermill": {"name": "fig"}}}
    assert results_of(code(output)) == {"fig": {"text/plain": "<Figure>"}}


@pytest.mark.parametrize("display_first", [True, False])
def test_value_goes_before_display_of_the_same_name(display_first: bool) -> None:
    """`sb.glue(name, value, display=True)` writes both; the value is the result."""
    outputs = [glue("x", [1]), glue_display("x", {"text/plain": "[1]"})]
    assert results_of(code(*(reversed(outputs) if display_first else outputs))) == {"x": [1]}


def test_unknown_encoder_gives_its_encoded_value_and_a_warning() -> None:
    """An encoder of the notebook's own writes JSON too; the run does not fail for it."""
    found = extract(notebook(code(glue("array", "AAEC", "numpy"))))
    assert found.results == {"array": "AAEC"}
    assert found.problems == ()
    assert "array" in found.warnings[0]
    assert "numpy" in found.warnings[0]


@pytest.mark.parametrize(
    "output",
    [
        glue("bad", "not parquet", "pandas"),
        glue("bad", base64.b64encode(b"PAR1 cut off PAR1").decode(), "pandas"),
        glue("bad", "", "pandas"),
        glue("bad", {"rows": []}, "pandas"),
        glue("bad", None, "pandas"),
        glue_display("bad", None),
        glue_display("bad", ["text"]),
        glue("bad", 1) | {"data": {"application/scrapbook.scrap.json+json": {"name": "bad"}}},
        glue("bad", 1) | {"data": {"application/scrapbook.scrap.json+json": ["x"]}},
        glue("bad", 1) | {"data": {"application/scrapbook.scrap.text+json": None}},
        glue("bad", 1) | {"data": {"application/papermill.record+json": 5}},
    ],
)
def test_scrap_that_cannot_be_read_is_a_problem_and_the_rest_stays(output: dict[str, Any]) -> None:
    """One broken payload is named; what else was glued is not lost with it."""
    found = extract(notebook(code(glue("before", 1), output, glue("after", 2))))
    assert found.results == {"before": 1, "after": 2}
    assert [problem.name for problem in found.problems] == ["bad"]
    assert found.problems[0].message.startswith("its ")


def test_cut_parquet_is_a_problem() -> None:
    """A real DataFrame of which the end is missing is named, not half read."""
    whole = glue_frame("frame", pd.DataFrame({"a": range(100)}))
    payload = whole["data"]["application/scrapbook.scrap.pandas+json"]
    payload["data"] = payload["data"][:200]
    found = extract(notebook(code(whole)))
    assert found.results == {}
    assert "its DataFrame cannot be read" in found.problems[0].message


def test_scrap_without_a_name_is_a_problem_with_a_name() -> None:
    """Even then the message says something, and nothing is raised."""
    output = show({"application/scrapbook.scrap.json+json": {"name": 5}})
    assert [problem.name for problem in extract(notebook(code(output))).problems] == ["(unnamed)"]


def test_names_and_messages_are_strict_text() -> None:
    """A lone surrogate in a name reaches neither results, problems nor warnings."""
    cell = code(glue("a\ud800", 1), glue("b\ud800", "", "pandas"), glue("c\ud800", 1, "own\ud800"))
    found = extract(notebook(cell))
    assert found.results == {"a\ufffd": 1, "c\ufffd": 1}
    assert found.problems[0].name == "b\ufffd"
    assert "own\ufffd" in found.warnings[0]


def test_scrap_values_are_strict_json() -> None:
    """What no JSON can hold is replaced on the way."""
    found = results_of(code(glue("x", [INFINITE, "\ud800", 10**4_300])))
    assert found == {"x": ["Infinity", "\ufffd", hex(10**4_300)]}


def test_scraps_can_be_switched_off() -> None:
    """Then only tagged cells count, and a scrap is no output of theirs."""
    cell = tagged(plain("1"), glue("n", 1), glue_display("fig", {"text/plain": "<Figure>"}))
    assert results_of(cell, scrapbook=False) == {
        "cell_1": {"text/plain": "1", "application/json": 1}
    }


# DataFrames


def test_frame_has_columns_index_and_rows() -> None:
    """A DataFrame is pandas' "split" form."""
    assert frame_of(pd.DataFrame({"name": ["Alice", "Bob"], "score": [95, 87]})) == {
        "columns": ["name", "score"],
        "index": [0, 1],
        "data": [["Alice", 95], ["Bob", 87]],
    }


def test_frame_without_rows_or_columns_is_empty() -> None:
    """Nothing is a result too."""
    empty: dict[str, Any] = {"columns": [], "index": [], "data": []}
    assert frame_of(pd.DataFrame()) == empty
    assert frame_of(pd.DataFrame({"a": pd.Series([], dtype="int64")})) == empty | {"columns": ["a"]}
    assert frame_of(pd.DataFrame(index=["x", "y"])) == empty | {
        "index": ["x", "y"],
        "data": [[], []],
    }


def test_missing_and_infinite_numbers_are_null() -> None:
    """A number that JSON cannot hold is a missing one, as in pandas' own JSON."""
    assert column_of([1.5, np.nan, INFINITE, -INFINITE]) == [1.5, None, None, None]
    assert column_of(pd.array([2**60 + 1, None], dtype="Int64")) == [2**60 + 1, None]
    assert column_of(pd.array([True, None], dtype="boolean")) == [True, None]
    assert column_of(["a", None]) == ["a", None]


def test_floats_keep_every_digit() -> None:
    """pandas' `to_json` would round these at fifteen digits."""
    numbers = [0.1 + 0.2, 1.2345678901234567e-12, 1.7976931348623157e308, 5e-324]
    assert column_of(numbers) == numbers


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["2026-01-02T03:04:05", None], ["2026-01-02T03:04:05.000", None]),
        (["2026-01-02T03:04:05.123456"], ["2026-01-02T03:04:05.123456"]),
        (["2026-01-02T03:04:05+02:00", None], ["2026-01-02T01:04:05.000Z", None]),
    ],
)
def test_times_are_iso_strings(values: list[str | None], expected: list[str | None]) -> None:
    """Milliseconds, finer where one needs it; with a time zone, UTC."""
    times = pd.Series(pd.to_datetime(values))  # type: ignore[arg-type]
    assert column_of(times) == expected
    assert column_of(times.astype("category")) == expected


def test_dates_times_and_durations_are_iso_strings() -> None:
    """Python's own dates and times, and pandas' durations."""
    assert column_of([dt.date(2026, 1, 2), None]) == ["2026-01-02", None]
    assert column_of([dt.time(3, 4, 5)]) == ["03:04:05"]
    assert column_of(pd.to_timedelta(["1 days 02:03:04.5", None])) == ["P1DT2H3M4.5S", None]


def test_other_types_become_text_or_their_plain_value() -> None:
    """No column that `sb.glue` accepts makes a run fail."""
    assert column_of(pd.Categorical([1, 2, 1])) == [1, 2, 1]
    assert column_of([Decimal("1.10")]) == ["1.10"]
    assert column_of([b"abc", b"\xff"]) == ["abc", r"\xff"]
    assert column_of(pd.period_range("2026-01", periods=2, freq="M")) == ["2026-01", "2026-02"]
    assert column_of(pd.interval_range(0, 1)) == ["(0, 1]"]
    assert column_of(np.array([2**64 - 1], dtype="uint64")) == [2**64 - 1]


def test_nested_values_are_nested_json() -> None:
    """Lists and mappings inside cells, with what is in them."""
    assert column_of([[1.5, INFINITE], None]) == [[1.5, None], None]
    assert column_of([{"a": [pd.Timestamp("2026-01-01")]}]) == [{"a": ["2026-01-01T00:00:00.000"]}]


def test_labels_may_be_numbers_dates_doubled_or_several() -> None:
    """Index and columns keep their types; several levels become lists."""
    days = pd.date_range("2026-01-01", periods=2, tz="UTC", name="day")
    assert frame_of(pd.DataFrame({"v": [1, 2]}, index=days))["index"] == [
        "2026-01-01T00:00:00.000Z",
        "2026-01-02T00:00:00.000Z",
    ]
    assert frame_of(pd.DataFrame({"v": [1, 2]}, index=["a", "a"]))["index"] == ["a", "a"]
    assert frame_of(pd.DataFrame([[1, 2.5]], columns=[0, 1])) == {
        "columns": [0, 1],
        "index": [0],
        "data": [[1, 2.5]],
    }
    levels = pd.MultiIndex.from_tuples([("a", 1), ("b", 2)])
    assert frame_of(pd.DataFrame({"v": [1, 2]}, index=levels))["index"] == [["a", 1], ["b", 2]]
    gaps = pd.MultiIndex.from_tuples([("a", pd.NaT), ("b", pd.Timestamp("2026-01-01"))])
    assert frame_of(pd.DataFrame({"v": [1, 2]}, index=gaps))["index"] == [
        ["a", None],
        ["b", "2026-01-01T00:00:00.000"],
    ]
    assert frame_of(pd.DataFrame([[1, 2]], columns=levels.set_levels(["1", "2"], level=1)))[
        "columns"
    ] == [["a", "1"], ["b", "2"]]


# Tagged cells


def test_tagged_cell_gives_what_it_printed_with_its_literal() -> None:
    """Printed text counts where nothing richer was shown, exactly as it was printed."""
    assert results_of(tagged(stream("{'message': "), stream(["'Hello World'}", "\n"]))) == {
        "cell_1": {
            "text/plain": "{'message': 'Hello World'}\n",
            "application/json": {"message": "Hello World"},
        }
    }


def test_tagged_cell_gives_its_last_bundle() -> None:
    """The last thing that was shown wins over earlier ones and over printed text."""
    cell = tagged(
        plain("1"), stream("printed"), show({"text/html": ["<b>\n", "2</b>"]}), show({}), count=7
    )
    assert results_of(cell) == {"cell_7": {"text/html": "<b>\n2</b>"}}


def test_scrap_is_no_output_of_a_tagged_cell() -> None:
    """Glued values have their own names; the cell has what it showed besides."""
    cell = tagged(plain("1"), glue("n", 5), glue_display("fig", {"text/plain": "<Figure>"}))
    assert results_of(cell) == {
        "n": 5,
        "fig": {"text/plain": "<Figure>"},
        "cell_1": {"text/plain": "1", "application/json": 1},
    }


@pytest.mark.parametrize(
    "cell",
    [
        tagged(),
        tagged(stream("")),
        tagged(stream("only errors", "stderr")),
        tagged({"output_type": "error", "ename": "E", "evalue": "x", "traceback": []}),
        tagged(plain("1"), count=None),
        tagged(plain("1"), count=True),
        code(plain("1"), tags=["result"]),
        tagged(plain("1")) | {"cell_type": "markdown"},
        tagged(plain("1")) | {"metadata": {"tags": {"results": True}}},
    ],
)
def test_cell_without_a_result_gives_no_entry(cell: dict[str, Any]) -> None:
    """Not tagged, not executed, or nothing shown and nothing printed."""
    assert results_of(cell) == {}


def test_error_is_no_result_but_what_came_before_it_is() -> None:
    """An error output is not a bundle and takes nothing away."""
    error = {"output_type": "error", "ename": "E", "evalue": "x", "traceback": []}
    assert results_of(tagged(stream("so far"), error)) == {"cell_1": {"text/plain": "so far"}}


def test_tag_is_the_one_that_is_asked_for() -> None:
    """The tag is a setting."""
    cells = code(plain("1"), tags=["x", "output"]), tagged(plain("2"), count=2)
    assert list(results_of(*cells, tag="output")) == ["cell_1"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42", 42),
        ("-1.5\n", -1.5),
        ("'word'", "word"),
        ("None", None),
        ("true", True),
        ("(1, 'a')", [1, "a"]),
        ("{10, 9}", [9, 10]),
        ("{1, 'a'}", ["a", 1]),
        ("{1: (2,), None: 3}", {"1": [2], "null": 3}),
        ('{"a": null}', {"a": None}),
        (["[1,\n", " 2]"], [1, 2]),
        (r"'\d'", r"\d"),
        ("np.float64(1.5)", 1.5),
        ("[NaN]", [None]),
    ],
)
def test_literal_becomes_json(text: Any, value: Any) -> None:
    """Text that is a Python or JSON literal comes as its value as well."""
    bundle = results_of(tagged(plain(text)))["cell_1"]
    assert bundle["application/json"] == value
    assert type(bundle["application/json"]) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        "word",
        "Some prose, with 1 number.",
        "<Figure size 640x480 with 1 Axes>",
        "__import__('os')",
        "1+2j",
        "b'bytes'",
        "{b'bytes': 1}",
        "[1, ..., 5]",
        "1e999",
        "1\n2",
        "{[]: 1}",
        "",
        "\n",
        "'\ud800'",
        "9" * 5_000,
        "[" * 100_000,
        "-" * 100_000 + "1",
        "+".join("1" * 50_000),
        "'" + "x" * MAX_CHARS + "'",
    ],
)
def test_other_text_stays_text(text: str) -> None:
    """Prose, code, what JSON cannot express and what is too long or too deep to be tried."""
    assert results_of(tagged(plain(text)))["cell_1"] == {"text/plain": clean(text)}


def test_json_that_was_shown_is_kept() -> None:
    """A cell that shows JSON itself is not second-guessed, nor are its lists joined."""
    bundle = {"text/plain": "[1]", "application/json": ["a", "b"], "application/x+json": ["c"]}
    assert results_of(tagged(show(bundle))) == {"cell_1": bundle}


def test_scrap_keeps_the_name_of_a_tagged_cell() -> None:
    """The author chose the scrap's name; the warning tells of the cell."""
    found = extract(notebook(tagged(plain("1"), count=3), code(glue("cell_3", "mine", "text"))))
    assert found.results == {"cell_3": "mine"}
    assert len(found.warnings) == 1
    assert "cell_3" in found.warnings[0]


def test_unreadable_scrap_keeps_its_name_too() -> None:
    """What the cell showed must not be taken for the scrap's value."""
    found = extract(notebook(tagged(plain("1")), code(glue("cell_1", "broken", "pandas"))))
    assert found.results == {}
    assert [problem.name for problem in found.problems] == ["cell_1"]
    assert "cell_1" in found.warnings[0]


# Any notebook


def test_notebook_node_and_plain_mapping_give_the_same() -> None:
    """Papermill hands over nbformat's own mappings; results are plain ones."""
    cells = code(glue("d", {"a": [{"b": 1}]})), tagged(show({"application/json": {"c": 1}}))
    plain_mapping = notebook(*cells)
    found = extract(nbformat.from_dict(plain_mapping))
    assert found == extract(plain_mapping)
    assert type(found.results["d"]) is dict
    assert type(found.results["cell_1"]["application/json"]) is dict  # type: ignore[index,call-overload]


def test_input_is_left_alone() -> None:
    """Extraction never writes into the notebook."""
    given = notebook(tagged(plain(["[1]", "\n"]), glue("n", [1]), glue_display("f", {"a": ["x"]})))
    before = json.dumps(given)
    extract(given)
    assert json.dumps(given) == before


MIMES = st.sampled_from(
    [
        "text/plain",
        "application/json",
        "application/scrapbook.scrap.json+json",
        "application/scrapbook.scrap.pandas+json",
        "application/scrapbook.scrap.display+json",
        "application/scrapbook.scrap.",
        "application/papermill.record+json",
    ]
)
WORDS = st.sampled_from(
    ["name", "data", "tags", "results", "scrapbook", "papermill", "1", "\ud800"]
)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | MIMES, inner, max_size=3),
    max_leaves=6,
)


def mostly(shape: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """`shape`, or any JSON in its place."""
    return shape | shape | shape | JSON


def mapping(**parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return mostly(st.fixed_dictionaries({}, optional=parts))


PAYLOADS = mapping(name=mostly(WORDS), data=JSON)
OUTPUTS = mapping(
    output_type=mostly(st.sampled_from(["stream", "display_data", "execute_result", "error"])),
    name=mostly(st.just("stdout")),
    text=mostly(st.lists(WORDS, max_size=2)),
    data=mostly(st.dictionaries(MIMES, PAYLOADS, max_size=2)),
    metadata=mapping(scrapbook=PAYLOADS, papermill=PAYLOADS),
)
CELLS = mapping(
    cell_type=mostly(st.just("code")),
    execution_count=mostly(st.integers(1, 3)),
    metadata=mapping(tags=mostly(st.just(["results"]))),
    outputs=mostly(st.lists(OUTPUTS, max_size=2)),
)
NOTEBOOKS = st.fixed_dictionaries({"cells": mostly(st.lists(CELLS, max_size=2))})


@given(NOTEBOOKS, st.booleans())
@settings(max_examples=60)
def test_no_notebook_raises(content: dict[str, Any], scrapbook: bool) -> None:
    """Whatever lies in a notebook, extraction ends, and all that it gives is strict JSON."""
    found = extract(content, scrapbook=scrapbook)
    assert isinstance(found, Extraction)
    said = [found.warnings, [[problem.name, problem.message] for problem in found.problems]]
    for part in (found.results, *said):
        json.dumps(part, allow_nan=False, ensure_ascii=False).encode()
    assert {problem.name for problem in found.problems}.isdisjoint(found.results)
