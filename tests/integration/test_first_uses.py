"""What libraries import at their first use is there before a notebook begins."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runner.execution.environment import clean_environment
from runner.execution.local.processes import JobProcesses, ProcessSettings
from runner.execution.order import Order
from tests.conftest import notebook

pytestmark = pytest.mark.kernels

LATE = "pandas.io.formats.html"
"""pandas imports it when the first table is shown."""

FINDS = """
import json, os, sys
from runner.execution.forking import first_uses
first_uses.FIRST_USES = {uses!r}
found = first_uses.modules_of_first_uses(["a"], {seconds})
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print(json.dumps([found, [name for name in found if name in sys.modules]]))
"""


def found(uses: dict[tuple[str, ...], str], seconds: float = 60) -> list[list[str]]:
    """What is found in a process of its own, and how much of it was imported there too."""
    code = FINDS.format(uses=uses, seconds=seconds)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    told: list[list[str]] = json.loads(done.stdout)
    return told


def test_a_notebook_finds_imported_what_its_first_table_needs(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    plain = f"import sys, pandas; print({LATE!r} in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", plain], capture_output=True).stdout == b"False\n"
    ), f"pandas {pandas.__version__} has it from the start: this test needs another module"
    execution = JobProcesses(
        ProcessSettings(
            environment=clean_environment(os.environ, []),
            instance=f"first-{tmp_path.name}",
            preload=["pandas"],
        )
    )
    order = Order(job_id="1" * 32, name="a", timeout_seconds=60, output_folder=str(tmp_path))
    raw = json.dumps(notebook(f"import sys\nprint({LATE!r} in sys.modules)")).encode()
    try:
        _, executed = execution.execute(order, raw, lambda *_: None)
    finally:
        execution.close()
    assert executed is not None
    assert json.loads(executed)["cells"][-1]["outputs"][0]["text"] == ["True\n"]


def test_the_libraries_are_used_in_another_process() -> None:
    assert found({("a",): "import colorsys", ("b",): "import chunk"}) == [["colorsys"], []]


def test_a_library_that_fails_costs_the_others_nothing() -> None:
    uses = {("a",): "import colorsys\n1 / 0", ("a", "a"): "import wave"}
    assert found(uses)[0][0] == "colorsys"
    assert "wave" in found(uses)[0]


@pytest.mark.parametrize("end", ["import time; time.sleep(999)", "import os; os.abort()"])
def test_a_library_that_hangs_or_crashes_ends_the_search(end: str) -> None:
    assert found({("a",): "import colorsys", ("a", "a"): end}, seconds=2)[0] == ["colorsys"]
