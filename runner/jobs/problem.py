"""Says why the runner cannot do something: a type and a sentence, for every interface.

The types of failed jobs are the contract's own (`ErrorType`); those here are for requests that
never became a job. The gateway adds the HTTP status.
"""

from enum import StrEnum
from typing import TYPE_CHECKING

from runner.contract.text.strict_json import JsonValue

if TYPE_CHECKING:
    from runner.contract.outcome import Refused


class ProblemType(StrEnum):
    """Error types beside the contract's, for requests that never became a job."""

    NOT_FOUND = "not_found"
    NAME_BUSY = "name_busy"
    GONE = "gone"
    QUEUE_FULL = "queue_full"
    UNAVAILABLE = "unavailable"


class Problem(Exception):
    """An answer that ends a request: `error_type, message, retry_seconds`.

    `retry_seconds`: the time after which it may work; None if waiting does not help.
    """

    def __init__(self, error_type: str, message: str, retry_seconds: int | None = None) -> None:
        super().__init__(error_type, message, retry_seconds)
        self.error_type = error_type
        self.message = message
        self.retry_seconds = retry_seconds

    @property
    def content(self) -> dict[str, JsonValue]:
        """The JSON of the answer, in the shape of an error result."""
        return {"status": "rejected", "error_type": self.error_type, "message": self.message}


class NoResultYet(Problem):
    """A job that is not over: `job_id, status`, which is the job's own."""

    def __init__(self, job_id: str, status: str) -> None:
        message = f"Job {job_id} has no result yet; it is {status}."
        super().__init__(ProblemType.NOT_FOUND, message)
        self.status = status

    @property
    def content(self) -> dict[str, JsonValue]:
        """The JSON of the answer, with the status of the job: nothing is rejected."""
        return {**super().content, "status": self.status}


def not_found(what: str) -> Problem:
    """Make a problem: something is not there."""
    return Problem(ProblemType.NOT_FOUND, what)


def gone(what: str) -> Problem:
    """Make a problem: something was there and is pruned."""
    return Problem(ProblemType.GONE, what)


def unavailable(why: str) -> Problem:
    """Make a problem: something may work again in a moment."""
    return Problem(ProblemType.UNAVAILABLE, why, 5)


def refused(refusal: "Refused") -> Problem:
    """Turn the contract's refusal into a problem."""
    return Problem(refusal.failure.error_type, refusal.failure.message)
