"""Promises of the process that renders notebooks: bounded, and there again for the next one."""

import json
from collections.abc import Iterator

import pytest

from runner.gateway.render_process import CannotRender, RenderProcess
from tests.conftest import notebook

FINE = json.dumps(notebook("6 * 7")).encode()


@pytest.fixture
def process() -> Iterator[RenderProcess]:
    made = RenderProcess(seconds=90)
    yield made
    made.close()


def test_what_is_no_notebook_is_refused_and_the_next_one_is_rendered(
    process: RenderProcess,
) -> None:
    """Whatever nbformat trips over; the process lives on."""
    for content in (b"", b"{", b"[]", b"null", b'{"cells": 1}', b"\xff"):
        with pytest.raises(CannotRender):
            process.to_html(content)
    assert b"jp-Notebook" in process.to_html(FINE)


def test_a_process_that_was_killed_is_started_again(process: RenderProcess) -> None:
    """As after a minute in which nobody looked, or without memory."""
    process.to_html(FINE)
    assert process._process is not None
    process._process.kill()
    process._process.wait()
    assert b"jp-Notebook" in process.to_html(FINE)


def test_what_takes_too_long_is_given_up(process: RenderProcess) -> None:
    """And does not hold up what comes after it."""
    hurried = RenderProcess(seconds=0.01)
    with pytest.raises(CannotRender, match="longer than"):
        hurried.to_html(FINE)
    assert hurried._process is None
    assert b"jp-Notebook" in process.to_html(FINE)


def test_a_formula_that_nobody_understands_is_text(process: RenderProcess) -> None:
    """Too deep, too long, or wrong: the notebook is rendered all the same."""
    deep, long, wrong = "{" * 3000, "x" * 5000, r"\frac{"
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": f"$${formula}$$ $a<b$"}
        for formula in (deep, long, wrong)
    ]
    page = process.to_html(json.dumps({**notebook(), "cells": cells}).encode()).decode()
    assert page.count("<math") == 3
    assert long in page
