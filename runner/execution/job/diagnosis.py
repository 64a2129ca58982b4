"""Turns the end of a run into a failure that a person or a program can act on.

Pure, over an exception and the notebook as far as it got. Ends nothing, and runs nothing.
"""

import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError

from runner.contract.notebook import ERROR_TAG, INJECTED_TAG, Unmarked
from runner.contract.outcome import ErrorType, Failure
from runner.contract.packages import advice_on_missing, can_be_installed
from runner.contract.remedies import remedy_of_exception
from runner.contract.required_modules import required_modules
from runner.contract.text import strict_json
from runner.contract.text.plain_text import one_line, plain_text
from runner.execution.job.guard import MACHINE_MEMORY, MEMORY, PROCESSES
from runner.execution.job.run import OutputLimit, Run, is_executed, is_injected
from runner.execution.limits.hold import RunLimits

_REASONS = {
    "timeout": ErrorType.TIMEOUT,
    "cancelled": ErrorType.CANCELLED,
    "interrupted": ErrorType.INTERRUPTED,
    MEMORY: ErrorType.OUT_OF_MEMORY,
    MACHINE_MEMORY: ErrorType.OUT_OF_MEMORY,
    PROCESSES: ErrorType.KERNEL_DIED,
}
MOST_CHARS = 20_000
"""Longest text of an exception, and longest line of its traceback, in a report."""
MOST_LINES = 400
LINE_CHARS = 80
"""Longest first line of a cell in a message."""
_NO_MEMORY = "[Errno 12]"
_NO_THREAD = "can't start new thread"
_NO_FILE = re.compile(r"\[Errno 2\] [^:]*: '([^/'][^']*)'")
"""Matches a missing path that counts from the working folder."""
_IMPORT = re.compile(r"\b(?:from[ \t]+[\w.]+[ \t]+import[ \t]+\w+|(?<!\w[ \t])import[ \t]+[\w.]+)")
"""Wherever it stands in a cell: also behind a condition, and in a function."""
_MEGABYTE = 1024 * 1024


@dataclass(frozen=True)
class Circumstances:
    """Facts about a run's end besides the exception."""

    reason: str | None
    """Reason of an early end; None if there was none."""
    timeout_seconds: float
    limits: RunLimits
    peak: int
    """Most memory seen during the run, in bytes; 0 if unknown."""
    is_out_of_files: bool
    """Whether the kernel had as many files open as it may."""
    signal: int | None = None
    """The signal that ended the kernel; None if none did."""
    has_own_folder: bool = False
    """Whether it ran in an empty folder of its own, rather than in the library."""


def failure_of(
    error: BaseException | None, run: Run, original: Unmarked, known: Circumstances
) -> Failure | None:
    """Return the failure of a run that ended with `error`, or early; None if it succeeded.

    Raises:
        BaseException: `error` itself, if it is none that a notebook can cause.
    """
    reason = known.reason
    if error is None and reason is None:
        return None
    place = _place_of(error, run, original)
    if reason is not None:
        message = f"{_why(reason, known)}{_cut_off(place, error, run)}"
        if reason == "timeout" and known.is_out_of_files:
            message = f"{message} {_files(known)}"
        return Failure(error_type=_REASONS[reason], message=message, **place)
    if isinstance(error, PapermillExecutionError):
        return _cell_failure(error, place, run, known)
    if isinstance(error, OutputLimit):
        return Failure(
            error_type=ErrorType.OUTPUT_LIMIT,
            message=f"The notebook's outputs are larger than {error.args[0]} bytes "
            f"(limits.output_mb); write large results to files instead."
            f"{_of_cell(place, _which(error, run), 'wrote what was too much')}",
            **place,
        )
    if isinstance(error, DeadKernelError):
        return Failure(
            error_type=ErrorType.KERNEL_DIED,
            message=f"The kernel died {_during(_which(error, run))}{_by(known.signal)}.",
            **place,
        )
    assert error is not None
    raise error


def _why(reason: str, known: Circumstances) -> str:
    return {
        "timeout": f"The run passed its limit of {known.timeout_seconds:g} s.",
        "cancelled": "The job was cancelled.",
        "interrupted": "The runner was stopped while the notebook ran.",
        MEMORY: f"The notebook was ended because it took more memory than it may. {_memory(known)}",
        MACHINE_MEMORY: "The machine, or the container, had no memory left, and the system ended "
        f"the kernel. {_memory(known)}",
        PROCESSES: "The notebook was ended because it started more processes and threads than the "
        f"{known.limits.processes} that a run may have (limits.processes).",
    }[reason]


def _cut_off(place: Mapping[str, Any], error: BaseException | None, run: Run) -> str:
    """Name the cell that was running; empty if the run ended between two cells or after all."""
    if run.index is None or run.replies.get(run.index, {}).get("status") == "ok":
        return ""
    return _of_cell(place, _which(error, run), "was running")


def _which(error: BaseException | None, run: Run) -> str:
    """Name a cell as every other face does: `cell 2 of 3`, without empty and injected ones.

    Empty if the run ended before its first cell.
    """
    index = _index_of(error, run)
    if run.notebook is None or index is None:
        return ""
    cells = _asked_cells(run.notebook)[: index + 1]
    if index >= len(cells):
        return ""
    if is_injected(cells[index]):
        return "the cell of the parameters"
    count = sum(1 for cell in cells if is_executed(cell) and not is_injected(cell))
    return f"cell {count} of {run.cells}"


def _index_of(error: BaseException | None, run: Run) -> int | None:
    """Return the place of the cell that ended the run, in papermill's copy."""
    if isinstance(error, PapermillExecutionError):
        return int(error.cell_index)
    if isinstance(error, OutputLimit) and run.overflowed is not None:
        return run.overflowed
    return run.index


def _of_cell(place: Mapping[str, Any], which: str, what: str) -> str:
    """Return a sentence about a cell, with its first line; none, if it is not known or empty."""
    lines = [line for line in map(one_line, str(place.get("cell_source", "")).splitlines()) if line]
    if not lines:
        return ""
    line = lines[0] if len(lines[0]) <= LINE_CHARS else f"{lines[0][: LINE_CHARS - 1]}…"
    return f" {which[:1].upper()}{which[1:]} {what}: `{line}`."


def _memory(known: Circumstances) -> str:
    limit = known.limits.memory_mb
    allowed = "" if limit is None else f"A run may hold {limit} MB ({known.limits.memory_key}); "
    if not known.peak:
        return f"{allowed}its peak is not known."
    return f"{allowed}its peak was {max(known.peak // _MEGABYTE, 1)} MB."


def _cut(text: str) -> str:
    """Cut a text to `MOST_CHARS`; the executed notebook has all of it."""
    return text if len(text) <= MOST_CHARS else f"{text[:MOST_CHARS]} [cut here]"


def _short(lines: list[str]) -> list[str]:
    """Keep the beginning and the end of a long traceback."""
    if len(lines) <= MOST_LINES:
        return lines
    half = MOST_LINES // 2
    return [*lines[:half], f"[{len(lines) - 2 * half} lines are cut here]", *lines[-half:]]


def _is_far_below(known: Circumstances) -> bool:
    """Return whether the run was far below its own limit."""
    limit = known.limits.memory_mb
    return limit is None or known.peak < limit * _MEGABYTE * 0.9


def _by(number: int | None) -> str:
    """Say what ended a kernel, and what to do if that is known."""
    if number is None:
        return ""
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    if number == signal.SIGBUS:
        return (
            f" ({name}): it used shared memory, or a mapped file, for which there was no room. In "
            "a container /dev/shm has 64 MB, unless it is started with more: `shm_size` in "
            "compose.yaml, `docker run --shm-size 1g`"
        )
    return f" ({name})"


def _files(known: Circumstances) -> str:
    limit = known.limits.open_files
    return f"It had {limit} files open, as many as a process may have (limits.open_files)."


def _no_file(path: str) -> str:
    return (
        "The notebook ran in an empty folder of its own; the files beside it did not come along. "
        f"Put it into the library (notebooks/) together with {path[:200]!r} and run it there, "
        "or read the file by an absolute path."
    )


def _place_of(error: BaseException | None, run: Run, source: Unmarked) -> dict[str, Any]:
    """Find the failing cell in the original notebook, not in papermill's copy."""
    executed = run.notebook
    index = _index_of(error, run)
    if executed is None or index is None:
        return {}
    cells = _asked_cells(executed)
    if index >= len(cells):
        return {}
    cell = cells[index]
    injected = next(
        (i for i, c in enumerate(cells) if INJECTED_TAG in c.metadata.get("tags", [])),
        None,
    )
    shifted = len(cells) > len(source.notebook.cells) and injected is not None
    original: int | None = index
    if shifted and injected is not None:
        original = None if index == injected else index - (index > injected)
    return {
        "cell": cell.get("execution_count"),
        "cell_index": None if original is None else source.positions[original],
        "cell_source": strict_json.clean(cell.source),
    }


def _asked_cells(executed: NotebookNode) -> list[NotebookNode]:
    """Return the notebook's cells without those that papermill adds to a failed one."""
    return [c for c in executed.cells if ERROR_TAG not in c.metadata.get("tags", [])]


def _cell_failure(
    error: PapermillExecutionError, place: dict[str, Any], run: Run, known: Circumstances
) -> Failure:
    error = _as_replied(error, run)
    lines = [line for entry in error.traceback for line in plain_text(str(entry)).split("\n")]
    raised = {
        **place,
        "ename": str(strict_json.clean(error.ename)),
        "evalue": str(strict_json.clean(_cut(plain_text(error.evalue)))),
        "traceback": [str(strict_json.clean(_cut(line))) for line in _short(lines)],
    }
    text = f"{raised['ename']}: {raised['evalue']}"
    if not raised["evalue"] and error.ename == "CellExecutionError":
        text = _last_words(error, run) or text
    number = place.get("cell")
    where = _during(_which(error, run)) if number is None else f"in cell [{number}]"
    message = f"{where.capitalize()}: {text[:500]}"
    if error.ename == "ModuleNotFoundError":
        module = _quoted(error.evalue)
        if module is not None and can_be_installed(module):
            imports = _IMPORT.findall(str(place.get("cell_source", ""))[:MOST_CHARS])
            advice = advice_on_missing(required_modules(imports).imported_as(module))
            message = f"{message}. {advice}"
        return Failure(
            error_type=ErrorType.MODULE_NOT_FOUND, message=message, module=module, **raised
        )
    if _is_memory_error(text):
        why = "That is more than the system gives at once. " if _is_far_below(known) else ""
        message = f"{message.rstrip(' .:')}. {why}{_memory(known)}"
        return Failure(error_type=ErrorType.OUT_OF_MEMORY, message=message, **raised)
    if _NO_THREAD in text:
        message = (
            f"{message}. A run may have {known.limits.processes} processes and threads "
            "(limits.processes)."
        )
    if known.is_out_of_files:
        message = f"{message.rstrip(' .:')}. {_files(known)}"
    remedy = remedy_of_exception(text)
    if remedy is not None:
        message = f"{message.rstrip(' .:')}. {remedy}"
    missing = _NO_FILE.search(text) if known.has_own_folder else None
    if missing is not None:
        message = f"{message.rstrip(' .:')}. {_no_file(missing[1])}"
    return Failure(error_type=ErrorType.PAPERMILL_EXECUTION_ERROR, message=message, **raised)


def _as_replied(error: PapermillExecutionError, run: Run) -> PapermillExecutionError:
    """Take a magic's UsageError from the kernel's reply: it is no output of the cell."""
    reply = run.replies.get(error.cell_index, {})
    if error.ename != "CellExecutionError" or not reply.get("ename"):
        return error
    lines = reply.get("traceback")
    return PapermillExecutionError(
        cell_index=error.cell_index,
        exec_count=error.exec_count,
        source=error.source,
        ename=str(reply["ename"]),
        evalue=str(reply.get("evalue") or ""),
        traceback=lines if isinstance(lines, list) else [],
    )


def _is_memory_error(text: str) -> bool:
    """Return whether it is a MemoryError, a library's own kind of it, or ENOMEM of an `OSError`."""
    ename, _, evalue = text.partition(":")
    return ename.endswith("MemoryError") or evalue.strip().startswith(_NO_MEMORY)


def _last_words(error: PapermillExecutionError, run: Run) -> str:
    """Look for an exception in the output: a kernel at its limits may print it only."""
    assert run.notebook is not None
    outputs = _asked_cells(run.notebook)[error.cell_index].get("outputs", [])
    text = plain_text("".join(one["text"] for one in outputs if one.get("name") == "stderr"))
    return str(strict_json.clean(text.strip().rpartition("\n")[2]))


def _quoted(text: str) -> str | None:
    """Take `a.b` out of "No module named 'a.b'"."""
    parts = text.split("'")
    return parts[1] if len(parts) >= 3 else None


def _during(which: str) -> str:
    return f"in {which}" if which else "while it ran"
