"""`make conform`: papermill and the inbox over the same notebooks."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import notebook

CONFORM = Path(__file__).parents[2] / "bench" / "conform.py"


@pytest.mark.timeout(900)
def test_the_comparison_finds_a_planted_difference_and_nothing_else(tmp_path: Path) -> None:
    """A notebook that reads a neighbour and fails comes out the same out of the library.

    A dropped one that asks who runs it does not, and is named with its cell. What came out the same
    is not run again where the findings are kept, and stays in the report.
    """
    folder = tmp_path / "looked-at"
    for place in ("alone", "beside"):
        (folder / place).mkdir(parents=True)
    asks = notebook("import os\nprint(os.listdir())", "print('by', 'RUNNER_JOB_ID' in os.environ)")
    fails = notebook(
        "import sys\nprint(open('rows.csv').read())\nprint('w', file=sys.stderr)\nobject()",
        "{}['key']",
        "print('never')",
    )
    (folder / "alone" / "asks.ipynb").write_text(json.dumps(asks))
    (folder / "beside" / "fails.ipynb").write_text(json.dumps(fails))
    (folder / "beside" / "rows.csv").write_text("a,b\n1,2\n")
    report = tmp_path / "report.md"
    report.write_text("before\n")

    options = ["--cache", str(tmp_path / "cache"), "--write", str(report), "--runs", "1"]
    options += ["--seconds", "200", "--findings", str(tmp_path / "findings.jsonl")]
    ended = conform(folder, *options)

    assert "1 of 2 notebooks came out the same (50.0%)" in ended.stdout, ended
    assert "different: alone/asks.ipynb\n    cell 1, outputs: " in ended.stdout
    assert ended.returncode == 1
    written = report.read_text()
    assert written.startswith("before\n")
    assert "- `alone/asks.ipynb`: cell 1, outputs: papermill" in written
    assert "in 1 run: " in written

    resumed = conform(folder, *options, "--only", "fails")

    assert resumed.stdout == "1 of 2 notebooks came out the same (50.0%)\n", resumed
    assert resumed.returncode == 1
    assert report.read_text() == written


def conform(folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(CONFORM), str(folder), *options],
        capture_output=True,
        text=True,
        check=False,
    )


SUITE = """
import os

from jupyter_client.manager import start_new_kernel


def answer(code):
    manager, client = start_new_kernel(startup_timeout=200)
    try:
        reply = client.execute_interactive(code, user_expressions={"x": "x"}, timeout=200)
        return reply["content"]["user_expressions"]["x"]["data"]["text/plain"]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_sum():
    assert answer("x = 1 + 1") == "2"


def test_planted():
    assert answer("import os; x = os.getppid()") == str(os.getpid())
"""


@pytest.mark.timeout(900)
def test_a_kernel_suite_runs_against_both_kernels(tmp_path: Path) -> None:
    """What passes with ipykernel's kernel and not with the forked one is named, with its reason."""
    (tmp_path / "kernelsuite" / "tests").mkdir(parents=True)
    (tmp_path / "kernelsuite" / "tests" / "test_it.py").write_text(SUITE)

    ended = subprocess.run(
        [
            sys.executable,
            str(CONFORM.with_name("conform_kernel.py")),
            str(tmp_path / "kernelsuite"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (
        "kernelsuite: 2 tests, 2 pass with ipykernel's kernel, 1 of them with the forked one"
        in ended.stdout
    ), ended
    assert "tests.test_it::test_planted: " in ended.stdout
    assert ended.returncode == 1
