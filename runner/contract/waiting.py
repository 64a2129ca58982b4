"""When a job may start, before whom, and when it runs again. Pure."""

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from runner.contract.states.status import RETRIED, ErrorType
from runner.contract.states.turn import written

PRIORITY_SECONDS = 600
"""A job passes those that came this much earlier, for each point of its priority above theirs."""
MOST_PRIORITY = 10
LONGEST_PAUSE = 86_400
"""Longest pause before another attempt, in seconds."""
RETRIABLE = (
    ErrorType.INTERRUPTED,
    ErrorType.KERNEL_DIED,
    ErrorType.KERNEL_STARTUP,
    ErrorType.PAPERMILL_EXECUTION_ERROR,
    ErrorType.MODULE_NOT_FOUND,
    ErrorType.TIMEOUT,
    ErrorType.OUT_OF_MEMORY,
    ErrorType.OUTPUT_LIMIT,
    ErrorType.RESULT_EXTRACTION_ERROR,
)
"""Errors after which a run may be tried again: those of a run that has begun."""


_NO_MOMENT = (
    "must be a time with its offset from UTC, such as 2026-12-01T06:00:00+01:00 or "
    "2026-12-01T05:00:00Z"
)


def moment_of(text: str) -> datetime:
    """Read a time with its offset from UTC, such as `2026-12-01T06:00:00+01:00`.

    Source: RFC 3339, and what `datetime.fromisoformat` takes beside it.

    Raises:
        ValueError: in words.
    """
    try:
        moment = datetime.fromisoformat(text.strip().upper())
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or not 1971 < moment.year < 9999:
        raise ValueError(_NO_MOMENT)
    return moment.astimezone(UTC)


def _checked(check: Callable[[str], object]) -> AfterValidator:
    """Keep a text that passes a check, as it is."""

    def keep(text: str) -> str:
        check(text)
        return text

    return AfterValidator(keep)


def _only_text(value: object) -> object:
    """Refuse what is no text in the words for a wrong one."""
    if not isinstance(value, str):
        raise ValueError(_NO_MOMENT)  # noqa: TRY004 - pydantic takes no TypeError
    return value


def _check_retriable(text: str) -> None:
    if text not in RETRIABLE:
        raise ValueError(f"must be one of {', '.join(RETRIABLE)}")


Moment = Annotated[
    str,
    BeforeValidator(_only_text),
    _checked(moment_of),
    Field(json_schema_extra={"format": "date-time"}),
]
Retriable = Annotated[
    str, _checked(_check_retriable), Field(json_schema_extra={"enum": list(RETRIABLE)})
]


class Retry(BaseModel):
    """How a job runs again after some errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    times: int = Field(ge=1, le=10, description="How many further attempts there are.")
    delay_seconds: float = Field(
        0,
        ge=0,
        le=LONGEST_PAUSE,
        allow_inf_nan=False,
        description="Pause before the first of them.",
    )
    factor: float = Field(
        1,
        ge=1,
        le=10,
        allow_inf_nan=False,
        description="Each further pause is this many times as long, up to a day.",
    )
    on: list[Retriable] = Field(
        default_factory=lambda: sorted(map(str, RETRIED)),
        min_length=1,
        max_length=len(RETRIABLE),
        description="The error types that count; `papermill_execution_error` is that of a cell.",
    )

    def pause(self, attempt: int) -> float:
        """Return the seconds between an attempt, counted from 1, and the next one."""
        return min(self.delay_seconds * math.pow(self.factor, attempt - 1), LONGEST_PAUSE)


def start_by(accepted_at: str, not_before: str | None, seconds: float | None) -> str | None:
    """Return the end of the time in which a job may start; it begins with its earliest start."""
    if seconds is None:
        return None
    opens = max(datetime.fromisoformat(accepted_at), *map(moment_of, [not_before or accepted_at]))
    return written(opens + timedelta(seconds=seconds))
