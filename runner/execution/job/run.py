"""Drives papermill over one notebook against one kernel: progress, output cap, early end.

Returns the notebook as far as it got, and the exception that ended it. Judges neither.
"""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import nlargest
from typing import Any

import papermill
from jupyter_client.jsonutil import extract_dates
from nbclient.client import timestamp
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_output
from nbformat.v4.rwbase import rejoin_lines, strip_transient
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NotebookExecutionManager
from papermill.execute import raise_for_execution_errors
from papermill.parameterize import parameterize_notebook

from runner.contract.notebook import ERROR_TAG, EXPECTED_TAG, INJECTED_TAG, Unmarked
from runner.contract.outcome import CellSeconds, Usage
from runner.contract.text.plain_text import plain_text
from runner.contract.text.terminal import TerminalText
from runner.execution.kernel.conversation import Conversation, Heard, KernelGone
from runner.execution.kernel.messages import well_formed, well_formed_reply
from runner.execution.kernel.outputs import (
    CUT_HERE,
    LEAST_BYTES,
    StreamText,
    cut,
    kept,
    length,
    output_of,
    size,
)
from runner.execution.kernel.running import ODD, RunningKernel
from runner.execution.limits.footprint import Spent
from runner.execution.order import TAIL_BYTES, Progress

log = logging.getLogger(__name__)

IOPUB_SECONDS = 120
"""Wait for output: nbclient's 4 s lose the output of a cell that prints much."""
PROGRESS_SECONDS = 1.0
_SILENT = logging.getLogger("silent")
"""Swallows nbclient's log lines about messages; a notebook could fill the log with them."""
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False
_NO_FAILURES = ("", "0", "False", "None")
"""Texts of `sys.exit()` that mean success, as from `main()` and `unittest.main()`."""
MOST_TIMED = 500
"""Most cells whose seconds are told; of more, the longest."""
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
"""A date as kernels write it, and as it stands in executed notebooks."""


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
        self._pending = True
        self.report_if_due()

    @property
    def due_at(self) -> float | None:
        """When the next report is due; None if there is nothing to report."""
        return self._reported + PROGRESS_SECONDS if self._pending else None

    def report_if_due(self) -> None:
        """Report what could not be reported before, unless that is still too early."""
        if self._pending and self.clock() >= self._reported + PROGRESS_SECONDS:
            self._report_now()

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
    """Do what `papermill.execute_notebook` does with a notebook that comes from no file.

    That writes and reads the whole notebook before the first cell, and writes it again at the end.
    """
    own = _with_papermill(notebook)
    if parameters:
        own = parameterize_notebook(own, dict(parameters), kernel_name=name, language=language)
    manager = _Manager(own, progress_bar=False, autosave_cell_every=0)
    run.notebook = own
    manager.notebook_start()
    try:
        _hide_caught_errors(_Client(manager, run).execute(), run)
    finally:
        manager.notebook_complete()
    raise_for_execution_errors(own, None)


def _with_papermill(notebook: NotebookNode) -> NotebookNode:
    """Copy a normalised notebook as papermill reads one from a file."""
    own = rejoin_lines(strip_transient(_sorted(notebook)))
    own.metadata["papermill"] = {
        "default_parameters": {},
        "parameters": {},
        "environment_variables": {},
        "version": papermill.__version__,
    }
    return own


def _sorted(value: Any) -> Any:
    """Copy a JSON value, with the keys of each mapping in order, as nbformat writes them."""
    if isinstance(value, dict):
        return NotebookNode({key: _sorted(value[key]) for key in sorted(value)})
    return [_sorted(one) for one in value] if isinstance(value, list) else value


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


class _Manager(NotebookExecutionManager):  # type: ignore[misc]
    """papermill's notes on each cell. It would read the time of a cell's start out of its text."""

    def cell_start(self, cell: NotebookNode, cell_index: int | None = None, **_: object) -> None:
        del cell_index
        self._cell_began = self.now()
        notes = cell.metadata["papermill"]
        notes["start_time"] = self._cell_began.isoformat()
        notes["status"] = self.RUNNING
        notes["exception"] = False

    def cell_complete(self, cell: NotebookNode, cell_index: int | None = None, **_: object) -> None:
        del cell_index
        ended, notes = self.now(), cell.metadata["papermill"]
        notes["end_time"] = ended.isoformat()
        notes["duration"] = (ended - self._cell_began).total_seconds()
        if notes["status"] != self.FAILED:
            notes["status"] = self.COMPLETED


class _Outputs(PapermillNotebookClient):  # type: ignore[misc]
    """What papermill's client makes of a kernel's messages, within the output limit."""

    def __init__(self, nb_man: Any, run: Run) -> None:
        super().__init__(nb_man, timeout=None, iopub_timeout=IOPUB_SECONDS, coalesce_streams=False)
        self._run = run
        self.clear_before_next_output = False
        self.log = _SILENT
        self._has_left_out = False
        self._streams: dict[int, StreamText] = {}
        self._begun: dict[str, tuple[NotebookNode, int]] = {}
        """The cells that the kernel was told to run, by the id of that message."""

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

    def process_message(self, msg: dict[str, Any], cell: NotebookNode, cell_index: int) -> Any:
        kind, added = msg["msg_type"], size(msg)
        if added and self._run.is_over:
            return None
        if kind == "stream":
            self._run.printed(msg["content"]["text"])
        else:
            added -= self._replaced(msg, cell, cell_index)
            if not self._run.count(added, cell_index):
                cut(msg)
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
                return size(msg) - LEAST_BYTES
            self._close_stream(index)
            return size(msg) - LEAST_BYTES + kept(cell.outputs)
        if kind == "update_display_data":
            display_id = content["transient"].get("display_id")
            places = self._display_id_map.get(display_id, {}).items()
            outputs = [self.nb.cells[i].outputs[j] for i, inner in places for j in inner]
            # The new content stands in each place of the old.
            return kept(outputs) - (len(outputs) - 1) * size(msg) - LEAST_BYTES
        if kind.startswith("comm"):
            state = self.widget_state.get(content["comm_id"], {})
            new = content["data"].get("state")
            named = new if isinstance(new, dict) else {}
            return sum(length(state[key]) for key in named if key in state)
        return 0

    def output(
        self, outs: list[NotebookNode], msg: dict[str, Any], display_id: str | None, index: int
    ) -> Any:
        """Append text to the last output of the same stream, folded as in a terminal.

        nbclient's own way (`coalesce_streams`) takes minutes for one line of a megabyte.
        """
        hook = self.output_hook_stack.get(_parent_of(msg))
        if hook:
            if msg["msg_type"] == "stream":
                self._run.count(size(msg), index)
            return super().output(outs, msg, display_id, index)
        if self.clear_before_next_output:
            self._close_stream(index)
            self._run.count(-kept(outs), index)
        if msg["msg_type"] != "stream":
            return self._add(outs, output_of(msg), display_id, index)
        stream, content = self._streams.get(index), msg["content"]
        added = None
        if stream is None or self.clear_before_next_output or not stream.is_last(outs, content):
            self._close_stream(index)
            empty = {**msg, "content": {**content, "text": ""}}
            added = self._add(outs, output_of(empty), None, index)
            stream = self._streams[index] = StreamText(outs[-1])
        if not self._run.count(stream.write(content["text"]), index):
            stream.cut(self._run.written - self._run.output_bytes)
            self._run.kernel.kill()
        return added or outs[-1]

    def _add(
        self, outs: list[NotebookNode], out: NotebookNode | None, display_id: str | None, index: int
    ) -> NotebookNode | None:
        """Append an output as nbclient does, which checks each against the format's schema."""
        if out is None:
            return None
        if self.clear_before_next_output:
            outs[:] = []
            self.clear_display_id_mapping(index)
            self.clear_before_next_output = False
        if display_id:
            places = self._display_id_map.setdefault(display_id, {})
            places.setdefault(index, []).append(len(outs))
        outs.append(out)
        return out

    def _close_stream(self, index: int) -> None:
        if index in self._streams:
            self._streams[index].close()

    def _close_streams(self) -> None:
        for stream in self._streams.values():
            stream.close()

    def _cannot_read(self, error: Exception) -> None:
        self._run.unread = self._run.unread or error
        self._leave_out(error)


class _Client(_Outputs):
    """Runs the cells on a kernel that runs already, and hears its last words."""

    def __init__(self, nb_man: Any, run: Run) -> None:
        super().__init__(nb_man, run)
        self._talk = Conversation(run.kernel, run.overflow, run.clock)

    def execute(self, **_: object) -> NotebookNode:
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
                    self.nb_man.cell_exception(cell, cell_index=index, exception=error)
                break
            finally:
                self.nb_man.cell_complete(cell, cell_index=index)
            if self._run.exited is not None:
                break

    def execute_cell(self, cell: NotebookNode, cell_index: int) -> None:
        """Run a cell as nbclient does, if it has code."""
        run, has_code = self._run, is_executed(cell)
        if run.is_stopped:
            raise StoppedEarly
        run.entered(cell_index, is_code=has_code and not is_injected(cell))
        began = run.clock()
        try:
            if has_code:
                self._raise_for(cell, cell_index, self._converse(cell, cell_index))
        finally:
            run.seconds[cell_index] = run.clock() - began

    def _converse(self, cell: NotebookNode, index: int) -> dict[str, Any]:
        """Have the kernel run a cell, and take its output; return the content of its reply."""
        run, talk = self._run, self._talk
        cell.metadata["execution"] = {}
        cell.outputs = []
        self.clear_before_next_output = False
        request = talk.ask(cell.source, stops=EXPECTED_TAG not in _tags(cell))
        self._begun[request] = (cell, index)
        content: dict[str, Any] = {}
        waiting, until = Heard(reply=True, output=True), None
        while any(waiting):
            due = [one for one in (until, run.due_at) if one is not None]
            try:
                heard = talk.hear(waiting, min(due, default=None))
            except KernelGone:
                raise DeadKernelError("Kernel died") from None
            run.report_if_due()
            if heard.output and self._is_last(request, cell, index):
                waiting = waiting._replace(output=False)
            if heard.reply and (reply := self._reply_to(request)) is not None:
                waiting = waiting._replace(reply=False)
                cell.metadata["execution"]["shell.execute_reply"] = _time_of(reply)
                content, until = reply["content"], run.clock() + IOPUB_SECONDS
            if until is not None and run.clock() >= until and waiting.output:
                why = "Timeout waiting for IOPub output"
                raise CellTimeoutError.error_from_timeout_and_cell(why, IOPUB_SECONDS, cell)
        return content

    def _reply_to(self, request: str) -> dict[str, Any] | None:
        """Take a reply; None if it is to another request, or the notebook made it up."""
        try:
            reply = well_formed_reply(self._talk.take_reply())
        except ODD as error:
            self._leave_out(error)
            return None
        return None if reply is None or _parent_of(reply) != request else reply

    def _is_last(self, request: str, cell: NotebookNode, index: int) -> bool:
        """Take a published message; return whether the cell has none after it.

        Late output goes to the earlier cell that caused it.
        """
        try:
            msg = well_formed(self._talk.take_output())
        except ODD as error:
            self._cannot_read(error)
            return False
        if msg is None:
            return False
        if _parent_of(msg) != request:
            self._take_late(msg)
            return False
        kind, content = msg["msg_type"], msg["content"]
        if kind == "status":
            state = content["execution_state"]
            if state in ("busy", "idle"):
                cell.metadata["execution"][f"iopub.status.{state}"] = _time_of(msg)
            return bool(state == "idle")
        if kind == "execute_input":
            cell.metadata["execution"]["iopub.execute_input"] = _time_of(msg)
            cell.execution_count = content.get("execution_count", cell.execution_count)
            return False
        self.process_message(msg, cell, index)
        return False

    def _raise_for(self, cell: NotebookNode, cell_index: int, content: dict[str, Any]) -> None:
        """Raise if the kernel's reply says that the cell has failed."""
        self._run.replies[cell_index] = content
        code = _exit_code(content)
        if code is not None:
            traceback = f"SystemExit: {code}"
            error = new_output("error", ename="SystemExit", evalue=code, traceback=[traceback])
            cell.outputs.append(error)
            self._run.replies[cell_index] = {"status": "error", "ename": "SystemExit"}
            raise CellExecutionError(traceback, "SystemExit", code)
        if content["status"] == "error" and EXPECTED_TAG not in _tags(cell):
            failure = CellExecutionError.from_cell_and_msg(cell, content)
            if failure.ename == "SystemExit" and failure.evalue in _NO_FAILURES:
                self._run.exited = cell_index
            raise failure
        if any(one.get("source") == "ask_exit" for one in _payloads(content)):
            self._run.exited = cell_index

    async def _next_message(self) -> dict[str, Any] | None:
        """Return the kernel's next message after its cells; None if it cannot be understood."""
        try:
            return well_formed(await self._talk.next_output())
        except ODD as error:
            self._cannot_read(error)
            return None

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


def _tags(cell: NotebookNode) -> list[str]:
    tags: list[str] = cell.metadata.get("tags", [])
    return tags


def _time_of(msg: Mapping[str, Any]) -> str:
    """Return a message's time, as nbclient writes it."""
    date = msg["header"].get("date")
    if isinstance(date, str) and _DATE.fullmatch(date):
        return date
    try:
        return timestamp({"header": extract_dates({"date": date})})
    except ODD:
        return timestamp()


def _parent_of(msg: Mapping[str, Any]) -> str | None:
    parent = msg.get("parent_header")
    parent_id = parent.get("msg_id") if isinstance(parent, dict) else None
    return parent_id if isinstance(parent_id, str) else None
