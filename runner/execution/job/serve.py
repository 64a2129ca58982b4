"""The job process: lives for one notebook, drives papermill, and ends with its kernel.

The preload server forks it, and it forks its kernel. It may be ready long before its order comes.
It leaves nothing running, and sends one outcome.
"""

import asyncio
import contextlib
import gc
import json
import logging
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from jupyter_core.utils import ensure_event_loop
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook
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
    refuse,
)
from runner.contract.parameters.guesses import texts_for_values
from runner.contract.parameters.listing import unknown_parameters
from runner.contract.parameters.sidecar import Sidecar, SidecarError, read_sidecar
from runner.contract.parameters.signature import signature_of
from runner.contract.results import SCRAP_PREFIX
from runner.contract.text import strict_json
from runner.contract.text.plain_text import excerpt, one_line
from runner.contract.triggers.causes import scheduled_for
from runner.execution import order as wire
from runner.execution.environment import activated
from runner.execution.job import run as papermill_run
from runner.execution.job.diagnosis import Circumstances, failure_of, is_to_be_mended
from runner.execution.job.early_end import EarlyEnd, Lease
from runner.execution.job.guard import guard_of
from runner.execution.job.kernelspecs import Installed, InstalledKernel, installed_kernels
from runner.execution.job.packages_of_run import folder_for_packages, make_packages, with_packages
from runner.execution.job.preparation import (
    changes_what_is_imported,
    check_modules,
    choose,
    read_notebook,
)
from runner.execution.job.reading import MadeFiles, Sought, read_results
from runner.execution.job.run import Run, is_executed, is_injected
from runner.execution.kernel import forked
from runner.execution.kernel.forked import KernelSetting, KernelTemplate
from runner.execution.kernel.running import (
    ColdStart,
    Connections,
    KernelNotReady,
    RunningKernel,
    connect,
    make_connections,
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
from runner.execution.local.preload_server import DRIVER, Preload
from runner.execution.order import Order, Progress, with_paths
from runner.execution.packages import Interpreter, environment_of
from runner.system.files.disk import Disk
from runner.system.files.folders import make_private
from runner.system.files.strays import Strays
from runner.system.processes.process_tree import adopt_orphans, end_descendants, show_as

log = logging.getLogger(__name__)

_NOISY = ("papermill", "nbclient", "traitlets", "asyncio")

Become = Callable[[], None]
"""The next step of a forked child, once it has returned to the top of the program."""


@dataclass(frozen=True)
class Surroundings:
    """The resources of a job process before it has an order."""

    folder: Path
    """Its own folder for sockets; made here, removed by the daemon."""
    forked: "_Forked | None"
    installed: Installed
    limits: RunLimits = UNLIMITED
    cgroup: Cgroup | None = None


class _Forked:
    """A kernel that was forked before an order came."""

    def __init__(self, pid: int, channel: socket.socket, connections: Connections) -> None:
        self._pid = pid
        self._channel = channel
        self._connections = connections
        self._kernel: RunningKernel | None = None
        self.trouble: str | None = None
        """Reason why the kernel did not come up."""

    def bring_up(self, seconds: float, limits: RunLimits, orders: Connection | None = None) -> None:
        """Wait until the kernel has run an empty cell or failed, then set its limits.

        Raises:
            EOFError: the daemon, at the other end of `orders`, is gone.
        """
        start = connect(self._pid, self._channel, self._connections, seconds, limits.message_bytes)
        loop = ensure_event_loop()
        starting = loop.create_task(start)

        def heard(orders: Connection) -> None:
            loop.remove_reader(orders.fileno())
            if _is_closed(orders):
                starting.cancel()

        if orders is not None:
            loop.add_reader(orders.fileno(), heard, orders)
        try:
            self._kernel = loop.run_until_complete(starting)
        except asyncio.CancelledError as error:
            raise EOFError from error
        except KernelNotReady as error:
            self.trouble = str(error)
        else:
            hold(self._pid, limits, count_user_tasks())
        finally:
            if orders is not None:
                loop.remove_reader(orders.fileno())

    def waits(self, connection: Connection) -> bool:
        """Wait for an order. False if the kernel ends first: then nothing is begun."""
        if self._kernel is None:
            return True
        return connection in wait([connection, self._kernel.pidfd])

    def take(self, setting: KernelSetting) -> RunningKernel:
        """Hand out the kernel, which belongs to this job from now on.

        Raises:
            KernelNotReady: there is none.
        """
        if self._kernel is None:
            raise KernelNotReady(self.trouble)
        failure = forked.assign(self._channel, setting)
        if failure is not None:
            raise KernelNotReady(failure)
        return self._kernel

    def close(self) -> None:
        """End the kernel, because nobody needs it."""
        self._channel.close()
        if self._kernel is not None:
            self._kernel.kill()
            self._kernel.close()


def _is_closed(connection: Connection) -> bool:
    """Tell whether nobody is at the other end; an order may lie in it."""
    poll = select.poll()
    poll.register(connection.fileno(), 0)
    return any(events & select.POLLHUP for _, events in poll.poll(0))


def _fork(folder: Path, template: KernelTemplate, cgroup: Cgroup | None) -> _Forked | Become:
    """Fork a kernel, and move it into `cgroup`. In that child, return its next step."""
    make_private(folder)
    connections, parent = make_connections(str(folder)), os.getpid()
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        return lambda: template.bring_up(connections.file, theirs, parent)
    theirs.close()
    if cgroup is not None:
        cgroup.enter(pid)
    return _Forked(pid, ours, connections)


def serve_one(
    connection: Connection, preload: Preload, template: KernelTemplate | None
) -> Become | None:
    """Execute the one order that comes over `connection`.

    Given a template, fork a kernel at once and bring it up before the order comes. In that child,
    return its next step; in the job process, return None, and it ends then.
    """
    os.setsid()
    adopt_orphans()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    wire.send(connection, "hello", pid=os.getpid())
    key = str(os.getpid())
    folder, limits = Path(preload.runtime_folder) / key, preload.limits
    cgroup = _make_cgroup(preload, key)
    ready = _fork(folder, template, cgroup) if template is not None else None
    if ready is not None and not isinstance(ready, _Forked):
        return ready
    show_as(DRIVER)  # after the fork: a kernel keeps Python's own name, as notebooks know it
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
    if ready is not None:
        ready.bring_up(preload.kernel_start_seconds, limits, connection)
    else:
        make_private(folder)
    surroundings = Surroundings(folder, ready, installed_kernels(), limits, cgroup)
    if ready is not None:
        wire.send(connection, "waiting", trouble=ready.trouble)
    if ready is None or ready.waits(connection):
        gc.enable()
        _serve(connection, surroundings)
    return None


def _make_cgroup(preload: Preload, key: str) -> Cgroup | None:
    """Make the control group for this run's kernel, if the settings have one."""
    if preload.cgroup is None:
        return None
    memory = preload.limits.memory_mb
    with_kernel = None if memory is None else memory + KERNEL_MB
    return Cgroup.make(Path(preload.cgroup), key, with_kernel, preload.limits.processes)


def rehearse(
    folder: Path, template: KernelTemplate, seconds: float, *, glues: bool
) -> Become | list[str]:
    """Run a small notebook in this very process, so that its children start warm.

    It `glues` by scrapbook if notebooks are expected to. The interpreter specialises frequent code,
    and pages that it writes before a fork stay shared. Leaves no thread and no loop. Returns the
    modules that the kernel has imported; in the child that becomes this kernel, its next step.
    """
    ready = _fork(folder, template, None)
    if not isinstance(ready, _Forked):
        return ready
    ours, theirs = socket.socketpair()
    with theirs, Connection(ours.detach()) as connection:
        order = Order(job_id="", name="", timeout_seconds=seconds, output_folder=str(folder))
        ready.bring_up(seconds, UNLIMITED)
        job = _Job(order, connection, Surroundings(folder, ready, installed_kernels()))
        outcome, _ = job.execute(_rehearsed(glues=glues))
    ready.close()
    end_descendants()
    Disk().discard_tree(folder)
    ensure_event_loop().close()
    asyncio.set_event_loop(None)
    if outcome.failure is not None:
        log.warning(
            "a small notebook that is tried before the first job did not run (%s); jobs may start "
            "more slowly, and `runner doctor` says whether they run",
            outcome.failure.message,
        )
        return []
    modules: Any = json.loads(outcome.results)["modules"]
    return list(modules)


def _rehearsed(*, glues: bool) -> bytes:
    lines = ["import sys", *("print(1)", "None", "1 + 1") * 5]
    if glues:
        lines.append('import scrapbook; scrapbook.glue("one", 1)')
    scrap = '{"name": "modules", "data": sorted(sys.modules)}'
    lines.append(f'display({{"{SCRAP_PREFIX}json+json": {scrap}}}, raw=True)')
    cells = [new_code_cell(line) for line in lines]
    return _to_bytes(new_notebook(cells=cells, metadata={"language_info": {"name": "python"}}))


def _serve(connection: Connection, surroundings: Surroundings) -> None:
    """Execute one order; send an outcome whatever happens."""
    order = Order.model_validate(wire.receive(connection)["order"])
    raw = connection.recv_bytes()
    wire.send(connection, "begun")
    job = _Job(order, connection, surroundings)
    outcome, executed = job.execute(raw)
    job.end()
    wire.send_outcome(connection, outcome, executed)
    end_descendants()


class _Job:
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
            message = (
                f"The runner itself failed: {type(error).__name__}: {error}. Its log says where."
            )
            failure = Failure(error_type=ErrorType.GATEWAY_ERROR, message=message)
            return self._outcome(failure), None

    def end(self) -> None:
        """End every process of the run; a kernel that has flushed its files may end by itself."""
        is_shared = self._shared is not None and self._shared.is_used
        end_run(keep=() if is_shared else self._flushed)
        if self._shared is not None:
            self._shared.remove()

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
        signature = signature_of(notebook, self._sidecar())
        signature.check(self._order.parameters)
        text = texts_for_values(notebook, signature, self._order.parameters)
        self._warnings.extend(() if text is None else (text,))
        unknown = unknown_parameters(notebook, self._order.parameters)
        if unknown is None:
            return
        if self._order.unknown_parameters == "refuse":
            raise refuse(ErrorType.INVALID_PARAMETERS, unknown)
        self._warnings.append(unknown)

    def _sidecar(self) -> Sidecar | None:
        text = self._order.sidecar
        try:
            return None if text is None else read_sidecar(text.encode())
        except SidecarError as error:  # it has changed since the job was accepted
            message = f"The parameters file beside the notebook is wrong: {error}."
            raise refuse(ErrorType.INVALID_NOTEBOOK, message) from error

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
        around, ready = self._surroundings, self._surroundings.forked
        is_fork = around.installed[choice.name].is_fork
        if ready is not None and is_fork and not is_new:
            return ready.take(setting)
        if ready is not None:
            ready.close()
        folder, most = Path(around.folder), around.limits.message_bytes
        start = ColdStart(choice.name, setting, folder, most, around.cgroup)
        starting = start_cold(start, self._order.kernel_start_seconds)
        kernel = ensure_event_loop().run_until_complete(starting)
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
        return self._outcome(failure, extracted.results), _to_bytes(executed)

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


def _to_bytes(notebook: NotebookNode) -> bytes:
    """Write the executed notebook as nbformat does, but always as strict JSON."""
    return strict_json.dumps(split_lines(notebook))
