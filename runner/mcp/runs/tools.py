"""The tools on the runner: their names, arguments and answers.

Holds no rules; `backend` does the work.
"""

import json
from contextlib import suppress
from dataclasses import replace
from difflib import get_close_matches
from typing import Annotated, Any

from mcp.server.mcpserver import Context, MCPServer
from mcp_types import CallToolResult, ToolAnnotations
from pydantic import BaseModel, Field

from runner.contract.job_ids import JOB_ID
from runner.contract.outcome import refuse
from runner.contract.request import Resources
from runner.contract.states.status import ErrorType, Status
from runner.jobs.problem import Problem, not_found
from runner.jobs.record import MAX_LIMIT, Question
from runner.jobs.submissions import Submitted
from runner.mcp.answers import READS, RUNS_CODE, BadCall, answer, plainly, said
from runner.mcp.jupyter.api import JupyterAway, JupyterRefused
from runner.mcp.pieces import BRIEF as BRIEF_BOUNDS
from runner.mcp.pieces import FULL as FULL_BOUNDS
from runner.mcp.pieces import Bounds, Detail
from runner.mcp.runs.backend import Runs
from runner.mcp.runs.job_lines import FACE, line_of, sent_from, time_of, untaken_line, untaken_words
from runner.mcp.runs.jobs import aside, may_be_new
from runner.mcp.runs.resources import register_resources
from runner.mcp.runs.schedules import register_schedules
from runner.mcp.runs.summary import BRIEF, FULL, is_open, shown

MAX_WAIT_SECONDS = 3600

Given = Annotated[
    str | dict[str, Any] | list[Any],
    Field(
        description="A path in the runner's library (list_library) or in JupyterLab; or a "
        "notebook's JSON; or a list of cells, where a text is a code cell and "
        "the last one's value is the result."
    ),
]
Parameters = Annotated[
    dict[str, Any] | None, Field(description="Values for its cell tagged `parameters`.")
]
RunSeconds = Annotated[
    float | None, Field(description="Limit of the run; default 300.", allow_inf_nan=False)
]
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
Waiting = Annotated[
    dict[str, Any] | None,
    Field(
        description="When it starts: `not_before` (`2026-12-01T06:00:00Z`), "
        "`start_within_seconds`, `priority` (-10 to 10), `group`, `retry` (times, delay_seconds, "
        "factor, on: error types)."
    ),
]
Files = Annotated[
    dict[str, Any] | None,
    Field(
        description="Files that go along, by name: a text, or `{base64}`. They lie in its folder; "
        "for a library notebook give a parameter the file's name as value, or it reads "
        "RUNNER_INPUT_DIR."
    ),
]
OTHER_NAMES = 5
WAITING_KEYS = ("not_before", "start_within_seconds", "priority", "group", "retry")
JobId = Annotated[str, Field(description="32 hex digits; or a name, for its newest job.")]


def register(server: MCPServer, runs: Runs) -> None:
    """Add tools and resources to a server."""
    _add_run_notebook(server, runs)
    _add_get_job(server, runs)
    _add_list_jobs(server, runs)
    _add_cancel_job(server, runs)
    _add_check_notebook(server, runs)
    _add_list_library(server, runs)
    register_schedules(server, runs.jobs)
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
        waiting: Waiting = None,
        files: Files = None,
        callback: Annotated[
            str | None, Field(description="Address to which the result is posted too.")
        ] = None,
        report: Annotated[
            dict[str, str] | None,
            Field(description="Its report: `code` (hide, show), `title`, `theme`."),
        ] = None,
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
        results (values given to `scrapbook.glue(name, value)`, cells tagged `results`, else what
        cells showed), or the error with cell and traceback; past wait_seconds the job's id for
        get_job.
        """
        keys = _keys(
            parameters=parameters,
            timeout_seconds=timeout_seconds,
            name=name,
            kernel=kernel,
            retries=retries,
            resources=resources,
            files=files,
            callback=callback,
            report=report,
            **_waiting(waiting),
        )
        source, by = await runs.source_of(notebook)
        job = await runs.jobs.submit(source, {**keys, **by})
        return await runs.answer(await runs.wait(job, wait_seconds, ctx), failed_is_error=True)


def _add_get_job(server: MCPServer, runs: Runs) -> None:
    @server.tool(annotations=READS)
    @plainly
    async def get_job(
        job_id: JobId,
        ctx: Context,
        cell: Annotated[
            str | int | None,
            Field(
                description="Give this cell of the executed notebook, with its plots: id, or "
                "index from 0."
            ),
        ] = None,
        detail: Detail = "brief",
        first_picture: Annotated[int, Field(ge=1)] = 1,
        wait_seconds: Annotated[
            float,
            Field(ge=0, le=MAX_WAIT_SECONDS, description="Wait so long for its end."),
        ] = 0,
    ) -> CallToolResult:
        """Give a job's status and progress, or its result once it is over."""
        if first_picture > 1 and cell is None:
            raise BadCall("`first_picture` counts the pictures of one `cell`: name that too.")
        record = await runs.jobs.show(await _id_of(runs, job_id))
        job_id = str(record["job_id"])
        if record.get("result") is None and wait_seconds and is_open(record):
            record = await runs.wait(Submitted(job_id, str(record["name"])), wait_seconds, ctx)
        if cell is not None:
            full = FULL_BOUNDS if detail == "full" else BRIEF_BOUNDS
            bounds = Bounds(full.output_characters, full.characters, first_picture)
            return await runs.cell(record, cell, bounds)
        sizes = FULL if detail == "full" else BRIEF
        record = await runs.jobs.explained(record)
        return await runs.answer(record, sizes, failed_is_error=False)


def _add_list_jobs(server: MCPServer, runs: Runs) -> None:
    @server.tool(annotations=READS)
    @plainly
    async def list_jobs(
        name: Annotated[
            str | None, Field(description="Name, its beginning, or a pattern: `plans/*`.")
        ] = None,
        notebook: Annotated[
            str | None, Field(description="Only runs of this path (library or JupyterLab).")
        ] = None,
        status: Status | None = None,
        since: Annotated[
            str | None, Field(description="Accepted then or later: ISO 8601, UTC.")
        ] = None,
        before: Annotated[
            str | None, Field(description="Older than this job (its id), or than a time.")
        ] = None,
        limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = 20,
    ) -> CallToolResult:
        """List jobs, the newest first, with their parameters and short results.

        Earlier runs of a notebook: by its library path, or by the name that its runs have.
        """
        is_job = before is not None and JOB_ID.fullmatch(before) is not None
        question = Question(
            limit=limit,
            status=status,
            pattern=name,
            **({} if notebook is None else await _by_path(runs, notebook)),
            since=time_of("since", since),
            before=before if is_job else None,
            until=None if is_job else time_of("before", before),
        )
        question, others = await _of_one_name(runs, question)
        is_first = before is None and may_be_new(question)
        untaken = await runs.jobs.dropped() if is_first else []
        left = untaken_line(untaken, question)
        try:
            rows, more = await runs.jobs.listing(question)
        except Problem as problem:
            if left is None:
                raise
            return answer([f"{said(problem)}\n{left}"], is_error=True)
        lines = [line_of(row) for row in rows] or [await _no_jobs(runs, question)]
        if any(row["status"] == Status.QUEUED for row in rows) and (
            why := await runs.jobs.why_waiting()
        ):
            lines.append(f"(what is queued waits: {why})")
        if left is not None:
            lines.append(left)
        if any("…" in line for line in lines):
            lines.append("(… is cut: get_job gives all of it)")
        lines += others
        if more is not None:
            lines.append(f'(older ones: before="{more}")')
        return answer(["\n".join(lines)])


async def _id_of(runs: Runs, what: str) -> str:
    """Return an id, or that of the newest job of a name.

    Raises:
        Problem: `not_found`, with names that are alike.
    """
    what = what.strip()
    if JOB_ID.fullmatch(what.lower()):
        return what.lower()
    new = await runs.jobs.unaccepted()
    if mine := [one.job_id for one in new if one.name == what]:
        return mine[0]
    if left := [one for one in await runs.jobs.dropped() if one.name == what]:
        raise not_found(untaken_words(min(left, key=lambda one: one.stays is not None)))
    rows = await runs.jobs.rows(Question(limit=1, name=what)) if what else []
    if rows:
        return str(rows[0]["job_id"])
    names = [one.name for one in new]
    names += [str(row["name"]) for row in await runs.jobs.rows(Question(limit=200))]
    near = get_close_matches(what, list(dict.fromkeys(names)), 3, 0.5)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    hint += await _by_notebook(runs, what)
    raise not_found(f"There is no job of the id or name {what[:80]!r}; list_jobs lists them.{hint}")


async def _no_jobs(runs: Runs, question: Question) -> str:
    """Say that there are none, and which name was probably meant."""
    if question.notebook is not None:
        shelf, path = runs.jobs.shelf, question.notebook
        meant = await aside(shelf.meant, path)
        if await aside(shelf.is_there, path):
            return "There are no such jobs."
        missing = f"There are no such jobs; the library has no such notebook{meant}."
        return f"{missing} {await _in_jupyter(runs, path)}".rstrip()
    if question.pattern is None:
        return "There are no such jobs."
    rows = await runs.jobs.rows(Question(limit=50, part=question.pattern))
    names = list(dict.fromkeys(row["name"] for row in rows))[:5]
    hint = f" Names with that in them: {', '.join(names)}." if names else ""
    hint += await _by_notebook(runs, question.pattern)
    return f"There are no such jobs of the name {question.pattern[:80]!r}.{hint}"


async def _of_one_name(runs: Runs, question: Question) -> tuple[Question, list[str]]:
    """Ask for the jobs of exactly the name that is given, if there are some; name the others."""
    name = question.pattern
    if name is None or set(name) & set("*?["):
        return question, []
    with suppress(Problem):  # the list itself tells of it
        new = [one.name for one in await runs.jobs.unaccepted()]
        if name not in new and not await runs.jobs.rows(Question(limit=1, name=name)):
            return question, []
        rows = await runs.jobs.rows(Question(limit=MAX_LIMIT, pattern=f"{name}?*"))
        names = dict.fromkeys([*(row["name"] for row in rows), *new])
        others = [one for one in names if one.startswith(name) and one != name]
        some = ", ".join(others[:OTHER_NAMES]) + " and more" * (len(others) > OTHER_NAMES)
        more = [f"(name={json.dumps(f'{name}*')} lists these too: {some})"] if others else []
        return replace(question, name=name, pattern=None), more
    return question, []


async def _in_jupyter(runs: Runs, path: str) -> str:
    """Say whether JupyterLab has a notebook of which no job is, or what was meant there."""
    if not path.endswith(".ipynb"):
        return ""
    try:
        await runs.rooms.check_there(await runs.rooms.path_of(path))
    except BadCall as error:
        return str(error)
    except (JupyterAway, JupyterRefused):  # the answer is true without it
        return ""
    return "JupyterLab has it; no run of it was sent from there."


async def _by_path(runs: Runs, notebook: str) -> dict[str, Any]:
    """Return what asks for the runs of a path: of the library, or of JupyterLab alone."""
    shelf = runs.jobs.shelf
    path, by = await aside(shelf.path_of, notebook), sent_from(notebook.strip())
    if not await aside(shelf.is_there, path) and by != FACE:
        with suppress(Problem):  # the list itself tells of it
            if (await runs.jobs.listing(Question(limit=1, submitted_by=by)))[0]:
                return {"submitted_by": by}
    return {"notebook": path}


async def _by_notebook(runs: Runs, what: str) -> str:
    """Say how to ask for the runs of a notebook, if a name looks like its path."""
    shelf = runs.jobs.shelf
    path = what if what.endswith(".ipynb") else f"{what}.ipynb"
    if path != what:
        path = await aside(shelf.path_of, path)
        if not await aside(shelf.is_there, path):
            return ""
    return f" Runs of a notebook of the library: list_jobs(notebook={json.dumps(path[:200])})."


def _add_list_library(server: MCPServer, runs: Runs) -> None:
    @server.tool(annotations=READS)
    @plainly
    async def list_library(
        path: Annotated[str, Field(description="A path, or a part of one.")] = "",
        start: Annotated[int, Field(ge=0)] = 0,
    ) -> CallToolResult:
        """List the notebooks that run_notebook runs by path.

        Each with title, parameters (types, defaults) and its last run.
        """
        return answer([await aside(runs.jobs.shelf.text, path, start)])


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
        """End a job that waits or runs, within seconds.

        One that waits is over once older jobs of its name are.
        """
        job_id = await _id_of(runs, job_id)
        record = await runs.jobs.explained(await runs.jobs.cancel(job_id))
        job, _ = shown(record)
        word = "is over already" if not is_open(record) else "is asked to end"
        hint = f'get_job("{job_id}") gives its result.'
        if is_open(record):
            hint = f'get_job("{job_id}", wait_seconds=50) waits for its end.'
            hint += f" {job.message}" if job.message else ""
            behind = str(record.get("waits_for") or "")
            hint = f"It waits for {behind}. {hint}" if "older job" in behind else hint
        name = "" if job.name.endswith(job_id) else f" ({job.name})"
        return answer([f"Job {job_id}{name} {word}: {job.status}. {hint}"])


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
        source, _ = await runs.source_of(notebook)
        prospect = await runs.jobs.forecast(source, keys)
        lines = [f"{one.error_type}: {one.message}" for one in prospect.refusals]
        lines = lines or ["Nothing to refuse: the runner would run it."]
        lines += [f"warning: {one}" for one in prospect.warnings]
        return answer(["\n".join(lines)])


def _waiting(keys: dict[str, Any] | None) -> dict[str, Any]:
    """Take the keys of `waiting` as a request's own.

    Raises:
        Refused: it has another one.
    """
    for key in keys or {}:
        if key not in WAITING_KEYS:
            message = f"Unknown key `waiting.{key}`. The keys are: {', '.join(WAITING_KEYS)}."
            raise refuse(ErrorType.INVALID_REQUEST, message)
    return keys or {}


def _keys(**keys: Any) -> dict[str, Any]:
    """Give those that are set, in the form of a request; an empty text is a key left out."""
    return {
        key: value.model_dump(exclude_unset=True) if isinstance(value, BaseModel) else value
        for key, value in keys.items()
        if value is not None and not (isinstance(value, str) and not value.strip())
    }
