"""The runner's jobs, inbox and library as resources: all of what the tools' answers cut."""

import json
from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError

from runner.contract.outcome import Refused
from runner.contract.text.strict_json import dumps
from runner.jobs.problem import Problem
from runner.jobs.record import Question
from runner.mcp.answers import said
from runner.mcp.runs.jobs import Jobs, aside

NOTEBOOK = "application/x-ipynb+json"


def register_resources(server: MCPServer, jobs: Jobs) -> None:
    """Add the resources to a server."""
    _add_jobs(server, jobs)
    _add_files(server, jobs)


def _add_jobs(server: MCPServer, jobs: Jobs) -> None:

    @server.resource(
        "runner://jobs",
        title="Jobs",
        description="The 50 newest jobs of the runner.",
        mime_type="application/json",
    )
    async def job_list() -> str:
        try:
            return _json({"jobs": await jobs.rows(Question())})
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
        description="The notebook with its outputs; after an error as far as it got; as it came "
        "if the job did not run.",
        mime_type=NOTEBOOK,
    )
    async def job_notebook(job_id: str) -> str:
        try:
            return await jobs.executed_notebook(job_id)
        except (Problem, OSError) as error:
            raise ResourceNotFoundError(said(error)) from error


def _add_files(server: MCPServer, jobs: Jobs) -> None:
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
        notebooks, is_cut = await aside(jobs.shelf.paths)
        return _json({"notebooks": notebooks, "is_complete": not is_cut})

    @server.resource(
        "runner://notebooks/{+path}",
        title="A notebook of the library",
        description="Its JSON.",
        mime_type=NOTEBOOK,
    )
    async def library_notebook(path: str) -> str:
        try:
            return await aside(lambda: jobs.shelf.content(jobs.shelf.path_of(path)))
        except Refused as refused:
            raise ResourceNotFoundError(said(refused)) from refused


def _json(value: Any) -> str:
    return dumps(json.loads(json.dumps(value))).decode()
