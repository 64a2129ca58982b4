"""Each cell of a long notebook costs as much as each cell of a short one; with real kernels.

Counted are calls, messages and bytes: a busy machine does not change them.
"""

import asyncio
import gc
import itertools
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import pytest
from jupyter_core.utils import ensure_event_loop
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from runner.contract.text.strict_json import dumps
from runner.execution.job.preparation import read_notebook
from runner.execution.job.run import Run, execute
from runner.execution.kernel.forked import KernelSetting
from runner.execution.kernel.running import ColdStart, RunningKernel, start_cold
from runner.execution.order import Progress

pytestmark = pytest.mark.kernels

FEW, MANY = 50, 500
MOST_GROWTH = 1.2
MOST_CALLS = 2_000
"""Of one cell, in Python and in C. nbclient alone needs four times as many."""


@dataclass
class Cost:
    """What one notebook took."""

    executed: NotebookNode
    calls: int
    reports: list[Progress]


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[RunningKernel]:
    setting = KernelSetting(str(tmp_path), dict(os.environ))
    loop = ensure_event_loop()
    kernel = loop.run_until_complete(start_cold(ColdStart("python3", setting, tmp_path), 90))
    yield kernel
    kernel.kill()
    kernel.close()
    loop.close()
    asyncio.set_event_loop(None)


def cost_of(cells: int, kernel: RunningKernel, clock: Callable[[], float] = time.monotonic) -> Cost:
    source = new_notebook(cells=[new_code_cell(f"print({n}); {n}") for n in range(cells)])
    reports: list[Progress] = []
    calls: Counter[str] = Counter()

    def note(frame: FrameType, event: str, argument: object) -> None:
        del frame, argument
        calls[event] += 1

    run = Run(kernel, 1 << 20, reports.append, clock=clock)
    notebook = read_notebook(dumps(source)).notebook
    gc.disable()
    sys.setprofile(note)
    try:
        execute(notebook, run, parameters={"a": 1}, language="python", name="python3")
    finally:
        sys.setprofile(None)
        gc.enable()
    assert run.notebook is not None
    return Cost(run.notebook, calls["call"] + calls["c_call"], reports)


@pytest.mark.timeout(300)
def test_a_cell_among_many_costs_as_much_as_among_few(kernel: RunningKernel) -> None:
    few, many = cost_of(FEW, kernel), cost_of(MANY, kernel)
    for cost, cells in ((few, FEW), (many, MANY)):
        outputs = [cell.outputs for cell in cost.executed.cells[1:]]
        assert [one.output_type for one in outputs[-1]] == ["stream", "execute_result"]
        assert outputs[-1][0].text == f"{cells - 1}\n"
    assert many.calls / MANY < MOST_GROWTH * few.calls / FEW
    assert many.calls / MANY < MOST_CALLS


@pytest.mark.timeout(300)
def test_a_report_of_progress_says_the_end_of_the_text_only(kernel: RunningKernel) -> None:
    """Even if a second passes with each look at the clock, all reports are linear together."""
    many = cost_of(MANY, kernel, itertools.count().__next__)
    assert MANY <= len(many.reports) <= 3 * MANY
    assert max(len(one.tail) for one in many.reports) <= 4096
    assert many.reports[-1].cell == MANY
