"""Runs a suite of tests for Jupyter kernels against ipykernel's kernel and the runner's forked one.

A suite is a checkout of ipykernel, nbclient or papermill; its `tests` are copied and run against
what is installed here. A test counts where it passes with ipykernel's own kernel.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import click
from rich.console import Console

console = Console(width=110, highlight=False)
TEST_SECONDS = 120


@dataclass(frozen=True)
class Verdicts:
    """What became of each test of a suite: `passed`, `skipped`, or how its failure begins."""

    tests: Mapping[str, str]


def run_suite(checkout: Path, options: Sequence[str], *, forked: bool) -> Verdicts:
    """Run a checkout's tests against the one kernel or the other."""
    with tempfile.TemporaryDirectory(prefix="suite-") as made:
        root = Path(made)
        _copy(checkout, root / "suite")
        if forked:
            _kernelspec(root / "jupyter" / "kernels" / "python3")
        environment = {
            **os.environ,
            "JUPYTER_PATH": str(root / "jupyter"),
            "HOME": made,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        report = root / "report.xml"
        command = [
            *(
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-p",
                "no:cacheprovider",
                # Of ours, and half of pytest's start.
                "-p",
                "no:schemathesis",
                "--override-ini=addopts=",
                "--override-ini=filterwarnings=",
            ),
            *(f"--timeout={TEST_SECONDS}", f"--junitxml={report}", *options),
        ]
        with (root / "log").open("wb") as log:
            subprocess.run(
                command, cwd=root / "suite", env=environment, stdout=log, stderr=log, check=False
            )
        if not report.exists():
            raise SystemExit((root / "log").read_text()[-5000:])
        return Verdicts(_read(report))


def _copy(checkout: Path, target: Path) -> None:
    """The tests without the package they are of: what is installed is what is tested."""
    for tests in [
        p for p in checkout.rglob("tests") if p.is_dir() and "node_modules" not in p.parts
    ]:
        shutil.copytree(tests, target / tests.relative_to(checkout), dirs_exist_ok=True)
    for name in ("pyproject.toml", "pytest.ini", "tox.ini", "setup.cfg", "conftest.py"):
        if (checkout / name).exists():
            shutil.copy(checkout / name, target / name)


def _kernelspec(folder: Path) -> None:
    folder.mkdir(parents=True)
    command = [sys.executable, str(Path(__file__).with_name("forked_kernel.py").resolve())]
    spec = {
        "argv": [*command, "-f", "{connection_file}"],
        "display_name": "Python 3 (forked)",
        "language": "python",
        "metadata": {"debugger": True},
    }
    (folder / "kernel.json").write_text(json.dumps(spec))


def _read(report: Path) -> dict[str, str]:
    verdicts = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        failure = next((c for c in case if c.tag in ("failure", "error")), None)
        if failure is not None:
            verdicts[name] = (failure.get("message") or "failed").strip().splitlines()[0][:200]
        elif case.find("skipped") is not None:
            verdicts[name] = "skipped"
        else:
            verdicts[name] = "passed"
    return verdicts


@click.command()
@click.argument("checkouts", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("-k", "only", help="pytest's expression for the tests to run.")
def main(checkouts: Sequence[Path], only: str | None) -> None:
    """Run the tests of each checkout against both kernels, and say where they differ."""
    options = ["-k", only] if only else []
    failed = False
    for checkout in checkouts:
        plain = run_suite(checkout, options, forked=False).tests
        forked = run_suite(checkout, options, forked=True).tests
        passing = [name for name, verdict in plain.items() if verdict == "passed"]
        worse = [name for name in passing if forked.get(name) != "passed"]
        console.print(
            f"{checkout.name}: {len(plain)} tests, {len(passing)} pass with ipykernel's kernel, "
            f"{len(passing) - len(worse)} of them with the forked one"
        )
        for name in worse:
            console.print(f"    {name}: {forked.get(name, 'not run')}", markup=False)
        failed = failed or bool(worse)
    sys.exit(failed)


if __name__ == "__main__":
    main()
