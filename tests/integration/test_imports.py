"""A process of ours imports what it needs, and a kernel nothing that nobody asked for."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Program, code, notebook

MODULES = """
import atexit, json, sys
atexit.register(lambda: print(json.dumps(sorted(sys.modules))))
sys.argv = ["runner", *sys.argv[1:]]
from runner.__main__ import main
main()
"""


def imported(folder: Path, *arguments: str) -> set[str]:
    """The modules of a command, at its end."""
    done = subprocess.run(
        [sys.executable, "-c", MODULES, *arguments], capture_output=True, text=True, cwd=folder
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("command", "spared"),
    [
        ("--version", {"pydantic", "rich", "yaml", "runner.config"}),
        ("jobs", {"pydantic", "yaml", "rich.console", "runner.config", "watchdog"}),
        ("show loan", {"pydantic", "yaml", "rich.console", "runner.config", "watchdog"}),
        ("inbox", {"pydantic", "yaml", "runner.config", "watchdog"}),
        ("history loan", {"pydantic_settings", "asyncio", "rich.console", "runner.daemon.loop"}),
        ("serve --help", {"pydantic_settings", "asyncio", "rich.console", "runner.daemon.loop"}),
    ],
)
def test_a_command_imports_no_module_that_only_others_need(
    tmp_path: Path, command: str, spared: set[str]
) -> None:
    """Its start is most of what a short command costs."""
    assert imported(tmp_path, *command.split()) & spared == set()


def test_the_gateway_imports_no_module_that_few_requests_need() -> None:
    """Metrics as text and the OpenAPI document: their modules are memory of each runner."""
    done = subprocess.run(
        [sys.executable, "-c", "import sys, runner.gateway.server as _\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    spared = {"prometheus_client", "runner.gateway.openapi", "IPython", "pandas", "nbformat"}
    assert set(done.stdout.split()) & spared == set()


def test_who_sets_long_names_in_the_environment_has_what_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only then."""
    monkeypatch.setenv("INBOX_RUNNER__LIMITS__RUN_SECONDS", "7")
    assert "pydantic_settings" in imported(tmp_path, "history", "loan")


@pytest.mark.kernels
def test_with_nothing_to_preload_a_kernel_has_no_pandas(standing: Program) -> None:
    """Nor what glues: an empty `kernels.preload` is taken at its word."""
    asks = "import sys; [name in sys.modules for name in ('pandas', 'scrapbook')]"
    standing.drop("asks.ipynb", notebook(code(asks, "results")))
    report = standing.await_report("asks")
    assert report["results"]["cell_1"]["application/json"] == [False, False]
