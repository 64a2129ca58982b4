"""Promises about plain text and excerpts."""

import pytest

from runner.plain_text import excerpt, plain_text


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
    found = excerpt("a" * 50 + "z" * 50, 40)
    assert found == f"{'a' * 30}\n[… 60 characters left out …]\n{'z' * 10}"
