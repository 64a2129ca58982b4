"""Whose output was too much: the cell that wrote it, though another one may be running by then."""

from typing import Any, cast

from nbformat.v4 import new_code_cell, new_notebook

from runner.contract.notebook import Unmarked
from runner.execution.job.diagnosis import Circumstances, failure_of
from runner.execution.job.run import OutputLimit, Run
from runner.execution.limits.hold import UNLIMITED


def test_late_output_is_blamed_on_the_cell_that_wrote_it() -> None:
    notebook = new_notebook(cells=[new_code_cell("loud()"), new_code_cell("1")])
    notebook.cells[0].execution_count = 1
    run = Run(cast("Any", None), output_bytes=10, report=lambda _: None, notebook=notebook)
    run.cells = 2
    run.entered(0, is_code=False)
    assert run.count(8, 0)
    run.entered(1, is_code=False)
    assert not run.count(5, 0)
    assert not run.count(5, 1)
    known = Circumstances(None, 60, UNLIMITED, peak=0, is_out_of_files=False)
    failure = failure_of(OutputLimit(10), run, Unmarked(notebook, (0, 1)), known)
    assert failure is not None
    assert failure.cell_index == 0
    assert "Code cell 1 of 2 wrote what was too much: `loud()`." in failure.message
