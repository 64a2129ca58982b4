"""The real program ends itself with SIGKILL at a named step; the next start makes it good.

A few steps, one between any two promises: test_crashes.py stops a simulated one at every step.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Program, code, notebook, wait_for

POINTS = {
    "between the settings and the notebook": ("after", "rename", ".yaml"),
    "before it is accepted": ("before", "commit", "accept"),
    "after it is accepted and started": ("after", "commit", "start"),
    "while its files are staged": ("after", "copy", ".staging"),
    "after it is sealed": ("after", "commit", "seal"),
    "before the report is visible": ("before", "rename", "n.result.json"),
    "before it is closed": ("before", "commit", "published"),
}
"""When, at which step, of which path or record (tests/faults/killed.py)."""
NEVER_RAN = 1
"""The job is not started yet at so many of the first points; it simply runs after them."""
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.kernels
@pytest.mark.parametrize("point", POINTS)
def test_a_kill_at_any_point_loses_nothing(
    make_program: Callable[..., Program], point: str
) -> None:
    """One report, whole; at most one run; nothing left in inbox, staging, state."""
    program = make_program({"execution": {"concurrency": 1}}, PYTHONPATH=str(ROOT))
    program.start(["-m", "tests.faults.killed", *POINTS[point]])
    ran = program.root / "ran"
    source = f"open({str(ran)!r}, 'a').write('x')\nopen('made.txt', 'w').write('made')"
    program.drop("n.yaml", "parameters: {x: 1}\n")
    program.drop("n.ipynb", notebook(source, code("x", "results")))
    assert program.process is not None
    assert program.process.wait(60) == -9, program.log
    program.start()
    report = program.await_report("n")
    check_report(program, report, list(POINTS).index(point))
    assert len(ran.read_text() if ran.exists() else "") <= 1
    wait_for(lambda: not leftovers(program))
    assert len(list(program.outbox.rglob("n.*.json"))) == 1


def check_report(program: Program, report: dict[str, object], point: int) -> None:
    """A run that nobody knows the end of is interrupted; all else succeeds, with its settings."""
    assert report["parameters"] == {"x": 1}
    if report["status"] == "interrupted":
        assert point > NEVER_RAN
        return
    assert report["status"] == "succeeded"
    assert (program.outbox / "n.files" / "made.txt").read_text() == "made"
    executed = json.loads((program.outbox / "n.ipynb").read_bytes())
    assert executed["cells"][-1]["outputs"]


def leftovers(program: Program) -> list[Path]:
    """What should be gone once the job is closed."""
    found = [path for path in program.inbox.iterdir() if path.name.startswith((".claim", "n."))]
    for folder in (program.outbox / ".staging", program.root / "state" / "work"):
        found.extend(folder.iterdir() if folder.exists() else ())
    return found + list(program.outbox.glob("*.status.json"))
