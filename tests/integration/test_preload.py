"""Jobs that come while the preload server still imports, or never comes to an end of it."""

import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runner.contract.outcome import Outcome
from runner.contract.states.status import ErrorType, Status
from runner.execution.environment import clean_environment
from runner.execution.local import processes
from runner.execution.local.preload_server import ImportLimits
from runner.execution.local.processes import JobProcesses, ProcessSettings
from runner.execution.order import Order
from tests.conftest import notebook, wait_for

pytestmark = pytest.mark.kernels

IMPORTS = """
import pathlib, time
pathlib.Path({began!r}).touch()
while not pathlib.Path({go!r}).exists():
    time.sleep({pause})
"""


class Bench:
    """Job processes whose preload server imports until it is let go, and a clock to turn."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.began, self.go = folder / "began", folder / "go"
        self.ahead = 0.0
        self._made: list[JobProcesses] = []
        self._threads = ThreadPoolExecutor(4)

    def make(self, *, pause: float, import_limits: ImportLimits | None = None) -> JobProcesses:
        """`pause` is how long the import uses no processor."""
        text = IMPORTS.format(began=str(self.began), go=str(self.go), pause=pause)
        modules = self.folder / "modules"  # nothing else changes in it: that would mean a renewal
        modules.mkdir()
        (modules / "slow_one.py").write_text(text)
        own = {"PYTHONPATH": str(modules), "PYTHONDONTWRITEBYTECODE": "1"}
        made = JobProcesses(
            ProcessSettings(
                environment={**clean_environment(os.environ, []), **own},
                instance=f"preload-{self.folder.name}",
                preload=["slow_one"],
                import_limits=import_limits,
            ),
            clock=lambda: time.monotonic() + self.ahead,
        )
        self._made.append(made)
        return made

    def begin(self, execution: JobProcesses) -> Callable[[], Outcome | None]:
        """Give it a notebook; what has come of it so far."""
        output = self.folder / "output"
        output.mkdir()
        order = Order(job_id="1" * 32, name="a", timeout_seconds=60, output_folder=str(output))
        raw = json.dumps(notebook("6 * 7")).encode()
        future = self._threads.submit(execution.execute, order, raw, lambda *_: None)
        return lambda: future.result()[0] if future.done() else None

    def close(self) -> None:
        self.go.touch()
        for made in self._made:
            made.close()
        self._threads.shutdown()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def test_imports_use_up_nothing_of_a_jobs_own_limits(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for them, however long they take, and says so; then it has its whole time."""
    monkeypatch.setattr(processes, "TOLD_SECONDS", 0)
    execution = bench.make(pause=0.01)
    outcome = bench.begin(execution)
    wait_for(bench.began.exists)
    assert "still imports" in execution.notes[0]
    bench.ahead = 300
    time.sleep(3 * processes.SLICE_SECONDS)
    assert outcome() is None
    bench.go.touch()
    assert wait_for(outcome).status is Status.SUCCEEDED
    assert not execution.notes


def test_imports_that_never_end_end_a_job(bench: Bench) -> None:
    """With what has passed, and the kernel that its notebook asked for."""
    outcome = bench.begin(bench.make(pause=0.01))
    wait_for(bench.began.exists)
    bench.ahead = processes.SERVERS * ImportLimits().seconds + 1
    found = wait_for(outcome)
    assert found.failure.error_type is ErrorType.KERNEL_STARTUP
    assert "still imported" in found.failure.message
    assert found.kernel.requested == "python3"


@pytest.mark.parametrize(
    ("pause", "limits"),
    [
        (999, ImportLimits(idle_seconds=2)),
        (0.01, ImportLimits(seconds=2)),
    ],
)
def test_a_server_that_hangs_in_an_import_is_replaced_by_one_without_it(
    bench: Bench, pause: float, limits: ImportLimits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it uses the processor or not; the job runs."""
    execution = bench.make(pause=pause, import_limits=limits)
    pool, patient = execution._pool, ImportLimits()  # the next one may have a busy machine
    monkeypatch.setattr(execution, "_import_limits", patient)
    told = pool._servers._preload.model_copy(update={"import_limits": patient})
    monkeypatch.setattr(pool._servers, "_preload", told)
    outcome = bench.begin(execution)
    assert wait_for(outcome).status is Status.SUCCEEDED
