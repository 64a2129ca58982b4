"""Promises of literals: the text of a value says the same JSON as the value in a DataFrame."""

import array
import collections
import datetime
import fractions
import pathlib
import uuid
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.contract.results import _plain
from runner.contract.text.literals import NoLiteralError, value_of
from runner.contract.text.strict_json import clean, dumps

UTC = datetime.UTC
BERLIN = ZoneInfo("Europe/Berlin")
HALF_PAST = datetime.timezone(datetime.timedelta(hours=5, minutes=30))
AS_IN_A_FRAME = [
    *[np.float64(3.5), np.float32(0.5), np.float16(2), np.int64(3), np.uint8(255), np.int32(-1)],
    *[np.bool_(True), np.bool_(False), np.float64("nan"), np.float64("inf"), np.str_("a'b")],
    *[Decimal("1.50"), Decimal("NaN"), fractions.Fraction(1, 3), uuid.UUID(int=5), None, True],
    *[pd.Timestamp("2026-01-02"), pd.Timestamp("2026-01-02 03:04:05.123456789")],
    *[pd.Timestamp("2026-01-02 03:04:05.1234", tz="Europe/Berlin"), pd.NaT],
    *[pd.Timestamp("1969-12-31 23:59:59.999999999", tz="UTC"), pd.Period("2026-01", "M")],
    *[pd.Timedelta("1 days 02:03:04.5"), pd.Timedelta(seconds=-1), pd.Timedelta(nanoseconds=7)],
    *[datetime.datetime(2026, 1, 2), datetime.datetime(2026, 1, 2, 3, 4, 5, 678)],
    *[
        datetime.datetime(2026, 1, 2, tzinfo=UTC),
        datetime.datetime(2026, 1, 2, 3, tzinfo=HALF_PAST),
    ],
    *[datetime.date(2026, 1, 2), datetime.time(1, 2, 3)],
    *[np.array([1, 2]), np.array([[1.5, float("nan")]]), np.array(["a", "b"]), np.array(3)],
    *[np.array([True, False]), np.array([], dtype=float), np.array([pd.NaT, pd.Timestamp("2026")])],
    *[np.array(["2026-01-02"], dtype="datetime64[ns]"), np.array([1, None, "x"], dtype=object)],
    *[{"a": [np.int64(1), {"b": np.float64("-inf")}]}, (np.int64(1), (Decimal("2"),))],
]


@pytest.mark.parametrize("value", AS_IN_A_FRAME, ids=repr)
def test_a_value_alone_is_what_it_is_in_a_frame(value: Any) -> None:
    """One table for both; so do lists and mappings of it."""
    expected = _plain(value)
    for text, wanted in (
        (repr(value), expected),
        (repr([value]), [expected]),
        (repr({"k": (value, 1)}), {"k": [expected, 1]}),
    ):
        if "\n" not in repr(value):
            assert dumps(value_of(text)) == dumps(wanted), text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({np.int64(3), np.int64(1)}, [1, 3]),
        (frozenset({2}), [2]),
        (set(), []),
        ({(1, "a"), (1, "b")}, [[1, "a"], [1, "b"]]),
        (collections.OrderedDict(a=np.int64(1)), {"a": 1}),
        (collections.Counter("aab"), {"a": 2, "b": 1}),
        (collections.defaultdict(list, {"a": [1]}), {"a": [1]}),
        (collections.deque([1, 2], maxlen=5), [1, 2]),
        (datetime.timedelta(days=-1, hours=2, microseconds=500), "P-1DT2H0M0.0005S"),
        (pd.Index([1, 2]), [1, 2]),
        (pd.NA, None),
        ([1, pd.NA], [1, None]),
        (float("nan"), None),
        ([float("inf"), float("-inf")], [None, None]),
        (np.datetime64("2026-01"), "2026-01-01T00:00:00.000"),
        (np.datetime64("2026-01-02T03:04:05"), "2026-01-02T03:04:05.000"),
        (pathlib.PurePosixPath("/a/b"), "/a/b"),
        ({np.int64(1): "a", (1, 2): "b"}, {"1": "a", "(1, 2)": "b"}),
        ({pd.Timestamp("2026-01-02"): 1}, {"2026-01-02T00:00:00.000": 1}),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.longdouble(1.5), 1.5),
        (np.array("a"), "a"),
        (array.array("i", [1, 2]), [1, 2]),
        (array.array("d"), []),
        (range(3), [0, 1, 2]),
        ({"a": 1}.keys(), ["a"]),
        ({"a": np.int64(1)}.items(), [["a", 1]]),
        (datetime.datetime(2026, 7, 2, 3, tzinfo=BERLIN), "2026-07-02T01:00:00.000Z"),
        (pd.Series(["a", "b", "a"]).unique(), ["a", "b"]),
        (pd.array(["its", None, "<NA>"], dtype="string"), ["its", None, "<NA>"]),
        (pd.array([1, None]), [1, None]),
        (pd.array([True, None]), [True, None]),
        (
            pd.Series([pd.Timestamp("2026-01-02"), pd.NaT]).unique(),
            ["2026-01-02T00:00:00.000", None],
        ),
        (pd.TimedeltaIndex([pd.Timedelta("1h"), pd.NaT]).array, ["P0DT1H0M0S", None]),
        (pd.Categorical(["a", "b"], ordered=True), ["a", "b"]),
        (pd.RangeIndex(3), [0, 1, 2]),
        (pd.date_range("2026", periods=2), ["2026-01-01T00:00:00.000", "2026-01-02T00:00:00.000"]),
        (pd.date_range("2026", periods=1, tz="Europe/Berlin"), ["2025-12-31T23:00:00.000Z"]),
        (pd.TimedeltaIndex([pd.Timedelta("1h"), pd.NaT]), ["P0DT1H0M0S", None]),
        (pd.period_range("2026", periods=2, freq="M"), ["2026-01", "2026-02"]),
        (pd.MultiIndex.from_tuples([("a", 1), ("b", 2)]), [["a", 1], ["b", 2]]),
        (pd.CategoricalIndex(["a"]), ["a"]),
        (pd.Index([f"name {number}" for number in range(30)]), [f"name {n}" for n in range(30)]),
    ],
    ids=lambda value: repr(sorted(value) if isinstance(value, set) else value),
)
def test_what_a_cell_ends_with_has_a_value(value: Any, expected: Any) -> None:
    """Whatever Python, numpy and pandas print for one value."""
    assert clean(value_of(repr(value))) == expected


@pytest.mark.parametrize(
    "text",
    [
        *["np.complex128(1j)", "np.float64(x)", "Decimal(open)", "float('nan')", "os.getcwd()"],
        *["Point(x=1, y=2)", "np.float64(*[1])", "array([1, ..., 3])", "Timestamp('soon')"],
        *[
            "Timestamp()",
            "datetime.date(2026, 13, 1)",
            "datetime.datetime.now()",
            "UUID",
            "a.b.c.d",
        ],
        *["Timedelta('x')", "Fraction(1)", "OrderedDict([1])", "np.datetime64(3, 'D')", "-'a'"],
        *[
            f"datetime.datetime(2026, 1, 1, tzinfo=zoneinfo.ZoneInfo(key={key!r}))"
            for key in ("Europe", "../x", "Nowhere/Else", 3)
        ],
        *["{**{}}", "range(10**9)", "range(1, 2, 0)", "<IntervalArray>\n[(0, 1]]"],
        *["array([1], dtype='timedelta64[ns]')", "np.timedelta64(1,'D')", "1e999", "-True", "~1"],
        *["datetime.timedelta(days=10**10)", "datetime.timedelta(days=99999999999)", "\ud800"],
        *["defaultdict(<class 'int'>, ", "Index(['a'", "<NA> x"],
    ],
)
def test_what_is_no_value_stays_text(text: str) -> None:
    """Code is never run, and a call that is not known has no value."""
    with pytest.raises(NoLiteralError):
        value_of(text)


@given(st.text(alphabet="npfloat64().[]{},:'\"0123456789-+ eTimestampDecimalarraynaIndex<NA>=_"))
def test_any_text_is_a_value_or_none(text: str) -> None:
    """One kind of error, and what comes is strict JSON."""
    try:
        found = value_of(text)
    except NoLiteralError:
        return
    dumps(found)
