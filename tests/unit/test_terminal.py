"""Promises of the terminal: what was taken back is gone, all else stays as it was written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.contract.text.terminal import TerminalText


def shown(*pieces: str) -> str:
    screen = TerminalText()
    size = sum(screen.write(piece) for piece in pieces)
    assert size == len(screen.text)
    return screen.text


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        (" 10%\r 20%\r100%\n", "100%\n"),
        ("\r 10%|#  |\r 20%|## |", " 20%|## |"),
        ("100%\r", "100%"),
        ("a\r\nb\r\n", "a\nb\n"),
        ("long text\rab", "abng text"),
        ("abc\b\bX", "aXc"),
        ("\b\babc", "abc"),
        ("working\r\x1b[Kdone\n", "done\n"),
        ("working\r\x1b[2Kdone\n", "done\n"),
        ("outer\ninner 1\x1b[A\router 2\n\rinner 2\n", "outer 2\ninner 2\n"),
        ("\x1b[32mold line\x1b[0m\r\x1b[32mnew\x1b[0m", "\x1b[32mnew\x1b[0m"),
        ("one\n\x1b[1A\x1b[2Ktwo\n", "two\n"),
        ("plain\n\n\ttext", "plain\n\n\ttext"),
        ("", ""),
    ],
)
def test_it_shows_what_a_terminal_would(written: str, seen: str) -> None:
    """In whatever pieces it comes, but for a code that is cut in two."""
    assert shown(written) == seen
    if "\x1b" not in written:
        assert shown(*written) == seen


@given(st.lists(st.text(st.characters(exclude_characters="\r\b\x1b"))))
def test_plain_text_stays_as_it_is(pieces: list[str]) -> None:
    """Whatever its lines."""
    assert shown(*pieces) == "".join(pieces)


@given(st.lists(st.text("ab\r\n\b") | st.sampled_from(["\x1b[A", "\x1b[K", "\x1b[2K"])))
def test_its_size_is_told_with_each_piece(pieces: list[str]) -> None:
    """So that a limit can count what is left."""
    shown(*pieces)


@pytest.mark.timeout(60)
@given(st.lists(st.sampled_from(["a", "bc", "\n", "d\ne\n" * 40, *"\r\b", "\x1b[A", "\x1b[K"])))
def test_lines_that_come_together_are_as_if_they_came_alone(pieces: list[str]) -> None:
    """Text that only goes on is taken in one step, other text move by move."""
    together = "".join(pieces)
    assert shown(together) == shown(*pieces) == shown(*pieces, "\r")


def test_a_long_progress_bar_takes_neither_time_nor_space() -> None:
    """Nor does a line of megabytes."""
    screen = TerminalText()
    for number in range(100_000):
        screen.write(f"\r{number:7d}")
    for _ in range(100_000):
        screen.write("x" * 20)
        screen.write("\b")
    assert len(screen.text) < 2_100_000


def test_only_the_end_is_kept_where_no_more_is_needed() -> None:
    """For a tail."""
    screen = TerminalText()
    for number in range(10_000):
        screen.write(f"line {number}\n")
        screen.forget(1000)
    assert len(screen.text) < 2500
    assert screen.text.endswith("line 9999\n")


def test_what_is_cut_can_be_written_after() -> None:
    """At its new end."""
    screen = TerminalText()
    screen.write("abc\ndef")
    screen.cut(2)
    screen.write("!\r?")
    assert screen.text == "abc\nd?"
