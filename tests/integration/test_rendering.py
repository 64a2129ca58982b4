"""Promises of the executed notebook as a page: what a browser can lay out, and no more."""

import json

import pytest

from runner.reports.rendering.notebook import MAX_TEXT_CHARS, to_html


@pytest.mark.parametrize("lines", [10, 400_000])
def test_of_a_flood_of_output_the_beginning_and_the_end_are_shown(lines: int) -> None:
    """Printed, and shown as a value; what is short stays whole."""
    text = "".join(f"line {number} of a log\n" for number in range(lines))
    printed = {"output_type": "stream", "name": "stdout", "text": text}
    value = {"output_type": "display_data", "data": {"text/plain": text}, "metadata": {}}
    cell = {"cell_type": "code", "source": "", "metadata": {}, "execution_count": 1}
    notebook = {"cells": [cell | {"outputs": [printed, value]}], "metadata": {}}
    raw = json.dumps(notebook | {"nbformat": 4, "nbformat_minor": 4}).encode()
    page = to_html(raw)
    assert page.count("line 0 of a log") == 2
    assert page.count(f"line {lines - 1} of a log") == 2
    assert page.count("characters are left out here") == (2 if lines > 10 else 0)
    assert len(page) < 3 * MAX_TEXT_CHARS


@pytest.mark.parametrize(
    ("bundle", "words"),
    [
        ({"application/vnd.plotly.v1+json": {"data": []}}, ["A Plotly figure", "fig.write_html"]),
        (
            {
                "application/vnd.jupyter.widget-view+json": {"model_id": "a"},
                "text/plain": "IntSlider(value=3)",
            },
            ["IntSlider(value=3)", "A widget"],
        ),
        ({"text/html": "<div></div><script>x</script>"}, ["An output that needs a script"]),
        (
            {"application/json": {"depth": 7}, "text/plain": "<x.JSON object>"},
            ['"depth": 7'],
        ),
    ],
)
def test_an_output_without_a_form_to_show_leaves_a_line(
    bundle: dict[str, object], words: list[str]
) -> None:
    """It says what is missing and how to see it; the text of the output stays."""
    output = {"output_type": "display_data", "data": bundle, "metadata": {}}
    cell = {"cell_type": "code", "source": "", "metadata": {}, "execution_count": 1}
    notebook = {"cells": [cell | {"outputs": [output]}], "metadata": {}}
    page = to_html(json.dumps(notebook | {"nbformat": 4, "nbformat_minor": 4}).encode())
    for word in words:
        assert word in page
