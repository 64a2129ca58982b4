"""Whose output was too much: the cell that wrote it, though another one may be running by then."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from nbformat.v4 import new_code_cell, new_notebook

from runner.contract.notebook import Unmarked
from runner.execution.job.diagnosis import Circumstances, failure_of
from runner.execution.job.run import OutputLimit, Run, _Client
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


@pytest.mark.parametrize(
    ("kind", "is_output"),
    [("stream", True), ("status", False), ("execute_input", False), ("shutdown_reply", False)],
)
def test_the_end_of_a_kernel_is_no_output(kind: str, is_output: bool) -> None:
    """Every kernel says it; after output, the results are read once more."""
    taken: list[Any] = []
    client: Any = SimpleNamespace(
        _run=SimpleNamespace(kernel=SimpleNamespace(unseen=set())),
        _begun={},
        clear_before_next_output=False,
        process_message=lambda *what: taken.append(what),
    )
    message = {"msg_type": kind, "parent_header": {"msg_id": "x"}, "content": {}}
    assert _Client._take_late(client, message, (new_code_cell("1"), 0)) is is_output
    assert len(taken) == is_output
