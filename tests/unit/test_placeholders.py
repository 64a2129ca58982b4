"""Placeholders: a closed grammar over what caused a request."""

from datetime import UTC, datetime

import pytest

from runner.contract.triggers.causes import cause_of_schedule, scheduled_for
from runner.contract.triggers.placeholders import PlaceholderError, Value, fill

NAMES: dict[str, Value] = {
    "scheduled_for": datetime(2026, 3, 29, 12, 30, tzinfo=UTC),
    "file": "a b/ü.pdf",
    "count": 3,
    "body": {"x": [1, None]},
}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("plain", "plain"),
        ("a } b }} { c", "a } b }} { c"),
        ("{{ scheduled_for }}", "2026-03-29T12:30:00+00:00"),
        ("{{scheduled_for|date}}", "2026-03-29"),
        ("{{ scheduled_for - 1d | date }}", "2026-03-28"),
        ("{{ scheduled_for + 2w | month }}", "2026-04"),
        ("{{ scheduled_for -90m | time }}", "11:00:00"),
        ("{{ scheduled_for - 9999d | year }}", "1998"),
        ("from {{ scheduled_for | date }} to {{ file }}!", "from 2026-03-29 to a b/ü.pdf!"),
        ("{{ file }}", "a b/ü.pdf"),
        ("{{ count }}", 3),
        ("n{{ count }}", "n3"),
        ("{{ body }}", {"x": [1, None]}),
    ],
)
def test_what_they_become(text: str, filled: object) -> None:
    """A text that is one placeholder becomes the value itself."""
    assert fill(text, NAMES) == filled
    assert fill({"a": [text, 1, None]}, NAMES) == {"a": [filled, 1, None]}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{{ sheduled_for }}", "did you mean `scheduled_for`"),
        ("{{ nothing }}", "names nothing that is known here: scheduled_for, file, count, body"),
        ("{{ scheduled_for - 1y }}", "is no placeholder"),
        ("{{ scheduled_for | upper }}", "the filters are date, time, month, year"),
        ("{{ file | date }}", "only a moment"),
        ("{{ file - 1d }}", "only a moment"),
        ("{{ scheduled_for", "never closes it"),
        ("{{ __import__('os') }}", "is no placeholder"),
        ("{{ scheduled_for.year }}", "a moment has no parts"),
        ("{% if x %}{{ y }}", "names nothing"),
        ("{{}}", "is no placeholder"),
        ("{{ {{ file }} }}", "is no placeholder"),
        ("see {{ body }}", "must be a text or a number"),
        ("{{ scheduled_for - 9999w | date }}" * 2, "is no date"),
        ("{{ " + "x" * 10_000 + " }}", "is no placeholder"),
    ],
)
def test_what_is_none_is_refused_by_its_place(text: str, why: str) -> None:
    """Whatever it looks like, nothing of it is run."""
    names = NAMES | {"scheduled_for": datetime(100, 1, 1, tzinfo=UTC)} if "9999w" in text else NAMES
    with pytest.raises(PlaceholderError) as caught:
        fill({"a": [0, text]}, names)
    assert why in str(caught.value)
    assert caught.value.place == ("a", 1)
    assert len(str(caught.value)) < 300


def test_only_a_schedules_cause_has_a_time() -> None:
    """Also if somebody ran it by hand."""
    cause = cause_of_schedule("a/b", datetime(2026, 11, 26, 6, 0, tzinfo=UTC))
    assert cause == "schedule:a/b@2026-11-26T06:00Z"
    assert scheduled_for(cause) == "2026-11-26T06:00:00+00:00"
    assert scheduled_for(f"{cause} by page") == "2026-11-26T06:00:00+00:00"
    for other in (None, "", "http", "schedule:a", "x schedule:a@2026-11-26T06:00Z"):
        assert scheduled_for(other) is None
