"""Small notebooks, and how they get into the inbox and out again. Measures nothing."""

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook
from program import Running

TINY = ("x = 1", "print(x + 1)", "x + 2")
PANDAS = (
    "import pandas as pd\nimport scrapbook as sb\n"
    'sb.glue("table", pd.DataFrame({"name": ["a", "b"], "score": [95, 87]}), "pandas")',
    'sb.glue("total", 182)\npd.DataFrame({"x": range(5)}).describe()',
)
NOTEBOOKS = {"tiny": TINY, "pandas + scrapbook": PANDAS}
WARM_SECONDS = 60
LOOK_SECONDS = 0.0005


def notebook(cells: Sequence[str]) -> bytes:
    """The bytes of a notebook of these cells."""
    kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    made = new_notebook(
        cells=[new_code_cell(c) for c in cells], metadata={"kernelspec": kernelspec}
    )
    text: str = nbformat.writes(made)
    return text.encode()


@contextmanager
def own_folder() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        yield Path(name)


def drop(running: Running, name: str, raw: bytes, suffix: str = ".ipynb") -> None:
    """Put a request into the inbox, whole, by rename."""
    temp = running.root / "inbox" / f".{name}.tmp"
    temp.write_bytes(raw)
    temp.rename(running.root / "inbox" / f"{name}{suffix}")


def result_of(running: Running, name: str) -> Path:
    """Wait until the result of this name is visible.

    Raises:
        SystemExit: it is an error.
    """
    outbox = running.root / "outbox"
    path, error = outbox / f"{name}.result.json", outbox / f"{name}.error.json"
    while not path.exists():
        if error.exists():
            raise SystemExit(error.read_text())
        time.sleep(LOOK_SECONDS)
    return path


def until_warm(running: Running, kernels: int | None = None) -> None:
    """Wait until so many kernels wait: without a number, one for each core."""
    pulse = running.root / "state" / "pulse.json"
    wanted = kernels or len(os.sched_getaffinity(0))
    deadline = time.monotonic() + WARM_SECONDS
    while time.monotonic() < deadline:
        if pulse.exists() and json.loads(pulse.read_bytes())["warm"] >= wanted:
            return
        time.sleep(0.05)
    raise SystemExit(f"no {wanted} kernels wait; {(running.root / 'log').read_text()}")


def burst(running: Running, raw: bytes, count: int) -> float:
    """Drop so many at once; the seconds until the last result is visible."""
    began = time.perf_counter()
    for number in range(count):
        drop(running, f"burst{number}", raw)
    outbox = running.root / "outbox"
    while sum(1 for _ in outbox.glob("burst*.result.json")) < count:
        for error in outbox.glob("burst*.error.json"):
            raise SystemExit(f"a notebook of the burst failed: {error.read_text()}")
        time.sleep(0.05)
    return time.perf_counter() - began


def by_drop(raw: bytes, running: Running, suffix: str = ".ipynb") -> Callable[[], None]:
    """A call drops the request under a new name, and returns when its result is visible."""

    def run() -> None:
        name = f"drop-{os.getpid()}-{time.monotonic_ns()}"
        drop(running, name, raw, suffix)
        result_of(running, name)

    return run
