"""What the gateway answers when it cannot do what was asked: a status, a type and a sentence.

The types of failed jobs are the contract's own (`ErrorType`); those here are HTTP's.
"""

from collections.abc import Mapping
from enum import StrEnum

from runner.contract.outcome import ERROR_RULES, Failure, Refused
from runner.contract.text.strict_json import JsonValue


class ProblemType(StrEnum):
    """Error types beside the contract's, for requests that never became a job."""

    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    NAME_BUSY = "name_busy"
    GONE = "gone"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    QUEUE_FULL = "queue_full"
    UNAVAILABLE = "unavailable"
    BAD_HTTP = "bad_http"


class Problem(Exception):
    """An answer that ends a request: `status, error_type, message, headers`."""

    def __init__(
        self, status: int, error_type: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status, error_type, message, headers)
        self.status = status
        self.error_type = error_type
        self.message = message
        self.headers = dict(headers or {})

    @property
    def content(self) -> dict[str, JsonValue]:
        """The JSON of the answer, in the shape of an error result."""
        return {"status": "rejected", "error_type": self.error_type, "message": self.message}


def not_found(what: str) -> Problem:
    """404 for something that is not there."""
    return Problem(404, ProblemType.NOT_FOUND, what)


def gone(what: str) -> Problem:
    """410 for something that was there and is pruned."""
    return Problem(410, ProblemType.GONE, what)


def unavailable(why: str) -> Problem:
    """503 for something that may work again in a moment."""
    return Problem(503, ProblemType.UNAVAILABLE, why, {"Retry-After": "5"})


def refused(refusal: Refused) -> Problem:
    """The contract's answer to a request that cannot become a job."""
    failure: Failure = refusal.failure
    return Problem(ERROR_RULES[failure.error_type].http, failure.error_type, failure.message)
