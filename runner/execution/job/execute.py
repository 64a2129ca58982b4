"""Executes one order in a job process: prepares the notebook, drives papermill, reads the results.

Leaves nothing running but what was there before, and returns one outcome.
"""

import contextlib
import logging
import os
import socket
import sys
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from jupyter_core.utils import ensure_event_loop
from nbformat import NotebookNode
from nbformat.v4.rwbase import split_lines

from runner.contract.notebook import KernelChoice, Unmarked, kernel_of
from runner.contract.outcome import (
    CellCount,
    ErrorType,
    Failure,
    KernelUsed,
    Outcome,
    Refused,
    Status,
    Usage,
    Variable,
    failed,
    our_fault,
    refuse,
)
from runner.contract.parameters.guesses import texts_for_values
from runner.contract.parameters.listing import unknown_parameters
from runner.contract.parameters.sidecar import Sidecar, SidecarError, read_sidecar
from runner.contract.parameters.signature import signature_of
from runner.contract.text import strict_json
from runner.contract.text.plain_text import excerpt, one_line
from runner.contract.triggers.causes import scheduled_for
from runner.execution import order as wire
from runner.execution.environment import activated
from runner.execution.job import run as papermill_run
from runner.execution.job.diagnosis import Circumstances, failure_of, is_to_be_mended
from runner.execution.job.early_end import EarlyEnd, Lease
from runner.execution.job.guard import guard_of
from runner.execution.job.kernelspecs import Installed, InstalledKernel
from runner.execution.job.packages_of_run import folder_for_packages, make_packages, with_packages
from runner.execution.job.preparation import (
    changes_what_is_imported,
    check_modules,
    choose,
    read_notebook,
)
from runner.execution.job.reading import MadeFiles, Sought, read_results
from runner.execution.job.ready import ReadyKernel
from runner.execution.job.run import Run, is_executed, is_injected
from runner.execution.kernel.forked import KernelSetting
from runner.execution.kernel.running import (
    ColdStart,
    KernelNotReady,
    RunningKernel,
    start_cold,
)
from runner.execution.kernel.variables import variables_alive
from runner.execution.limits.cgroup import Cgroup
from runner.execution.limits.footprint import spent
from runner.execution.limits.hold import (
    KERNEL_MB,
    MEGABYTE,
    UNLIMITED,
    RunLimits,
    count_user_tasks,
    hold,
    is_out_of_files,
    limits_of,
)
from runner.execution.limits.shared_memory import SharedMemory, end_run
from runner.execution.order import Order, Progress, with_paths
from runner.execution.packages import Interpreter, environment_of
from runner.system.files.strays import Strays

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Surroundings:
    """What a job process has for one run, whatever the order."""

    folder: Path
    """A folder for sockets, of this run alone."""
    ready: ReadyKernel | None
    installed: Installed
    limits: RunLimits = UNLIMITED
    cgroup: Cgroup | None = None
    zygote: int | None = None
    """The pid of the process that kernels are forked from: no part of the run."""

    @property
    def spared(self) -> set[int]:
        """The pids below this process that are no part of the run."""
        return set() if self.zygote is None else {self.zygote}


class OrderRun:
    """One order on its way through preparation, kernel, papermill and extraction."""

    def __init__(self, order: Order, connection: Connection, surroundings: Surroundings) -> None:
        self._order = with_paths(order)
        self._begun_at = wire.lease_clock()
        self._connection = connection
        self._surroundings = surroundings
        self._limits = limits_of(surroundings.limits, order.resources)
        self._sending = threading.Lock()
        self._used = KernelUsed(name=None, requested=order.kernel)
        self._cells = CellCount(total=0, executed=0)
        self._warnings: list[str] = []
        self._flushed: set[int] = set()
        """The kernel's pid once it has written everything."""
        self._kernel: RunningKernel | None = None
        self._shared: SharedMemory | None = None
        self._usage: Usage | None = None
        self._made = MadeFiles()

    def execute(self, raw: bytes) -> tuple[Outcome, bytes | None]:
        """Run the whole order. A notebook that fails, or will not run, is an outcome."""
        try:
            unmarked = read_notebook(raw)
            notebook = unmarked.notebook
            if unmarked.note is not None and not self._order.parameters:
                self._warnings.append(unmarked.note)
            total = sum(1 for cell in notebook.cells if is_executed(cell) and not is_injected(cell))
            self._cells = CellCount(total=total, executed=0)
            choice = self._choose(notebook)
            self._check_parameters(notebook)
            kernel = self._start_kernel(notebook, choice)
            return self._run(unmarked, choice, kernel)
        except Refused as refused:
            return self._outcome(refused.failure), None
        except KernelNotReady as error:
            message = f"The kernel `{self._used.name}` did not start: {error}."
            failure = Failure(error_type=ErrorType.KERNEL_STARTUP, message=message)
            return self._outcome(failure), None
        except Exception as error:
            log.exception("job %s: the machinery failed", self._order.job_id)
            return self._outcome(our_fault(error)), None

    def end(self) -> None:
        """End every process of the run; a kernel that has flushed its files may end by itself."""
        is_shared = self._shared is not None and self._shared.is_used
        end_run(keep=self._surroundings.spared | (set() if is_shared else self._flushed))
        if self._shared is not None:
            self._shared.remove()

    def close(self) -> None:
        """Release the kernel's channels, once every process of the run has ended."""
        if self._kernel is not None:
            self._kernel.close()

    def _choose(self, notebook: NotebookNode) -> KernelChoice:
        order = self._order
        self._used = KernelUsed(name=None, requested=order.kernel or kernel_of(notebook))
        choice = choose(
            notebook,
            requested=order.kernel,
            allowed=order.allowed_kernels,
            languages=order.languages,
            installed=self._surroundings.installed,
        )
        if choice.requested is not None and choice.requested != choice.name:
            self._warnings.append(
                f"The kernel `{choice.requested}` is not installed here; the notebook ran on "
                f"`{choice.name}`."
            )
        self._used = KernelUsed(name=choice.name, requested=choice.requested or choice.name)
        return choice

    def _check_parameters(self, notebook: NotebookNode) -> None:
        """Refuse values that do not fit a declared type; warn about those that look wrong.

        The settings say whether values that reach no parameter are refused.

        Raises:
            Refused: `invalid_parameters`; `invalid_notebook` for a wrong sidecar.
        """
        signature = signature_of(notebook, _sidecar_of(self._order))
        signature.check(self._order.parameters)
        text = texts_for_values(notebook, signature, self._order.parameters)
        self._warnings.extend(() if text is None else (text,))
        unknown = unknown_parameters(notebook, self._order.parameters)
        if unknown is None:
            return
        if self._order.unknown_parameters == "refuse":
            raise refuse(ErrorType.INVALID_PARAMETERS, unknown)
        self._warnings.append(unknown)

    def _start_kernel(self, notebook: NotebookNode, choice: KernelChoice) -> RunningKernel:
        order, spec = self._order, self._surroundings.installed[choice.name]
        folder = order.folder or order.output_folder
        environment = {
            **os.environ,
            "RUNNER_JOB_ID": order.job_id,
            "RUNNER_NAME": order.name,
            "RUNNER_INPUT_DIR": order.output_folder,
            "RUNNER_OUTPUT_DIR": order.output_folder,
            **_cause_of(order),
        }
        if spec.prefix is not None:
            environment = activated(environment, spec.prefix)
        check_modules(notebook, choice, spec.python, folder, environment)
        packages = None
        if order.packages_folder is not None:
            packages = make_packages(order.packages_folder)
            environment = with_packages(environment, order.packages_folder, packages)
        setting = KernelSetting(folder, environment, packages)
        is_new = changes_what_is_imported(notebook, folder, environment)
        kernel = self._take_or_start(choice, setting, is_new=is_new)
        group = self._surroundings.cgroup
        if order.resources.memory_mb is not None and group is not None:
            group.limit_memory(order.resources.memory_mb + KERNEL_MB)
        return kernel

    def _take_or_start(
        self, choice: KernelChoice, setting: KernelSetting, *, is_new: bool
    ) -> RunningKernel:
        """Take the waiting kernel if it will do, or start one now; both get their limits.

        `is_new` asks for one that has imported nothing yet.
        """
        around, ready = self._surroundings, self._surroundings.ready
        is_fork = around.installed[choice.name].is_fork
        if ready is not None and is_fork and not is_new:
            self._kernel = ready.take(setting)
            return self._kernel
        if ready is not None:
            ready.close()
        folder, most = Path(around.folder), around.limits.message_bytes
        start = ColdStart(choice.name, setting, folder, most, around.cgroup)
        starting = start_cold(start, self._order.kernel_start_seconds)
        kernel = self._kernel = ensure_event_loop().run_until_complete(starting)
        kernel.zygote = around.zygote
        hold(kernel.pid, self._limits, count_user_tasks())
        return kernel

    def _run(
        self, unmarked: Unmarked, choice: KernelChoice, kernel: RunningKernel
    ) -> tuple[Outcome, bytes]:
        order, notebook = self._order, unmarked.notebook
        self._send("ready")
        run = Run(kernel, order.output_bytes, self._report, lambda: self._send("executed"))
        guard = guard_of(kernel, self._limits, self._surroundings.cgroup)
        lease = Lease(order.lease_seconds, self._begun_at)
        end = EarlyEnd(self._connection, run, order.timeout_seconds, guard, lease)
        end.start()
        error: BaseException | None = None
        strays = Strays(order.folder)
        before = spent()
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
        self._shared = guard.shared
        self._shared.look(is_last=True)
        known = Circumstances(
            reason,
            order.timeout_seconds,
            self._limits,
            peak=0 if error is None else guard.peak(),
            is_out_of_files=error is not None and is_out_of_files(kernel.pid),
            signal=None if error is None else guard.ended_by(),
            has_own_folder=order.folder is None,
            inputs=tuple(one.path for one in order.inputs),
            python=self._surroundings.installed[choice.name].python or sys.executable,
            variables=_alive_after(error, reason, kernel, choice.language),
        )
        self._usage = run.usage(spent().since(before), guard.peak(), unmarked)
        kernel.ask_to_end()
        executed = run.notebook if run.notebook is not None else notebook
        self._warnings.extend(
            [*_early_end_of(executed, run, reason), *_unread_of(run), *strays.warnings()]
        )
        warned = list(self._warnings)
        is_changed = False
        try:
            failure = failure_of(error, run, unmarked, known)
            outcome = self._finished(executed, failure, run)
        finally:
            ending = kernel.end(run.drain)
            has_flushed, is_changed = ensure_event_loop().run_until_complete(ending)
            if has_flushed:
                self._flushed.add(kernel.pid)
        if is_changed:  # by code that ran on after the last cell
            self._warnings = warned
            return self._finished(executed, failure, run)
        return outcome

    def _finished(
        self, executed: NotebookNode, failure: Failure | None, run: Run
    ) -> tuple[Outcome, bytes]:
        extracted = read_results(executed, run.written, self._sought())
        self._send("read")
        self._warnings.extend(extracted.warnings)
        problems = [f"{problem.name}: {problem.message}" for problem in extracted.problems]
        if problems and failure is None:
            failure = Failure(
                error_type=ErrorType.RESULT_EXTRACTION_ERROR,
                message=f"The notebook ran, but a result cannot be read: {'; '.join(problems)}.",
            )
        elif problems:
            self._warnings.extend(f"A result cannot be read: {problem}." for problem in problems)
        self._cells = CellCount(total=self._cells.total, executed=run.cell)
        return self._outcome(failure, extracted.results), to_bytes(executed)

    def _sought(self) -> Sought:
        order, memory_mb = self._order, self._limits.memory_mb
        return Sought(
            tag=order.tag,
            scrapbook=order.scrapbook,
            result_bytes=order.results_bytes,
            memory_bytes=None if memory_mb is None else memory_mb * MEGABYTE,
            seconds=wire.READ_SECONDS,
            folder=Path(order.output_folder),
            made=self._made,
        )

    def _outcome(self, failure: Failure | None, results: str = "{}") -> Outcome:
        rest: dict[str, Any] = {
            "results": results,
            "kernel": self._used,
            "cells": self._cells,
            "host": socket.gethostname(),
            "usage": self._usage,
            **_origin_of(self._order, self._surroundings.installed.get(self._used.name or "")),
            "warnings": self._warnings,
        }
        return failed(failure, **rest) if failure else Outcome(status=Status.SUCCEEDED, **rest)

    def _report(self, progress: Progress) -> None:
        self._send("progress", **progress.model_dump())

    def _send(self, kind: str, **fields: object) -> None:
        with self._sending, contextlib.suppress(BrokenPipeError):
            wire.send(self._connection, kind, **fields)


def _alive_after(
    error: BaseException | None, reason: str | None, kernel: RunningKernel, language: str
) -> dict[str, Variable] | None:
    """Return the variables of a kernel in which a cell raised; None where they say nothing."""
    if reason is not None or language != "python" or not is_to_be_mended(error):
        return None
    asking = variables_alive(kernel, str(error.source))
    return ensure_event_loop().run_until_complete(asking)


def _sidecar_of(order: Order) -> Sidecar | None:
    """Return the parameters file beside the notebook.

    Raises:
        Refused: it is wrong.
    """
    text = order.sidecar
    try:
        return None if text is None else read_sidecar(text.encode())
    except SidecarError as error:  # it has changed since the job was accepted
        message = f"The parameters file beside the notebook is wrong: {error}."
        raise refuse(ErrorType.INVALID_NOTEBOOK, message) from error


def _origin_of(order: Order, spec: InstalledKernel | None) -> dict[str, Any]:
    """Say where the result comes from, as far as the kernel is known."""
    commit = {"library_commit": order.library_commit}
    if spec is None:
        return commit
    base = order.packages_folder
    own = None if base is None else folder_for_packages(base)
    kernel = Interpreter(spec.language, spec.python, own)
    environment, listed = environment_of(kernel, os.environ)
    return {**commit, "environment": environment, "packages": listed}


def _cause_of(order: Order) -> dict[str, str]:
    """Return the variables that say who or what asked for the run."""
    due = scheduled_for(order.submitted_by)
    return {
        "RUNNER_SUBMITTED_BY": order.submitted_by or "",
        **({} if due is None else {"RUNNER_SCHEDULED_FOR": due}),
    }


def _early_end_of(executed: NotebookNode, run: Run, reason: str | None) -> list[str]:
    """Warn if the notebook ended itself and left cells that were not run."""
    if run.exited is None or reason is not None:
        return []
    left = sum(1 for cell in executed.cells[run.exited + 1 :] if is_executed(cell))
    if not left:
        return []
    count = executed.cells[run.exited].execution_count
    return [
        f"The notebook ended itself in its cell In[{count}]; code cells after it, not run: {left}."
    ]


def _unread_of(run: Run) -> list[str]:
    """Warn of output that is nowhere to be seen, such as a whole number of 5,000 digits."""
    if run.unread is None:
        return []
    why = excerpt(one_line(str(run.unread)), 200)
    return [f"An output could not be read, and is not in the notebook or the results: {why}."]


def to_bytes(notebook: NotebookNode) -> bytes:
    """Write the executed notebook as nbformat does, but always as strict JSON."""
    return strict_json.dumps(split_lines(notebook))
