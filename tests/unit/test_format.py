"""Promises of the pages' words: short, and the same wherever they stand."""

from datetime import datetime, timedelta

import pytest

from runner.contract.names import shown_name
from runner.contract.states.status import Status
from runner.gateway.page.format import (
    STATUS_WORDS,
    age,
    ahead,
    duration,
    plural,
    size,
    when,
    with_code,
    with_inbox_link,
)

NOW = datetime.fromisoformat("2026-11-25T12:00:00+00:00")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0, "0 s"),
        (0.006, "0.01 s"),
        (0.654, "0.65 s"),
        (1, "1.0 s"),
        (9.94, "9.9 s"),
        (9.97, "10 s"),
        (59.6, "1 min"),
        (185, "3 min 5 s"),
        (7440, "2 h 4 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_durations_are_short(seconds: float | None, text: str) -> None:
    """Two units at most, and no figure that means nothing."""
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "just now"),
        (9, "just now"),
        (59, "59 s ago"),
        (60, "1 min ago"),
        (7200, "2 h ago"),
        (90_000, "25 h ago"),
        (200_000, "2 days ago"),
    ],
)
def test_ages_are_rough(seconds: float, text: str) -> None:
    """What a person would say; a clock that was set back says `just now`."""
    assert age((NOW - timedelta(seconds=seconds)).isoformat(), NOW) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "at once"), (0.5, "at once"), (59, "in 59 s"), (60, "in 1 min"), (200_000, "in 2 days")],
)
def test_what_comes_is_rough_too(seconds: float, text: str) -> None:
    """What is over by now comes at once."""
    assert ahead((NOW + timedelta(seconds=seconds)).isoformat(), NOW) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (9_960, "10 kB"),
        (999_400, "999 kB"),
        (999_600, "1.0 MB"),
        (23_000_000, "23 MB"),
        (5_000_000_000_000, "5000 GB"),
    ],
)
def test_sizes_are_as_file_managers_write_them(count: int, text: str) -> None:
    """Thousands, not 1024s."""
    assert size(count) == text


def test_times_are_told_in_utc() -> None:
    """Whatever zone they were written in."""
    assert when("2026-11-24T05:08:38.205+01:00") == "24 Nov 2026, 04:08:38 UTC"


def test_a_name_that_nobody_chose_is_cut() -> None:
    """Only that: a chosen name stays whole."""
    assert shown_name("http/2026-11-24/" + "0123456789abcdef" * 2) == "http/2026-11-24/01234567…"
    assert shown_name("http/2026-11-24/mine") == "http/2026-11-24/mine"


def test_every_status_has_its_word() -> None:
    """Colour alone tells nobody anything."""
    assert set(STATUS_WORDS) == set(Status)
    assert len(set(STATUS_WORDS.values())) == len(Status)


def test_counts_agree_with_their_noun() -> None:
    """One run, two runs."""
    assert [plural(n, "run") for n in (0, 1, 1200)] == ["0 runs", "1 run", "1,200 runs"]
    assert plural(2, "entry", "entries") == "2 entries"


def test_what_stands_in_backticks_is_code_and_nothing_is_markup() -> None:
    """A message quotes what a notebook says; one tick alone stays what it is."""
    assert with_code("`a<b>` is <no> tag") == "<code>a&lt;b&gt;</code> is &lt;no&gt; tag"
    assert with_code("it's `odd <") == "it&#39;s `odd &lt;"


def test_a_note_on_the_inbox_leads_to_its_page() -> None:
    """A file's name stays what it is, whatever it looks like."""
    link = '<a href="/ui/inbox">the Inbox page</a>'
    note = "left alone in the inbox: '<b>`runner inbox`'; `runner inbox` says what to do"
    assert with_inbox_link(note).endswith(f"&lt;b&gt;`runner inbox`&#39;; {link} says what to do")
    assert (
        with_inbox_link("no <room>; `make <it>`") == "no &lt;room&gt;; <code>make &lt;it&gt;</code>"
    )
