"""What every execution promises, this machine's and a cluster's: one suite for both."""

import hashlib
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from runner.contract.outcome import Outcome
from runner.contract.request import Resources
from runner.contract.states.status import ErrorType, Status
from runner.execution.cluster.dask import Cluster
from runner.execution.cluster.messages import Terms
from runner.execution.cluster.remote_runs import Bounds
from runner.execution.cluster.scheduler_link import Scheduler
from runner.execution.environment import clean_environment
from runner.execution.interface import Execution, Incarnation
from runner.execution.limits.hold import RunLimits
from runner.execution.local.processes import JobProcesses, ProcessSettings
from runner.execution.order import Order, Progress
from runner.system.files.output_folder import FileCaps
from runner.system.files.strays import MOST_LISTED
from tests.cluster import cluster
from tests.conftest import code, notebook, wait_for

pytestmark = pytest.mark.kernels

LIMITS = RunLimits(memory_mb=400, processes=200, open_files=1024, message_bytes=4 << 20)
ID = "0123456789abcdef0123456789abcdef"
Executed = tuple[Outcome, bytes | None]


@pytest.fixture(scope="module")
def local() -> Iterator[Execution]:
    """This machine."""
    made = JobProcesses(
        ProcessSettings(
            environment=clean_environment({**os.environ, "PASSED": "by the worker"}, ["PASSED"]),
            instance="contract-local",
            slots=2,
            limits=LIMITS,
        )
    )
    yield made
    made.close()


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Execution]:
    """A scheduler, and a plain worker of two threads that says how much memory it has."""
    with cluster(tmp_path_factory.mktemp("cluster")) as running:
        running.add_worker("--resources", "memory_mb=1000", slots=2)
        made = Cluster(
            Scheduler(running.address),
            terms=Terms(limits=LIMITS, pass_environment=("PASSED",), warm=0),
            bounds=Bounds(
                folder_bytes=100_000,
                caps=FileCaps(1000, 3),
                lease_seconds=20,
                patience_seconds=1,
            ),
            own=Incarnation("contract-dask"),
        )
        wait_for(lambda: made.slots)
        yield made
        made.close()


@pytest.fixture(params=["local", "dask"])
def execution(request: pytest.FixtureRequest) -> Execution:
    """Each in turn."""
    found: Execution = request.getfixturevalue(request.param)
    return found


class Desk:
    """Gives orders with folders of their own, and keeps what is told of them."""

    def __init__(self, execution: Execution, folder: Path) -> None:
        self.execution = execution
        self.folder = folder
        self.progress: list[Progress] = []
        self._given = 0
        self._threads = ThreadPoolExecutor(8)

    def order(self, **more: Any) -> Order:
        self._given += 1
        job_id = f"{self._given:032x}"
        output = self.folder / f"output{self._given}"
        output.mkdir()
        rest = {"timeout_seconds": 60.0, "output_folder": str(output), "output_bytes": 100_000}
        return Order.model_validate({"job_id": job_id, "name": "sales/day", **rest, **more})

    def begin(self, order: Order, *cells: Any) -> "Future[Executed]":
        return self.begin_raw(order, json.dumps(notebook(*cells)).encode())

    def begin_raw(self, order: Order, raw: bytes) -> "Future[Executed]":
        def tell(_: str, progress: Progress) -> None:
            self.progress.append(progress)

        return self._threads.submit(self.execution.execute, order, raw, tell)

    def run(self, *cells: Any, **more: Any) -> Executed:
        return self.begin(self.order(**more), *cells).result(120)

    def printed(self, *cells: Any, **more: Any) -> str:
        """What the notebook prints; it must succeed."""
        outcome, executed = self.run(*cells, **more)
        assert outcome.failure is None, outcome.failure
        return texts(executed)


def texts(executed: bytes | None) -> str:
    """Everything that an executed notebook has printed."""
    assert executed is not None
    outputs = [o for cell in json.loads(executed)["cells"] for o in cell.get("outputs", [])]
    return "".join("".join(o["text"]) for o in outputs if o["output_type"] == "stream")


@pytest.fixture
def desk(execution: Execution, tmp_path: Path) -> Desk:
    return Desk(execution, tmp_path)


def test_a_notebook_gives_its_results_and_comes_back_executed(desk: Desk) -> None:
    """With the host that ran it, the kernel and the cells."""
    outcome, executed = desk.run("print('hello')", {"cell_type": "markdown", "source": "x"}, "6*7")
    assert outcome.status is Status.SUCCEEDED
    assert outcome.host
    assert (outcome.cells.total, outcome.cells.executed) == (2, 2)
    assert outcome.kernel.name == "python3"
    assert texts(executed) == "hello\n"


def test_what_a_run_took_is_told(desk: Desk) -> None:
    """Processor, memory, what was written, and each cell by its place in the notebook as it came.

    Also of a run that fails: the injected parameters are no cell of the notebook.
    """
    tagged = {"cell_type": "code", "source": "n = 1", "metadata": {"tags": ["parameters"]}}
    text = {"cell_type": "markdown", "source": "x"}
    spin = "import time\nend = time.process_time() + 0.5\nwhile time.process_time() < end: pass"
    write = (
        "import os\nheld = bytearray(os.urandom(60_000_000))\n"
        "with open('x', 'wb') as f:\n    f.write(held); f.flush(); os.fsync(f.fileno())"
    )
    cells = tagged, text, spin, write, "import time; time.sleep(0.3); raise ValueError(n)"
    outcome, _ = desk.run(*cells, parameters={"n": 2})
    assert outcome.status is Status.FAILED
    usage = outcome.usage
    assert usage is not None
    assert usage.cpu_seconds is not None
    assert 0.5 <= usage.cpu_seconds < 20
    assert usage.peak_memory_bytes is not None
    assert usage.peak_memory_bytes > 55_000_000
    assert usage.written_bytes is not None
    assert [cell.cell_index for cell in usage.cells] == [0, 2, 3, 4]
    assert usage.cells[1].seconds >= 0.5
    assert usage.cells[3].seconds >= 0.3


def test_parameters_travel(desk: Desk) -> None:
    """As papermill injects them."""
    assert desk.printed("print(years, name)", parameters={"years": 3, "name": "é"}) == "3 é\n"
    assert {progress.cells for progress in desk.progress} <= {1}  # as the result counts them
    assert {progress.cell for progress in desk.progress} <= {0, 1}


def test_a_failing_cell_is_an_outcome_with_its_traceback(desk: Desk) -> None:
    """And the notebook as far as it got."""
    outcome, executed = desk.run("print('before')", "1/0", "print('after')")
    assert outcome.failure is not None
    assert outcome.failure.error_type is ErrorType.PAPERMILL_EXECUTION_ERROR
    assert outcome.failure.ename == "ZeroDivisionError"
    assert outcome.failure.cell_index == 1
    assert texts(executed) == "before\n"


def test_a_long_traceback_is_short_in_the_error_and_whole_in_the_notebook(
    local: Execution, tmp_path: Path
) -> None:
    """Frames of libraries in one line; of a table in a message, the middle is cut. Marks say so."""
    desk = Desk(local, tmp_path)
    data = "import pandas as pd\ndf = pd.DataFrame({'a': range(3000)})"
    missing, whole = desk.run(f"{data}\ndf.groupby('a').apply(lambda part: part['b'])")
    failure = missing.failure
    assert failure is not None
    assert failure.traceback is not None
    assert len(failure.traceback) <= 60
    assert "Cell In[1], line 3" in failure.traceback[0]
    assert any("library frames, the last: pandas/" in line for line in failure.traceback)
    assert failure.traceback[-1] == "KeyError: 'b'"
    assert whole is not None
    assert whole.count(b"pandas/core") > 5

    table, _ = desk.run(f"{data}\nraise ValueError(df.to_string() + 'x' * 9000)")
    assert table.failure is not None
    said = table.failure
    assert "characters left out" in (said.evalue or "")
    assert len(said.evalue or "") < 5000
    assert any("more lines" in line for line in said.traceback or ())
    assert said.traceback is not None
    assert said.traceback[-1].endswith("more characters …]")
    assert sum(map(len, said.traceback)) < 10_000
    assert said.message.endswith("more characters …]")


def test_a_failing_cell_has_both_numbers_and_its_id(desk: Desk) -> None:
    """They differ where text stands before it and parameters were added; the id leads to it."""
    cells: list[Any] = [
        {"cell_type": "markdown", "source": "x"},
        "1",
        {**code("1/0"), "id": "mine"},
    ]
    outcome, executed = desk.run(*cells, parameters={"n": 1})
    failure = outcome.failure
    assert failure is not None
    assert (failure.cell, failure.cell_index, failure.cell_id) == (3, 2, "mine")
    assert failure.message == "Cell In[3] (cell_index 2): ZeroDivisionError: division by zero"
    assert executed is not None
    ids = {cell["id"]: cell for cell in json.loads(executed)["cells"]}
    assert ids["mine"]["execution_count"] == 3


def test_a_run_has_its_time(desk: Desk) -> None:
    """The deadline is kept where the notebook runs."""
    outcome, executed = desk.run("print('begun')", "import time; time.sleep(60)", timeout_seconds=4)
    assert outcome.failure is not None
    assert outcome.failure.error_type is ErrorType.TIMEOUT
    assert texts(executed).startswith("begun\n")


def test_a_run_has_its_memory(desk: Desk) -> None:
    """A little passes, more than the limit does not."""
    assert desk.printed("x = b'1' * 50_000_000; print(len(x))") == "50000000\n"
    outcome, _ = desk.run("x = b'1' * 900_000_000")
    assert outcome.failure is not None
    assert outcome.failure.error_type is ErrorType.OUT_OF_MEMORY


def test_what_was_running_is_named_where_a_run_is_cut(desk: Desk) -> None:
    """By its place among the code cells, and the line that ran.

    Where that is not known, it begins with its first line; of one line only, that was running.
    """
    slow = "import time\n\ntime.sleep(60)\nprint(1)"
    timed_out, _ = desk.run("1", slow, "2", timeout_seconds=4)
    greedy, _ = desk.run("1", "a = 1\nx = b'1' * 900_000_000\nimport time; time.sleep(60)")
    loud, _ = desk.run("print('x' * 200_000)")
    order = desk.order()
    desk.progress.clear()
    running = desk.begin(order, "1", slow)
    wait_for(lambda: any(one.cell == 2 for one in desk.progress))
    desk.execution.stop(order.job_id, ErrorType.CANCELLED)
    cancelled, _ = running.result(60)
    for outcome, number, line in (
        (timed_out, 2, " was running: `time.sleep(60)` (line 3)"),
        (cancelled, 2, " was running: `time.sleep(60)` (line 3)"),
        (greedy, 2, ", which begins with `a = 1`, was running"),
        (loud, 1, " wrote what was too much: `print('x' * 200_000)`"),
    ):
        assert outcome.failure is not None
        which = f"Code cell {number} of {outcome.cells.total}"
        assert outcome.failure.message.endswith(f" {which}{line}.")
        assert outcome.cells.executed == number
    for outcome in (timed_out, cancelled):
        assert outcome.failure is not None
        assert outcome.failure.traceback is not None
        assert "----> 3 time.sleep(60)" in outcome.failure.traceback


@pytest.mark.parametrize(("asked", "ends"), [(150, ErrorType.OUT_OF_MEMORY), (900, None)])
def test_a_request_may_have_less_memory_and_where_there_is_more_more(
    desk: Desk, asked: int, ends: ErrorType | None
) -> None:
    """The limit is the run's own then. A worker must say that it has it."""
    wanted = Resources(memory_mb=asked)
    outcome, _ = desk.run("x = b'1' * 500_000_000", resources=wanted)
    assert (outcome.failure and outcome.failure.error_type) == ends


def test_a_run_has_its_output(desk: Desk) -> None:
    """More than `output_bytes` ends it."""
    outcome, executed = desk.run("while True: print('x' * 1000)")
    assert outcome.failure is not None
    assert outcome.failure.error_type is ErrorType.OUTPUT_LIMIT
    assert executed is not None
    assert len(executed) < 200_000


@pytest.mark.parametrize(
    ("more", "error_type"),
    [
        ({"allowed_kernels": ("other",)}, ErrorType.KERNEL_NOT_ALLOWED),
        ({"languages": ("julia",)}, ErrorType.LANGUAGE_NOT_ALLOWED),
    ],
)
def test_whitelists_travel(desk: Desk, more: dict[str, Any], error_type: ErrorType) -> None:
    """Kernels and languages."""
    outcome, executed = desk.run("1", **more)
    assert outcome.failure is not None
    assert outcome.failure.error_type is error_type
    assert executed is None


def test_what_is_missing_is_seen_where_it_would_run(desk: Desk) -> None:
    """Before anything has run."""
    outcome, _ = desk.run("print(1)", "import no_such_module_anywhere")
    assert outcome.failure is not None
    assert outcome.failure.error_type is ErrorType.MISSING_DEPENDENCIES
    assert outcome.failure.missing_modules == ["no_such_module_anywhere"]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import cv2", "`%pip install opencv-python`"),
        ("import docx", f"`{sys.executable} -m pip install python-docx`"),
        ("if True: import cv2", "ModuleNotFoundError: No module named 'cv2'. Put `%pip "),
        ("if True: from google.cloud import storage", "`%pip install google-cloud-storage`"),
        ("from tqdm.notebook import tqdm\ntqdm(range(3))", "`%pip install ipywidgets`"),
        ("input('which region? ')", "Make the question a parameter"),
        ("x = 3\nassert x == 4", "Cell In[1] (cell_index 0): AssertionError at `assert x == 4`"),
        ("import asyncio\nasyncio.run(asyncio.sleep(0))", "write `await …` in the cell"),
        (
            "import numpy, scrapbook\nscrapbook.glue('x', numpy.float64(1).astype('int64'))",
            "Glue a plain value: `int(x)`",
        ),
        ("x = (1 +", "SyntaxError: incomplete input (line 1)"),
        ("raise SystemExit(3)", "plain `exit()` ends it as a success"),
        ("print(__file__)", "A notebook has no `__file__`"),
        ("%matplotlib widget", "Use `%matplotlib inline`"),
        ("import argparse\nargparse.ArgumentParser().parse_args()", "call `parse_args([])`"),
    ],
)
def test_what_a_cell_lacks_is_told_with_what_to_do(
    local: Execution, tmp_path: Path, source: str, said: str
) -> None:
    """The package by the name that pip knows, before and while it runs; nobody to ask."""
    outcome, _ = Desk(local, tmp_path).run(source)
    assert outcome.failure is not None
    assert said in outcome.failure.message


def test_what_is_no_notebook_is_refused(desk: Desk) -> None:
    """Whatever its bytes are."""
    outcome, executed = desk.begin_raw(desk.order(), b'{"cells": 3}').result(60)
    assert outcome.failure is not None
    assert outcome.failure.error_type is ErrorType.INVALID_NOTEBOOK
    assert executed is None


@pytest.mark.parametrize(
    "source",
    [
        "import os; os._exit(3)",
        "import os, time; os.kill(os.getppid(), 9); time.sleep(60)",
        "import os, psutil, time; psutil.Process(os.getppid()).parent().kill(); time.sleep(60)",
    ],
)
def test_a_kernel_or_a_process_above_it_may_die(desk: Desk, source: str) -> None:
    """And the next one runs."""
    outcome, _ = desk.run(source)
    assert outcome.failure is not None
    assert outcome.failure.error_type is ErrorType.KERNEL_DIED
    assert desk.printed("print(1)") == "1\n"


def test_files_come_back(desk: Desk) -> None:
    """From the working folder, folders and bytes as they are."""
    order = desk.order()
    write = "import os; os.mkdir('in'); open('in/a.bin', 'wb').write(bytes(range(256)))"
    outcome, _ = desk.begin(order, write, "open('ü.txt', 'w').write('x')").result(60)
    assert outcome.failure is None
    output = Path(order.output_folder)
    assert (output / "in" / "a.bin").read_bytes() == bytes(range(256))
    assert (output / "ü.txt").read_text() == "x"


def test_files_that_came_along_lie_where_it_runs(desk: Desk, tmp_path: Path) -> None:
    """A changed one comes back; in a parameter of a library notebook each is its whole path."""
    library = tmp_path / "library"
    library.mkdir()
    inputs = []
    order = desk.order(folder=str(library), parameters={"data": "in/a.csv", "all": ["b", "other"]})
    for name, content in {"in/a.csv": b"1,2", "b": b"bee"}.items():
        place = Path(order.output_folder, name)
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        inputs.append({"path": name, "bytes": len(content), "sha256": digest})
    order = Order.model_validate({**order.model_dump(), "inputs": inputs})
    cell = (
        "import os\nfrom pathlib import Path\n"
        "there = Path(os.environ['RUNNER_INPUT_DIR'])\n"
        "print(open(data).read(), open(all[0]).read(), all[1], Path(data) == there / 'in/a.csv')\n"
        "(there / 'b').write_text('changed')"
    )
    outcome, executed = desk.begin(order, code("data, all = '', []", "parameters"), cell).result(60)
    assert outcome.failure is None, outcome.failure
    assert texts(executed).strip() == "1,2 bee other True"
    assert Path(order.output_folder, "b").read_text() == "changed"
    assert Path(order.output_folder, "in/a.csv").read_text() == "1,2"


def test_a_library_notebook_runs_among_its_neighbours(desk: Desk) -> None:
    """Imports and relative paths work; what it writes to the output folder comes back."""
    library = desk.folder / "library"
    (library / "data").mkdir(parents=True)
    (library / "neighbour.py").write_text("VALUE = 42")
    (library / "data" / "rows.csv").write_text("a,b")
    (library / ".hidden").write_text("x")
    order = desk.order(folder=str(library))
    cells = (
        "import neighbour, os; print(neighbour.VALUE, open('data/rows.csv').read())",
        "open(os.environ['RUNNER_OUTPUT_DIR'] + '/out.txt', 'w').write('y')",
    )
    outcome, executed = desk.begin(order, *cells).result(60)
    assert outcome.failure is None, outcome.failure
    assert texts(executed) == "42 a,b\n"
    assert (Path(order.output_folder) / "out.txt").read_text() == "y"
    assert outcome.warnings == []


def test_files_that_a_notebook_leaves_in_the_library_are_named(desk: Desk) -> None:
    """New ones, those that it wrote over, new folders; where there are many, it is left alone."""
    library = desk.folder / "shelf"
    library.mkdir()
    (library / "old.csv").write_text("a")
    (library / "other.csv").write_text("b")
    cell = "for name in ('plot.png', 'old.csv', 'made.py'): open(name, 'w').write('xy')"
    outcome, _ = desk.begin(desk.order(folder=str(library)), cell).result(60)
    assert outcome.failure is None, outcome.failure
    (warning,) = outcome.warnings
    assert "not published: 'old.csv', 'plot.png'. Write into" in warning
    (library / "data").mkdir()
    cell = "import os\nfor one in ('new', 'data'):\n"
    cell += "    os.makedirs(one, exist_ok=True); open(f'{one}/a.txt', 'w').write('xy')"
    outcome, _ = desk.begin(desk.order(folder=str(library)), cell).result(60)
    (warning,) = outcome.warnings
    assert "not published: 'new/'. Write into" in warning
    for number in range(MOST_LISTED):
        (library / f"{number}.csv").touch()
    outcome, _ = desk.begin(desk.order(folder=str(library)), cell).result(60)
    assert outcome.warnings == []


def test_the_environment_is_the_one_of_where_it_runs_and_a_clean_one(desk: Desk) -> None:
    """What is named passes, secrets do not; the job's own names are there."""
    names = ("PASSED", "SECRET_OF_THE_WORKER", "RUNNER_NAME", "RUNNER_JOB_ID")
    order = desk.order()
    _, executed = desk.begin(
        order, f"import os; print([os.environ.get(n) for n in {names}])"
    ).result(60)
    assert texts(executed) == f"{['by the worker', None, 'sales/day', order.job_id]}\n"


def test_progress_is_told(desk: Desk) -> None:
    """At least once while it runs for longer than a second or two."""
    go = desk.folder / "go"
    waits = f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.05)"
    future = desk.begin(desk.order(), "print('first')", waits)
    wait_for(lambda: any(p.cells == 2 and "first" in p.tail for p in desk.progress))
    go.touch()
    assert future.result(120)[0].status is Status.SUCCEEDED


def test_a_run_can_be_stopped(desk: Desk) -> None:
    """It ends as that, with what it had done."""
    order = desk.order()
    future = desk.begin(order, "print('begun')", "import time; time.sleep(120)")
    wait_for(lambda: any("begun" in p.tail for p in desk.progress))
    desk.execution.stop(order.job_id, ErrorType.CANCELLED)
    outcome, executed = future.result(60)
    assert outcome.status is Status.CANCELLED
    assert texts(executed).startswith("begun\n")


def test_a_run_that_has_not_begun_can_be_stopped(desk: Desk) -> None:
    """Told before, or in the middle of being sent."""
    order = desk.order()
    future = desk.begin(order, "import time; time.sleep(120)")
    desk.execution.stop(order.job_id, ErrorType.INTERRUPTED)
    outcome, _ = future.result(60)
    assert outcome.status is Status.INTERRUPTED


def test_two_run_at_a_time(desk: Desk) -> None:
    """Each waits for the other's file."""
    meet = """
        import os, time
        open({own!r}, 'w').close()
        while not os.path.exists({other!r}): time.sleep(0.05)
        """
    a, b = str(desk.folder / "a"), str(desk.folder / "b")
    dedented = [line.strip() for line in meet.splitlines() if line.strip()]
    source = "\n".join(dedented)
    futures = [
        desk.begin(desk.order(), source.format(own=own, other=other))
        for own, other in ((a, b), (b, a))
    ]
    assert [future.result(90)[0].failure for future in futures] == [None, None]
    assert desk.execution.slots == 2


def test_no_process_is_left_of_a_run(desk: Desk) -> None:
    """Not even one that it has started and forgotten."""
    source = (
        "import subprocess; print(subprocess.Popen(['sleep', '300'], start_new_session=True).pid)"
    )
    pid = int(desk.printed(source))
    wait_for(lambda: not psutil.pid_exists(pid))


def test_workers_say_who_they_are(execution: Execution) -> None:
    """One place with two slots, and nothing is wrong."""
    (worker,) = execution.workers
    assert (worker.slots, worker.running) == (2, 0)
    assert worker.host
    assert not execution.troubles
    assert not execution.notes


def test_plain_needs_are_a_matter_of_slots(execution: Execution) -> None:
    """Two fit, a third waits."""
    plain = Resources()
    assert execution.fits(plain, [plain])
    assert not execution.fits(plain, [plain, plain])
    assert execution.why_never(plain) is None


def test_what_no_worker_has_is_never_served(dask: Execution) -> None:
    """The reason names it, once nobody has had it for a while."""
    wanted = Resources(gpus=2, labels=["ssd"])
    assert not dask.fits(wanted, [])
    why: Callable[[], str | None] = lambda: dask.why_never(wanted)  # noqa: E731
    told = wait_for(why)
    assert "2 GPUs" in told
    assert "`ssd`" in told


def test_a_folder_that_is_too_large_does_not_travel(dask: Execution, tmp_path: Path) -> None:
    """And the refusal says what to do."""
    library = tmp_path / "library"
    library.mkdir()
    (library / "large.bin").write_bytes(b"0" * 200_000)
    desk = Desk(dask, tmp_path)
    outcome, _ = desk.run("1", folder=str(library))
    assert outcome.failure is not None
    assert outcome.failure.error_type is ErrorType.INVALID_REQUEST
    assert "execution.dask.folder_mb" in outcome.failure.message


def test_files_above_the_cap_stay_on_the_worker(dask: Execution, tmp_path: Path) -> None:
    """With a warning for each, as on one machine."""
    desk = Desk(dask, tmp_path)
    order = desk.order()
    write = "[open(f'f{n}', 'wb').write(b'x' * 300) for n in range(5)]"
    outcome, _ = desk.begin(order, write).result(60)
    assert sorted(p.name for p in Path(order.output_folder).iterdir()) == ["f0", "f1", "f2"]
    assert len([w for w in outcome.warnings if "was not published" in w]) == 2


def test_threads_do_not_mix_jobs_up(desk: Desk) -> None:
    """Many at once, each gets its own back."""
    slots = threading.Semaphore(desk.execution.slots)

    def one(number: int) -> str:
        with slots:
            return desk.printed("print(number)", parameters={"number": number})

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(12))) == [f"{n}\n" for n in range(12)]
