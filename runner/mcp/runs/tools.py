"""The tools on the runner: their names, arguments and answers.

Holds no rules; `jobs` does the work, and `summary` chooses the text for a model.
"""

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Annotated, Any

from mcp.server.mcpserver import Context, MCPServer
from mcp_types import CallToolResult, ToolAnnotations
from pydantic import BaseModel, Field

from runner.contract.outcome import ErrorType, Status, refuse
from runner.contract.request import Resources
from runner.jobs.problem import Problem
from runner.jobs.record import MAX_LIMIT, Question
from runner.jobs.refusals import Source
from runner.jobs.submissions import Submitted
from runner.mcp.answers import READS, RUNS_CODE, BadCall, answer, plainly, with_names
from runner.mcp.jupyter.api import JupyterAway, JupyterRefused
from runner.mcp.jupyter.rooms import Rooms
from runner.mcp.pieces import pieces_of
from runner.mcp.runs.jobs import Jobs, notebook_of, without_outputs
from runner.mcp.runs.resources import register_resources
from runner.mcp.runs.summary import progress_line, sentence, shown

MAX_WAIT_SECONDS = 3600

Given = Annotated[
    str | dict[str, Any] | list[Any],
    Field(
        description="A path in the runner's library (resource `runner://notebooks`) or in "
        "JupyterLab; or a notebook's JSON; or a list of cells, where a text is a code cell and "
        "the last one's value is the result."
    ),
]
Parameters = Annotated[
    dict[str, Any] | None, Field(description="Values for its cell tagged `parameters`.")
]
RunSeconds = Annotated[float | None, Field(description="Limit of the run; default 300.")]
Kernel = Annotated[str | None, Field(description="A kernelspec in place of its own.")]
Retries = Annotated[
    int | None,
    Field(
        description="Runs again after interrupted, kernel_died or kernel_startup, up to 10 times; "
        "never after a cell's error."
    ),
]
Needs = Annotated[
    Resources | None, Field(description="What the run needs; gpus and labels in clusters only.")
]
JobId = Annotated[str, Field(description="32 hex digits.")]


@dataclass(frozen=True)
class Runs:
    """The backend of the tools on the runner."""

    jobs: Jobs
    rooms: Rooms
    wait_seconds: float
    """How long `run_notebook` waits by default."""
    tag: str
    """Marks a cell whose output is a result."""

    async def source_of(self, source: str | dict[str, Any] | list[Any]) -> Source:
        """Return what a request carries: the path of a library notebook, or a notebook.

        Raises:
            Refused
        """
        if isinstance(source, list):
            return notebook_of(source, self.tag)
        if isinstance(source, dict) or await self.jobs.is_in_library(source):
            return source
        try:
            return without_outputs(await self.rooms.content(self.rooms.path_of(source)))
        except (BadCall, JupyterAway, JupyterRefused) as error:
            raise refuse(
                ErrorType.INVALID_REQUEST,
                f"There is no notebook {source!r} in the runner's library (runner://notebooks), "
                f"nor in JupyterLab: {error}",
            ) from error

    async def answer(self, record: dict[str, Any], *, failed_is_error: bool) -> CallToolResult:
        """Describe a job; without results by what its cells showed."""
        job, pictures = shown(record)
        if job.status == Status.SUCCEEDED and not job.results:
            with suppress(Problem, OSError):  # it is not kept any more
                pieces = pieces_of(await self.jobs.cell_outputs(job.job_id))
                text, pictures = with_names(pieces)
                job = replace(job, outputs=text)
        is_failed = not _is_open(record) and job.status != Status.SUCCEEDED
        return answer([sentence(job)], pictures, is_error=failed_is_error and is_failed)

    async def wait(self, job: Submitted, seconds: float, ctx: Context) -> dict[str, Any]:
        """Wait for a job, and report its progress meanwhile."""

        async def tell(progress: Any) -> None:
            line = progress_line(progress)
            done = max(int(progress.get("cell") or 1) - 1, 0)
            total = progress.get("cells") or None
            await ctx.report_progress(done, total, line or str(progress.get("status")))

        return await self.jobs.wait(job, seconds, tell)


def register(server: MCPServer, runs: Runs) -> None:
    """Add tools and resources to a server."""
    _add_run_notebook(server, runs)
    _add_get_job(server, runs)
    _add_list_jobs(server, runs)
    _add_cancel_job(server, runs)
    _add_check_notebook(server, runs)
    register_resources(server, runs.jobs)


def _add_run_notebook(server: MCPServer, runs: Runs) -> None:
    @server.tool(annotations=RUNS_CODE)
    @plainly
    async def run_notebook(
        notebook: Given,
        ctx: Context,
        parameters: Parameters = None,
        timeout_seconds: RunSeconds = None,
        name: Annotated[
            str | None, Field(description="Name of the result, such as `sales/daily`.")
        ] = None,
        kernel: Kernel = None,
        retries: Retries = None,
        resources: Needs = None,
        wait_seconds: Annotated[
            float,
            Field(
                ge=0,
                le=MAX_WAIT_SECONDS,
                description="How long to wait for the result; less than your client does.",
            ),
        ] = runs.wait_seconds,
    ) -> CallToolResult:
        """Run a whole notebook in a fresh kernel as a job, with parameters.

        For finished notebooks and long runs; it goes on whatever happens to this call. Gives the
        results (glued values, cells tagged `results`, else what cells showed), or the error with
        cell and traceback; past wait_seconds the job's id for get_job.
        """
        keys = _keys(
            parameters=parameters,
            timeout_seconds=timeout_seconds,
            name=name,
            kernel=kernel,
            retries=retries,
            resources=resources,
        )
        job = await runs.jobs.submit(await runs.source_of(notebook), keys)
        return await runs.answer(await runs.wait(job, wait_seconds, ctx), failed_is_error=True)


def _add_get_job(server: MCPServer, runs: Runs) -> None:
    @server.tool(annotations=READS)
    @plainly
    async def get_job(
        job_id: JobId,
        ctx: Context,
        wait_seconds: Annotated[
            float,
            Field(ge=0, le=MAX_WAIT_SECONDS, description="Wait so long for its end."),
        ] = 0,
    ) -> CallToolResult:
        """Give a job's status and progress, or its result once it is over."""
        record = await runs.jobs.show(job_id)
        if record.get("result") is None and wait_seconds and _is_open(record):
            record = await runs.wait(Submitted(job_id, str(record["name"])), wait_seconds, ctx)
        return await runs.answer(record, failed_is_error=False)


def _add_list_jobs(server: MCPServer, runs: Runs) -> None:
    @server.tool(annotations=READS)
    @plainly
    async def list_jobs(
        status: Status | None = None,
        name: str | None = None,
        limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = 20,
    ) -> CallToolResult:
        """List the runner's jobs, the newest first, whoever submitted them."""
        rows = await runs.jobs.listing(Question(limit=limit, status=status, name=name))
        text = "\n".join(_line(row) for row in rows)
        if len(rows) == limit:
            text += f"\n(the newest {limit}; a larger `limit` lists more)"
        return answer([text or "There are no such jobs."])


def _add_cancel_job(server: MCPServer, runs: Runs) -> None:
    @server.tool(
        annotations=ToolAnnotations(
            read_only_hint=False,
            destructive_hint=True,
            idempotent_hint=True,
            open_world_hint=False,
        ),
    )
    @plainly
    async def cancel_job(job_id: JobId) -> CallToolResult:
        """End a job that waits or runs, within seconds."""
        record = await runs.jobs.cancel(job_id)
        job, _ = shown(record)
        word = "is over already" if not _is_open(record) else "is asked to end"
        return answer([f"Job {job_id} ({job.name}) {word}: {job.status}."])


def _add_check_notebook(server: MCPServer, runs: Runs) -> None:
    @server.tool(annotations=READS)
    @plainly
    async def check_notebook(
        notebook: Given,
        parameters: Parameters = None,
        timeout_seconds: RunSeconds = None,
        kernel: Kernel = None,
        retries: Retries = None,
        resources: Needs = None,
    ) -> CallToolResult:
        """Say why the runner would refuse a notebook, without running it."""
        keys = _keys(
            parameters=parameters,
            timeout_seconds=timeout_seconds,
            kernel=kernel,
            retries=retries,
            resources=resources,
        )
        prospect = await runs.jobs.forecast(await runs.source_of(notebook), keys)
        lines = [f"{one.error_type}: {one.message}" for one in prospect.refusals]
        lines = lines or ["Nothing to refuse: the runner would run it."]
        lines += [f"warning: {one}" for one in prospect.warnings]
        return answer(["\n".join(lines)])


def _line(row: dict[str, Any]) -> str:
    line = f"{row['job_id']} {row['name']}: {row['status']}, {row['accepted_at']}"
    if row.get("seconds") is not None:
        line += f", {row['seconds']:g} s"
    return f"{line} ({row['error_type']}: {row['message']})" if row.get("error_type") else line


def _is_open(record: dict[str, Any]) -> bool:
    return record["status"] in (Status.QUEUED, Status.RUNNING)


def _keys(**keys: Any) -> dict[str, Any]:
    """Give those that are set, in the form of a request."""
    return {
        key: value.model_dump(exclude_unset=True) if isinstance(value, BaseModel) else value
        for key, value in keys.items()
        if value is not None
    }
