"""The tool on schedules: its arguments, and their texts.

Holds no rules; `submitters.schedules` does the work.
"""

from collections.abc import Iterator
from functools import partial
from typing import Annotated, Literal

from anyio import to_thread
from mcp.server.mcpserver import MCPServer
from mcp_types import CallToolResult
from pydantic import Field

from runner.contract.text.plain_text import one_line
from runner.jobs.record import Question
from runner.mcp.answers import RUNS_CODE, BadCall, answer, plainly
from runner.mcp.runs.job_lines import line_of
from runner.mcp.runs.jobs import Jobs
from runner.submitters.schedules.book import Occurrence
from runner.submitters.schedules.overview import Details, Schedules, View

FACE = "mcp"
LISTED = 100
PAST = 10

Action = Literal["list", "run", "pause", "resume"]


def register_schedules(server: MCPServer, jobs: Jobs) -> None:
    """Add the tool to a server."""
    schedules = jobs.schedules

    @server.tool(name="schedules", annotations=RUNS_CODE)
    @plainly
    async def schedules_tool(
        action: Action = "list",
        name: Annotated[
            str | None, Field(description="One schedule; list then gives all of it.")
        ] = None,
    ) -> CallToolResult:
        """List schedules (files that run library notebooks at set times), run one now, pause or
        resume it.
        """
        if action == "list" and name is not None:
            details = await to_thread.run_sync(schedules.details, name)
            return answer(["\n".join(_told(details, await _newest(jobs, details.job_name)))])
        lines = await to_thread.run_sync(partial(_lines, schedules, action, name))
        if action in ("list", "run") and (why := await jobs.why_waiting()):
            lines.append(f"It waits: {why}." if action == "run" else f"(nothing runs now: {why})")
        return answer(["\n".join(lines)])


async def _newest(jobs: Jobs, name: str) -> str | None:
    """Describe the newest job of a schedule, also one that somebody started by hand."""
    if not name:
        return None
    rows, _ = await jobs.listing(Question(limit=1, name=name))
    return f"newest job: {line_of(rows[0])}" if rows else None


def _lines(schedules: Schedules, action: Action, name: str | None) -> list[str]:
    if action == "list":
        return listed(schedules.all())
    if name is None:
        raise BadCall(f"{action} needs the `name` of a schedule; action=list gives them.")
    if action == "run":
        job = schedules.run(name, FACE)
        again = f'get_job("{job.job_id}", wait_seconds=50) waits for its end'
        lines = [f"Job {job.job_id} ({job.name}) is submitted; {again}."]
        if (wrong := schedules.one(name).error) is not None:
            lines.append(f"It will be rejected at once: {one_line(wrong)}")
        return lines
    if action == "pause":
        return [_line(schedules.pause(name, FACE))]
    return [_line(schedules.resume(name))]


def listed(views: list[View]) -> list[str]:
    """Describe schedules, a line each."""
    if not views:
        return ["There are no schedules; a file schedules/NAME.yaml in the library is one."]
    lines = [_line(one) for one in views[:LISTED]]
    left = len(views) - LISTED
    return [*lines, f"({left} more: `name` gives one)"] if left > 0 else lines


def _line(one: View) -> str:
    """Describe a schedule in a line: `daily: on, At 06:00 (UTC), a.ipynb; next …; last …`."""
    if one.error is not None:
        following = f"; next {one.following.isoformat()}" if one.following else ""
        return f"{one.name}: wrong: {one_line(one.error)}{following}"
    state = one.state if one.paused_by is None else f"{one.state} (by {one.paused_by})"
    text = f"{one.name}: {state}, {one.in_words} ({one.timezone}), {one.notebook}"
    if one.following is not None:
        text += f"; next {one.following.isoformat()}"
    return text if one.last is None else f"{text}; last {_past(one.last)}"


def _told(details: Details, newest: str | None) -> Iterator[str]:
    yield _line(details.view)
    for key, value in details.parameters.items():
        yield f"  {key}: {one_line(str(value))}"
    if details.upcoming:
        yield f"comes due: {', '.join(moment.isoformat() for moment in details.upcoming)}"
    if newest is not None:
        yield newest
    for past in details.occurrences[:PAST]:
        yield _past(past)
    if len(details.occurrences) > PAST:
        yield f"(older ones: list_jobs name={details.job_name!r})"


def _past(past: Occurrence) -> str:
    times = f" to {past.through} ({past.times} times)" if past.times > 1 else ""
    reason = f": {one_line(past.reason)}" if past.reason else ""
    job = f", {past.job_id}" if past.job_id else ""
    hand = " by hand" if past.by else ""
    return f"{past.scheduled_for}{times}{hand} {past.status or 'running'}{reason}{job}"
