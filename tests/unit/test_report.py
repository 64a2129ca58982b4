"""Promises of the published JSON: strict, in order, and as its schema says."""

import json
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
from pydantic import TypeAdapter

from runner.contract.outcome import (
    CellCount,
    ErrorResult,
    Failure,
    KernelUsed,
    Outcome,
    PublishedFile,
    Result,
    Variable,
    failed,
)
from runner.contract.request import Request
from runner.contract.states.status import ErrorType, Status
from runner.contract.text.strict_json import dumps
from runner.outbox.report import report_of
from runner.state.contents import Seal
from runner.state.jobs import Job, Place, State

JOB = Job(
    seq=1,
    job_id="0123456789abcdef0123456789abcdef",
    name="sales/daily",
    state=State.SEALED,
    status=Status.SUCCEEDED,
    error_type=None,
    message=None,
    attempt=1,
    retries=0,
    cancelled=False,
    refused=False,
    awaits_settings=False,
    request_sha256="b" * 64,
    input_sha256="a" * 64,
    accepted_at="2026-01-02T03:04:05.000Z",
    started_at="2026-01-02T03:04:06.000Z",
    finished_at="2026-01-02T03:04:08.500Z",
    published_at=None,
    place=Place.NONE,
    submitted_by="file",
)
FILE = PublishedFile(
    path="sales/daily.files/plot.png", bytes=5, media_type="image/png", sha256="c" * 64
)
SEAL = Seal(
    job_id=JOB.job_id,
    outcome=Outcome(
        status=Status.SUCCEEDED,
        results='{"scaled": [190, 174]}',
        kernel=KernelUsed(name="python3", requested="conda-env"),
        cells=CellCount(total=3, executed=3),
        host="nas",
        warnings=["The first."],
    ),
    executed=b"{}",
    files=(FILE,),
    finished_at="2026-01-02T03:04:08.500Z",
)
REQUEST = Request(notebook="reports/sales.ipynb", parameters={"factor": 3})
SCHEMA = TypeAdapter(Result | ErrorResult).json_schema(by_alias=True)

RESULT_KEYS = [
    *("schema", "job_id", "name", "status", "results", "files", "notebook", "output_nb"),
    *("output_nb_url", "parameters"),
    *("kernel", "cells", "attempt", "submitted_by", "accepted_at", "started_at", "finished_at"),
    *("duration_seconds", "host", "usage", "environment", "library_commit"),
    *("input_sha256", "inputs", "warnings"),
]
ERROR_KEYS = ["cell", "cell_index", "cell_source", "ename", "evalue", "traceback"]


def strict(raw: bytes) -> dict[str, Any]:
    """The report as a strict reader sees it."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    found: dict[str, Any] = json.loads(raw.decode("utf-8"), parse_constant=refuse)
    json.dumps(found, ensure_ascii=False).encode()
    return found


def report(
    seal: Seal = SEAL, job: Job = JOB, request: Request = REQUEST, *warnings: str
) -> dict[str, Any]:
    return strict(report_of(job, seal, request, (), list(warnings)))


def failing(kind: ErrorType, **fields: Any) -> Seal:
    return replace(SEAL, outcome=failed(Failure(error_type=kind, message="Why.", **fields)))


def test_result_has_the_keys_of_the_contract_in_order() -> None:
    """What a person looks for first comes first."""
    assert list(report()) == RESULT_KEYS


def test_result_says_what_came_out() -> None:
    """Row, outcome, files and request in one mapping."""
    assert report() == {
        "schema": "inbox-runner/result/1",
        "job_id": JOB.job_id,
        "name": "sales/daily",
        "status": "succeeded",
        "results": {"scaled": [190, 174]},
        "files": [{**FILE.model_dump(), "url": f"/jobs/{JOB.job_id}/files/plot.png"}],
        "notebook": "reports/sales.ipynb",
        "output_nb": "sales/daily.ipynb",
        "output_nb_url": f"/jobs/{JOB.job_id}/notebook",
        "parameters": {"factor": 3},
        "kernel": {"name": "python3", "requested": "conda-env"},
        "cells": {"total": 3, "executed": 3},
        "attempt": 1,
        "submitted_by": "file",
        "accepted_at": "2026-01-02T03:04:05.000Z",
        "started_at": "2026-01-02T03:04:06.000Z",
        "finished_at": "2026-01-02T03:04:08.500Z",
        "duration_seconds": 2.5,
        "host": "nas",
        "usage": None,
        "environment": None,
        "library_commit": None,
        "input_sha256": "a" * 64,
        "inputs": [],
        "warnings": ["The first."],
    }


def test_error_has_its_reason_right_after_its_status() -> None:
    """A person who opens the file sees at once what is wrong."""
    found = report(failing(ErrorType.PAPERMILL_EXECUTION_ERROR, cell=2, traceback=["a"]))
    assert list(found)[:6] == ["schema", "job_id", "name", "status", "error_type", "message"]
    assert set(found) == {*RESULT_KEYS, *ERROR_KEYS, "error_type", "message"}
    assert found["status"] == "failed"
    assert found["error_type"] == "papermill_execution_error"
    assert found["message"] == "Why."
    assert found["cell"] == 2
    assert found["traceback"] == ["a"]
    assert found["ename"] is None


def test_modules_are_there_only_where_they_are_the_matter() -> None:
    """`missing_modules` and `module` belong to one error type each."""
    missing = report(failing(ErrorType.MISSING_DEPENDENCIES, missing_modules=["cv2"]))
    assert missing["missing_modules"] == ["cv2"]
    assert "module" not in missing
    late = report(failing(ErrorType.MODULE_NOT_FOUND, module="x"))
    assert late["module"] == "x"
    assert "missing_modules" not in late


def test_variables_are_told_in_short() -> None:
    """A field that does not apply is left out; without any, so are the variables."""
    one = Variable(type="list", shape=[3])
    failure = Failure(
        error_type=ErrorType.PAPERMILL_EXECUTION_ERROR, message="m", variables={"rows": one}
    )
    found = report(replace(SEAL, outcome=failed(failure)))
    assert found["variables"] == {"rows": {"type": "list", "shape": [3]}}
    assert "variables" not in report(failing(ErrorType.PAPERMILL_EXECUTION_ERROR))
    described = ErrorResult.model_json_schema(mode="serialization")["$defs"]["Variable"]
    assert set(described["properties"]) == {"type", "shape", "columns", "function"}


def test_results_of_the_finished_cells_stay_in_an_error() -> None:
    """A failure takes nothing away."""
    outcome = failed(Failure(error_type=ErrorType.TIMEOUT, message="m"), results='{"step0": 0}')
    found = report(replace(SEAL, outcome=outcome))
    assert found["results"] == {"step0": 0}
    assert found["status"] == "timed_out"


def test_warnings_of_the_run_come_before_later_ones() -> None:
    """What publishing has to say is added."""
    assert report(SEAL, JOB, REQUEST, "The second.")["warnings"] == ["The first.", "The second."]


def test_job_that_never_ran_has_no_start() -> None:
    """No notebook, no kernel, no time, no hash of what was not read."""
    seal = replace(failing(ErrorType.NOTEBOOK_TOO_LARGE), executed=None, files=())
    found = report(seal, replace(JOB, started_at=None, attempt=0, input_sha256=""), Request())
    assert found["output_nb"] is None
    assert found["started_at"] is None
    assert found["duration_seconds"] == 0
    assert found["attempt"] == 0
    assert found["input_sha256"] is None
    assert found["files"] == []


@pytest.mark.parametrize(
    ("start", "end", "seconds"),
    [
        ("2026-01-02T03:04:06.000Z", "2026-01-02T03:04:06.0014Z", 0.001),
        ("2026-01-02T03:04:06Z", "2026-01-03T03:04:06Z", 86400),
        ("2026-01-02T03:04:06+00:00", "2026-01-02T03:04:07Z", 1),
        ("2026-01-02T03:04:06Z", "2026-01-02T03:04:05Z", 0),
    ],
)
def test_duration_is_in_seconds_and_never_negative(start: str, end: str, seconds: float) -> None:
    """A clock may be set back in the middle."""
    found = report(replace(SEAL, finished_at=end), replace(JOB, started_at=start))
    assert found["duration_seconds"] == seconds


def test_report_is_strict_json_whatever_is_in_it() -> None:
    """No NaN, no infinity, no half of a surrogate pair."""
    odd: dict[str, Any] = {"nan": float("nan"), "inf": [float("-inf")], "half\ud800": "\udfff"}
    text = dumps(odd).decode()
    seal = replace(SEAL, outcome=SEAL.outcome.model_copy(update={"results": text}))
    found = report(seal, replace(JOB, name="caf\ufffd ☃"), Request(parameters=odd), "\ud800")
    assert found["output_nb"] == "caf\ufffd ☃.ipynb"
    assert found["warnings"][-1] == "\ufffd"
    assert [key[:4] for key in found["results"]] == ["nan", "inf", "half"]
    failure = Failure(error_type=ErrorType.TIMEOUT, message="m", evalue="\ud800", cell_source="\0")
    report(replace(SEAL, outcome=failed(failure)))


def test_results_stand_where_they_belong_whatever_is_in_them() -> None:
    """They are put in as text, indented as the rest; parameters may look like their place."""
    results: dict[str, Any] = {'a\n  "results": {}': ["\n", {"b": {}}], "results": {}}
    outcome = SEAL.outcome.model_copy(update={"results": dumps(results).decode()})
    likeness = Request(parameters={"results": {}, "x": '\n  "results": {}'})
    raw = report_of(JOB, replace(SEAL, outcome=outcome), likeness, (), [])
    found = json.loads(raw)
    assert found["results"] == results
    assert found["parameters"] == likeness.parameters
    assert raw == dumps(found) + b"\n"


def test_bytes_are_the_same_for_the_same_job() -> None:
    """Publishing again after a crash skips what already matches."""
    assert report_of(JOB, SEAL, REQUEST, (), ["w"]) == report_of(JOB, SEAL, REQUEST, (), ["w"])


@pytest.mark.parametrize("kind", ErrorType)
def test_error_is_as_the_published_schema_says(kind: ErrorType) -> None:
    """Each error type, with and without its own fields."""
    jsonschema.validate(report(failing(kind)), SCHEMA)
    jsonschema.validate(
        report(
            failing(
                kind,
                cell=1,
                cell_index=0,
                cell_source="1/0",
                ename="E",
                evalue="v",
                traceback=["t"],
                missing_modules=["m"],
                module="m",
            )
        ),
        SCHEMA,
    )


def test_result_is_as_the_published_schema_says() -> None:
    """And what has a key too many, or one too few, is not.

    Results of earlier versions lack `host`, addresses, `submitted_by`, `notebook`, `inputs`,
    `usage`, `environment` and `library_commit`; they can still be read.
    """
    found = report()
    jsonschema.validate(found, SCHEMA)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(found | {"other": 1}, SCHEMA)
    later = {"host", "output_nb_url", "submitted_by", "notebook", "inputs", "usage"}
    later |= {"environment", "library_commit"}
    for key in set(RESULT_KEYS) - {"schema", *later}:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({k: v for k, v in found.items() if k != key}, SCHEMA)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(found | {"job_id": "x"}, SCHEMA)


@pytest.mark.parametrize("model", [Result, ErrorResult])
def test_report_reads_back_as_its_value(model: type[Result]) -> None:
    """The command line and the gateway read it so."""
    seal = SEAL if model is Result else failing(ErrorType.TIMEOUT)
    found = model.model_validate_json(report_of(JOB, seal, REQUEST, (), []))
    assert found.job_id == JOB.job_id


def test_a_file_says_where_it_is_fetched() -> None:
    """Percent-encoded, below the job's own address, whatever the names are."""
    path = "sales/daily.files/a b/Größe #1 100%?.csv"
    file = FILE.model_copy(update={"path": path})
    (found,) = report(replace(SEAL, files=(file,)))["files"]
    assert found["path"] == path
    encoded = "a%20b/Gr%C3%B6%C3%9Fe%20%231%20100%25%3F.csv"
    assert found["url"] == f"/jobs/{JOB.job_id}/files/{encoded}"
