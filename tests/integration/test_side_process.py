"""Promises of a process beside ours, by the one that renders: bounded, and there again."""

import json
from collections.abc import Iterator

import pytest

from runner.reports.rendering.process import MODULE
from runner.system.processes.side_process import CannotAnswer, SideProcess
from tests.conftest import notebook

FINE = json.dumps(notebook("6 * 7")).encode()


@pytest.fixture
def process() -> Iterator[SideProcess]:
    made = SideProcess(MODULE, seconds=90)
    yield made
    made.close()


def test_what_is_no_notebook_is_refused_and_the_next_one_is_rendered(
    process: SideProcess,
) -> None:
    """Whatever nbformat trips over; the process lives on."""
    for content in (b"", b"{", b"[]", b"null", b'{"cells": 1}', b"\xff"):
        with pytest.raises(CannotAnswer):
            process.ask(content)
    assert b"jp-Notebook" in process.ask(FINE)


def test_a_process_that_was_killed_is_started_again(process: SideProcess) -> None:
    """As after a minute in which nobody looked, or without memory."""
    process.ask(FINE)
    assert process._process is not None
    process._process.kill()
    process._process.wait()
    assert b"jp-Notebook" in process.ask(FINE)


def test_what_takes_too_long_is_given_up(process: SideProcess) -> None:
    """And does not hold up what comes after it."""
    hurried = SideProcess(MODULE, seconds=0.01)
    with pytest.raises(CannotAnswer, match="longer than"):
        hurried.ask(FINE)
    assert hurried._process is None
    assert b"jp-Notebook" in process.ask(FINE)


def test_a_formula_that_nobody_understands_is_text(process: SideProcess) -> None:
    """Too deep, too long, or wrong: the notebook is rendered all the same."""
    deep, long, wrong = "{" * 3000, "x" * 5000, r"\frac{"
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": f"$${formula}$$ $a<b$"}
        for formula in (deep, long, wrong)
    ]
    page = process.ask(json.dumps({**notebook(), "cells": cells}).encode()).decode()
    assert page.count("<math") == 3
    assert long in page
