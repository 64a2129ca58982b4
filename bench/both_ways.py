"""One notebook by the papermill command, and by the inbox of a runner; each as a `Side`.

Both have the same interpreter and environment, and a copy of the same folder. Compares nothing.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cases import Case, Skipped
from comparison import Side
from program import Running

TOO_SLOW = "too slow"
CELL_ERRORS = frozenset({"papermill_execution_error", "module_not_found"})
"""What the runner calls a cell that raised."""
_RAISED = re.compile(r"[\w.]+(Error|Exception|Kernel)\b")


@dataclass(frozen=True)
class Bench:
    """Where the comparison works, and what both sides see."""

    cache: Path
    """What papermill gave, by notebook; kept."""
    scratch: Path
    seconds: float
    """A notebook's time by papermill."""
    runs: int
    """Of papermill at most, to see what it does not repeat itself."""
    environment: Mapping[str, str]


def environment_in(home: Path) -> dict[str, str]:
    """The same for both sides, and nothing of whoever calls."""
    home.mkdir(parents=True, exist_ok=True)
    path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    return {"PATH": path, "HOME": str(home), "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"}


# By papermill


def by_papermill(case: Case, bench: Bench, number: int = 0) -> Side:
    """What the papermill command gave the first or a later time, out of the cache if it is there.

    Raises:
        Skipped: it takes too long, or is nothing for papermill.
    """
    kept = bench.cache / case.key / f"papermill-{number}.json"
    side = _kept(kept)
    if side is None or (side.outcome == TOO_SLOW and float(side.detail) < bench.seconds):
        side = _run_papermill(case, bench)
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.with_suffix(".tmp").write_text(json.dumps(asdict(side)))
        kept.with_suffix(".tmp").rename(kept)
    if side.outcome == TOO_SLOW:
        raise Skipped("takes papermill too long")
    return side


def _kept(path: Path) -> Side | None:
    if not path.exists():
        return None
    fields = json.loads(path.read_bytes())
    return Side(**{**fields, "folders": tuple(fields["folders"])})


def _run_papermill(case: Case, bench: Bench) -> Side:
    """As a person does it who stands in the notebook's folder.

    One that names a kernel that is not installed gets `python3`, as the runner gives it.
    """
    options = [] if case.kernel == "python3" else ["-k", "python3", "-l", "python"]
    with tempfile.TemporaryDirectory(dir=bench.scratch, prefix="papermill-") as made:
        source, cwd = _laid_out(case, Path(made))
        target, log = Path(made, "executed.ipynb"), Path(made, "log")
        papermill = Path(sys.executable).with_name("papermill")
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [papermill, source, target, "--no-progress-bar", *options],
                cwd=cwd,
                env=dict(bench.environment),
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                start_new_session=True,
            )
        try:
            code = process.wait(bench.seconds)
        except subprocess.TimeoutExpired:
            return Side(TOO_SLOW, None, None, detail=f"{bench.seconds:g}")
        finally:
            _end_session(process)
        executed = json.loads(target.read_bytes()) if target.exists() else None
        return _side_of(code, executed, log.read_text(errors="replace"), _copies(Path(made)))


def _laid_out(case: Case, folder: Path) -> tuple[Path, Path]:
    """The notebook in its copied folder; one that is alone beside an empty folder of its own."""
    if not case.is_alone:
        source = case.copy(folder / "run")
        return source, source.parent
    source, cwd = folder / "input.ipynb", folder / "work"
    source.write_bytes(case.raw)
    cwd.mkdir()
    return source, cwd


def _copies(folder: Path) -> tuple[str, ...]:
    """The top of what was copied, which has another name on the other side."""
    return (str(folder / "run"), str(folder / "work"), str(folder))


def _end_session(process: "subprocess.Popen[bytes]") -> None:
    """Also the kernel that a papermill leaves behind."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _side_of(code: int, executed: Any, errors: str, folders: tuple[str, ...]) -> Side:
    if code == 0:
        return Side("succeeded", None, executed, folders)
    raised = [
        output
        for cell in (executed["cells"] if executed else ())
        for output in cell.get("outputs", ())
        if output["output_type"] == "error"
        and cell["metadata"].get("papermill", {}).get("status") != "pending"
    ]
    if raised and "PapermillExecutionError" in errors:
        return Side("failed", raised[0]["ename"], executed, folders, raised[0]["evalue"])
    if "DeadKernelError" in errors:
        return Side("kernel_died", None, executed, folders)
    last = next((line for line in reversed(errors.splitlines()) if _RAISED.match(line)), "")
    return Side("failed", last.partition(":")[0].rpartition(".")[2], executed, folders, last)


# By the inbox


def by_inbox(case: Case, bench: Bench, running: Running) -> Side:
    """The runner's outcome: dropped where the notebook is alone, else out of the library."""
    name = f"n{case.key}"
    library = running.root / "notebooks" / name
    request: dict[str, object] = {"timeout_seconds": bench.seconds * 3}
    if not case.is_alone:
        there = case.copy(library)
        request["notebook"] = there.relative_to(running.root / "notebooks").as_posix()
    _drop(running, f"{name}.json", json.dumps(request).encode())
    if case.is_alone:
        _drop(running, f"{name}.ipynb", case.raw)
    try:
        return _inbox_side(running, name, bench.seconds * 6)
    finally:
        shutil.rmtree(library, ignore_errors=True)


def _drop(running: Running, name: str, raw: bytes) -> None:
    temp = running.root / "inbox" / f".{name}.tmp"
    temp.write_bytes(raw)
    temp.rename(running.root / "inbox" / name)


def _inbox_side(running: Running, name: str, seconds: float) -> Side:
    outbox = running.root / "outbox"
    deadline = time.monotonic() + seconds
    while not (
        ends := list(outbox.glob(f"{name}.result.json")) + list(outbox.glob(f"{name}.error.json"))
    ):
        if time.monotonic() > deadline or running.process.poll() is not None:
            return Side("no result", None, None, detail=f"within {seconds:g} s")
        time.sleep(0.1)
    report = json.loads(ends[0].read_bytes())
    executed = None
    if report["output_nb"] and report["status"] != "rejected":
        executed = json.loads((outbox / report["output_nb"]).read_bytes())
    work = running.root / "state" / "work" / report["job_id"]
    folders = (str(work), str(running.root / "notebooks" / name), str(running.root))
    if report["status"] == "succeeded":
        return Side("succeeded", None, executed, folders)
    kind, detail = report["error_type"], report["message"]
    outcome = "failed" if kind in CELL_ERRORS else kind
    return Side(outcome, report["ename"], executed, folders, detail)
