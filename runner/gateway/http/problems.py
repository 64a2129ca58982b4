"""Problems as HTTP tells them: status and headers of each, and those that HTTP alone has."""

from collections.abc import Mapping
from enum import StrEnum

from runner.contract.states.status import ERROR_RULES, ErrorType
from runner.jobs.problem import Problem, ProblemType


class HttpProblemType(StrEnum):
    """Error types that only HTTP knows."""

    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    BAD_HTTP = "bad_http"


STATUSES: dict[str, int] = {
    **{error_type: rule.http for error_type, rule in ERROR_RULES.items()},
    ProblemType.NOT_FOUND: 404,
    ProblemType.NAME_BUSY: 409,
    ProblemType.GONE: 410,
    ProblemType.QUEUE_FULL: 429,
    ProblemType.UNAVAILABLE: 503,
    HttpProblemType.BAD_HTTP: 400,
    HttpProblemType.UNAUTHORIZED: 401,
    HttpProblemType.FORBIDDEN: 403,
    HttpProblemType.METHOD_NOT_ALLOWED: 405,
    HttpProblemType.UNSUPPORTED_MEDIA_TYPE: 415,
}
"""The HTTP status of each error type."""


class HttpProblem(Problem):
    """A problem with a status of its own, or with headers: `error_type, message, status, headers`.

    Without a status it has that of its type.
    """

    def __init__(
        self,
        error_type: str,
        message: str,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(error_type, message)
        self.args = (error_type, message, status, headers)
        self.status = status
        self.headers = dict(headers or {})


def status_of(problem: Problem) -> int:
    """Return a problem's own status, or that of its type."""
    own = problem.status if isinstance(problem, HttpProblem) else None
    return STATUSES[problem.error_type] if own is None else own


def headers_of(problem: Problem) -> dict[str, str]:
    """Return a problem's own headers, and when to try again."""
    own = dict(problem.headers) if isinstance(problem, HttpProblem) else {}
    seconds = problem.retry_seconds
    return own if seconds is None else {"Retry-After": str(seconds), **own}


def bad(message: str) -> Problem:
    """Make the problem of a senseless question."""
    return Problem(ErrorType.INVALID_REQUEST, message)
