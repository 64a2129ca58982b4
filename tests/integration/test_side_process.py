"""Promises of a process beside ours, by the one that renders: bounded, and there again."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from runner.reports.rendering.process import MODULE
from runner.system.processes.side_process import CannotAnswer, SideProcess
from tests.conftest import notebook, wait_for

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


def test_waiting_for_others_is_no_time_of_ones_own() -> None:
    """What took too long is remembered; who only waited is not."""
    process = SideProcess("tests.slow_answers", seconds=3)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(process.ask, b"2.5")
        wait_for(lambda: process.pids)
        second = pool.submit(process.ask, b"1.5")
        assert (first.result(), second.result()) == (b"2.5", b"1.5")
    process.close()


def test_a_process_whose_threads_go_on_ends_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once its time without questions is over; the next question has a new one."""
    monkeypatch.setenv("IDLE_SECONDS", "0.5")
    process = SideProcess("tests.slow_answers", seconds=30)
    assert process.ask(b"thread") == b"thread"
    (pid,) = process.pids
    wait_for(lambda: psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    assert process.ask(b"0") == b"0"
    process.close()


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
