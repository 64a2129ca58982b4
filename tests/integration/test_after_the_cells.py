"""What comes after the last cell has limits of its own, and errors that say so."""

import threading
from typing import Any

import pytest

from runner.contract.results import extract
from runner.contract.states.status import ErrorType
from runner.execution.local.processes import _Live, _lost
from runner.execution.order import Order, Progress


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_limit_that_passed_after_the_cells_is_told_as_what_it_is() -> None:
    """The run's limit had nothing to do with it, and no cell was running."""
    clock = Clock()
    process: Any = None
    live = _Live(process, clock, threading.Lock(), 0.0)
    order = Order(job_id="a", name="n", timeout_seconds=300, output_folder="/x")
    live.allow_run(order.timeout_seconds)
    live.progress = Progress(cell=1, cells=2)
    during = _lost(live, order, b"{}", ErrorType.TIMEOUT).failure
    clock.now += 50
    live.allow_rest(60, "its results were not read")
    assert live.limit == clock.now + 70
    after = _lost(live, order, b"{}", ErrorType.TIMEOUT).failure
    assert during is not None
    assert after is not None
    assert "limit of 300 s" in during.message
    assert "Code cell 1 of 2 was running" in during.message
    assert "All cells had run, but its results were not read within 70 s" in after.message
    assert "was running" not in after.message


def test_a_stop_is_not_put_off_by_a_later_step() -> None:
    """Who cancels while results are read waits for no longer than before."""
    clock = Clock()
    process: Any = None
    live = _Live(process, clock, threading.Lock(), 0.0, limit=5.0, reason=ErrorType.CANCELLED)
    live.allow_rest(60, "its results were not read")
    assert live.limit == 5.0


def glued(value: object) -> dict[str, Any]:
    data = {
        "application/scrapbook.scrap.json+json": {"name": "x", "data": value, "encoder": "json"}
    }
    output = {"output_type": "display_data", "data": data, "metadata": {"scrapbook": {"name": "x"}}}
    return {"cells": [{"cell_type": "code", "metadata": {}, "source": "", "outputs": [output]}]}


@pytest.mark.parametrize(("room", "is_kept"), [(10_000, True), (2_500, False), (1_000, False)])
def test_the_size_of_a_result_is_that_of_its_published_text(room: int, is_kept: bool) -> None:
    """1,000 numbers: 2,001 bytes in one line, 5,002 as they are published."""
    found = extract(glued([1] * 1000), room=room)
    assert bool(found.large) is not is_kept
