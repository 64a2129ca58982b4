"""Runs cells and code in the kernels of notebooks, however long they take and whoever waits.

One activity of a notebook runs at a time. What no kernel has begun when its client stops waiting
is withdrawn; what runs goes on, and is asked for again by its id.
"""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from runner.mcp.answers import BadCall
from runner.mcp.jupyter.api import Jupyter, JupyterAway, JupyterRefused, Session
from runner.mcp.jupyter.document import Document, DocumentLost
from runner.mcp.jupyter.rooms import Locks, Rooms
from runner.mcp.notebooks.cell import Code, Execution
from runner.mcp.notebooks.memory import Memory
from runner.mcp.notebooks.running import Step, run_code, run_in_cell

Progress = Callable[[float], Awaitable[None]]
"""Receives now and then the seconds that an activity has run."""

TELL_SECONDS = 2.0
SETTLE_SECONDS = 15.0
BEGIN_SECONDS = 10.0
"""Shortest time that a kernel has to begin; starting one takes a while."""
REMEMBERED = 100
"""Activities that can be asked for again."""


@dataclass
class Activity:
    """Code that runs, or ran, in a notebook's kernel."""

    path: str
    steps: list[Step]
    id: str = field(default_factory=lambda: f"run-{uuid.uuid4().hex[:6]}")
    task: "asyncio.Task[None] | None" = None
    session: Session | None = None
    is_stopped: bool = False
    """Whether somebody wants no further step."""

    @property
    def is_over(self) -> bool:
        """Whether nothing of it runs or waits any more."""
        return self.task is not None and self.task.done()

    @property
    def current(self) -> Step | None:
        """The step that the kernel works on."""
        return next((step for step in self.steps if step.status == "running"), None)

    def withdraw(self) -> bool:
        """Keep back what the kernel does not have yet; False if it has some."""
        if any(step.status not in ("waiting", "not_run") for step in self.steps):
            return False
        execution = self.steps[0].execution
        if execution is not None and not execution.give_up():
            return False
        self.is_stopped = True
        return True


class Activities:
    """All activities of one server."""

    def __init__(self, rooms: Rooms, jupyter: Jupyter, closing: asyncio.Event) -> None:
        """Set it up. Once `closing` is set, nobody waits any more."""
        self._rooms = rooms
        self._jupyter = jupyter
        self._closing = closing
        self._turns = Locks()
        self._recent: dict[str, Activity] = {}
        self.memory = Memory()

    def start(self, path: str, steps: Sequence[Step], limit: float) -> Activity:
        """Begin an activity: cells that are in the notebook, or code without a cell."""
        activity = Activity(path, list(steps))
        self._recent[activity.id] = activity
        while len(self._recent) > REMEMBERED:
            self._recent.pop(next(iter(self._recent)))
        activity.task = self._rooms.begin(self._run(activity, limit))
        return activity

    def of(self, path: str, name: str) -> Activity | None:
        """Return the newest activity with this id, or on the cell with this id."""
        for activity in reversed(self._recent.values()):
            if activity.id == name or (
                activity.path == path and any(step.cell_id == name for step in activity.steps)
            ):
                return activity
        return None

    async def wait(self, activity: Activity, seconds: float, tell: Progress) -> None:
        """Wait for its end or for the end of the time.

        What the kernel has not begun then, or after `BEGIN_SECONDS`, is withdrawn. A caller that
        is cancelled interrupts it.

        Raises:
            BadCall: the server ends. JupyterAway, JupyterRefused, DocumentLost: it could not run.
        """
        assert activity.task is not None
        closing = asyncio.ensure_future(self._closing.wait())
        start = time.monotonic()
        try:
            while not activity.is_over and (left := seconds - (time.monotonic() - start)) > 0:
                await asyncio.wait(
                    [activity.task, closing],
                    timeout=min(TELL_SECONDS, left),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if closing.done() and not activity.is_over:
                    raise BadCall("The server ends now; the cell goes on in the notebook's kernel.")
                if not activity.is_over:
                    await tell(time.monotonic() - start)
            if seconds >= BEGIN_SECONDS:
                await self._withdraw(activity)
            elif not activity.is_over:
                self._rooms.begin(self._withdraw(activity, BEGIN_SECONDS - seconds))
        except asyncio.CancelledError:
            self._rooms.begin(self.stop(activity))
            raise
        finally:
            closing.cancel()
        if activity.is_over:
            activity.task.result()

    async def stop(self, activity: Activity) -> None:
        """Interrupt it: what runs now ends, and nothing of it runs afterwards."""
        activity.is_stopped = True
        if activity.withdraw():
            await self._end(activity)
        elif activity.session is not None and not activity.is_over:
            with suppress(JupyterAway, JupyterRefused):  # its time ends it all the same
                await self._jupyter.interrupt(activity.session.kernel_id)

    def stop_later_steps(self, path: str) -> None:
        """Let nothing of a notebook's activities begin any more."""
        for activity in self._recent.values():
            if activity.path == path:
                activity.is_stopped = True

    async def _withdraw(self, activity: Activity, seconds: float = 0) -> None:
        """End an activity after a time, if the kernel does not have it then."""
        await asyncio.sleep(seconds)
        if not activity.is_over and activity.withdraw():
            await self._end(activity)

    async def _end(self, activity: Activity) -> None:
        """End an activity that the kernel does not have."""
        assert activity.task is not None
        activity.task.cancel()
        await asyncio.wait([activity.task], timeout=SETTLE_SECONDS)

    async def _run(self, activity: Activity, limit: float) -> None:
        has_cells = any(step.cell_id is not None for step in activity.steps)
        try:
            async with self._turns.of(activity.path):
                kernel = await self._rooms.kernelspec(activity.path)
                activity.session = await self._jupyter.session(activity.path, kernel)
                if not has_cells:
                    await self._run_code(activity, limit)
                    return
                async with self._rooms.opened(activity.path) as document:
                    await self._run_cells(activity, document, limit)
        except asyncio.CancelledError:
            if not activity.is_stopped:
                raise
            for step in activity.steps:
                step.end("not_run", "its kernel is busy with another cell")
        finally:
            await self._take_back(activity)

    async def _run_code(self, activity: Activity, limit: float) -> None:
        [step] = activity.steps
        session = activity.session
        assert session is not None
        await run_code(step, self._execution(session, step), limit, self._interrupt(session))
        step.add_note(self.memory.note(activity.path, session, step.count, is_cell=False))

    async def _run_cells(self, activity: Activity, document: Document, limit: float) -> None:
        session = activity.session
        assert session is not None
        ran_before = any(cell.get("execution_count") for cell in document.cells)
        for step in activity.steps:
            if activity.is_stopped:
                step.end("not_run", "the run was stopped before")
                continue
            execution = self._execution(session, step)
            await run_in_cell(document, step, execution, limit, self._interrupt(session))
            note = self.memory.note(
                activity.path, session, step.count, is_cell=True, ran_before=ran_before
            )
            step.add_note(note)
            if step.status == "kernel_died":
                self.memory.forget(activity.path)
            activity.is_stopped |= step.status != "ok"
        for step in activity.steps:
            step.index = document.index_of(step.cell_id or "")
        try:
            await document.settle()
        except DocumentLost as lost:  # its outputs are known all the same
            activity.steps[-1].add_note(f"the notebook may not show it: {lost}")

    async def _take_back(self, activity: Activity) -> None:
        """Remove the cells that were inserted to be run, and were not."""
        for step in activity.steps:
            if step.is_new and step.cell_id is not None and step.status in ("waiting", "not_run"):
                with suppress(BadCall, JupyterAway, JupyterRefused, DocumentLost):
                    async with self._rooms.edited(activity.path) as document:
                        index = document.index_of(step.cell_id)
                        if index is not None:
                            document.remove(index)
                    step.index = None
                    step.add_note("the cell was not kept in the notebook")

    def _execution(self, session: Session, step: Step) -> Execution:
        runtime = self._jupyter.runtime
        url = runtime.websocket(f"kernels/{session.kernel_id}/channels")
        step.execution = Execution(
            url, runtime.headers, Code(step.source, step.cell_id is not None)
        )
        return step.execution

    def _interrupt(self, session: Session) -> Callable[[], Awaitable[None]]:
        async def interrupt() -> None:
            await self._jupyter.interrupt(session.kernel_id)

        return interrupt
