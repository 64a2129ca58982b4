"""The status of a job, its error type, and the tables that belong to them. Pure."""

from dataclasses import dataclass
from enum import StrEnum


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
