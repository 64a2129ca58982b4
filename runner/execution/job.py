"""The job process: lives for one notebook, drives papermill, and ends with its kernel.

Forked from the preload server; its kernel is its own child. Leaves nothing running, and sends one
outcome.
"""

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from jupyter_core.utils import ensure_event_loop
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from nbformat.v4.rwbase import split_lines
from papermill.exceptions import PapermillExecutionError

from runner import strict_json
from runner.execution import order as wire
from runner.execution import run as papermill_run
from runner.execution.kernel import (
    Connections,
    KernelNotReady,
    KernelSetting,
    RunningKernel,
    become_kernel,
    can_fork,
    connect,
    make_connections,
    start_cold,
)
from runner.execution.order import Order, Progress
from runner.execution.preparation import check_modules, choose, read_notebook
from runner.execution.run import OutputLimit, Run, is_executed, plain_text
from runner.execution.tree import adopt_orphans, end_descendants
from runner.notebook import KernelChoice, kernel_of
from runner.outcome import (
    CellCount,
    ErrorType,
    Failure,
    KernelUsed,
    Outcome,
    Refused,
    Status,
    failed,
)
from runner.results import extract

log = logging.getLogger(__name__)

INTERRUPT_SECONDS = 2.0
"""Between SIGINT, which lets a cell end with a traceback, and SIGKILL."""

Become = Callable[[], None]
"""What a forked child does once it has returned to the top of the program."""


def serve_one(connection: Connection) -> Become | None:
    """Execute the one order that comes over `connection`.

    Returns, in the child that was forked for it, what makes it the kernel; None in the job
    process itself, which ends then.
    """
    os.setsid()
    adopt_orphans()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    wire.send(connection, "hello", pid=os.getpid())
    order = Order.model_validate(wire.receive(connection)["order"])
    raw = connection.recv_bytes()
    try:
        outcome, executed = _Job(order, connection).execute(raw)
    except _InChild as child:
        return child.become
    except Refused as refused:
        outcome, executed = failed(refused.failure), None
    except Exception as error:
        log.exception("job %s: the machinery failed", order.job_id)
        message = f"The runner itself failed: {type(error).__name__}: {error}."
        outcome = failed(Failure(error_type=ErrorType.GATEWAY_ERROR, message=message))
        executed = None
    end_descendants()
    wire.send_outcome(connection, outcome, executed)
    return None


class _InChild(BaseException):
    """Carries a forked child to the top of the program, past every `except Exception`."""

    def __init__(self, become: Become) -> None:
        super().__init__()
        self.become = become


class _Job:
    """One order on its way through preparation, kernel, papermill and extraction."""

    def __init__(self, order: Order, connection: Connection) -> None:
        self._order = order
        self._connection = connection
        self._sending = threading.Lock()
        self._used = KernelUsed(name=None, requested=order.kernel)
        self._warnings: list[str] = []

    def execute(self, raw: bytes) -> tuple[Outcome, bytes | None]:
        """Everything; a notebook that fails is an outcome.

        Raises:
            Refused: it will not run.
        """
        notebook = read_notebook(raw)
        total = sum(1 for cell in notebook.cells if is_executed(cell))
        try:
            choice = choose(
                notebook,
                asked=self._order.kernel,
                allowed=self._order.allowed_kernels,
                languages=self._order.languages,
            )
        except Refused as refused:
            wanted = self._order.kernel or kernel_of(notebook)
            self._used = KernelUsed(name=None, requested=wanted)
            return self._outcome(refused.failure, {}, CellCount(total=total, executed=0)), None
        if choice.requested is not None and choice.requested != choice.name:
            self._warnings.append(
                f"The kernel `{choice.requested}` is not installed here; the notebook ran on "
                f"`{choice.name}`."
            )
        self._used = KernelUsed(name=choice.name, requested=choice.requested or choice.name)
        try:
            check_modules(notebook, choice, self._folder, self._environment())
            kernel = self._start_kernel(choice)
        except Refused as refused:
            return self._outcome(refused.failure, {}, CellCount(total=total, executed=0)), None
        except KernelNotReady as error:
            failure = Failure(
                error_type=ErrorType.KERNEL_STARTUP,
                message=f"The kernel `{choice.name}` did not start: {error}.",
            )
            return self._outcome(failure, {}, CellCount(total=total, executed=0)), None
        return self._run(notebook, choice, kernel, total)

    @property
    def _folder(self) -> str:
        return self._order.folder or self._order.output_folder

    def _environment(self) -> dict[str, str]:
        order = self._order
        return {
            **os.environ,
            "RUNNER_JOB_ID": order.job_id,
            "RUNNER_NAME": order.name,
            "RUNNER_OUTPUT_DIR": order.output_folder,
        }

    def _start_kernel(self, choice: KernelChoice) -> RunningKernel:
        order = self._order
        setting = KernelSetting(choice.name, self._folder, self._environment(), order.memory_mb)
        if order.start == "fork" and can_fork(choice.name):
            connections = make_connections(order.runtime_folder)
            pid = self._fork(setting, connections)
            start = connect(pid, connections, order.kernel_start_seconds)
        else:
            start = start_cold(setting, order.runtime_folder, order.kernel_start_seconds)
        return ensure_event_loop().run_until_complete(start)

    def _fork(self, setting: KernelSetting, connections: Connections) -> int:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            raise _InChild(lambda: become_kernel(setting, connections, parent))
        return pid

    def _run(
        self, notebook: NotebookNode, choice: KernelChoice, kernel: RunningKernel, total: int
    ) -> tuple[Outcome, bytes | None]:
        order = self._order
        self._send("ready")
        run = Run(kernel, order.output_bytes, self._report)
        end = _EarlyEnd(self._connection, run, order.timeout_seconds)
        end.start()
        error: BaseException | None = None
        try:
            papermill_run.execute(
                notebook,
                run,
                parameters=order.parameters,
                language=choice.language,
                name=choice.name,
            )
        except Exception as raised:  # noqa: BLE001 - whatever it is, it is this notebook's
            error = raised
        reason = end.finish()
        ensure_event_loop().run_until_complete(kernel.shut_down())
        executed = run.notebook if run.notebook is not None else notebook
        failure = self._failure(error, reason, run, notebook)
        return self._finished(executed, failure, total)

    def _finished(
        self, executed: NotebookNode, failure: Failure | None, total: int
    ) -> tuple[Outcome, bytes]:
        order = self._order
        found = extract(executed, tag=order.tag, scrapbook=order.scrapbook)
        self._warnings.extend(found.warnings)
        problems = [f"{problem.name}: {problem.message}" for problem in found.problems]
        if problems and failure is None:
            failure = Failure(
                error_type=ErrorType.RESULT_EXTRACTION_ERROR,
                message=f"The notebook ran, but a result cannot be read: {'; '.join(problems)}.",
            )
        elif problems:
            self._warnings.extend(f"A result cannot be read: {problem}." for problem in problems)
        count = sum(
            1
            for cell in executed.cells
            if cell.cell_type == "code"
            and cell.execution_count
            and "injected-parameters" not in cell.metadata.get("tags", [])
        )
        outcome = self._outcome(failure, found.results, CellCount(total=total, executed=count))
        return outcome, _to_bytes(executed)

    def _outcome(
        self,
        failure: Failure | None,
        results: dict[str, strict_json.JsonValue],
        cells: CellCount,
    ) -> Outcome:
        rest: dict[str, Any] = {
            "results": results,
            "kernel": self._used,
            "cells": cells,
            "warnings": self._warnings,
        }
        return failed(failure, **rest) if failure else Outcome(status=Status.SUCCEEDED, **rest)

    def _failure(
        self, error: BaseException | None, reason: str | None, run: Run, asked: NotebookNode
    ) -> Failure | None:
        if error is None and reason is None:
            return None
        place = _place_of(error, run, asked)
        if reason is not None:
            return Failure(error_type=_REASONS[reason], message=self._why(reason), **place)
        if isinstance(error, PapermillExecutionError):
            return _cell_failure(error, place)
        if isinstance(error, OutputLimit):
            return Failure(
                error_type=ErrorType.OUTPUT_LIMIT,
                message=f"The notebook's outputs are larger than {error.args[0]} bytes "
                "(limits.output_mb); write large results to files instead.",
                **place,
            )
        if isinstance(error, DeadKernelError):
            return Failure(
                error_type=ErrorType.KERNEL_DIED,
                message=f"The kernel died {_during(place)}.",
                **place,
            )
        assert error is not None
        raise error

    def _why(self, reason: str) -> str:
        if reason == "timeout":
            return f"The run passed its limit of {self._order.timeout_seconds:g} s."
        if reason == "cancelled":
            return "The job was cancelled."
        return "The runner was stopped while the notebook ran."

    def _report(self, progress: Progress) -> None:
        self._send("progress", **progress.model_dump())

    def _send(self, kind: str, **fields: object) -> None:
        with self._sending, contextlib.suppress(BrokenPipeError):
            wire.send(self._connection, kind, **fields)


_REASONS = {
    "timeout": ErrorType.TIMEOUT,
    "cancelled": ErrorType.CANCELLED,
    "interrupted": ErrorType.INTERRUPTED,
}


class _EarlyEnd(threading.Thread):
    """Waits for the deadline, for a `Stop`, or for the daemon to vanish, and ends the kernel."""

    def __init__(self, connection: Connection, run: Run, seconds: float) -> None:
        super().__init__(name="early-end", daemon=True)
        self._connection = connection
        self._run = run
        self._kernel = run.kernel
        self._seconds = seconds
        self._reason: str | None = None
        self._ending = threading.Lock()
        self._finished = False
        self._done, self._finish = os.pipe()

    def run(self) -> None:
        from multiprocessing.connection import wait

        try:
            ready = wait([self._connection, self._done], timeout=self._seconds)
            if self._done in ready:
                return
            reason = str(wire.receive(self._connection)["reason"]) if ready else "timeout"
        except (EOFError, OSError):
            self._kernel.kill()
            end_descendants()
            os._exit(1)
        with self._ending:
            if self._finished:
                return
            self._reason = reason
        self._run.is_stopped = True
        self._kernel.interrupt()
        if not wait([self._done], timeout=INTERRUPT_SECONDS):
            self._kernel.kill()
            end_descendants(keep={os.getpid()})

    def finish(self) -> str | None:
        """Execution is over: no early end from now on. Gives the reason if there was one."""
        with self._ending:
            self._finished = True
        os.write(self._finish, b"x")
        self.join()
        return self._reason


def _place_of(error: BaseException | None, run: Run, asked: NotebookNode) -> dict[str, Any]:
    """Which cell it was, in the notebook as it was asked for and not as papermill made it."""
    executed = run.notebook
    if executed is None or run.index is None:
        return {}
    cells = [
        c for c in executed.cells if "papermill-error-cell-tag" not in c.metadata.get("tags", [])
    ]
    index = run.index
    if isinstance(error, PapermillExecutionError):
        index = error.cell_index
    if index >= len(cells):
        return {}
    cell = cells[index]
    injected = next(
        (i for i, c in enumerate(cells) if "injected-parameters" in c.metadata.get("tags", [])),
        None,
    )
    shifted = len(cells) > len(asked.cells) and injected is not None
    original: int | None = index
    if shifted and injected is not None:
        original = None if index == injected else index - (index > injected)
    return {
        "cell": cell.get("execution_count"),
        "cell_index": original,
        "cell_source": strict_json.clean(cell.source),
    }


def _cell_failure(error: PapermillExecutionError, place: dict[str, Any]) -> Failure:
    lines = [line for entry in error.traceback for line in plain_text(str(entry)).split("\n")]
    raised = {
        **place,
        "ename": str(strict_json.clean(error.ename)),
        "evalue": str(strict_json.clean(plain_text(error.evalue))),
        "traceback": [str(strict_json.clean(line)) for line in lines],
    }
    text = f"{raised['ename']}: {raised['evalue']}"
    message = f"{_during(place).capitalize()}: {text[:500]}"
    if error.ename == "ModuleNotFoundError":
        module = _quoted(error.evalue)
        return Failure(
            error_type=ErrorType.MODULE_NOT_FOUND, message=message, module=module, **raised
        )
    if error.ename == "MemoryError":
        return Failure(error_type=ErrorType.OUT_OF_MEMORY, message=message, **raised)
    return Failure(error_type=ErrorType.PAPERMILL_EXECUTION_ERROR, message=message, **raised)


def _quoted(text: str) -> str | None:
    """`a.b` out of "No module named 'a.b'"."""
    parts = text.split("'")
    return parts[1] if len(parts) >= 3 else None


def _during(place: dict[str, Any]) -> str:
    if place.get("cell") is not None:
        return f"in cell [{place['cell']}]"
    if place.get("cell_index") is not None:
        return f"in the cell at position {place['cell_index']}"
    return "while it ran"


def _to_bytes(notebook: NotebookNode) -> bytes:
    """The executed notebook as nbformat writes it, but strict JSON whatever is in its outputs."""
    return strict_json.dumps(split_lines(notebook))
