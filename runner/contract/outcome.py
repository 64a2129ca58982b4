"""The end of a job: its failure, its outcome, and the published JSON. Pure."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from runner.contract.states.status import ERROR_RULES as ERROR_RULES
from runner.contract.states.status import ErrorType as ErrorType
from runner.contract.states.status import Status as Status
from runner.contract.states.words import cell_in_words as cell_in_words
from runner.contract.text.plain_text import excerpt
from runner.contract.text.strict_json import JsonValue, dumps

LOGGED_CHARACTERS = 600


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


def our_fault(error: Exception) -> Failure:
    """Return the failure of a job in which the runner itself failed."""
    message = f"The runner itself failed: {type(error).__name__}: {error}. Its log says where."
    return Failure(error_type=ErrorType.GATEWAY_ERROR, message=message)


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
