"""Runs one piece of code in a kernel, to its end or the end of its time, and keeps its outputs.

Shows them in the notebook while they come, if the code is a cell's.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from runner.mcp.jupyter.api import JupyterAway, JupyterRefused
from runner.mcp.jupyter.cells import hash_of
from runner.mcp.jupyter.document import Document
from runner.mcp.notebooks.cell import Execution, KernelGone, Message, Reply
from runner.mcp.outputs import Outputs

SHOW_SECONDS = 0.2
LOOK_SECONDS = 0.2
INTERRUPT_SECONDS = 10.0
UNRUN = ("waiting", "not_run", "removed")
"""How a step is that no kernel has."""
Interrupt = Callable[[], Awaitable[None]]


@dataclass
class Step:
    """Code of one cell, or without a cell, and how far it is."""

    source: str
    cell_id: str | None = None
    hash: str = ""
    """The cell's, as it was read."""
    is_fixed: bool = False
    """Whether it runs only as it was read; else as it is when its turn comes."""
    index: int | None = None
    status: str = "waiting"
    """`waiting`, `running`, `ok`, `error`, `timed_out`, `kernel_died`, `not_run` or `removed`."""
    hindrance: str = ""
    """What it waits for."""
    notes: list[str] = field(default_factory=list)
    count: int | None = None
    named_count: int | None = None
    """The count that tracebacks name it by: without a cell, that of the next one."""
    has_exited: bool = False
    """Whether it has ended its kernel itself."""
    seconds: float = 0.0
    outputs: Outputs = field(default_factory=Outputs)
    execution: Execution | None = None
    has_ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once it has ended with all that is told of it, though its run may go on."""

    def end(self, status: str, note: str | None = None) -> None:
        """Set how it ended."""
        self.status = status
        self.add_note(note)

    def add_note(self, note: str | None) -> None:
        """Add a sentence for the agent."""
        if note and note not in self.notes:
            self.notes.append(note)

    @property
    def elapsed(self) -> float:
        """Seconds since the kernel has it, or that it took."""
        sent_at = self.execution.sent_at if self.execution is not None else None
        if self.status == "running" and sent_at is not None:
            return time.monotonic() - sent_at
        return self.seconds


async def run_in_cell(
    document: Document, step: Step, execution: Execution, limit: float, interrupt: Interrupt
) -> None:
    """Run a cell of a notebook, and show its outputs there as they come."""
    assert step.cell_id is not None
    has_news = asyncio.Event()
    showing: asyncio.Task[None] | None = None
    running = asyncio.create_task(run_code(step, execution, limit, interrupt, has_news.set))
    free = asyncio.create_task(execution.is_free.wait())
    try:
        while _is_as_it_was(document, step, execution):
            done, _ = await asyncio.wait(
                [running, free], timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            if done:
                break
        if execution.sent_at is not None:
            document.begin(step.cell_id)
            document.show(step.cell_id, [])
            showing = asyncio.create_task(_show(document, step, has_news))
        await running
    finally:
        free.cancel()
        running.cancel()
        if showing is not None:
            showing.cancel()
            document.show(step.cell_id, step.outputs.items)
            document.end(step.cell_id, step.count)


async def run_code(
    step: Step,
    execution: Execution,
    limit: float,
    interrupt: Interrupt,
    changed: Callable[[], None] = lambda: None,
) -> None:
    """Run code once its kernel is free; past its time the kernel is interrupted."""

    def take(message: Message) -> None:
        if message["header"]["msg_type"] == "execute_input":
            step.count = step.named_count = message["content"]["execution_count"]
        if step.outputs.add(message):
            changed()

    running = asyncio.ensure_future(execution.run(take))
    free = asyncio.ensure_future(execution.is_free.wait())
    try:
        await asyncio.wait([running, free], return_when=asyncio.FIRST_COMPLETED)
        if execution.sent_at is not None:
            step.status = "running"
        await asyncio.wait([running], timeout=limit)
        if not running.done():
            step.end("timed_out", await _stopped(running, interrupt))
        else:
            reply = running.result()
            step.count, step.has_exited = reply.execution_count, reply.ends_kernel
            step.add_note("it ended its kernel: variables are gone" if step.has_exited else None)
            step.end("ok" if reply.status == "ok" else "error")
    except KernelGone as gone:
        if execution.sent_at is not None:
            step.end("kernel_died", str(gone))
        elif step.status == "waiting":
            step.end("not_run", str(gone))
    finally:
        running.cancel()
        free.cancel()
        if execution.sent_at is not None:
            step.seconds = round(time.monotonic() - execution.sent_at, 2)


def _is_as_it_was(document: Document, step: Step, execution: Execution) -> bool:
    """Follow what becomes of a cell until the kernel has it; False if it is not to be run."""
    assert step.cell_id is not None
    source = document.code_of(step.cell_id)
    if source is None:
        if execution.give_up():
            step.end("removed")
        return False
    if source == step.source:
        return True
    if step.is_fixed:
        if execution.give_up():
            step.end("not_run", "the cell has changed while it waited")
        return False
    if execution.rewrite(source):
        step.source, step.hash = source, hash_of({"cell_type": "code", "source": source})
        step.add_note("the cell was changed while it waited, and ran as it is now")
    return True


async def _stopped(running: "asyncio.Future[Reply]", interrupt: Interrupt) -> str:
    try:
        await interrupt()
    except (JupyterAway, JupyterRefused) as error:
        return f"it could not be interrupted: {error}"
    await asyncio.wait([running], timeout=INTERRUPT_SECONDS)
    if not running.done():
        return "the kernel was interrupted but has not stopped yet"
    with suppress(KernelGone):
        running.result()
    return "the kernel was interrupted; its variables are kept"


async def _show(document: Document, step: Step, has_news: asyncio.Event) -> None:
    """Show outputs as they come, a few times a second."""
    assert step.cell_id is not None
    while True:
        await has_news.wait()
        has_news.clear()
        document.show(step.cell_id, step.outputs.items)
        await asyncio.sleep(SHOW_SECONDS)
