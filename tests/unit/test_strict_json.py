"""Promises of strict JSON: whatever goes in, what comes out is JSON to every reader."""

import json
from enum import IntEnum, StrEnum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.contract.text.strict_json import DEEPER, MAX_DEPTH, StrictJsonError, clean, dumps, loads

NAN, INFINITE = float("nan"), float("inf")
LONG = 10**4_300

texts = st.text(st.characters(), max_size=8)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
keys = texts | st.none() | st.booleans() | st.integers() | st.floats() | st.tuples(st.integers())
anything = st.recursive(
    scalars | st.booleans().map(lambda up: LONG if up else -LONG) | st.binary(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(keys, inner, max_size=4)
    ),
    max_leaves=15,
)


class Colour(StrEnum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class OldStyle(str):
    """Text whose `str` is something else, as that of a mixed-in enum is."""

    def __str__(self) -> str:
        return "not me"


def nested(depth: int) -> object:
    """`depth` lists inside one another."""
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


def depth_of(value: Any) -> int:
    depth = 0
    while isinstance(value, list):
        value, depth = value[0], depth + 1
    return depth


@given(anything)
@settings(max_examples=100)
def test_whatever_is_written_can_be_read_back(value: object) -> None:
    """`loads`, which refuses all that is not strict, reads what `dumps` wrote, as `clean` is."""
    assert loads(dumps(value)) == clean(value)


def by_json(value: object) -> bytes:
    return json.dumps(clean(value), ensure_ascii=False, allow_nan=False, indent=2).encode()


@given(anything)
@settings(max_examples=200)
def test_it_is_written_as_the_standard_library_writes_it(value: object) -> None:
    """The quick way is another one, and its bytes are the same."""
    assert dumps(value) == by_json(value)
    assert dumps(clean(value)) == by_json(value)


@pytest.mark.parametrize("depth", [MAX_DEPTH - 1, MAX_DEPTH, MAX_DEPTH + 1])
@pytest.mark.parametrize("inner", [[], {}, [1], {"a": 1}, 1, "x"])
def test_the_bound_is_the_same_when_it_is_written(depth: int, inner: object) -> None:
    value = inner
    for _ in range(depth):
        value = {"a": value}
    assert dumps(value) == by_json(value)


@given(anything)
@settings(max_examples=50)
def test_what_is_clean_is_left_alone(value: object) -> None:
    """A second cleaning changes nothing, and copies nothing."""
    once = clean(value)
    assert clean(once) is once


def test_strict_value_is_the_very_same_object() -> None:
    """Large results are not copied where nothing is wrong with them."""
    value = {"a": [1, 2.5, None, True, "é"], "b": {"c": []}}
    assert clean(value) is value


def test_what_is_changed_leaves_the_original_alone() -> None:
    """`clean` gives a new value and never writes into the one it was given."""
    value = {"a": [INFINITE], 1: ("x",)}
    assert clean(value) == {"a": ["Infinity"], "1": ["x"]}
    assert value == {"a": [INFINITE], 1: ("x",)}


def test_numbers_that_are_not_finite_become_their_names() -> None:
    """JSON has no NaN and no infinities; their names say which it was."""
    assert clean([NAN, INFINITE, -INFINITE]) == ["NaN", "Infinity", "-Infinity"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\ud800b", "a\ufffdb"),
        ("\udfff", "\ufffd"),
        ("\udc00\ud800", "\ufffd\ufffd"),
        ("\ud83d\ude00", "😀"),
        ("\ufeff\ud800", "\ufeff\ufffd"),
    ],
)
def test_lone_surrogate_becomes_the_replacement_character(text: str, expected: str) -> None:
    """Half a character cannot be UTF-8; two halves are the character they stand for."""
    assert clean([text]) == [expected]
    assert clean({text: 1}) == {expected: 1}


def test_integer_of_thousands_of_digits_becomes_hexadecimal_text() -> None:
    """Python writes 4,300 digits at most; a longer integer can still be read with `int(_, 16)`."""
    found = clean({"long": LONG, "negative": -LONG, "longest": LONG - 1})
    assert isinstance(found, dict)
    assert found["longest"] == LONG - 1
    assert str(found["long"]).startswith("0x")
    assert int(str(found["long"]), 16) == LONG
    assert int(str(found["negative"]), 16) == -LONG


def test_huge_integer_is_written_without_decimal_digits() -> None:
    """A million digits take no minutes: nothing on the way is quadratic."""
    assert len(dumps({"x": 1 << 3_000_000, 1 << 3_000_000: "x"})) > 1_500_000


def test_keys_become_text_as_json_writes_them() -> None:
    """Keys look as `json.dumps` would write them; what it refuses as a key is its `str`."""
    value = {None: 0, True: 1, 2: 2, 2.5: 3, NAN: 4, (1, "a"): 5, LONG: 6}
    expected = ["null", "true", "2", "2.5", "NaN", "(1, 'a')", hex(LONG)]
    found = clean(value)
    assert isinstance(found, dict)
    assert list(found) == expected


def test_keys_that_become_equal_stand_once() -> None:
    """1 and "1" are one key in JSON; the last one stays, and readers see no double key."""
    assert json.loads(dumps({1: "a", "1": "b"})) == {"1": "b"}
    assert dumps({1: "a", "1": "b"}).count(b'"1"') == 1


def test_subclasses_become_plain_values() -> None:
    """Enums and their like are written as the text or number they are."""
    value = [Colour.RED, Level.HIGH, OldStyle("me")]
    found = clean(value)
    assert found == ["red", 3, "me"]
    assert [type(part) for part in found] == [str, int, str]


def test_what_json_does_not_know_becomes_its_text() -> None:
    """Other objects are written as `str` shows them, rather than refused."""
    assert clean({"a": {1}, "b": b"x"}) == {"a": "{1}", "b": "b'x'"}


def test_containers_up_to_the_bound_are_kept() -> None:
    """The bound itself is allowed."""
    value = nested(MAX_DEPTH)
    assert clean(value) is value
    assert depth_of(loads(dumps(value))) == MAX_DEPTH


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 50_000])
def test_deeper_containers_become_a_marker(depth: int) -> None:
    """Nothing is too deep to be written: what lies below the bound is replaced."""
    found: Any = json.loads(dumps(nested(depth)))
    assert depth_of(found) == MAX_DEPTH
    for _ in range(MAX_DEPTH):
        found = found[0]
    assert found == DEEPER


def test_dictionaries_count_as_levels() -> None:
    """Mappings are bounded like lists."""
    value: object = 1
    for _ in range(MAX_DEPTH + 1):
        value = {"k": value}
    assert DEEPER.encode() in dumps(value)


def test_output_is_indented_utf8_in_the_order_given() -> None:
    """People read results too: two spaces, no escapes beyond need, no sorting."""
    assert dumps({"b": "é", "a": [1]}) == '{\n  "b": "é",\n  "a": [\n    1\n  ]\n}'.encode()


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' stands twice in one object"),
        (b"[NaN]", "NaN is no JSON number"),
        (b"[-Infinity]", "-Infinity is no JSON number"),
        (b"[1e999]", "the number '1e999' is too large"),
        (b"9" * 5_000, "a number in it has too many digits"),
        (b'"a\xff"', r"it is no UTF-8 text \(byte 2\)"),
        ("{}".encode("utf-16"), r"it is UTF-16 text"),
        (rb'{"a": "\uD83d"}', "half of a surrogate pair"),
        (rb'{"\udfff": 1}', "half of a surrogate pair"),
        (b"[" * 201 + b"]" * 201, "nested more than 200 deep"),
        (b"[" * 100_000, "nested more than 200 deep"),
        (b'{"a":' * 100_000, "nested more than 200 deep"),
        (b'{"a": 1,}', "line 1 column"),
        (b"", "it is empty"),
        (b"\xef\xbb\xbf \n", "it is empty"),
        (b"{} {}", "Extra data"),
    ],
)
def test_what_is_not_strict_is_refused_by_name(raw: bytes, message: str) -> None:
    """Each way of not being strict JSON has a message of its own."""
    with pytest.raises(StrictJsonError, match=message):
        loads(raw)


def test_message_about_a_long_key_is_short() -> None:
    """A message does not repeat a megabyte."""
    raw = b'{"%s": 1, "%s": 2}' % (b"k" * 1_000_000, b"k" * 1_000_000)
    with pytest.raises(StrictJsonError) as caught:
        loads(raw)
    assert len(str(caught.value)) < 200


def test_byte_order_mark_is_accepted() -> None:
    """Windows editors write one in front of UTF-8."""
    assert loads(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}


def test_surrogate_pair_is_one_character() -> None:
    """Escaped pairs are how ASCII-only writers spell an emoji; a backslash of text is no escape."""
    assert loads(rb'"\ud83d\ude00"') == "😀"
    assert loads(rb'"\\ud83d"') == r"\ud83d"


@given(st.binary(max_size=30) | texts.map(lambda text: text.encode("utf-8", "surrogatepass")))
@settings(max_examples=100)
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    """No bytes raise anything but `StrictJsonError`."""
    try:
        value = loads(raw)
    except StrictJsonError:
        return
    assert clean(value) is value
