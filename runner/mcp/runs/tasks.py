"""Gives clients that know tasks one in place of a long wait: `io.modelcontextprotocol/tasks`.

A task is a job, and its id the job's: it is in the ledger and the outbox, so that it outlives both
the client and this server. See https://modelcontextprotocol.io/seps/2663-tasks-extension.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, CallToolRequestParams, CallToolResult, RequestParams
from pydantic import Field

from runner.contract.states.status import Status
from runner.jobs.problem import Problem
from runner.mcp.answers import said
from runner.mcp.runs.jobs import SUBMITTED, Jobs
from runner.mcp.runs.summary import is_open, progress_line

EXTENSION = "io.modelcontextprotocol/tasks"
VERSIONS = frozenset({"2026-07-28"})
AT_ONCE_SECONDS = 1.0
"""What is over by then is answered without a task."""
POLL_MILLISECONDS = 1000

Json = dict[str, Any]
Context = ServerRequestContext[Any, Any]
Answer = Callable[[Json], Awaitable[CallToolResult]]


class TaskParams(RequestParams):
    """What names a task."""

    task_id: str = Field(alias="taskId")


class Tasks(Extension):
    """The tasks of one runner. `answer` makes a tool's result of a job that is over."""

    identifier = EXTENSION

    def __init__(self, jobs: Jobs, answer: Answer) -> None:
        self._jobs = jobs
        self._answer = answer

    def methods(self) -> Sequence[MethodBinding]:
        """Return the methods of the extension."""
        return [
            MethodBinding("tasks/get", TaskParams, self._get, VERSIONS),
            MethodBinding("tasks/cancel", TaskParams, self._cancel, VERSIONS),
            MethodBinding("tasks/update", TaskParams, self._update, VERSIONS),
        ]

    async def intercept_tool_call(
        self, params: CallToolRequestParams, ctx: Context, call_next: CallNext
    ) -> HandlerResult:
        """Answer a call with a task if its job is not over soon, and the client knows tasks."""
        if not _knows_tasks(ctx):
            return await call_next(ctx)
        if params.name == "run_notebook" and params.arguments is not None:
            params.arguments.setdefault("wait_seconds", AT_ONCE_SECONDS)
        jobs: list[str] = []
        token = SUBMITTED.set(jobs)
        try:
            result = await call_next(ctx)
        finally:
            SUBMITTED.reset(token)
        if not jobs:
            return result
        record = await self._jobs.show(jobs[-1])
        return {**_task(record), "resultType": "task"} if is_open(record) else result

    async def _get(self, _: Context, params: TaskParams) -> Json:
        record = await self._show(params.task_id)
        task = {**_task(record), "resultType": "complete"}
        if task["status"] == "completed":
            result = (await self._answer(record)).model_dump(
                mode="json", by_alias=True, exclude_none=True
            )
            task["result"] = {**result, "resultType": "complete"}
        return task

    async def _cancel(self, _: Context, params: TaskParams) -> Json:
        await self._show(params.task_id)
        await self._jobs.cancel(params.task_id)
        return {"resultType": "complete"}

    async def _update(self, _: Context, params: TaskParams) -> Json:
        """Accept input that no task has asked for, as the protocol wants it."""
        await self._show(params.task_id)
        return {"resultType": "complete"}

    async def _show(self, task_id: str) -> Json:
        try:
            return await self._jobs.show(task_id)
        except Problem as problem:
            raise MCPError(INVALID_PARAMS, said(problem)) from problem


def _knows_tasks(ctx: Context) -> bool:
    capabilities = ctx.session.client_capabilities
    extensions = capabilities.extensions if capabilities is not None else None
    return ctx.protocol_version in VERSIONS and EXTENSION in (extensions or {})


def _task(record: Mapping[str, Any]) -> Json:
    """Describe a job as a task. A cell's error is a result: only a cancelled job has none."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    report = record.get("result") or record
    created = str(report.get("accepted_at") or now)
    task: Json = {
        "taskId": str(record["job_id"]),
        "createdAt": created,
        "lastUpdatedAt": str(report.get("finished_at") or now),
        "ttlMs": None,
    }
    if is_open(dict(record)):
        line = progress_line(record.get("progress")) or str(record["status"])
        return {
            **task,
            "status": "working",
            "statusMessage": line,
            "pollIntervalMs": POLL_MILLISECONDS,
        }
    is_cancelled = record["status"] == Status.CANCELLED
    return {**task, "status": "cancelled" if is_cancelled else "completed"}
