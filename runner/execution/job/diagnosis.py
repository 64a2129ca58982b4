"""Turns the end of a run into a failure that a person or a program can act on.

Pure, over an exception and the notebook as far as it got. Ends nothing, and runs nothing.
"""

import re
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from runner.contract.advice.packages import advice_on_missing, advice_on_optional, can_be_installed
from runner.contract.advice.remedies import START_AGAIN, remedy_of_exception
from runner.contract.advice.required_modules import required_modules
from runner.contract.notebook import Unmarked
from runner.contract.outcome import ErrorType, Failure, Variable, cell_in_words
from runner.contract.text import strict_json
from runner.contract.text.plain_text import excerpt, one_line, plain_text
from runner.contract.text.tracebacks import MOST_LINES, folded
from runner.execution.job.guard import MACHINE_MEMORY, MEMORY, PROCESSES
from runner.execution.job.run import (
    OutputLimit,
    Run,
    asked_cells,
    is_executed,
    is_injected,
    positions_of,
)
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
"""Longest part of a text that is looked through."""
EVALUE_CHARS = 4_000
"""Longest message of an exception in a report; a whole table may be in it."""
TRACEBACK_LINE_CHARS = 1_000
MESSAGE_CHARS = 500
"""Longest part of an exception's message in the message of a failure."""
LINE_CHARS = 80
"""Longest first line of a cell in a message."""
_NO_MEMORY = "[Errno 12]"
_NO_THREAD = "can't start new thread"
_NO_FILE = re.compile(r"\[Errno 2\] [^:]*: '([^/'][^']*)'")
"""Matches a missing path that counts from the working folder."""
_IMPORT = re.compile(r"\b(?:from[ \t]+[\w.]+[ \t]+import[ \t]+\w+|(?<!\w[ \t])import[ \t]+[\w.]+)")
"""Wherever it stands in a cell: also behind a condition, and in a function."""
_ARROW = re.compile(r"-+> (\d+) (.*)")
"""The line of each frame that IPython's tracebacks point at; the last one raised."""
_OF_CELL = re.compile(r"\((?:<ipython-input-)?\d+[^\s,)]*(?:\.py|>), (?=line \d)")
"""The name of a cell's code, which is a number that nobody knows."""
_MEGABYTE = 1024 * 1024
_NATIVE = "compiled code of a library failed. Look for a newer version of it"
_SIGNALS = {
    "SIGSEGV": f"{_NATIVE}, and for less data or fewer threads at a time",
    "SIGABRT": f"{_NATIVE}; the log of the runner may have its last words",
    "SIGFPE": f"{_NATIVE}",
    "SIGILL": "a library was built for another processor than this one. Install it anew, or an "
    "older version of it",
    "SIGTERM": "the notebook, a person or the system asked it to end",
}
"""What ends a kernel, by the usual cause, and what to do."""


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
    """Whether it ran in a folder of its own, rather than in the library."""
    inputs: tuple[str, ...] = ()
    """The names of the files that came along."""
    python: str = sys.executable
    """The interpreter that the kernel ran in."""
    variables: dict[str, Variable] | None = None
    """What was alive after a cell had raised."""


def is_to_be_mended(error: BaseException | None) -> TypeGuard[PapermillExecutionError]:
    """Return whether a cell raised over what the notebook does: no exit, import or lack of room."""
    if not isinstance(error, PapermillExecutionError) or _is_memory_error(str(error.ename)):
        return False
    return error.ename not in ("SystemExit", "ModuleNotFoundError")


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
        traceback = _of_interrupt(error, run)
        message = f"{_why(reason, known)}{_cut_off(place, error, run, traceback)}"
        if reason == "timeout" and known.is_out_of_files:
            message = f"{message} {_files(known)}"
        return Failure(
            error_type=_REASONS[reason], message=message, traceback=traceback or None, **place
        )
    if isinstance(error, PapermillExecutionError):
        return _cell_failure(error, place, run, known)
    if isinstance(error, OutputLimit):
        return Failure(
            error_type=ErrorType.OUTPUT_LIMIT,
            message=f"The notebook's outputs are larger than {error.args[0] / _MEGABYTE:g} MB "
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
        f"{known.limits.processes} that a run may have (limits.processes). Start fewer (such as by "
        "`n_jobs` or `OMP_NUM_THREADS`), or raise that limit in the settings "
        f"{START_AGAIN}.",
    }[reason]


def _of_interrupt(error: BaseException | None, run: Run) -> list[str]:
    """Return the traceback with which a cell ended when it was told to; empty if it has none."""
    index = _index_of(error, run)
    cells = [] if run.notebook is None else asked_cells(run.notebook)
    if index is None or index >= len(cells):
        return []
    errors = [one for one in cells[index].get("outputs", []) if one.output_type == "error"]
    if not errors or errors[-1].ename != "KeyboardInterrupt":
        return []
    lines = [line for entry in errors[-1].traceback for line in plain_text(str(entry)).split("\n")]
    return [str(strict_json.clean(_cut(line))) for line in _short(lines)]


def _cut_off(
    place: Mapping[str, Any], error: BaseException | None, run: Run, traceback: list[str]
) -> str:
    """Name the cell that was running, and its line if that is known.

    Empty if the run ended between two cells or after all.
    """
    if run.index is None or run.replies.get(run.index, {}).get("status") == "ok":
        return ""
    line = next((arrow for one in traceback if (arrow := _ARROW.match(one))), None)
    if line is not None and line[2].strip():
        which = _which(error, run)
        code = one_line(line[2])
        code = code if len(code) <= LINE_CHARS else f"{code[: LINE_CHARS - 1]}…"
        return f" {which[:1].upper()}{which[1:]} was running: `{code}` (line {line[1]})."
    return _of_cell(place, _which(error, run), "was running")


def _which(error: BaseException | None, run: Run) -> str:
    """Name a cell by its place among the code cells: `code cell 2 of 3`, without empty ones.

    Empty if the run ended before its first cell.
    """
    index = _index_of(error, run)
    if run.notebook is None or index is None:
        return ""
    cells = asked_cells(run.notebook)[: index + 1]
    if index >= len(cells):
        return ""
    if is_injected(cells[index]):
        return "the cell of the parameters"
    count = sum(1 for cell in cells if is_executed(cell) and not is_injected(cell))
    return f"code cell {count} of {run.cells}"


def _index_of(error: BaseException | None, run: Run) -> int | None:
    """Return the place of the cell that ended the run, in papermill's copy."""
    if isinstance(error, PapermillExecutionError):
        return int(error.cell_index)
    if isinstance(error, OutputLimit) and run.overflowed is not None:
        return run.overflowed
    return run.index


def _of_cell(place: Mapping[str, Any], which: str, what: str) -> str:
    """Return a sentence about a cell that quotes its first line; none, if it is not known or empty.

    Only of a cell of one line is that the line that was running.
    """
    lines = [line for line in map(one_line, str(place.get("cell_source", "")).splitlines()) if line]
    if not lines:
        return ""
    line = lines[0] if len(lines[0]) <= LINE_CHARS else f"{lines[0][: LINE_CHARS - 1]}…"
    named = f"{which[:1].upper()}{which[1:]}"
    if len(lines) > 1:
        return f" {named}, which begins with `{line}`, {what}."
    return f" {named} {what}: `{line}`."


def _memory(known: Circumstances) -> str:
    limit = known.limits.memory_mb
    allowed = "" if limit is None else f"A run may hold {limit} MB ({known.limits.memory_key}); "
    if not known.peak:
        return f"{allowed}its peak is not known. {_less_memory(known)}"
    peak = max(known.peak // _MEGABYTE, 1)
    return f"{allowed}its peak was {peak} MB. {_less_memory(known)}"


def _less_memory(known: Circumstances) -> str:
    """Say what to do about want of memory."""
    less = "Read less at a time, or let go of what is not needed any more (`del`)"
    if known.limits.memory_mb is None or known.reason == MACHINE_MEMORY:
        fewer = "run fewer notebooks at a time (execution.concurrency in the settings)"
        return f"{less}; or {fewer} {START_AGAIN}."
    raise_limit = f"raise limits.memory_mb in the settings {START_AGAIN}"
    if known.limits.memory_key != "resources.memory_mb":
        return f"{less}; or {raise_limit}."
    own = "`resources.memory_mb` in the request"
    most = known.limits.most_memory_mb
    if most == known.limits.memory_mb:
        return f"{less}; or {raise_limit}, then raise {own}."
    up_to = f", up to limits.memory_mb ({most})" if most and most > known.limits.memory_mb else ""
    return f"{less}; or raise {own}{up_to}."


def _cut(text: str, most: int = TRACEBACK_LINE_CHARS) -> str:
    """Cut a line, and say so; the executed notebook has all of it."""
    left_out = len(text) - most
    return text if left_out <= 0 else f"{text[:most]} [… {left_out} more characters …]"


def _short(lines: list[str]) -> list[str]:
    """Fold a long traceback: the notebook's frames, a line on those of libraries, and the end."""
    return lines if len(lines) <= MOST_LINES else folded(lines, MOST_LINES - 1)


def _is_far_below(known: Circumstances) -> bool:
    """Return whether the run was far below its own limit."""
    limit = known.limits.memory_mb
    return limit is None or known.peak < limit * _MEGABYTE * 0.9


def _by(number: int | None) -> str:
    """Say what ended a kernel, and what to do if that is known."""
    if number is None:
        return ", by no known signal: the notebook or a library may have ended it (`os._exit()`)"
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
    if number == signal.SIGKILL:
        return (
            f" ({name}): the notebook, a person or the system ended it. The log of the system "
            "(`dmesg`) names what it ends for want of memory"
        )
    why = _SIGNALS.get(name)
    return f" ({name})" if why is None else f" ({name}): {why}"


def _files(known: Circumstances) -> str:
    limit = known.limits.open_files
    return (
        f"It had {limit} files open, as many as a process may have (limits.open_files). Close them "
        f"(`with open(…)`), or raise that limit in the settings {START_AGAIN}."
    )


def _no_file(path: str, known: Circumstances) -> str | None:
    """Say where a file lies that was not found, or how it comes along; None if nobody knows."""
    shown = repr(path[:200])
    if not known.has_own_folder:
        if not any(path.removeprefix("./") == one for one in known.inputs):
            return None
        return (
            f"{shown} came along and lies in the folder in `RUNNER_INPUT_DIR`; a notebook of the "
            "library runs where it lies. Read it from there, or give its name as a parameter, "
            "which becomes its whole path."
        )
    if known.inputs:
        more = f" and {len(known.inputs) - 5} more" if len(known.inputs) > 5 else ""
        names = ", ".join(map(repr, known.inputs[:5]))
        return f"{shown} is not among the files that came along: {names}{more}."
    return (
        "The notebook ran in a folder of its own, and the files beside it did not come along. "
        f"Send {shown} with it (`files` of a request, one NAME.zip, `runner run --input`), or put "
        "both into the library (notebooks/) and run it there."
    )


def _place_of(error: BaseException | None, run: Run, source: Unmarked) -> dict[str, Any]:
    """Find the failing cell in the original notebook, not in papermill's copy."""
    executed = run.notebook
    index = _index_of(error, run)
    if executed is None or index is None:
        return {}
    cells = asked_cells(executed)
    if index >= len(cells):
        return {}
    cell = cells[index]
    position = positions_of(cells, source)[index]
    return {
        "cell": cell.get("execution_count"),
        "cell_index": position,
        "cell_id": None if position is None else cell.get("id"),
        "cell_source": strict_json.clean(cell.source),
    }


def _cell_failure(
    error: PapermillExecutionError, place: dict[str, Any], run: Run, known: Circumstances
) -> Failure:
    error = _as_replied(error, run)
    lines = [line for entry in error.traceback for line in plain_text(str(entry)).split("\n")]
    raised = {
        **place,
        "ename": str(strict_json.clean(error.ename)),
        "evalue": str(strict_json.clean(excerpt(plain_text(error.evalue), EVALUE_CHARS))),
        "traceback": [str(strict_json.clean(_cut(line))) for line in _short(lines)],
    }
    text = _OF_CELL.sub("(", _in_one_line(raised, lines))
    if not raised["evalue"] and error.ename == "CellExecutionError":
        text = _last_words(error, run) or text
    number = place.get("cell")
    where = _during(_which(error, run)).capitalize()
    if number is not None:
        where = cell_in_words(number, place.get("cell_index"))
    message = f"{where}: {_cut(text, MESSAGE_CHARS)}"
    if error.ename == "ModuleNotFoundError":
        module = _quoted(error.evalue)
        if module is not None and can_be_installed(module):
            imports = _IMPORT.findall(str(place.get("cell_source", ""))[:MOST_CHARS])
            modules = required_modules(imports).imported_as(module)
            advice = advice_on_missing(modules, known.python)
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
            "(limits.processes). Start fewer, or raise that limit in the settings "
            f"{START_AGAIN}."
        )
    if known.is_out_of_files:
        message = f"{message.rstrip(' .:')}. {_files(known)}"
    remedy = remedy_of_exception(text)
    if remedy is None and error.ename == "ImportError":
        remedy = advice_on_optional(text, lines, known.python)
    if remedy is not None:
        message = f"{message.rstrip(' .:')}. {remedy}"
    missing = _NO_FILE.search(text)
    if missing is not None:
        found = _no_file(missing[1], known)
        message = message if found is None else f"{message.rstrip(' .:')}. {found}"
    return Failure(
        error_type=ErrorType.PAPERMILL_EXECUTION_ERROR,
        message=message,
        variables=known.variables,
        **raised,
    )


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


def _in_one_line(raised: Mapping[str, Any], traceback: list[str]) -> str:
    """Say what was raised; where that has no words, such as a bare `assert`, the line that did."""
    if raised["evalue"].strip():
        return f"{raised['ename']}: {raised['evalue']}"
    raising = next((arrow for line in reversed(traceback) if (arrow := _ARROW.match(line))), None)
    if raising is None:
        return str(raised["ename"])
    return f"{raised['ename']} at `{strict_json.clean(_cut(raising[2].strip()))}`"


def _last_words(error: PapermillExecutionError, run: Run) -> str:
    """Look for an exception in the output: a kernel at its limits may print it only."""
    assert run.notebook is not None
    outputs = asked_cells(run.notebook)[error.cell_index].get("outputs", [])
    text = plain_text("".join(one["text"] for one in outputs if one.get("name") == "stderr"))
    return str(strict_json.clean(text.strip().rpartition("\n")[2]))


def _quoted(text: str) -> str | None:
    """Take `a.b` out of "No module named 'a.b'"."""
    parts = text.split("'")
    return parts[1] if len(parts) >= 3 else None


def _during(which: str) -> str:
    return f"in {which}" if which else "while it ran"
