"""Runs a small notebook in the preload server itself, so that its children start warm."""

import json
import logging
import os
import socket
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from nbformat.v4 import new_code_cell, new_notebook

from runner.contract.results import SCRAP_PREFIX
from runner.execution.forking.serve import leave_loop
from runner.execution.forking.zygote import Become
from runner.execution.job.execute import OrderRun, Surroundings, to_bytes
from runner.execution.job.kernelspecs import installed_kernels
from runner.execution.job.ready import ReadyKernel
from runner.execution.kernel.forked import KernelTemplate
from runner.execution.kernel.running import Origin, make_connections
from runner.execution.limits.hold import UNLIMITED
from runner.execution.order import Order
from runner.system.files.disk import Disk
from runner.system.files.folders import make_private
from runner.system.processes.process_tree import end_descendants

log = logging.getLogger(__name__)


def rehearse(
    folder: Path, template: KernelTemplate, seconds: float, *, glues: bool
) -> Become | list[str]:
    """Run a small notebook in this very process.

    It `glues` by scrapbook if notebooks are expected to. The interpreter specialises frequent code,
    and pages that it writes before a fork stay shared. Leaves no thread and no loop. Returns the
    modules that the kernel has imported; in the child that becomes this kernel, its next step.
    """
    make_private(folder)
    connections, me = make_connections(str(folder)), os.getpid()
    channel, far = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        channel.close()
        return lambda: template.bring_up(connections.file, far, me)
    far.close()
    ready = ReadyKernel(Origin(pid, None, lambda: None), channel, connections)
    ours, theirs = socket.socketpair()
    with theirs, Connection(ours.detach()) as connection:
        order = Order(job_id="", name="", timeout_seconds=seconds, output_folder=str(folder))
        ready.bring_up(seconds, UNLIMITED)
        run = OrderRun(order, connection, Surroundings(folder, ready, installed_kernels()))
        outcome, _ = run.execute(_rehearsed(glues=glues))
    end_descendants()
    ready.close()
    Disk().discard_tree(folder)
    leave_loop()
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
    return to_bytes(new_notebook(cells=cells, metadata={"language_info": {"name": "python"}}))
