"""Builds the JSON of a job in a list of jobs. Pure, over values."""

from datetime import datetime

from runner.contract.text.strict_json import JsonValue
from runner.state.jobs import Job, seconds_between


def row_of(job: Job, now: datetime, notebook: str | None = None) -> dict[str, JsonValue]:
    """Describe a job for a list. Times are UTC in ISO 8601; `seconds` ends now if it runs.

    `notebook` is the library path that its request names.
    """
    end = job.finished_at or now.isoformat()
    return {
        "job_id": job.job_id,
        "name": job.name,
        "notebook": notebook,
        "status": job.status,
        "state": job.state,
        "cancelled": job.cancelled,
        "error_type": job.error_type,
        "message": job.message,
        "attempt": job.attempt,
        "submitted_by": job.submitted_by,
        "priority": job.waiting.priority,
        "group": job.waiting.group,
        "held_until": job.waiting.held_until,
        "start_by": job.waiting.start_by,
        "accepted_at": job.accepted_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "seconds": None if job.started_at is None else seconds_of(job.started_at, end),
    }


def seconds_of(start: str | None, end: str) -> float:
    """Return the seconds that a run took; 0 if nothing ran."""
    if start is None:
        return 0.0
    return round(seconds_between(start, end), 3)
