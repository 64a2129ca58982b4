"""Promises about plain text and excerpts."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.contract.text.plain_text import excerpt, one_line, plain_text, visible, visible_json


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("as it is\n\tkept", "as it is\n\tkept"),
        ("\x1b[0;31mred\x1b[0m", "red"),
        ("a\r\nb\rc", "a\nb\nc"),
        ("bell\x07 and null\x00", "bell and null"),
    ],
)
def test_codes_of_a_terminal_are_gone(text: str, plain: str) -> None:
    """Lines and tabs stay."""
    assert plain_text(text) == plain


def test_an_excerpt_keeps_both_ends_and_says_what_is_missing() -> None:
    """A text that fits is not touched."""
    assert excerpt("short", 5) == "short"
    assert excerpt("a" * 80, 40) == "a" * 80
    found = excerpt("a" * 50 + "z" * 50, 40)
    assert found == f"{'a' * 30}\n[… 60 characters left out …]\n{'z' * 10}"


STEERING = [
    "\x1b[2J",
    "\x1b]0;title\x07",
    "\x9b31m",
    "\x85",
    "\u202e",
    "\u2066",
    "\u200b",
    "\ufeff",
]
STEERING += ["\u200f", "\u2028", "\x00", "\x7f", "\U000e0041", "\ud800", "\u00ad", "\u061c"]


@pytest.mark.parametrize("steering", STEERING)
def test_nothing_that_steers_a_terminal_is_written_to_it(steering: str) -> None:
    """Controls, escapes, marks of direction, what has no width: as text, on a line, in JSON."""
    text = f"a{steering}\tb\nc"
    for shown in (
        visible(text),
        one_line(text),
        visible_json(json.dumps(text, ensure_ascii=False)),
    ):
        assert all(c.isprintable() or c in "\t\n" for c in shown)
        assert shown.strip('"').startswith("a")
        assert shown.strip('"').endswith("c")
    assert visible(text).endswith("\tb\nc")
    assert "\n" not in one_line(text)


@given(st.text())
def test_json_for_a_terminal_is_the_same_value(text: str) -> None:
    """Escaped by JSON's own rules, so that a program reads what it would have read."""
    assert json.loads(visible_json(json.dumps({text: text}, ensure_ascii=False))) == {text: text}


def test_letters_of_all_languages_stay_as_they_are() -> None:
    """Replacing is for what cannot be seen."""
    text = "Bericht ä, 報告書, отчёт, تقرير, é, 🎉"
    assert visible(text) == one_line(text) == visible_json(text) == text
