"""The history of a name: its outcomes day by day, its last runs, and what they were given.

Reads the ledger, and the report of one failure. It reaches back as far as the ledger keeps rows
(`history.keep_rows_days`).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runner.contract.states.status import Status
from runner.contract.triggers.causes import schedule_of, trigger_of
from runner.jobs.problem import not_found
from runner.jobs.record import Record
from runner.state.jobs import Job, JobFilter

_LINE = re.compile(r"^Cell In\[\d{1,9}\], line (\d{1,9})", re.MULTILINE)
RECENT = 100
"""Most runs that are shown one by one."""
COMPARED = 10
"""Most runs whose parameters are shown side by side."""
MOST_PARAMETERS = 12


@dataclass(frozen=True)
class Failed:
    """The last failure, and its cell, where it was a cell's."""

    job: Job
    cell: str = ""
    """The line that raised."""
    cell_index: int | None = None


@dataclass(frozen=True)
class NameHistory:
    """All that is known of a name. `recent`: its newest jobs, the newest first.

    `days` are counts by day and status, `{"2026-11-26": {"succeeded": 24}}`. `parameters` has, for
    each of the newest jobs, the values of the parameters in `parameter_names`.
    """

    name: str
    count: int
    recent: Sequence[Job]
    days: Mapping[str, Mapping[str, int]]
    last_success: Job | None
    last_failure: Failed | None
    parameter_names: Sequence[str]
    parameters: Sequence[tuple[Job, Mapping[str, Any]]]
    schedule: str | None
    trigger: str | None
    """The rule or web hook of its newest job, such as `rule:invoices`."""


def history_of(record: Record, name: str, since: str) -> NameHistory:
    """Look a name up; days are counted from `since` on.

    Raises:
        Problem: `not_found`, no job has the name; `unavailable`.
    """
    with record.ledger() as ledger:
        recent = ledger.jobs(JobFilter(name=name), limit=RECENT)
        if not recent:
            raise not_found(f"No job is named {name[:200]!r}, or the runner has forgotten it.")
        last_success = ledger.latest_ended(name, succeeded=True)
        failure = ledger.latest_ended(name, succeeded=False)
        count, days = ledger.count(JobFilter(name=name)), ledger.days_of(name, since)
    requests = record.requests_of(job.job_id for job in recent[:COMPARED])
    given = [
        (job, request.get("parameters") or {})
        for job in recent[:COMPARED]
        if (request := requests.get(job.job_id)) is not None
    ]
    names = dict.fromkeys(key for _, values in given for key in values)
    causes = [job.submitted_by for job in recent]
    return NameHistory(
        name=name,
        count=count,
        recent=recent,
        days=days,
        last_success=last_success,
        last_failure=None if failure is None else _failed(record, failure),
        parameter_names=[*names][:MOST_PARAMETERS],
        parameters=given if names else [],
        schedule=next((one for one in map(schedule_of, causes) if one is not None), None),
        trigger=next((one for one in map(trigger_of, causes) if one is not None), None),
    )


def is_bad(status: Status) -> bool:
    """Return whether an outcome is one that somebody must look at."""
    return status not in (Status.SUCCEEDED, Status.CANCELLED)


def _failed(record: Record, job: Job) -> Failed:
    report = record.outbox.of_job(job.name, job.job_id)
    if report is None:
        return Failed(job)
    index = report.head.get("cell_index")
    return Failed(job, failing_line(report.head), index if isinstance(index, int) else None)


def failing_line(report: Mapping[str, Any]) -> str:
    """Return the line that raised, as IPython's traceback names it; else the cell's first one."""
    source, traceback = report.get("cell_source"), report.get("traceback") or ()
    lines = source.splitlines() if isinstance(source, str) else []
    match = _LINE.search("\n".join(map(str, traceback)))
    number = int(match[1]) if match else 0
    if 0 < number <= len(lines):
        return lines[number - 1].strip()
    return next((line for line in lines if line.strip()), "")
