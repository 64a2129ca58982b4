"""Drives papermill over one notebook against one kernel: progress, output cap, early end.

Gives the notebook as far as it got and the exception that ended it. Judges neither.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import papermill
from jupyter_core.utils import ensure_event_loop
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_output
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines

from runner.execution.kernel import RunningKernel
from runner.execution.order import TAIL_BYTES, Progress
from runner.plain_text import plain_text

ENGINE = "inbox-runner"
IOPUB_SECONDS = 120
"""nbclient's 4 s lose the output of a cell that prints much."""
DRAIN_SECONDS = 0.2
HANG_UP_SECONDS = 1.0
"""A kernel that ends hangs up first."""
PROGRESS_SECONDS = 1.0
CUT_HERE = "[cut here: the notebook's output limit is reached (limits.output_mb)]"
LEAST_BYTES = 100
"""What any message counts that is no text."""


class StoppedEarly(Exception):
    """The run was ended from outside, between two cells."""


class OutputLimit(Exception):
    """A notebook's outputs are larger than allowed: `allowed_bytes`."""


@dataclass
class Run:
    """One execution, and what is known of it from outside while it goes on."""

    kernel: RunningKernel
    output_bytes: int
    report: Callable[[Progress], None]
    clock: Callable[[], float] = time.monotonic
    notebook: NotebookNode | None = None
    cells: int = 0
    cell: int = 0
    index: int | None = None
    """Of the cell that runs, in the notebook with its injected parameters."""
    written: int = 0
    is_stopped: bool = False
    """Set from another thread, when the run is to end before its time."""
    tail: str = ""
    _reported: float = float("-inf")
    _pending: bool = False

    def entered(self, index: int, *, is_code: bool) -> None:
        """A cell begins."""
        self.index = index
        if is_code:
            self.cell += 1
            self.progress()

    def printed(self, text: str) -> None:
        """The notebook wrote to its standard output or error."""
        self.tail = (self.tail + text[-TAIL_BYTES:])[-TAIL_BYTES:]
        self.progress()

    def progress(self) -> None:
        """Report now, or as soon as the last report is long enough ago."""
        if self._pending:
            return
        left = self._reported + PROGRESS_SECONDS - self.clock()
        if left <= 0:
            self._report_now()
        else:
            self._pending = True
            ensure_event_loop().call_later(left, self._report_now)

    def _report_now(self) -> None:
        self._pending, self._reported = False, self.clock()
        self.report(Progress(cell=self.cell, cells=self.cells, tail=plain_text(self.tail)))

    @property
    def is_over(self) -> bool:
        """Whether there is more output than allowed."""
        return self.written > self.output_bytes

    def overflow(self) -> None:
        """An output came that is larger than all of them may be; nothing of it is known."""
        self.written = max(self.written, self.output_bytes) + 1
        if self.notebook is not None and self.index is not None:
            outputs = self.notebook.cells[self.index].outputs
            outputs.append(new_output("stream", name="stderr", text=f"{CUT_HERE}\n"))

    def count(self, size: int) -> bool:
        """Count output; False as soon as it is too much."""
        self.written += size
        return not self.is_over


def execute(
    notebook: NotebookNode,
    run: Run,
    *,
    parameters: Mapping[str, object],
    language: str,
    name: str,
) -> None:
    """Execute `notebook` cell by cell with papermill; `run.notebook` is the executed one.

    Raises:
        papermill.PapermillExecutionError: a cell raised.
        DeadKernelError: the kernel is gone.
        OutputLimit: see there.
    """
    run.cells = sum(1 for cell in notebook.cells if is_executed(cell)) + bool(parameters)
    papermill.execute_notebook(
        notebook,
        None,
        parameters=dict(parameters),
        engine_name=ENGINE,
        kernel_name=name,
        language=language,
        progress_bar=False,
        request_save_on_cell_execute=False,
        autosave_cell_every=0,
        run=run,
    )


def is_executed(cell: Mapping[str, Any]) -> bool:
    """Whether a cell of a normalised notebook is one that nbclient sends to the kernel."""
    return bool(
        cell["cell_type"] == "code"
        and cell["source"].strip()
        and "skip-execution" not in cell["metadata"].get("tags", [])
    )


class _Client(PapermillNotebookClient):  # type: ignore[misc]
    """papermill's client on a kernel that is there already."""

    def __init__(self, nb_man: Any, run: Run) -> None:
        super().__init__(nb_man, timeout=None, iopub_timeout=IOPUB_SECONDS, coalesce_streams=False)
        self._run = run
        self._stream = _Stream()

    def execute(self, **_: object) -> NotebookNode:
        self.reset_execution_trackers()
        self.kc = self._run.kernel.client
        try:
            self.papermill_execute_cells()
        finally:
            if self._run.is_over:
                raise OutputLimit(self._run.output_bytes)
        self.nb.metadata["language_info"] = self._run.kernel.language_info
        self.set_widgets_metadata()
        return self.nb

    async def async_execute_cell(self, cell: NotebookNode, cell_index: int, **kw: Any) -> Any:
        if self._run.is_stopped:
            raise StoppedEarly
        self._run.entered(cell_index, is_code=is_executed(cell))
        try:
            return await super().async_execute_cell(cell, cell_index, **kw)
        finally:
            self._stream.close()

    def execute_cell(self, cell: NotebookNode, cell_index: int) -> Any:
        return ensure_event_loop().run_until_complete(self.async_execute_cell(cell, cell_index))

    async def _async_check_alive(self) -> None:
        if not self._run.kernel.is_alive():
            raise DeadKernelError("Kernel died")

    async def _async_poll_kernel_alive(self) -> None:
        """Told by the system at once, where nbclient asks every second.

        A connection that ends while the kernel lives was ended for a message too large to be read.
        """
        kernel = self._run.kernel
        ended, hung_up = (
            asyncio.ensure_future(kernel.ended()),
            asyncio.ensure_future(kernel.hung_up()),
        )
        try:
            await asyncio.wait({ended, hung_up}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({ended}, timeout=HANG_UP_SECONDS)
        finally:
            hung_up.cancel()
            ended.cancel()
        if kernel.is_alive():
            self._run.overflow()
            kernel.kill()
        await asyncio.sleep(DRAIN_SECONDS)
        if self.task_poll_for_reply is not None:
            self.task_poll_for_reply.cancel()

    def process_message(self, msg: dict[str, Any], cell: NotebookNode, cell_index: int) -> Any:
        size = _size(msg)
        if size and self._run.is_over:
            return None
        if size and not self._run.count(size):
            _cut(msg, size - (self._run.written - self._run.output_bytes))
            self._run.kernel.kill()
        if msg["msg_type"] == "stream":
            self._run.printed(msg["content"]["text"])
        return super().process_message(msg, cell, cell_index)

    def output(
        self, outs: list[NotebookNode], msg: dict[str, Any], display_id: str | None, index: int
    ) -> Any:
        """Text that follows text of the same stream belongs to it.

        nbclient's own way (`coalesce_streams`) takes minutes for one line of a megabyte.
        """
        plain = not self.clear_before_next_output
        plain = plain and not self.output_hook_stack[msg["parent_header"].get("msg_id")]
        if msg["msg_type"] == "stream" and plain and self._stream.continues(outs, msg["content"]):
            return outs[-1]
        added = super().output(outs, msg, display_id, index)
        if msg["msg_type"] == "stream" and added is not None:
            self._stream.open(added)
        return added


class _Stream:
    """The stream output that grows: its parts are joined once."""

    def __init__(self) -> None:
        self._output: NotebookNode | None = None
        self._parts: list[str] = []

    def open(self, output: NotebookNode) -> None:
        """A new stream output begins."""
        self.close()
        self._output, self._parts = output, [output["text"]]

    def continues(self, outs: list[NotebookNode], content: dict[str, Any]) -> bool:
        """Whether this text goes on where the last output ended; then it is taken."""
        output = self._output
        if output is None or not outs or outs[-1] is not output:
            return False
        if output["name"] != content["name"]:
            return False
        self._parts.append(content["text"])
        return True

    def close(self) -> None:
        """Join what came."""
        if self._output is not None:
            self._output["text"] = "".join(self._parts)
        self._output, self._parts = None, []


class _Engine(NBClientEngine):  # type: ignore[misc]
    """papermill's engine with our client."""

    @classmethod
    def execute_managed_notebook(
        cls, nb_man: Any, kernel_name: str, run: Run | None = None, **_: object
    ) -> Any:
        assert run is not None
        run.notebook = nb_man.nb
        nb_man.nb.metadata.papermill.pop("input_path", None)
        nb_man.nb.metadata.papermill.pop("output_path", None)
        return _Client(nb_man, run).execute()


def register() -> None:
    """Make papermill know our engine; once in a process."""
    papermill_engines.register(ENGINE, _Engine)


def _size(msg: Mapping[str, Any]) -> int:
    """How many bytes of a message stay in the notebook or in this process, about.

    Everything that a notebook can make its kernel say counts, be it only a little.
    """
    kind, content = msg["msg_type"], msg["content"]
    if kind in ("status", "execute_input"):
        return 0
    if kind == "stream":
        return _length(content["text"])
    buffers = sum(len(buffer) for buffer in msg.get("buffers", ()))
    return LEAST_BYTES + buffers + _length(content)


def _length(value: object) -> int:
    """Of a JSON value's text in UTF-8, without its punctuation."""
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, Mapping):
        return sum(len(key) + _length(inner) for key, inner in value.items())
    if isinstance(value, list):
        return sum(map(_length, value))
    return 8


def _cut(msg: dict[str, Any], kept: int) -> None:
    """Shorten the output that passed the limit, and say so in the notebook."""
    note, content = CUT_HERE, msg["content"]
    if msg["msg_type"] == "stream":
        content["text"] = f"{content['text'][: max(kept, 0)]}\n{note}\n"
    elif msg["msg_type"] == "error":
        content.update(ename="OutputLimit", evalue=note, traceback=[note])
    elif msg["msg_type"] in ("display_data", "execute_result", "update_display_data"):
        content.update(data={"text/plain": note}, metadata={})
    else:
        content.update(data={}, metadata={})
