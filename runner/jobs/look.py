"""Reads one job from the outbox: its report once it is over, its progress before."""

from dataclasses import dataclass
from typing import Any

from runner.contract.states.status import Status
from runner.outbox.reader import OutboxReader, Report


@dataclass(frozen=True)
class Look:
    """One look: the report, or else the status file; neither if nothing is there."""

    report: Report | None
    progress: dict[str, Any] | None


def look(outbox: OutboxReader, name: str, job_id: str) -> Look:
    """Look once."""
    report = outbox.of_job(name, job_id)
    return Look(report, None if report is not None else progress_of(outbox, name, job_id))


def progress_of(outbox: OutboxReader, name: str, job_id: str) -> dict[str, Any] | None:
    """Return the status file of a name; None if it is about another job."""
    status = outbox.status(name)
    return status if status is not None and status.get("job_id") == job_id else None


def content_of(seen: Look, name: str, job_id: str) -> dict[str, Any]:
    """Return everything that the outbox tells of a job; the report's keys once there."""
    if seen.report is not None:
        return {**seen.report.content, "result": seen.report.content}
    status = (seen.progress or {}).get("status", Status.QUEUED)
    return {"job_id": job_id, "name": name, "status": status, "progress": seen.progress}
