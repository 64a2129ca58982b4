"""What the tools on the runner do, and how a job answers: whole, or one of its cells.

`jobs` does the work, and `summary` chooses the text for a model.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from anyio import to_thread
from mcp.server.mcpserver import Context
from mcp_types import CallToolResult

from runner.contract.callbacks import shown as shown_address
from runner.contract.notebook import PARAMETERS_TAG, tags_of
from runner.contract.outcome import refuse
from runner.contract.states.status import ErrorType, Status
from runner.contract.states.words import did_not_run
from runner.contract.text.plain_text import excerpt, one_line
from runner.followers.callbacks.overview import Deliveries
from runner.jobs.problem import Problem
from runner.jobs.refusals import Source
from runner.jobs.submissions import Submitted
from runner.mcp.answers import BadCall, answer, check_first_picture, with_names
from runner.mcp.jupyter.api import JupyterAway, JupyterRefused
from runner.mcp.jupyter.rooms import Rooms
from runner.mcp.pictures import Picture
from runner.mcp.pieces import BRIEF as BRIEF_BOUNDS
from runner.mcp.pieces import FULL as FULL_BOUNDS
from runner.mcp.pieces import PICTURES, Bounds, Piece, is_cut, pieces_of, rest_of
from runner.mcp.progress import Progress
from runner.mcp.runs.executed import Executed
from runner.mcp.runs.job_lines import sent_from
from runner.mcp.runs.jobs import Jobs, aside, notebook_of, without_outputs
from runner.mcp.runs.shelf import when
from runner.mcp.runs.summary import (
    BRIEF,
    FULL,
    Sizes,
    has_run_before,
    in_short,
    is_open,
    plots_of,
    progress_line,
    sentence,
    shown,
)
from runner.state.books.callbacks import Callback, CallbackState

ERROR_CHARACTERS = 200


@dataclass(frozen=True)
class Runs:
    """The backend of the tools on the runner."""

    jobs: Jobs
    rooms: Rooms
    wait_seconds: float
    """How long `run_notebook` waits by default."""
    tag: str
    """Marks a cell whose output is a result."""

    async def source_of(
        self, source: str | dict[str, Any] | list[Any]
    ) -> tuple[Source, dict[str, str]]:
        """Return what a request carries: the path of a library notebook, or a notebook.

        A library notebook may be named by its path in JupyterLab too. Other paths of JupyterLab
        give the notebook as it is there now, and a key that tells its path.

        Raises:
            Refused
        """
        if isinstance(source, list):
            return notebook_of(source, self.tag), {}
        if isinstance(source, dict):
            return source, {}
        shelf = self.jobs.shelf
        for path in (source, await aside(shelf.path_of, source)):
            if await aside(shelf.has, path):
                return path, {}
        try:
            place = await self.rooms.path_of(source)
            content = without_outputs(await self.rooms.content(place))
        except (BadCall, JupyterAway, JupyterRefused) as error:
            raise refuse(
                ErrorType.INVALID_REQUEST,
                f"There is no notebook {source!r} in the runner's library (list_library)"
                f"{await aside(shelf.meant, source)}, nor in JupyterLab: {error}",
            ) from error
        return content, {"submitted_by": sent_from(place)}

    async def answer(
        self, record: dict[str, Any], sizes: Sizes = BRIEF, *, failed_is_error: bool
    ) -> CallToolResult:
        """Describe a job; without results by what its cells showed."""
        executed = await self.jobs.executed(record)
        job, pictures = await to_thread.run_sync(shown, record, executed, sizes)
        job = replace(job, callbacks=await undelivered(self.jobs.deliveries, record))
        if job.status == Status.SUCCEEDED and not job.results:
            pieces, seen = await to_thread.run_sync(_outputs, executed, sizes)
            text, pictures = with_names(pieces)
            cut = ("outputs",) if is_cut([text]) else ()
            job = replace(job, outputs=text, plots=plots_of(executed, seen), left_out=cut)
            job = replace(job, printed="", ran_nothing=executed.has_no_code)
        is_failed = not is_open(record) and job.status != Status.SUCCEEDED
        return answer([sentence(job)], pictures, is_error=failed_is_error and is_failed)

    async def cell(self, record: dict[str, Any], cell: str | int, bounds: Bounds) -> CallToolResult:
        """Give one cell of the executed notebook, with its outputs.

        Raises:
            BadCall: there is none.
        """
        executed = await self.jobs.executed(record)
        if not executed.cells:
            over = "is not over" if is_open(record) else "has no executed notebook"
            if did_not_run(record.get("result") or {}):
                over = "did not run, so that no cell has outputs"
                if has_run_before(record["result"]):
                    over = "keeps no outputs: its last attempt ran no cell"
            raise BadCall(f"Job {record['job_id']} {over}; get_job without `cell` tells how it is.")
        one = executed.at(cell)
        check_first_picture([one.outputs], bounds, f"Cell {one.name}")
        count = one.cell.get("execution_count")
        head = f"{one.name} {one.cell.get('cell_type')}" + (f", In[{count}]" if count else "")
        outputs = await to_thread.run_sync(pieces_of, one.outputs, bounds)
        source = excerpt(one.source, bounds.output_characters)
        pieces: list[Piece] = [f"{head}\n{source}"]
        values = (record.get("result") or {}).get("parameters")
        if values and PARAMETERS_TAG in tags_of(one.cell):
            pieces.append(f"(the run set {in_short(values)} after it)")
        if outputs:
            pieces += ["Output:", *map(_renumbered(executed), outputs)]
        more = [f"{name}={json.dumps(value)}" for name, value in rest_of(pieces, bounds).items()]
        if more or is_cut(pieces):
            given = f"{', '.join(more)} gives more; " if more else ""
            pieces.append(f"({given}all: runner://jobs/{record['job_id']}/notebook)")
        return answer(pieces)

    async def wait(self, job: Submitted, seconds: float, ctx: Context) -> dict[str, Any]:
        """Wait for a job, and report its progress meanwhile."""

        reported = Progress(ctx)

        async def tell(progress: Any) -> None:
            line = progress_line(progress)
            done = max(int(progress.get("cell") or 1) - 1, 0)
            total = progress.get("cells") or None
            await reported.tell(done, total, line or str(progress.get("status")))

        return await self.jobs.wait(job, seconds, tell)


def _outputs(executed: Executed, sizes: Sizes) -> tuple[list[Piece], dict[int, int]]:
    """Return what the cells showed, cell by cell, and how many pictures of each are among that."""
    bounds = FULL_BOUNDS if sizes is FULL else BRIEF_BOUNDS
    pieces: list[Piece] = []
    seen: dict[int, int] = {}
    left, room = bounds.characters, PICTURES
    for cell in executed.cells:
        if not cell.outputs:
            continue
        if left <= 0:
            pieces.append(f"[cells from {cell.name} on, left out; `cell` gives one]")
            break
        given = pieces_of(cell.outputs, Bounds(bounds.output_characters, left))
        pictures = sum(isinstance(piece, Picture) for piece in given)
        if pictures > room:
            given = [piece for piece in given if not isinstance(piece, Picture)]
        else:
            room -= pictures
            seen[cell.index] = pictures
        left -= sum(len(piece) for piece in given if isinstance(piece, str))
        pieces += [f"{cell.name}:", *given]
    return pieces, seen


def _renumbered(executed: Executed) -> Callable[[Piece], Piece]:
    return lambda piece: executed.renumbered(piece) if isinstance(piece, str) else piece


async def undelivered(deliveries: Deliveries, record: Mapping[str, Any]) -> tuple[str, ...]:
    """Describe the callbacks of a job that is over that met an error and did not come through."""
    if record.get("result") is None:
        return ()
    try:
        found = await aside(deliveries.of, str(record["job_id"]))
    except Problem:  # the result is known all the same
        return ()
    return tuple(
        _callback(one) for one in found if one.error and one.state is not CallbackState.DELIVERED
    )


def _callback(one: Callback) -> str:
    """Say what came of it, and what comes next."""
    tries = "one attempt" if one.attempts == 1 else f"{one.attempts} attempts"
    following = f"next at {when(one.due_at)}"
    if one.state is CallbackState.GIVEN_UP:
        following = "given up"
    error = one_line(one.error or "")[:ERROR_CHARACTERS]
    return f"{shown_address(one.url)}, {tries}: {error}; {following}"
