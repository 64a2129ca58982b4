"""After a cell has raised, the outcome names what was alive; with real kernels."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from runner.contract.outcome import Outcome
from runner.contract.states.status import ErrorType
from runner.execution.environment import clean_environment
from runner.execution.kernel.variables import MOST, MOST_BYTES, MOST_COLUMNS
from runner.execution.limits.hold import RunLimits
from runner.execution.local.processes import JobProcesses, ProcessSettings
from runner.execution.order import Order
from tests.conftest import Json, notebook

pytestmark = pytest.mark.kernels

Start = Literal["fork", "cold"]
Run = Callable[..., tuple[Outcome, Json]]
STARTS = pytest.mark.parametrize("start", ["fork", "cold"])


@pytest.fixture(scope="module")
def processes() -> Iterator[JobProcesses]:
    made = JobProcesses(
        ProcessSettings(
            environment=clean_environment(os.environ, []),
            instance="variables",
            slots=1,
            limits=RunLimits(memory_mb=600, processes=200),
        )
    )
    yield made
    made.close()


@pytest.fixture
def run(processes: JobProcesses, tmp_path: Path) -> Run:
    def run(*cells: str, start: Start = "fork", **more: Any) -> tuple[Outcome, Json]:
        job_id = os.urandom(16).hex()
        output = tmp_path / job_id
        output.mkdir()
        rest: Json = {"timeout_seconds": 60.0, "start": start, "output_folder": str(output)}
        order = Order.model_validate({"job_id": job_id, "name": "n", **rest, **more})
        raw = json.dumps(notebook(*cells)).encode()
        outcome, executed = processes.execute(order, raw, lambda *_: None)
        return outcome, json.loads(executed or b"{}")

    return run


def variables(outcome: Outcome) -> Json:
    assert outcome.failure is not None, outcome
    assert outcome.failure.variables is not None, outcome.failure
    return {
        name: one.model_dump(exclude_none=True) for name, one in outcome.failure.variables.items()
    }


TABLE = "import pandas as pd, numpy as np\ndf = pd.DataFrame({'a': [1, 2], 7: [None, 'x']})\n"
DATED = "dated = pd.DataFrame([[1, 2]], columns=[pd.Timestamp(2026, 1, 2), ('x', None)])"
HOSTILE = """
class Meta(type):
    @property
    def __module__(cls): open('called', 'w')
class Odd(metaclass=Meta):
    def __repr__(self): open('called', 'w')
    __str__ = __len__ = __getattribute__ = __repr__
    @property
    def __class__(self): open('called', 'w')
class DataFrame:
    shape = columns = property(lambda self: open('called', 'w'))
DataFrame.__module__ = 'pandas'
odd, false_frame = Odd(), DataFrame()
"""


@STARTS
def test_a_failed_cell_leaves_the_names_types_and_shapes(run: Run, start: Start) -> None:
    """Of the function that raised first; no values, no code, and the notebook as it was."""
    cells = [
        f"{TABLE}{DATED}\nlabels = ['u', 'v', 'w']; array = np.zeros((2, 3)); _own = 1",
        "def pick(column, secret='hunter2'):\n    rows = len(df)\n    return df[column]",
        "pick('none')",
    ]
    outcome, executed = run(*cells, start=start)
    found = variables(outcome)
    assert found == {
        "column": {"type": "str", "shape": [4], "function": "pick"},
        "secret": {"type": "str", "shape": [7], "function": "pick"},
        "rows": {"type": "int", "function": "pick"},
        "df": {"type": "pandas.DataFrame", "shape": [2, 2], "columns": ["a", "7"]},
        "labels": {"type": "list", "shape": [3]},
        "dated": {
            "type": "pandas.DataFrame",
            "shape": [1, 2],
            "columns": ["2026-01-02 00:00:00", "x / None"],
        },
        "array": {"type": "numpy.ndarray", "shape": [2, 3]},
    }
    assert list(found)[:4] == ["column", "secret", "rows", "df"]
    assert "hunter2" not in json.dumps(found)
    code = [cell for cell in executed["cells"] if not cell["metadata"].get("tags")]
    assert [len(cell["outputs"]) for cell in code] == [0, 0, 1]
    assert [cell["execution_count"] for cell in code] == [1, 2, 3]


@STARTS
def test_no_code_of_the_notebook_is_called_for_it(run: Run, start: Start, tmp_path: Path) -> None:
    """Neither of its classes nor of their classes, whatever they call themselves."""
    outcome, _ = run(HOSTILE, "1 / 0", start=start)
    assert variables(outcome) == {
        "odd": {"type": "Odd"},
        "false_frame": {"type": "pandas.DataFrame"},
    }
    assert not list(tmp_path.rglob("called"))


def test_many_and_large_ones_are_bounded(run: Run) -> None:
    """The ones that the cell names are among them."""
    cells = [
        "first = 0\nfor n in range(5000): globals()[f'v{n}'] = n",
        "import pandas as pd\nwide = pd.DataFrame([range(900)], columns=['c' * 90] * 900)",
        "first / 0",
    ]
    found = variables(run(*cells)[0])
    assert 10 < len(found) <= MOST
    assert next(iter(found)) == "first"
    assert len(found["wide"]["columns"]) == MOST_COLUMNS
    assert len(json.dumps(found)) < 2 * MOST_BYTES


@pytest.mark.parametrize(
    "cells",
    [
        ["raise SystemExit('enough')"],
        ["1 / 0"],
        ["exit('enough')"],
        ["import gone_with_the_wind"],
        ["raise MemoryError"],
        ["import time; time.sleep(60)"],
        ["import os; os.kill(os.getpid(), 9)"],
        ["x = bytearray(900_000_000)"],
        ["print('x' * 2_000_000)"],
    ],
)
def test_where_they_say_nothing_nobody_asks(run: Run, cells: list[str]) -> None:
    """No variables, an exit, a missing module, too little room or time, a kernel that is gone."""
    outcome, _ = run(*cells, timeout_seconds=2.0, output_bytes=1_000_000)
    assert outcome.failure is not None
    assert outcome.failure.variables is None


@STARTS
def test_what_a_hook_prints_meanwhile_is_no_output(run: Run, start: Start) -> None:
    """IPython calls a notebook's hooks after everything that it runs, also after the question."""
    hook = "said = iter(['', 'never', 'never'])\nhook = lambda: print(next(said), end='')"
    cells = [f"{hook}\nget_ipython().events.register('post_execute', hook)\n1 / 0"]
    outcome, executed = run(*cells, start=start)
    assert "said" in variables(outcome)
    outputs = [output for cell in executed["cells"] for output in cell.get("outputs", [])]
    assert [output["output_type"] for output in outputs if "never" in str(output.get("text"))] == []


HOOK = """
import time
pauses = iter([0, 30])  # none after its own cell
get_ipython().events.register('post_execute', lambda: time.sleep(next(pauses)))
"""


@STARTS
@pytest.mark.parametrize(
    "before",
    [
        HOOK,
        "get_ipython().user_expressions = lambda _: {'it': {'data': {'text/plain': '[[1'}}}",
        "get_ipython().user_expressions = lambda _: {'it': {'data': {'text/plain': 'x' * 99999}}}",
        "get_ipython().user_expressions = lambda _: 5",
    ],
)
def test_a_kernel_that_does_not_say_costs_its_job_nothing_else(
    run: Run, start: Start, before: str
) -> None:
    """It is a failure like any other."""
    cells = [f"{before}\n1 / 0"]
    outcome, _ = run(*cells, start=start)
    assert outcome.failure is not None
    assert outcome.failure.error_type is ErrorType.PAPERMILL_EXECUTION_ERROR
    assert outcome.failure.ename == "ZeroDivisionError"
