"""The five tools on the runner, and its runs and library as resources.

Holds no rules; `jobs` does the work, and `summary` chooses the text for a model.
"""

import json
from contextlib import suppress
from typing import Annotated, Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError
from mcp_types import CallToolResult, ToolAnnotations
from pydantic import BaseModel, Field

from runner.contract.outcome import ErrorType, Refused, Status, refuse
from runner.contract.request import Resources
from runner.contract.text.strict_json import dumps
from runner.jobs.problem import Problem
from runner.jobs.record import MAX_LIMIT, Question
from runner.jobs.refusals import Source
from runner.jobs.submissions import Submitted
from runner.mcp.answers import READS, RUNS_CODE, answer, plainly, said
from runner.mcp.notebooks.jupyter import JupyterAway, JupyterRefused
from runner.mcp.notebooks.live import BadCall, LiveNotebooks
from runner.mcp.outputs import Picture, pieces_of
from runner.mcp.runs.jobs import Jobs, notebook_of, without_outputs
from runner.mcp.runs.summary import JobShown, progress_line, sentence, shown

MAX_WAIT_SECONDS = 3600
NOTEBOOK = "application/x-ipynb+json"

Given = Annotated[
    str | dict[str, Any] | list[Any],
    Field(
        description="A path in the runner's library (resource `runner://notebooks`), or a path "
        "in JupyterLab (list_notebooks); or a notebook itself: its JSON, or just a list of its "
        "cells, where a text is a code cell, and what the last one gives is the result."
    ),
]
Parameters = Annotated[
    dict[str, Any] | None,
    Field(description="Values by name for the notebook's cell tagged `parameters`."),
]
RunSeconds = Annotated[
    float | None,
    Field(description="Limit of the run. Left out: the runner's default (300)."),
]
Kernel = Annotated[str | None, Field(description="Name of a kernelspec; its own if left out.")]
Retries = Annotated[
    int | None,
    Field(
        description="Runs again after interrupted, kernel_died or kernel_startup, up to 10 times; "
        "never after a cell's own error. Left out: 0."
    ),
]
Needs = Annotated[
    Resources | None,
    Field(description="What the run needs of its machine: memory; in clusters GPUs and labels."),
]
JobId = Annotated[str, Field(description="The job's id, 32 hex digits.")]


class JobLine(BaseModel):
    """A job in a list."""

    job_id: str
    name: str
    status: str
    error_type: str | None
    message: str | None
    accepted_at: str
    seconds: float | None


class JobList(BaseModel):
    """Jobs, the newest first."""

    jobs: list[JobLine]


class Reason(BaseModel):
    """One reason for a refusal."""

    error_type: str
    message: str


class Check(BaseModel):
    """Whether the runner would take a notebook."""

    would_run: bool
    reasons: list[Reason]
    warnings: list[str] = []


def register(
    server: MCPServer, jobs: Jobs, live: LiveNotebooks, wait_seconds: float, tag: str
) -> None:
    """Add tools and resources to a server.

    `wait_seconds` is meant where the client does not say; `tag` marks a cell whose output is a
    result.
    """

    @server.tool(
        title="Run a notebook unattended",
        annotations=RUNS_CODE,
    )
    @plainly
    async def run_notebook(
        notebook: Given,
        ctx: Context,
        parameters: Parameters = None,
        timeout_seconds: RunSeconds = None,
        name: Annotated[
            str | None,
            Field(description="A name for the result in the outbox, such as `sales/daily`."),
        ] = None,
        kernel: Kernel = None,
        retries: Retries = None,
        resources: Needs = None,
        wait_seconds: Annotated[
            float,
            Field(
                ge=0,
                le=MAX_WAIT_SECONDS,
                description="How long to wait for the result; 0: do not wait. Stay below the "
                "time after which your client gives up.",
            ),
        ] = wait_seconds,
    ) -> Annotated[CallToolResult, JobShown]:
        """Run a whole notebook from top to bottom in a fresh kernel, with parameters, as a job.

        For finished notebooks and for long or unattended runs: it is queued, runs once, cannot
        see the variables of live notebooks, and goes on whatever happens to this call. Gives back
        the results (glued values, cells tagged `results`; where there are none, what the cells
        showed), or the error with the cell and its traceback. If it takes longer than
        wait_seconds, gives back the job's id: ask again with get_job. For trying things out step
        by step use insert_execute_code_cell.
        """
        keys = _keys(
            parameters=parameters,
            timeout_seconds=timeout_seconds,
            name=name,
            kernel=kernel,
            retries=retries,
            resources=resources,
        )
        job = await jobs.submit(await source_of(notebook), keys)
        return await job_answer(await wait(job, wait_seconds, ctx), failed_is_error=True)

    @server.tool(
        title="Ask for a job",
        annotations=READS,
    )
    @plainly
    async def get_job(
        job_id: JobId,
        ctx: Context,
        wait_seconds: Annotated[
            float,
            Field(
                ge=0, le=MAX_WAIT_SECONDS, description="Wait so long for its end, if it still runs."
            ),
        ] = 0,
    ) -> Annotated[CallToolResult, JobShown]:
        """Tell how a job of run_notebook is: status and progress, or its result once it is over.

        With wait_seconds it waits for the end, so that there is no need to ask in a loop.
        """
        record = await jobs.show(job_id)
        if record.get("result") is None and wait_seconds and _is_open(record):
            record = await wait(Submitted(job_id, str(record["name"])), wait_seconds, ctx)
        return await job_answer(record, failed_is_error=False)

    @server.tool(
        title="List jobs",
        annotations=READS,
    )
    @plainly
    async def list_jobs(
        status: Annotated[Status | None, Field(description="Only jobs of this status.")] = None,
        name: Annotated[str | None, Field(description="Only jobs of this name.")] = None,
        limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = 20,
    ) -> Annotated[CallToolResult, JobList]:
        """List the runner's jobs, the newest first, whoever asked for them.

        To find a job's id, or what failed lately. get_job gives one of them in full.
        """
        rows = await jobs.listing(Question(limit=limit, status=status, name=name))
        lines = [JobLine.model_validate({k: row[k] for k in JobLine.model_fields}) for row in rows]
        text = "\n".join(
            f"{line.job_id} {line.name}: {line.status}"
            + (f" ({line.error_type}: {line.message})" if line.error_type else "")
            for line in lines
        )
        return answer([text or "There are no such jobs."], JobList(jobs=lines))

    @server.tool(
        title="Cancel a job",
        annotations=ToolAnnotations(
            read_only_hint=False,
            destructive_hint=True,
            idempotent_hint=True,
            open_world_hint=False,
        ),
    )
    @plainly
    async def cancel_job(job_id: JobId) -> Annotated[CallToolResult, JobShown]:
        """End a job that waits or runs. One that is over stays as it is.

        It ends within seconds; get_job tells when it has.
        """
        record = await jobs.cancel(job_id)
        job, _ = shown(record)
        word = "is over already" if not _is_open(record) else "is asked to end"
        return answer([f"Job {job_id} ({job.name}) {word}: {job.status}."], job)

    @server.tool(
        title="Check a notebook",
        annotations=READS,
    )
    @plainly
    async def check_notebook(
        notebook: Given,
        parameters: Parameters = None,
        timeout_seconds: RunSeconds = None,
        kernel: Kernel = None,
        retries: Retries = None,
        resources: Needs = None,
    ) -> Annotated[CallToolResult, Check]:
        """Say everything for which the runner would refuse a notebook, without running it.

        Bad parameters, a kernel that is not allowed, modules that are not installed; and a
        warning of values that no parameter takes. Quick, and changes nothing; useful before a long
        run.
        """
        keys = _keys(
            parameters=parameters,
            timeout_seconds=timeout_seconds,
            kernel=kernel,
            retries=retries,
            resources=resources,
        )
        prospect = await jobs.forecast(await source_of(notebook), keys)
        reasons = [
            Reason(error_type=str(one.error_type), message=one.message) for one in prospect.refusals
        ]
        lines = [f"{one.error_type}: {one.message}" for one in reasons]
        lines = lines or ["Nothing to refuse: the runner would run it."]
        lines += [f"warning: {one}" for one in prospect.warnings]
        return answer(
            ["\n".join(lines)],
            Check(would_run=not reasons, reasons=reasons, warnings=list(prospect.warnings)),
        )

    async def source_of(source: str | dict[str, Any] | list[Any]) -> Source:
        """Return a request's source: the path of a library notebook, or a notebook."""
        if isinstance(source, list):
            return notebook_of(source, tag)
        if isinstance(source, dict) or await jobs.is_in_library(source):
            return source
        try:
            return without_outputs(await live.content(live.path_of(source)))
        except (BadCall, JupyterAway, JupyterRefused) as error:
            raise refuse(
                ErrorType.INVALID_REQUEST,
                f"There is no notebook {source!r} in the runner's library (runner://notebooks), "
                f"nor in JupyterLab: {error}",
            ) from error

    async def job_answer(record: dict[str, Any], *, failed_is_error: bool) -> CallToolResult:
        job, pictures = shown(record)
        if job.status == Status.SUCCEEDED and not job.results:
            with suppress(Problem, OSError):  # it is not kept any more
                pieces = pieces_of(await jobs.cell_outputs(job.job_id))
                pictures = [piece for piece in pieces if isinstance(piece, Picture)]
                texts = [piece for piece in pieces if isinstance(piece, str)]
                job = job.model_copy(update={"outputs": texts})
        is_failed = not _is_open(record) and job.status != Status.SUCCEEDED
        return answer([sentence(job), *pictures], job, is_error=failed_is_error and is_failed)

    async def wait(job: Submitted, seconds: float, ctx: Context) -> dict[str, Any]:
        async def tell(progress: Any) -> None:
            line = progress_line(progress)
            done = max(int(progress.get("cell") or 1) - 1, 0)
            total = progress.get("cells") or None
            await ctx.report_progress(done, total, line or str(progress.get("status")))

        return await jobs.wait(job, seconds, tell)

    _register_resources(server, jobs)


def _register_resources(server: MCPServer, jobs: Jobs) -> None:
    @server.resource(
        "runner://jobs",
        title="Jobs",
        description="The 50 newest jobs of the runner.",
        mime_type="application/json",
    )
    async def job_list() -> str:
        try:
            return _json({"jobs": await jobs.listing(Question())})
        except Problem as problem:
            raise ResourceError(said(problem)) from problem

    @server.resource(
        "runner://jobs/{job_id}",
        title="A job",
        description="All that is known of a job, its result uncut.",
        mime_type="application/json",
    )
    async def job(job_id: str) -> str:
        try:
            return _json(await jobs.show(job_id))
        except Problem as problem:
            raise ResourceNotFoundError(said(problem)) from problem

    @server.resource(
        "runner://jobs/{job_id}/notebook",
        title="A job's executed notebook",
        description="The notebook with its outputs; after an error as far as it got.",
        mime_type=NOTEBOOK,
    )
    async def job_notebook(job_id: str) -> str:
        try:
            return await jobs.executed_notebook(job_id)
        except (Problem, OSError) as error:
            raise ResourceNotFoundError(said(error)) from error

    @server.resource(
        "runner://inbox",
        title="Inbox",
        description="The files that stay in the runner's inbox: why, since when, and what to do.",
        mime_type="application/json",
    )
    async def inbox() -> str:
        return _json(await jobs.waiting())

    @server.resource(
        "runner://notebooks",
        title="Library",
        description="The notebooks that run_notebook may name by their path.",
        mime_type="application/json",
    )
    async def library() -> str:
        notebooks, is_cut = await jobs.library()
        return _json({"notebooks": notebooks, "is_complete": not is_cut})

    @server.resource(
        "runner://notebooks/{+path}",
        title="A notebook of the library",
        description="Its JSON.",
        mime_type=NOTEBOOK,
    )
    async def library_notebook(path: str) -> str:
        try:
            return await jobs.library_notebook(path)
        except Refused as refused:
            raise ResourceNotFoundError(said(refused)) from refused


def _is_open(record: dict[str, Any]) -> bool:
    return record["status"] in (Status.QUEUED, Status.RUNNING)


def _keys(**keys: Any) -> dict[str, Any]:
    """Give those that are set, in the form of a request."""
    return {
        key: value.model_dump(exclude_unset=True) if isinstance(value, BaseModel) else value
        for key, value in keys.items()
        if value is not None
    }


def _json(value: Any) -> str:
    return dumps(json.loads(json.dumps(value))).decode()
