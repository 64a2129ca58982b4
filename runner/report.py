"""The JSON that is published for a job: its row, its outcome and its files in one report.

A pure rule over values. Touches no disk.
"""

from datetime import datetime

from runner import strict_json
from runner.ledger import Job, Seal
from runner.outcome import ErrorResult, Result
from runner.request import Request


def report_of(job: Job, seal: Seal, request: Request, warnings: list[str]) -> bytes:
    """`NAME.result.json` or `NAME.error.json` as strict UTF-8 JSON."""
    outcome = seal.outcome
    fields: dict[str, object] = {
        "job_id": job.job_id,
        "name": job.name,
        "status": outcome.status,
        "results": outcome.results,
        "files": list(seal.files),
        "output_nb": None if seal.executed is None else f"{job.name}.ipynb",
        "parameters": request.parameters,
        "kernel": outcome.kernel,
        "cells": outcome.cells,
        "attempt": job.attempt,
        "accepted_at": job.accepted_at,
        "started_at": job.started_at,
        "finished_at": seal.finished_at,
        "duration_seconds": _seconds(job.started_at, seal.finished_at),
        "input_sha256": job.input_sha256 or None,
        "warnings": [*outcome.warnings, *warnings],
    }
    if outcome.failure is None:
        report = Result.model_validate(fields)
    else:
        report = ErrorResult.model_validate({**fields, **outcome.failure.model_dump()})
    return strict_json.dumps(_ordered(report.model_dump(mode="json", by_alias=True)))


def _ordered(report: dict[str, object]) -> dict[str, object]:
    """What a person looks for first comes first; what does not apply to the error is left out."""
    first = ("schema", "job_id", "name", "status", "error_type", "message")
    optional = ("missing_modules", "module")
    head = {key: report[key] for key in first if key in report}
    return head | {
        key: value for key, value in report.items() if not (key in optional and value is None)
    }


def _seconds(start: str | None, end: str) -> float:
    if start is None:
        return 0.0
    passed = datetime.fromisoformat(end) - datetime.fromisoformat(start)
    return round(max(passed.total_seconds(), 0.0), 3)
