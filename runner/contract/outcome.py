"""The end of a job: its status, its error type, and the published JSON.

Owns these values and the tables that belong to them. Pure.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from runner.contract.text.plain_text import excerpt
from runner.contract.text.strict_json import JsonValue, dumps


class Status(StrEnum):
    """A job's status as readers see it."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    REJECTED = "rejected"


LOGGED_CHARACTERS = 600
FINAL = frozenset(Status) - {Status.QUEUED, Status.RUNNING}


class ErrorType(StrEnum):
    """Why a job did not succeed; the contract's list."""

    INVALID_REQUEST = "invalid_request"
    INVALID_NOTEBOOK = "invalid_notebook"
    KERNEL_NOT_ALLOWED = "kernel_not_allowed"
    LANGUAGE_NOT_ALLOWED = "language_not_allowed"
    NOTEBOOK_TOO_LARGE = "notebook_too_large"
    MISSING_DEPENDENCIES = "missing_dependencies"
    INVALID_PARAMETERS = "invalid_parameters"
    MODULE_NOT_FOUND = "module_not_found"
    PAPERMILL_EXECUTION_ERROR = "papermill_execution_error"
    TIMEOUT = "timeout"
    KERNEL_STARTUP = "kernel_startup"
    KERNEL_DIED = "kernel_died"
    OUT_OF_MEMORY = "out_of_memory"
    OUTPUT_LIMIT = "output_limit"
    RESULT_EXTRACTION_ERROR = "result_extraction_error"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    INTERRUPTED = "interrupted"
    GATEWAY_ERROR = "gateway_error"


@dataclass(frozen=True)
class ErrorRule:
    """What an error type stands for: the job's `status`, and the `http` status of an answer."""

    status: Status
    http: int


ERROR_RULES: dict[ErrorType, ErrorRule] = {
    ErrorType.INVALID_REQUEST: ErrorRule(Status.REJECTED, 400),
    ErrorType.INVALID_NOTEBOOK: ErrorRule(Status.REJECTED, 400),
    ErrorType.KERNEL_NOT_ALLOWED: ErrorRule(Status.REJECTED, 400),
    ErrorType.LANGUAGE_NOT_ALLOWED: ErrorRule(Status.REJECTED, 400),
    ErrorType.NOTEBOOK_TOO_LARGE: ErrorRule(Status.REJECTED, 413),
    ErrorType.MISSING_DEPENDENCIES: ErrorRule(Status.REJECTED, 422),
    ErrorType.INVALID_PARAMETERS: ErrorRule(Status.REJECTED, 422),
    ErrorType.MODULE_NOT_FOUND: ErrorRule(Status.FAILED, 400),
    ErrorType.PAPERMILL_EXECUTION_ERROR: ErrorRule(Status.FAILED, 422),
    ErrorType.TIMEOUT: ErrorRule(Status.TIMED_OUT, 504),
    ErrorType.KERNEL_STARTUP: ErrorRule(Status.FAILED, 500),
    ErrorType.KERNEL_DIED: ErrorRule(Status.FAILED, 422),
    ErrorType.OUT_OF_MEMORY: ErrorRule(Status.FAILED, 422),
    ErrorType.OUTPUT_LIMIT: ErrorRule(Status.FAILED, 422),
    ErrorType.RESULT_EXTRACTION_ERROR: ErrorRule(Status.FAILED, 500),
    ErrorType.CANCELLED: ErrorRule(Status.CANCELLED, 409),
    ErrorType.EXPIRED: ErrorRule(Status.FAILED, 503),
    ErrorType.INTERRUPTED: ErrorRule(Status.INTERRUPTED, 503),
    ErrorType.GATEWAY_ERROR: ErrorRule(Status.FAILED, 500),
}

RETRIED = frozenset({ErrorType.INTERRUPTED, ErrorType.KERNEL_DIED, ErrorType.KERNEL_STARTUP})
"""Errors that `retries` covers: failed machinery, never a cell's own error."""


class Value(BaseModel):
    """A frozen value that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, defer_build=True)


class Variable(Value):
    """A variable of a notebook, without its value. A report leaves out what does not apply."""

    type: str = Field(description="Its class, such as `list`, `pandas.DataFrame`.")
    shape: list[int] | None = Field(
        None, description="Of arrays and tables; of texts and collections their length."
    )
    columns: list[str] | None = Field(None, description="Names of a table's first 40 columns.")
    function: str | None = Field(
        None, description="The function of the notebook in which it is local."
    )


class Failure(Value):
    """Why a job did not succeed. The fields after `message` are null where they do not apply."""

    error_type: ErrorType
    message: str = Field(description="One sentence for a person: what happened, what to do.")
    cell: int | None = Field(None, description="Execution count of the cell that failed.")
    cell_index: int | None = Field(
        None, description="Its position, from 0, in the notebook as it was asked for."
    )
    cell_id: str | None = Field(
        None, description="Its id in the executed notebook; left out where it has none."
    )
    cell_source: str | None = None
    ename: str | None = Field(None, description="Name of the exception's class.")
    evalue: str | None = Field(None, description="Its message.")
    traceback: list[str] | None = Field(None, description="Lines, without ANSI codes.")
    missing_modules: list[str] | None = Field(
        None, description="Sorted; with `missing_dependencies` only."
    )
    module: str | None = Field(None, description="With `module_not_found` only.")
    variables: dict[str, Variable] | None = Field(
        None,
        description="What was alive when a cell of Python raised, by name: the innermost "
        "function's, those that it or the cell names, then the newest; 50 at most.",
    )

    @property
    def in_short(self) -> str:
        """The failure for a log, after the status: the type if it says more, and the message."""
        said = excerpt(self.message, LOGGED_CHARACTERS)
        is_told = self.error_type.value == ERROR_RULES[self.error_type].status.value
        return said if is_told else f"{self.error_type}: {said}"


_PLACE = re.compile(r"^(?:Cell In\[\d+\] \([^)]{1,40}\)|In cell \[\d+\]): ")
"""Matches what `cell_in_words` puts before a message, and what earlier versions put there."""


def cell_in_words(count: int, index: int | None) -> str:
    """Name a cell by both of its numbers, so that nobody takes one for the other.

    `count` is its execution count; `index` counts from 0, and is None for the cell of parameters
    that papermill added.
    """
    where = "the cell of the parameters" if index is None else f"cell_index {index}"
    return f"Cell In[{count}] ({where})"


def without_cell(message: str) -> str:
    """Remove the cell with which the message of a failure begins, if it does."""
    return _PLACE.sub("", message)


MAX_REFUSAL = 1000
"""Longest message of a refusal, in characters."""


class Refused(Exception):
    """A request that will not run; `failure` says why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure


def refuse(error_type: ErrorType, message: str) -> Refused:
    """Make a `Refused` without further fields, to be raised.

    A long message is cut: it may quote a whole notebook that came in the wrong place.
    """
    if len(message) > MAX_REFUSAL:
        message = f"{message[:MAX_REFUSAL]}… ({len(message)} characters)"
    return Refused(Failure(error_type=error_type, message=message))


class PublishedFile(Value):
    """A file of `outbox/NAME.files/`."""

    path: str = Field(description="Below the outbox, with `/`.")
    bytes: int
    media_type: str
    sha256: str


class InputFile(Value):
    """A file that came with a request."""

    path: str = Field(description="Below the folder in `RUNNER_INPUT_DIR`, with `/`.")
    bytes: int
    sha256: str


class ReportedFile(PublishedFile):
    """A published file in a report, with the address to fetch it."""

    url: str | None = Field(
        None, description="At the gateway, percent-encoded: `/jobs/ID/files/…`."
    )


class KernelUsed(Value):
    """The kernel that ran the notebook, and the one it asked for."""

    name: str | None = Field(
        description="The kernelspec that ran it; null if nothing ran, or it is not known."
    )
    requested: str | None = Field(description="The kernelspec that the notebook or request named.")


class CellCount(Value):
    """The progress of execution, in code cells that are not empty."""

    total: int
    executed: int = Field(description="Those that were begun: also the one that failed or was cut.")


def did_not_run(report: Mapping[str, Any]) -> bool:
    """Return whether no cell was begun; what is published then is the notebook as it came."""
    begun = (report.get("cells") or {}).get("executed")
    return begun == 0 and report.get("status") != Status.SUCCEEDED


def has_outputs_of(report: Mapping[str, Any]) -> bool:
    """Return whether the outputs in the published notebook are those of this run.

    A run that was lost with its kernel leaves the notebook as it came, too.
    """
    kernel = report.get("kernel") or {}
    return not did_not_run(report) and kernel.get("name") is not None


def cells_in_words(report: Mapping[str, Any]) -> str:
    """Say how far a job got: `5 of 5 cells`, `2 of 5 cells begun`, `cell 2 of 5 failed`.

    Empty where that is not known.
    """
    cells = report.get("cells") or {}
    total, executed = cells.get("total", 0), cells.get("executed", 0)
    if not total:
        return "no code cells" if report.get("status") == Status.SUCCEEDED else ""
    if report.get("cell_index") is None or report.get("error_type") is None:
        return f"{executed} of {total} cells{' begun' if executed < total else ''}"
    return f"cell {executed} of {total} {'failed' if report.get('ename') else 'was running'}"


def variables_in_words(report: Mapping[str, Any]) -> list[str]:
    """Describe what was alive at a failure: `rows int in pick()`, `df pandas.DataFrame [2, 1] (a)`.

    Empty where the report does not say.
    """
    said = []
    for name, one in (report.get("variables") or {}).items():
        words = [name, str(one.get("type"))]
        if one.get("shape") is not None:
            words.append(str(one["shape"]))
        if one.get("columns"):
            more = (one.get("shape") or [0, 0])[-1] - len(one["columns"])
            columns = ", ".join(one["columns"]) + (f" and {more} more" if more > 0 else "")
            words.append(f"({columns})")
        if one.get("function"):
            words.append(f"in {one['function']}()")
        said.append(" ".join(words))
    return said


class CellSeconds(Value):
    """How long a cell ran."""

    cell_index: int = Field(description="Its place in the notebook as it came, from 0.")
    seconds: float


class Usage(Value):
    """What a run took. A figure is null where the machine does not tell."""

    cpu_seconds: float | None = Field(description="Of all its processes, from the first cell on.")
    peak_memory_bytes: int | None = Field(
        description="The most that they held together, as far as it was seen."
    )
    written_bytes: int | None = Field(description="What they wrote to disks.")
    cells: list[CellSeconds] = Field(
        [], description="The cells with code that were begun; of very many, the longest."
    )


class Environment(Value):
    """Where a notebook ran: what is null is not known, or there is none."""

    python: str | None = Field(description="Version of the interpreter that ran it.")
    packages_sha256: str | None = Field(
        description="Of the packages that it found, a line `name==version` for each, sorted; "
        "`runner environment` prints them."
    )
    image: str | None = Field(
        description="The container's image, as the variable `RUNNER_IMAGE` names it."
    )
    runner: str = Field(description="Version of the runner.")


class Outcome(Value):
    """A job's final value as execution gives it, before it has a place in the outbox."""

    status: Status
    failure: Failure | None = None
    results: str = Field(
        "{}", description="A strict JSON object, as text: no step on the way parses it."
    )
    kernel: KernelUsed = KernelUsed(name=None, requested=None)
    cells: CellCount = CellCount(total=0, executed=0)
    host: str | None = None
    usage: Usage | None = None
    environment: Environment | None = None
    packages: str | None = Field(
        None, description="The packages of that environment: a line `name==version` for each."
    )
    library_commit: str | None = None
    warnings: list[str] = []

    @field_validator("results", mode="before")
    @classmethod
    def _as_text(cls, value: object) -> object:
        """Turn the object in ledgers of earlier versions into text."""
        return value if isinstance(value, str) else dumps(value).decode()


def failed(failure: Failure, **fields: object) -> Outcome:
    """Return the outcome of `failure`, with the status of its error type."""
    return Outcome.model_validate(
        {"status": ERROR_RULES[failure.error_type].status, "failure": failure, **fields}
    )


def interrupted(message: str) -> Outcome:
    """Return the outcome of a job that the machinery could not bring to its end."""
    return failed(Failure(error_type=ErrorType.INTERRUPTED, message=message))


class Result(Value):
    """`outbox/NAME.result.json`. Strict JSON: no NaN, no Infinity, no lone surrogates."""

    schema_: Literal["inbox-runner/result/1"] = Field("inbox-runner/result/1", alias="schema")
    job_id: str = Field(pattern=r"^[0-9a-f]{32}$")
    name: str
    status: Status
    results: dict[str, JsonValue] = Field(
        description="Every scrap by its name; every cell tagged `results` as `cell_N`."
    )
    files: list[ReportedFile]
    notebook: str | None = Field(
        None,
        description="Path of the library notebook that was requested; null if it came with the "
        "request, and for jobs of earlier versions.",
    )
    output_nb: str | None = Field(description="The executed notebook, below the outbox.")
    output_nb_url: str | None = Field(
        None, description="The same at the gateway: `/jobs/ID/notebook`."
    )
    parameters: dict[str, JsonValue]
    kernel: KernelUsed
    cells: CellCount
    attempt: int = Field(
        description="How often it was started; 0 if it was refused or cancelled before."
    )
    submitted_by: str | None = Field(
        None,
        description="Who or what made the request: `file`, `http`, `page`, `mcp`, `cli`, or what "
        "the request says; null for jobs of earlier versions.",
    )
    accepted_at: str = Field(description="UTC, ISO 8601, like all times here.")
    started_at: str | None
    finished_at: str
    duration_seconds: float = Field(description="From started to finished; 0 if nothing ran.")
    host: str | None = Field(
        None, description="Name of the machine that ran it; null if it never ran, or is not known."
    )
    usage: Usage | None = Field(
        None, description="What the run took; null if nothing ran, or if it is not known."
    )
    environment: Environment | None = Field(
        None, description="In what it ran; null if nothing ran, and for jobs of earlier versions."
    )
    library_commit: str | None = Field(
        None,
        description="The commit of the git checkout in which the library's notebook lies, if git "
        "knows it.",
    )
    input_sha256: str | None = Field(
        description="Of the notebook's bytes, or of the request's; null if they were not read."
    )
    inputs: list[InputFile] = Field([], description="The files that came with the request.")
    warnings: list[str]


class ErrorResult(Result, Failure):
    """`outbox/NAME.error.json`: a result's fields and those of a failure."""


def exit_code(status: Status) -> int:
    """Return the exit code of `runner run`. Two is left to wrong usage."""
    return {
        Status.SUCCEEDED: 0,
        Status.FAILED: 1,
        Status.REJECTED: 3,
        Status.TIMED_OUT: 4,
        Status.CANCELLED: 5,
        Status.INTERRUPTED: 6,
    }.get(status, 70)
