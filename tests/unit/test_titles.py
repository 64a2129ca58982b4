"""Promises of titles: what a notebook of the library is called on the page."""

import pytest

from runner.gateway.page.titles import Title, title_of


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("# Sales\nOne line.", Title("Sales", "One line.")),
        ("# Sales\n\nOver two\nlines.\n\nNext.", Title("Sales", "Over two lines.")),
        ("# Sales\nOver two\r\nlines.\n## More", Title("Sales", "Over two lines.")),
        ("# Sales\n## More\nText.", Title("Sales", "")),
        ("# Sales\n- one\n- two", Title("Sales", "- one")),
        ("# Sales\nIt has:\n1. one\n2. two", Title("Sales", "It has:")),
        ("# Sales\nA table:\n| a | b |\n|---|---|", Title("Sales", "A table:")),
        ("# **Sales** `of`\nWith `code`.", Title("Sales of", "With code.")),
        ("# Sales\n" + "word\n" * 30, Title("Sales", "word " * 23 + "word…")),
        (
            "# my_name\nIn `RUNNER_OUTPUT_DIR`, `a*b*c`.",
            Title("my_name", "In RUNNER_OUTPUT_DIR, a*b*c."),
        ),
        ("# _Sales_ of __all__\nx", Title("Sales of all", "x")),
        ("Text alone.", Title()),
    ],
)
def test_a_title_is_the_heading_and_the_paragraph_below(text: str, title: Title) -> None:
    """However its lines are broken: Markdown makes one of them."""
    cells = [{"cell_type": "markdown", "source": text.splitlines(keepends=True)}]
    assert title_of({"cells": cells}) == title
