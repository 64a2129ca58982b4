"""Libraries that reserve more memory than they use run under a limit as they do without one.

They are installed below a folder of the test: the program does not depend on any of them.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.contract.outcome import Outcome
from runner.contract.states.status import ErrorType, Status
from runner.execution.environment import clean_environment
from runner.execution.limits.hold import RunLimits
from runner.execution.local.processes import JobProcesses, ProcessSettings
from runner.execution.order import Order
from tests.conftest import Json, code, notebook

LIMIT_MB = 400
PACKAGES = ("polars", "duckdb")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with packages from the index, or a skip where there is none to be reached."""
    folder = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), *PACKAGES]
    done = subprocess.run(pip, capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(f"{' and '.join(PACKAGES)} cannot be installed: {done.stderr[-300:]}")
    return folder


@pytest.fixture(scope="module")
def processes() -> Iterator[JobProcesses]:
    """Kernels with a limit that each of these libraries reserves more than."""
    made = JobProcesses(
        ProcessSettings(
            environment=clean_environment(os.environ),
            instance=os.urandom(8).hex(),
            preload=[],
            kernel_start_seconds=600,
            limits=RunLimits(memory_mb=LIMIT_MB, processes=512, open_files=4096),
        )
    )
    yield made
    made.close()


def run(processes: JobProcesses, folder: Path, *sources: str) -> Outcome:
    """The outcome of a notebook of these cells; the last one is its result."""
    cells: list[str | Json] = [*sources[:-1], code(sources[-1], "results")]
    order = Order(
        job_id=os.urandom(16).hex(),
        name="reserving",
        timeout_seconds=120,
        kernel_start_seconds=600,
        output_folder=str(folder),
    )
    raw = json.dumps(notebook(*cells)).encode()
    outcome, _ = processes.execute(order, raw, lambda *_: None)
    return outcome


def text_of(outcome: Outcome) -> object:
    """What the last cell gave."""
    assert outcome.status is Status.SUCCEEDED, outcome
    [bundle] = json.loads(outcome.results).values()
    return bundle["text/plain"]


FRAME = (
    "import numpy as np, pandas as pd\n"
    "df = pd.DataFrame({'region': np.random.choice(['north', 'south'], 100_000),"
    " 'x': np.ones(100_000)})\n"
    "df.to_parquet('t.parquet'); df = pd.read_parquet('t.parquet')"
)
"""Text columns of pandas 3 are pyarrow's, whose allocator reserves 1 GiB with the first one."""


@pytest.mark.parametrize("pool", [None, "mimalloc", "jemalloc", "system"])
def test_a_table_with_text_in_pyarrow(
    processes: JobProcesses, tmp_path: Path, pool: str | None
) -> None:
    """With each of its allocators, and a quarter of the limit in numpy beside it."""
    chosen = (
        "" if pool is None else f"import os; os.environ['ARROW_DEFAULT_MEMORY_POOL'] = {pool!r}"
    )
    outcome = run(
        processes,
        tmp_path,
        chosen or "None",
        FRAME,
        "kept = np.ones(100 * 2**20 // 8)",
        "float(df.groupby('region').x.sum().sum())",
    )
    assert text_of(outcome) == "100000.0"


QUERIES = {
    "polars": "import polars as pl\n"
    "frame = pl.DataFrame({'g': ['a', 'b'] * 100_000, 'x': [1.0] * 200_000})\n"
    "int(frame.group_by('g').agg(pl.col('x').sum())['x'].sum())",
    "duckdb": "import duckdb\n"
    "int(duckdb.sql(\"select sum(x) from (select 1 as x, 'a' || i as t"
    ' from range(200000) r(i))").fetchall()[0][0])',
}


@pytest.mark.parametrize("library", QUERIES)
def test_a_query(processes: JobProcesses, site: Path, tmp_path: Path, library: str) -> None:
    """Both have allocators of their own, and a thread for each core."""
    outcome = run(
        processes, tmp_path, f"import sys; sys.path.insert(0, {str(site)!r})", QUERIES[library]
    )
    assert text_of(outcome) == "200000"


@pytest.mark.parametrize(
    "preloaded", ["libjemalloc.so.2", "libmimalloc.so.2", "libtcmalloc_minimal.so.4"]
)
def test_another_allocator_for_a_process(
    processes: JobProcesses, tmp_path: Path, preloaded: str
) -> None:
    """As people set `LD_PRELOAD` for what a notebook starts."""
    found = next(Path("/usr/lib").glob(f"*/{preloaded}"), None)
    if found is None:
        assert not os.environ.get("ALL_TESTS"), f"{preloaded} is not there"
        pytest.skip(f"{preloaded} is not installed")
    source = "kept = [b'x' * n for n in range(1, 100_000, 97)]; print(len(kept))"
    outcome = run(
        processes,
        tmp_path,
        "import os, subprocess, sys\n"
        f"env = {{**os.environ, 'LD_PRELOAD': {str(found)!r}}}\n"
        f"subprocess.run([sys.executable, '-c', {source!r}], env=env, check=True,"
        " capture_output=True, text=True).stdout.strip()",
    )
    assert text_of(outcome) == "'1031'"


def test_a_java_machine(processes: JobProcesses, tmp_path: Path) -> None:
    """It reserves its heap at its start, here twenty times what a run may hold, and uses little."""
    if shutil.which("java") is None:
        pytest.skip("java is not installed")
    outcome = run(
        processes,
        tmp_path,
        "import subprocess\n"
        "subprocess.run(['java', '-Xms16m', '-Xmx8g', '-version'], check=True).returncode",
    )
    assert text_of(outcome) == "0"


def test_what_a_library_really_holds_counts(
    processes: JobProcesses, site: Path, tmp_path: Path
) -> None:
    """Whichever allocator it has taken it from."""
    outcome = run(
        processes,
        tmp_path,
        f"import sys; sys.path.insert(0, {str(site)!r})\nimport polars as pl, time\n"
        "kept = pl.Series(range(1000)).sample(200_000_000, with_replacement=True)\n"
        "time.sleep(30)",
    )
    assert outcome.failure is not None, outcome
    assert outcome.failure.error_type is ErrorType.OUT_OF_MEMORY
    assert f"{LIMIT_MB} MB (limits.memory_mb)" in outcome.failure.message
