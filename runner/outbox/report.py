"""Builds the JSON of a finished job: the published report.

Pure, over values. Touches no disk.
"""

import string
from collections.abc import Mapping, Sequence
from typing import Any

from runner.contract.outcome import ErrorResult, InputFile, Result
from runner.contract.request import Request
from runner.contract.text import strict_json
from runner.outbox.rows import seconds_of
from runner.state.contents import Seal
from runner.state.jobs import Job

_UNRESERVED = frozenset(f"{string.ascii_letters}{string.digits}-._~/".encode())


def report_of(
    job: Job, seal: Seal, request: Request, inputs: Sequence[InputFile], warnings: list[str]
) -> bytes:
    """Write `NAME.result.json` or `NAME.error.json` as strict UTF-8 JSON."""
    outcome = seal.outcome
    fields: dict[str, object] = {
        "job_id": job.job_id,
        "name": job.name,
        "status": outcome.status,
        "results": {},
        "files": [with_url(file.model_dump(), job.job_id, job.name) for file in seal.files],
        "notebook": request.notebook if isinstance(request.notebook, str) else None,
        "output_nb": None if seal.executed is None else f"{job.name}.ipynb",
        "output_nb_url": None if seal.executed is None else f"/jobs/{job.job_id}/notebook",
        "parameters": request.parameters,
        "kernel": outcome.kernel,
        "cells": outcome.cells,
        "attempt": job.attempt,
        "submitted_by": job.submitted_by,
        "accepted_at": job.accepted_at,
        "started_at": job.started_at,
        "finished_at": seal.finished_at,
        "duration_seconds": seconds_of(job.started_at, seal.finished_at),
        "host": outcome.host,
        "usage": outcome.usage,
        "environment": outcome.environment,
        "library_commit": outcome.library_commit,
        "input_sha256": job.input_sha256 or None,
        "inputs": list(inputs),
        "warnings": [*outcome.warnings, *warnings],
    }
    if outcome.failure is None:
        report = Result.model_validate(fields)
    else:
        report = ErrorResult.model_validate({**fields, **outcome.failure.model_dump()})
    around = strict_json.dumps(_ordered(report.model_dump(mode="json", by_alias=True)))
    return _with_results(around, outcome.results)


def _with_results(around: bytes, results: str) -> bytes:
    """Insert the results, which are text already and may be too large to be parsed again.

    No JSON text holds a line end, so this line is the report's own.
    """
    before, line, after = around.partition(b'\n  "results": {}')
    indented = results.replace("\n", "\n  ").encode()
    return b"".join((before, line.removesuffix(b"{}"), indented, after, b"\n"))


def with_url(file: Mapping[str, Any], job_id: str, name: str) -> dict[str, Any]:
    """Add a published file's address at the gateway."""
    path: str = file["path"]
    return {**file, "url": f"/jobs/{job_id}/files/{_quoted(path.removeprefix(f'{name}.files/'))}"}


def _quoted(path: str) -> str:
    """Percent-encode all but RFC 3986's unreserved characters and `/`."""
    return "".join(
        chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in path.encode("utf-8")
    )


def _ordered(report: dict[str, object]) -> dict[str, object]:
    """Put the fields that people look for first, and leave out those that do not apply."""
    first = ("schema", "job_id", "name", "status", "error_type", "message")
    optional = ("cell_id", "missing_modules", "module", "variables")
    head = {key: report[key] for key in first if key in report}
    report = {**report, "variables": _without_nulls(report.get("variables"))}
    return head | {
        key: value for key, value in report.items() if not (key in optional and value is None)
    }


def _without_nulls(variables: Any) -> object:
    """Leave out the fields of variables that do not apply."""
    if variables is None:
        return None
    return {
        name: {key: value for key, value in fields.items() if value is not None}
        for name, fields in variables.items()
    }
