"""What the outbox tells of one job: its report once it is over, before that how far it is."""

from dataclasses import dataclass
from typing import Any

from runner.contract.outcome import Status
from runner.outbox.reader import OutboxReader, Report


@dataclass(frozen=True)
class Look:
    """One look: the report, or else what the status file tells; neither where nothing is there."""

    report: Report | None
    progress: dict[str, Any] | None


def look(outbox: OutboxReader, name: str, job_id: str) -> Look:
    """Look once."""
    report = outbox.of_job(name, job_id)
    return Look(report, None if report is not None else progress_of(outbox, name, job_id))


def progress_of(outbox: OutboxReader, name: str, job_id: str) -> dict[str, Any] | None:
    """What the status file of a name tells of a job; None where it is about another one."""
    status = outbox.status(name)
    return status if status is not None and status.get("job_id") == job_id else None


def content_of(seen: Look, name: str, job_id: str) -> dict[str, Any]:
    """All that the outbox alone tells of a job, as one object; the report's keys once there."""
    if seen.report is not None:
        return {**seen.report.content, "result": seen.report.content}
    status = (seen.progress or {}).get("status", Status.QUEUED)
    return {"job_id": job_id, "name": name, "status": status, "progress": seen.progress}
