"""Drives papermill over one notebook against one kernel: progress, output cap, early end.

Returns the notebook as far as it got, and the exception that ended it. Judges neither.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import nlargest
from typing import Any

import papermill
from jupyter_core.utils import ensure_event_loop
from nbclient.exceptions import CellExecutionComplete, CellExecutionError, DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_output
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines

from runner.contract.notebook import ERROR_TAG, EXPECTED_TAG, INJECTED_TAG, Unmarked
from runner.contract.outcome import CellSeconds, Usage
from runner.contract.text.plain_text import plain_text
from runner.contract.text.terminal import TerminalText
from runner.execution.kernel.messages import well_formed
from runner.execution.kernel.running import ODD, RunningKernel
from runner.execution.limits.footprint import Spent
from runner.execution.order import TAIL_BYTES, Progress

log = logging.getLogger(__name__)

ENGINE = "inbox-runner"
IOPUB_SECONDS = 120
"""Wait for output: nbclient's 4 s lose the output of a cell that prints much."""
DRAIN_SECONDS = 0.2
HANG_UP_SECONDS = 1.0
"""Wait for a dying kernel, which hangs up first."""
PROGRESS_SECONDS = 1.0
CUT_HERE = "[cut here: the notebook's output limit is reached (limits.output_mb)]"
_SILENT = logging.getLogger("silent")
"""Swallows nbclient's log lines about messages; a notebook could fill the log with them."""
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False
_NO_FAILURES = ("", "0", "False", "None")
"""Texts of `sys.exit()` that mean success, as from `main()` and `unittest.main()`."""
MOST_TIMED = 500
"""Most cells whose seconds are told; of more, the longest."""
LEAST_BYTES = 100
"""Size that any message without text counts for."""


class StoppedEarly(Exception):
    """The run was ended from outside, between two cells."""


class OutputLimit(Exception):
    """A notebook's outputs are larger than allowed: `allowed_bytes`."""


@dataclass
class Run:
    """One execution, and its state as seen from outside."""

    kernel: RunningKernel
    output_bytes: int
    report: Callable[[Progress], None]
    on_over: Callable[[], None] = lambda: None
    """Called when no cell runs any more; papermill may still write for a while."""
    clock: Callable[[], float] = time.monotonic
    notebook: NotebookNode | None = None
    cells: int = 0
    cell: int = 0
    index: int | None = None
    """Index of the running cell, in the notebook with its injected parameters."""
    written: int = 0
    overflowed: int | None = None
    """Index of the cell whose output was one too many; another one may be running by then."""
    is_stopped: bool = False
    """Set by another thread to end the run early."""
    replies: dict[int, dict[str, Any]] = field(default_factory=dict)
    """The kernel's reply for each cell that it ran, by index as above."""
    seconds: dict[int, float] = field(default_factory=dict)
    """How long each cell took, by index as above."""
    exited: int | None = None
    """Index of the cell in which the notebook ended itself without a failure."""
    unread: Exception | None = None
    """Why the first of the kernel's messages that nobody can read was none."""
    hidden: list[tuple[NotebookNode, list[NotebookNode]]] = field(default_factory=list)
    """Cells whose errors papermill must not see, with all their outputs."""
    drain: Callable[[], Awaitable[bool]] | None = None
    """Takes the kernel's last messages until it ends; returns whether there were any."""
    _tail: TerminalText = field(default_factory=TerminalText)
    _reported: float = float("-inf")
    _pending: bool = False

    def entered(self, index: int, *, is_code: bool) -> None:
        """Note that a cell begins."""
        self.index = index
        if is_code:
            self.cell += 1
            self.progress()

    async def timed(self, index: int, execution: Awaitable[Any]) -> Any:
        """Wait for a cell, and note how long it ran."""
        began = self.clock()
        try:
            return await execution
        finally:
            self.seconds[index] = self.clock() - began

    def usage(self, spent: Spent, peak: int, source: Unmarked) -> Usage:
        """Describe what the run took. `peak` is in bytes; 0 if none was seen."""
        executed = [] if self.notebook is None else asked_cells(self.notebook)
        positions = positions_of(executed, source)
        cells = [
            CellSeconds(cell_index=position, seconds=round(seconds, 3))
            for index, seconds in self.seconds.items()
            if index < len(executed) and is_executed(executed[index])
            if (position := positions[index]) is not None
        ]
        if len(cells) > MOST_TIMED:
            longest = nlargest(MOST_TIMED, cells, key=lambda cell: cell.seconds)
            cells = sorted(longest, key=lambda cell: cell.cell_index)
        return Usage(
            cpu_seconds=None if spent.cpu_seconds is None else round(spent.cpu_seconds, 2),
            peak_memory_bytes=peak or None,
            written_bytes=spent.written_bytes,
            cells=cells,
        )

    def printed(self, text: str) -> None:
        """Note text that the notebook wrote to its standard output or error."""
        self._tail.write(text[-TAIL_BYTES:])
        self._tail.forget(TAIL_BYTES)
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
        tail = plain_text(self._tail.text[-TAIL_BYTES:])
        self.report(Progress(cell=self.cell, cells=self.cells, tail=tail))

    @property
    def is_over(self) -> bool:
        """Whether there is more output than allowed."""
        return self.written > self.output_bytes

    def overflow(self) -> None:
        """Note an output that alone is larger than the limit; its content is unknown."""
        self.written = max(self.written, self.output_bytes) + 1
        self.overflowed = self.index
        if self.notebook is not None and self.index is not None:
            outputs = self.notebook.cells[self.index].outputs
            outputs.append(new_output("stream", name="stderr", text=f"{CUT_HERE}\n"))

    def count(self, size: int, index: int) -> bool:
        """Count output of a cell (negative if some was removed); False if it is too much."""
        self.written = max(self.written + size, 0)
        if self.is_over and self.overflowed is None:
            self.overflowed = index
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
    run.cells = sum(1 for cell in notebook.cells if is_executed(cell) and not is_injected(cell))
    try:
        _by_papermill(notebook, run, parameters=parameters, language=language, name=name)
    finally:
        for cell, outputs in run.hidden:
            cell.outputs = outputs


def _by_papermill(
    notebook: NotebookNode,
    run: Run,
    *,
    parameters: Mapping[str, object],
    language: str,
    name: str,
) -> None:
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
    """Return whether nbclient sends this cell of a normalised notebook to the kernel."""
    return bool(
        cell["cell_type"] == "code"
        and cell["source"].strip()
        and "skip-execution" not in cell["metadata"].get("tags", [])
    )


def asked_cells(executed: NotebookNode) -> list[NotebookNode]:
    """Return the notebook's cells without those that papermill adds to a failed one."""
    return [c for c in executed.cells if ERROR_TAG not in c.metadata.get("tags", [])]


def positions_of(cells: Sequence[NotebookNode], source: Unmarked) -> list[int | None]:
    """Return the place of each executed cell in the notebook as it came; None if it is ours."""
    injected = next((i for i, cell in enumerate(cells) if is_injected(cell)), None)
    positions: list[int | None] = list(source.positions)
    if injected is not None and len(cells) > len(source.notebook.cells):
        positions.insert(injected, None)
    return positions


def is_injected(cell: Mapping[str, Any]) -> bool:
    """Return whether papermill added this cell, with the parameters."""
    return INJECTED_TAG in cell["metadata"].get("tags", [])


class _Client(PapermillNotebookClient):  # type: ignore[misc]
    """papermill's client on a kernel that runs already."""

    def __init__(self, nb_man: Any, run: Run) -> None:
        super().__init__(nb_man, timeout=None, iopub_timeout=IOPUB_SECONDS, coalesce_streams=False)
        self._run = run
        self.clear_before_next_output = False
        self.log = _SILENT
        self._has_left_out = False
        self._streams: dict[int, _Stream] = {}
        self._begun: dict[str, tuple[NotebookNode, int]] = {}
        """The cells that the kernel was told to run, by the id of that message."""

    def execute(self, **_: object) -> NotebookNode:
        self.reset_execution_trackers()
        self.kc = self._run.kernel.client
        self._run.drain = self._drain
        try:
            self.papermill_execute_cells()
        finally:
            self._run.on_over()
            self._close_streams()
            # papermill puts cells into a failed notebook; ours are counted without.
            self.nb: NotebookNode = NotebookNode({**self.nb, "cells": list(self.nb.cells)})
            if self._run.is_over:
                raise OutputLimit(self._run.output_bytes)
        notebook = self.nb_man.nb
        notebook.metadata["language_info"] = self._run.kernel.language_info
        self.nb.metadata = notebook.metadata
        self.set_widgets_metadata()
        return notebook

    def papermill_execute_cells(self) -> None:
        """Run the cells as papermill does, up to one in which the notebook ends itself."""
        for index, cell in enumerate(self.nb.cells):
            try:
                self.nb_man.cell_start(cell, index)
                self.execute_cell(cell, index)
            except CellExecutionError as error:
                if self._run.exited is None:
                    cell = self.nb.cells[index]
                    self.nb_man.cell_exception(cell, cell_index=index, exception=error)
                break
            finally:
                self.nb_man.cell_complete(self.nb.cells[index], cell_index=index)
            if self._run.exited is not None:
                break

    async def async_execute_cell(self, cell: NotebookNode, cell_index: int, **kw: Any) -> Any:
        if self._run.is_stopped:
            raise StoppedEarly
        self._run.entered(cell_index, is_code=is_executed(cell) and not is_injected(cell))
        execution = super().async_execute_cell(cell, cell_index, **kw)
        return await self._run.timed(cell_index, execution)

    def execute_cell(self, cell: NotebookNode, cell_index: int) -> Any:
        return ensure_event_loop().run_until_complete(self.async_execute_cell(cell, cell_index))

    async def _check_raise_for_error(
        self, cell: NotebookNode, cell_index: int, exec_reply: dict[str, Any] | None
    ) -> None:
        content = (exec_reply or {}).get("content", {})
        self._run.replies[cell_index] = content
        code = _exit_code(content)
        if code is not None:
            traceback = f"SystemExit: {code}"
            error = new_output("error", ename="SystemExit", evalue=code, traceback=[traceback])
            cell.outputs.append(error)
            self._run.replies[cell_index] = {"status": "error", "ename": "SystemExit"}
            raise CellExecutionError(traceback, "SystemExit", code)
        try:
            await super()._check_raise_for_error(cell, cell_index, exec_reply)
        except CellExecutionError as error:
            if error.ename == "SystemExit" and error.evalue in _NO_FAILURES:
                self._run.exited = cell_index
            raise
        if any(one.get("source") == "ask_exit" for one in _payloads(content)):
            self._run.exited = cell_index

    async def _async_check_alive(self) -> None:
        if not self._run.kernel.is_alive():
            raise DeadKernelError("Kernel died")

    async def _async_poll_kernel_alive(self) -> None:
        """Learn of the kernel's end from the system at once; nbclient would ask every second.

        If the connection ends while the kernel lives, a message was too large to be read.
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

    async def _async_poll_output_msg(
        self, parent_msg_id: str, cell: NotebookNode, cell_index: int
    ) -> None:
        """Take output as nbclient does, but give late output to the earlier cell that caused it."""
        self._begun[parent_msg_id] = (cell, cell_index)
        while True:
            msg = await self._next_message()
            if msg is None:
                continue
            if _parent_of(msg) != parent_msg_id:
                self._take_late(msg)
                continue
            try:
                self.process_message(msg, cell, cell_index)
            except CellExecutionComplete:
                return

    async def _next_message(self) -> dict[str, Any] | None:
        """Return the kernel's next message; None if it cannot be understood."""
        try:
            msg = await self.kc.iopub_channel.get_msg(timeout=None)
        except ODD as error:
            self._run.unread = self._run.unread or error
            self._leave_out(error)
            return None
        return well_formed(msg)

    def _take_late(
        self, msg: dict[str, Any], otherwise: tuple[NotebookNode, int] | None = None
    ) -> bool:
        """Take output of a thread or process that outlived its cell; return whether it was any."""
        parent = _parent_of(msg) or ""
        if parent in self._run.kernel.unseen:
            return False
        known = self._begun.get(parent, otherwise)
        if known is None or msg["msg_type"] in ("status", "execute_input", "shutdown_reply"):
            return False
        waits, self.clear_before_next_output = self.clear_before_next_output, False
        self.process_message(msg, *known)
        self.clear_before_next_output = waits
        return True

    async def _drain(self) -> bool:
        """Take messages until the kernel's last one."""
        last, is_any = self._run.kernel.last_word, False
        # A thread knows no cell: what it writes belongs to the one that runs.
        cell = next(reversed(self._begun.values()), None)
        try:
            while True:
                msg = await self._next_message()
                if msg is not None and msg["msg_type"] == last:
                    return is_any
                is_any = (msg is not None and self._take_late(msg, cell)) or is_any
        except asyncio.CancelledError:
            return is_any
        finally:
            self._close_streams()

    def process_message(self, msg: dict[str, Any], cell: NotebookNode, cell_index: int) -> Any:
        kind, size = msg["msg_type"], _size(msg)
        if size and self._run.is_over:
            return None
        if kind == "stream":
            self._run.printed(msg["content"]["text"])
        else:
            size -= self._replaced(msg, cell, cell_index)
            if not self._run.count(size, cell_index):
                _cut(msg)
                self._run.kernel.kill()
        count = cell.execution_count
        try:
            return super().process_message(msg, cell, cell_index)
        except ODD as error:
            # Widgets' own messages go to nbclient unchanged.
            self._leave_out(error)
            return None
        finally:
            if cell.execution_count is None:
                cell.execution_count = count

    def _leave_out(self, error: Exception) -> None:
        """Log it once in a run: a notebook that makes one such message makes many."""
        level = logging.DEBUG if self._has_left_out else logging.WARNING
        self._has_left_out = True
        log.log(level, "a message of the kernel is left out: %r", error)

    def _replaced(self, msg: dict[str, Any], cell: NotebookNode, index: int) -> int:
        """Return the counted bytes that this message removes, less a little for itself."""
        kind, content = msg["msg_type"], msg["content"]
        if self.output_hook_stack.get(_parent_of(msg)):
            return 0
        if kind == "clear_output":
            if content.get("wait"):
                return _size(msg) - LEAST_BYTES
            self._close_stream(index)
            return _size(msg) - LEAST_BYTES + _kept(cell.outputs)
        if kind == "update_display_data":
            display_id = content["transient"].get("display_id")
            places = self._display_id_map.get(display_id, {}).items()
            outputs = [self.nb.cells[i].outputs[j] for i, inner in places for j in inner]
            # The new content stands in each place of the old.
            return _kept(outputs) - (len(outputs) - 1) * _size(msg) - LEAST_BYTES
        if kind.startswith("comm"):
            state = self.widget_state.get(content["comm_id"], {})
            new = content["data"].get("state")
            named = new if isinstance(new, dict) else {}
            return sum(_length(state[key]) for key in named if key in state)
        return 0

    def output(
        self, outs: list[NotebookNode], msg: dict[str, Any], display_id: str | None, index: int
    ) -> Any:
        """Append text to the last output of the same stream, folded as in a terminal.

        nbclient's own way (`coalesce_streams`) takes minutes for one line of a megabyte.
        """
        hook = self.output_hook_stack.get(_parent_of(msg))
        if not hook and self.clear_before_next_output:
            self._close_stream(index)
            self._run.count(-_kept(outs), index)
        if hook and msg["msg_type"] == "stream":
            self._run.count(_size(msg), index)
        if hook or msg["msg_type"] != "stream":
            return super().output(outs, msg, display_id, index)
        stream, content = self._streams.get(index), msg["content"]
        added = None
        if stream is None or self.clear_before_next_output or not stream.is_last(outs, content):
            self._close_stream(index)
            added = super().output(outs, {**msg, "content": {**content, "text": ""}}, None, index)
            stream = self._streams[index] = _Stream(added)
        if not self._run.count(stream.write(content["text"]), index):
            stream.cut(self._run.written - self._run.output_bytes)
            self._run.kernel.kill()
        return added or outs[-1]

    def _close_stream(self, index: int) -> None:
        if index in self._streams:
            self._streams[index].close()

    def _close_streams(self) -> None:
        for stream in self._streams.values():
            stream.close()


class _Stream:
    """A cell's stream output that may still grow; reading it joins the parts."""

    def __init__(self, output: NotebookNode) -> None:
        self._output = output
        self._screen = TerminalText()

    def is_last(self, outs: list[NotebookNode], content: dict[str, Any]) -> bool:
        """Return whether a message continues this output, which is still the last one."""
        return bool(outs) and outs[-1] is self._output and self._output["name"] == content["name"]

    def write(self, text: str) -> int:
        """Append text; return the number of added bytes."""
        grown = self._screen.write(text)
        # Exact for ASCII; of other text a little too much where it is folded.
        return grown if text.isascii() else grown + _length(text) - len(text)

    def cut(self, excess: int) -> None:
        """Shorten the text that passed the limit, with a note."""
        self._screen.cut(excess)
        self._screen.write(f"\n{CUT_HERE}\n")

    def close(self) -> None:
        """Write the text into the notebook."""
        self._output["text"] = self._screen.text


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
        executed = _Client(nb_man, run).execute()
        _hide_caught_errors(executed, run)
        return executed


def register() -> None:
    """Register our engine with papermill; once in a process."""
    papermill_engines.register(ENGINE, _Engine)


def _hide_caught_errors(executed: NotebookNode, run: Run) -> None:
    """Hide a caught and shown exception from papermill, which takes it for a failure.

    The same goes for an exit that the notebook called no failure, and for an exception that it
    expects: nbclient went on after it.
    """
    for index, cell in enumerate(executed.cells):
        if (
            run.replies.get(index, {}).get("status") != "ok"
            and index != run.exited
            and EXPECTED_TAG not in cell["metadata"].get("tags", [])
        ):
            continue
        others = [output for output in cell.outputs if output.output_type != "error"]
        if len(others) < len(cell.outputs):
            run.hidden.append((cell, cell.outputs))
            cell.outputs = others


def _exit_code(reply: Mapping[str, Any]) -> str | None:
    """Return the argument of `exit()` if it means a failure. IPython takes it for `keep_kernel`."""
    for one in _payloads(reply):
        code = one.get("keepkernel")
        if one.get("source") == "ask_exit" and code and not isinstance(code, bool):
            return str(code)
    return None


def _payloads(reply: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    payloads = reply.get("payload")
    return [one for one in payloads if isinstance(one, dict)] if isinstance(payloads, list) else []


def _parent_of(msg: Mapping[str, Any]) -> str | None:
    parent = msg.get("parent_header")
    parent_id = parent.get("msg_id") if isinstance(parent, dict) else None
    return parent_id if isinstance(parent_id, str) else None


def _kept(outputs: Iterable[Mapping[str, Any]]) -> int:
    """Estimate the bytes that outputs have been counted for."""
    return sum(
        _length(one["text"])
        if one["output_type"] == "stream"
        else LEAST_BYTES + sum(_length(one[key]) for key in one if key != "output_type")
        for one in outputs
    )


def _size(msg: Mapping[str, Any]) -> int:
    """Estimate the bytes of a message that stay in the notebook or in this process.

    Everything that a notebook can make its kernel say counts, if only a little.
    """
    kind, content = msg["msg_type"], msg["content"]
    if kind in ("status", "execute_input"):
        return 0
    if kind == "stream":
        return _length(content["text"])
    buffers = sum(len(buffer) for buffer in msg.get("buffers", ()))
    return LEAST_BYTES + buffers + _length(content)


def _length(value: object) -> int:
    """Return the length of a JSON value's text in UTF-8, without its punctuation."""
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, Mapping):
        return sum(len(key) + _length(inner) for key, inner in value.items())
    if isinstance(value, list):
        return sum(map(_length, value))
    return 8


def _cut(msg: dict[str, Any]) -> None:
    """Shorten the output that passed the limit, with a note in the notebook."""
    note, content = CUT_HERE, msg["content"]
    if msg["msg_type"] == "error":
        content.update(ename="OutputLimit", evalue=note, traceback=[note])
    elif msg["msg_type"] in ("display_data", "execute_result", "update_display_data"):
        content.update(data={"text/plain": note}, metadata={})
    else:
        content.update(data={}, metadata={})
