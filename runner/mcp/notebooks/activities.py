"""Runs cells and code in the kernels of notebooks, however long they take and whoever waits.

One activity of a notebook runs at a time. What runs or waits for its turn goes on when its client
stops waiting, and is asked for again by its id. What is withdrawn says why, and its cell stays.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from runner.mcp.answers import BadCall, ToolError
from runner.mcp.jupyter.api import Jupyter, JupyterAway, JupyterRefused, Session
from runner.mcp.jupyter.document import Document, DocumentLost
from runner.mcp.jupyter.rooms import Locks, Rooms
from runner.mcp.notebooks.cell import Code, Execution
from runner.mcp.notebooks.memory import Memory
from runner.mcp.notebooks.running import UNRUN, Step, run_code, run_in_cell

Progress = Callable[[float], Awaitable[None]]
"""Receives now and then the seconds that an activity has run."""

TELL_SECONDS = 2.0
SETTLE_SECONDS = 15.0
INTERRUPT_SECONDS = 2.0
"""Longest wait for the end of what was interrupted."""
REMEMBERED = 100
"""Activities that can be asked for again, beside those that are not over."""


@dataclass
class Activity:
    """Code that runs, or ran, in a notebook's kernel."""

    path: str
    steps: list[Step]
    patience: float
    """How many seconds it may wait for its turn while no client waits for it."""
    id: str = field(default_factory=lambda: f"run-{uuid.uuid4().hex[:6]}")
    task: "asyncio.Task[None] | None" = None
    session: Session | None = None
    is_stopped: bool = False
    """Whether somebody wants no further step."""
    reason: str = "the run was stopped before"
    """Why no further step runs, once it is stopped."""
    loss: str | None = None
    """What somebody did to its kernel, once that is gone."""
    waiting: int = 0
    """How many clients wait for it now."""
    began_at: float = field(default_factory=time.monotonic)
    turn_at: float | None = None
    """When its turn came."""
    is_watched: bool = False
    """Whether something withdraws it once it has waited too long."""

    @property
    def is_over(self) -> bool:
        """Whether nothing of it runs or waits any more."""
        return self.task is not None and self.task.done()

    @property
    def current(self) -> Step | None:
        """The step that the kernel works on."""
        return next((step for step in self.steps if step.status == "running"), None)

    @property
    def is_waiting(self) -> bool:
        """Whether the kernel has nothing of it yet."""
        return not self.is_over and all(step.status in UNRUN for step in self.steps)

    def stop(self, reason: str) -> None:
        """Let no further step run."""
        if not self.is_stopped:
            self.is_stopped, self.reason = True, reason

    def withdraw(self, reason: str) -> bool:
        """Keep back what the kernel does not have yet; False if it has some."""
        if not self.is_waiting:
            return False
        if any(one.execution is not None and not one.execution.give_up() for one in self.steps):
            return False
        self.stop(reason)
        return True

    def lose(self, loss: str) -> None:
        """End at once what a kernel has of it, since that is gone."""
        for step in self.steps:
            if step.execution is not None:
                step.execution.lose(loss)

    @property
    def name(self) -> str:
        """Name it by the id of the cell that runs now, else by its own; places change."""
        step = self.current
        return self.id if step is None or step.cell_id is None else step.cell_id

    @property
    def elapsed(self) -> float:
        """Seconds since its turn came."""
        return 0 if self.turn_at is None else time.monotonic() - self.turn_at

    @property
    def patience_left(self) -> float:
        """Seconds that it may still wait without a client."""
        return self.patience - (time.monotonic() - self.began_at) if self.is_waiting else 0


class Activities:
    """All activities of one server."""

    def __init__(
        self, rooms: Rooms, jupyter: Jupyter, closing: asyncio.Event, turn_seconds: float
    ) -> None:
        """Set it up. Once `closing` is set, nobody waits any more.

        Code waits `turn_seconds` for its turn, and longer only while a client waits for it.
        """
        self._rooms = rooms
        self._jupyter = jupyter
        self._closing = closing
        self._turn_seconds = turn_seconds
        self._turns = Locks()
        self._in_turn: dict[str, Activity] = {}
        self._recent: dict[str, Activity] = {}
        self.memory = Memory()

    def start(
        self, path: str, steps: Sequence[Step], limit: float, *, is_kept: bool = True
    ) -> Activity:
        """Begin an activity: cells that are in the notebook, or code without a cell.

        Unless `is_kept`, it is withdrawn if its turn has not come when no client waits any more.
        """
        activity = Activity(path, list(steps), self._turn_seconds if is_kept else 0)
        self._recent[activity.id] = activity
        over = [one for one in self._recent.values() if one.is_over]
        for one in over[: max(0, len(self._recent) - REMEMBERED)]:
            del self._recent[one.id]
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

    def in_notebook(self, path: str) -> list[Activity]:
        """Return the activities of a notebook, the oldest first."""
        return [one for one in self._recent.values() if one.path == path]

    async def wait(
        self, activity: Activity, seconds: float, tell: Progress, step: Step | None = None
    ) -> None:
        """Wait for its end, or only for that of one step, or for the end of the time.

        What waits for its turn stays, as long as it may. A caller that is cancelled interrupts it.

        Raises:
            BadCall: the server ends. JupyterAway, JupyterRefused, DocumentLost: it could not run.
        """
        assert activity.task is not None
        activity.waiting += 1
        ended = asyncio.ensure_future(_end_of(activity.task, step))
        try:
            await _wait(activity, ended, self._closing, seconds, tell)
        except asyncio.CancelledError:
            self._rooms.begin(self.stop(activity, "its call was cancelled"))
            raise
        finally:
            ended.cancel()
            activity.waiting -= 1
        if activity.patience_left <= 0:
            await self._withdraw(activity)
        elif not activity.is_watched:
            activity.is_watched = True
            self._rooms.begin(self._withdraw_later(activity))
        if activity.is_over:
            activity.task.result()

    async def hindrance(self, activity: Activity) -> str:
        """Say what an activity waits for."""
        if (ahead := self._ahead_of(activity)) is not None:
            own = {step.cell_id for step in activity.steps}
            name = "an earlier run of it" if ahead.name in own else ahead.name
            return f"{name} runs before it, for {ahead.elapsed:.0f} s now"
        state = "starting"
        if activity.session is not None:
            with suppress(JupyterAway, JupyterRefused):  # gone: another one has to start
                kernels = await self._jupyter.kernels()
                kernel = kernels.get(activity.session.kernel_id, {})
                state = str(kernel.get("execution_state") or state)
        if state == "busy":
            return "its kernel is busy with other code, such as a person's in JupyterLab"
        return f"its kernel has not {'answered' if state == 'idle' else 'started'} yet"

    def _ahead_of(self, activity: Activity) -> Activity | None:
        ahead = self._in_turn.get(activity.path)
        return None if ahead is activity else ahead

    async def stop(self, activity: Activity, reason: str) -> None:
        """Interrupt it: what runs now ends, and nothing of it runs afterwards."""
        activity.stop(reason)
        if activity.withdraw(reason):
            await self._end(activity)
        elif activity.session is not None and not activity.is_over:
            with suppress(JupyterAway, JupyterRefused):  # its time ends it all the same
                await self._jupyter.interrupt(activity.session.kernel_id)

    async def stop_all(self, path: str, reason: str) -> list[str]:
        """Let nothing of a notebook's activities begin any more; name those that had not."""
        present = self._present(path)
        for activity in present:  # all of them first: the end of one is the turn of the next
            activity.stop(reason)
        withdrawn = [one for one in present if one.withdraw(reason)]
        for activity in withdrawn:
            await self._end(activity)
        return [one.steps[0].cell_id or one.id for one in withdrawn]

    def is_running(self, path: str) -> bool:
        """Return whether a kernel has something of a notebook's activities."""
        return any(one.current is not None for one in self._present(path))

    @asynccontextmanager
    async def losing(self, path: str, loss: str) -> AsyncIterator[None]:
        """End at once what a kernel has of a notebook, after it is taken away; `loss` says how."""
        present = [one for one in self._present(path) if one.session is not None]
        for activity in present:
            activity.loss = loss
        try:
            yield
        except BaseException:
            for activity in present:
                activity.loss = None
            raise
        for activity in present:
            activity.lose(loss)
        await _end_of_all(present, SETTLE_SECONDS)

    async def settle(self, path: str) -> None:
        """Wait a little for the end of what was interrupted."""
        await _end_of_all(self._present(path), INTERRUPT_SECONDS)

    def _present(self, path: str) -> list[Activity]:
        return [one for one in self._recent.values() if one.path == path and not one.is_over]

    async def _withdraw_later(self, activity: Activity) -> None:
        while (left := activity.patience_left) > 0:
            assert activity.task is not None
            await asyncio.wait([activity.task], timeout=left)
        await self._withdraw(activity)

    async def _withdraw(self, activity: Activity) -> None:
        """End an activity that the kernel does not have, and that nobody waits for."""
        if not activity.is_waiting or activity.waiting:
            return
        waited = time.monotonic() - activity.began_at
        ahead = self._ahead_of(activity)
        words = await self.hindrance(activity) if ahead is None else f"{ahead.name} ran before it"
        if activity.withdraw(f"its turn had not come after {waited:.0f} s: {words}"):
            await self._end(activity)

    async def _end(self, activity: Activity) -> None:
        """End an activity that the kernel does not have."""
        assert activity.task is not None
        activity.task.cancel()
        await asyncio.wait([activity.task], timeout=SETTLE_SECONDS)

    async def _run(self, activity: Activity, limit: float) -> None:
        has_cells = any(step.cell_id is not None for step in activity.steps)
        try:
            async with self._turn(activity):
                kernel, ran_before = await self._rooms.kernelspec(activity.path)
                activity.session = await self._jupyter.session(activity.path, kernel)
                if not has_cells:
                    await self._run_code(activity, limit, ran_before=ran_before)
                    return
                async with self._rooms.opened(activity.path) as document:
                    await self._run_cells(activity, document, limit)
        except asyncio.CancelledError:
            if not activity.is_stopped:
                raise
            self._end_unrun(activity, activity.reason)
        except ToolError as error:
            if not has_cells:
                raise
            self._end_unrun(activity, str(error))

    @asynccontextmanager
    async def _turn(self, activity: Activity) -> AsyncIterator[None]:
        """Wait until no other activity runs in the notebook."""
        async with self._turns.of(activity.path):
            self._in_turn[activity.path] = activity
            activity.turn_at = time.monotonic()
            try:
                yield
            finally:
                del self._in_turn[activity.path]

    async def _run_code(self, activity: Activity, limit: float, *, ran_before: bool) -> None:
        [step] = activity.steps
        session = activity.session
        assert session is not None
        if activity.is_stopped:
            step.end("not_run", activity.reason)
            return
        await run_code(
            step,
            _execution(self._jupyter, session, step),
            limit,
            _interrupt(self._jupyter, session),
        )
        _take(self.memory, activity, step, ran_before=ran_before)

    async def _run_cells(self, activity: Activity, document: Document, limit: float) -> None:
        session = activity.session
        assert session is not None
        ran_before = any(cell.get("execution_count") for cell in document.cells)
        for step in activity.steps:
            if activity.is_stopped:
                step.end("not_run", activity.reason)
                continue
            execution = _execution(self._jupyter, session, step)
            await run_in_cell(document, step, execution, limit, _interrupt(self._jupyter, session))
            _take(self.memory, activity, step, ran_before=ran_before)
            step.has_ended.set()
            if step.status not in ("ok", "removed"):
                activity.stop("the run was stopped before")
        try:
            await _settle(document, activity.steps)
        except DocumentLost as lost:  # its outputs are known all the same
            activity.steps[-1].add_note(f"the notebook may not show it: {lost}")

    def _end_unrun(self, activity: Activity, reason: str) -> None:
        """Say of the steps that no kernel has begun why, and that their cells are kept."""
        unrun = [step for step in activity.steps if step.status in UNRUN]
        for step in unrun:
            step.end("not_run", reason)
        if unrun and unrun[0].cell_id is not None:
            call = self._rooms.call("run_cells", activity.path, cell=unrun[0].cell_id)
            unrun[0].add_note(f"it stays in the notebook: {call} runs it")


async def _settle(document: Document, steps: Iterable[Step]) -> None:
    """Let what has run be saved; show it once more if JupyterLab reads a changed file instead.

    Raises:
        DocumentLost
    """
    await document.settle()
    is_lost = False
    for step in steps:
        step.index = document.index_of(step.cell_id or "")
        if step.index is None or step.count is None or not step.cell_id:
            continue
        shown = document.cells[step.index].get("execution_count") or 0
        if shown < step.count and document.code_of(step.cell_id) == step.source:
            document.show(step.cell_id, step.outputs.items)
            document.end(step.cell_id, step.count)
            is_lost = True
    if is_lost:
        await document.settle()


def _execution(jupyter: Jupyter, session: Session, step: Step) -> Execution:
    runtime = jupyter.runtime
    url = runtime.websocket(f"kernels/{session.kernel_id}/channels")
    step.execution = Execution(url, runtime.headers, Code(step.source, step.cell_id is not None))
    return step.execution


def _interrupt(jupyter: Jupyter, session: Session) -> Callable[[], Awaitable[None]]:
    async def interrupt() -> None:
        await jupyter.interrupt(session.kernel_id)

    return interrupt


def _take(memory: Memory, activity: Activity, step: Step, *, ran_before: bool) -> None:
    """Note how a step left the kernel: with its variables, or gone."""
    session = activity.session
    assert session is not None
    if activity.loss is not None and step.status not in (*UNRUN, "ok"):
        step.status, step.notes = "kernel_died", [activity.loss]
    if step.status == "kernel_died" or step.has_exited:
        memory.lose(activity.path)
        return
    is_cell = step.cell_id is not None and bool(step.source.strip())  # an empty one has no count
    note = memory.note(activity.path, session, step.count, is_cell=is_cell, ran_before=ran_before)
    step.add_note(note)


async def _wait(
    activity: Activity,
    ended: "asyncio.Task[None]",
    closes: asyncio.Event,
    seconds: float,
    tell: Progress,
) -> None:
    """Wait for its end or the end of the time, and tell meanwhile.

    Raises:
        BadCall: the server ends.
    """
    closing = asyncio.ensure_future(closes.wait())
    start = time.monotonic()
    try:
        while not ended.done() and (left := seconds - (time.monotonic() - start)) > 0:
            await asyncio.wait(
                [ended, closing],
                timeout=min(TELL_SECONDS, left),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if closing.done() and activity.is_waiting:
                raise BadCall("The server ends now, and the code was not run. Cells stay.")
            if closing.done() and not activity.is_over:
                raise BadCall("The server ends now; the cell goes on in the notebook's kernel.")
            if not ended.done():
                await tell(time.monotonic() - start)
    finally:
        closing.cancel()


async def _end_of_all(activities: Iterable[Activity], seconds: float) -> None:
    tasks = [one.task for one in activities if one.task is not None]
    if tasks:
        await asyncio.wait(tasks, timeout=seconds)


async def _end_of(task: "asyncio.Task[None]", step: Step | None) -> None:
    """Wait until an activity is over, or one step of it."""
    if step is None:
        await asyncio.wait([task])
        return
    ended = asyncio.ensure_future(step.has_ended.wait())
    try:
        await asyncio.wait([task, ended], return_when=asyncio.FIRST_COMPLETED)
    finally:
        ended.cancel()
