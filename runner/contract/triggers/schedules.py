"""Reads a schedule's file: when its notebook runs, and the request that it makes then.

    cron: "0 6 * * mon-fri"
    timezone: Europe/Berlin
    notebook: reports/sales.ipynb
    parameters: {day: "{{ scheduled_for - 1d | date }}"}

Pure: whether the time zone exists on this machine is for its reader to find out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Literal, NamedTuple

from cronsim import CronSim, CronSimError
from pydantic import BaseModel, ConfigDict, Field, field_validator

from runner.contract.rules import Rules
from runner.contract.triggers.documents import (
    TriggerError,
    check_request,
    checked,
    in_line,
    read_keys,
    read_mapping,
    split,
)
from runner.contract.triggers.placeholders import PlaceholderError, fill, parameters_from

_NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
MOMENT = "scheduled_for"
_START = datetime(2026, 1, 1, tzinfo=UTC)
"""Any moment: it only shows that a cron expression and placeholders are right."""


class _Field(NamedTuple):
    """One field of a cron expression: cronsim's word for it, and what fits."""

    word: str
    fits: str


_FIELDS = (
    _Field("minute", "0 to 59, as 5, 5-10, 5,35 or */5"),
    _Field("hour", "0 to 23, as 6, 6-8, 6,18 or */2"),
    _Field("day-of-month", "1 to 31 or L for the last, as 1, 1-7 or 1,15"),
    _Field("month", "1 to 12 or jan to dec, as 3, 3-5 or mar,sep"),
    _Field("day-of-week", "0 to 7 or sun to sat, as 1, mon-fri or sat,sun; both 0 and 7 are sun"),
)
"""In their order. `month` comes after `day-of-month`, which has that word in it."""


class Timing(BaseModel):
    """The keys of a schedule beside those of its request."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cron: str = Field(description="Five fields, or a nickname such as `@daily`.")
    timezone: str | None = Field(
        None, min_length=1, description="IANA name, such as `Europe/Berlin`; default the runner's."
    )
    missed: Literal["last", "all", "none"] = Field(
        "last", description="Which of the runs that came due while the runner was away are made up."
    )
    catch_up_hours: float = Field(
        24, gt=0, le=24 * 366, description="How far back `missed` reaches."
    )
    overlap: Literal["queue", "skip"] = Field(
        "queue", description="What happens while the run before still goes on."
    )
    jitter_seconds: int = Field(
        0, ge=0, le=3600, description="Each run starts up to that much later, by chance."
    )
    enabled: bool = Field(True, description="`false`: no run starts by itself.")
    until: date | datetime | None = Field(
        None, description="The last day, or the last moment, on which a run starts."
    )
    name: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        description="Name of the jobs in the outbox; default `schedules/NAME`.",
    )

    @field_validator("cron")
    @classmethod
    def _expanded(cls, text: str) -> str:
        cron = _NICKNAMES.get(text.strip().lower(), text.strip())
        if cron.startswith("@"):
            raise ValueError(f"there is no {cron}; the nicknames are {', '.join(_NICKNAMES)}")
        if len(cron.split()) != 5 or len(cron) > 200:
            raise ValueError("it has five fields: minute, hour, day of month, month, day of week")
        try:
            next(CronSim(cron, _START))
        except CronSimError as error:
            raise ValueError(_objection(cron, str(error))) from error
        except StopIteration:
            raise ValueError("it never comes due") from None
        return cron


@dataclass(frozen=True)
class Schedule:
    """A schedule: when, and the keys of its request, whose placeholders are not filled yet."""

    timing: Timing
    request: Mapping[str, Any]

    def request_at(self, scheduled_for: datetime) -> dict[str, Any]:
        """Make the request of one occurrence; the moment is in the schedule's time zone."""
        filled = fill(dict(self.request), {MOMENT: scheduled_for})
        assert isinstance(filled, dict)
        return filled

    @property
    def texts(self) -> frozenset[str]:
        """Name the parameters that are the moment, or a part of it: a year may be a number."""
        return parameters_from(self.request, (MOMENT,))


def _objection(cron: str, said: str) -> str:
    """Say which field of a cron expression is wrong, and what fits there."""
    index = next((i for i, one in enumerate(_FIELDS) if one.word in said.lower()), None)
    if index is None:
        return said.lower()
    fields = cron.split()
    if _FIELDS[index].word == "day-of-month" and _is_right(f"0 0 {fields[2]} * *"):
        return f"its date never comes: month {fields[3]} has no day {fields[2]}"
    name = _FIELDS[index].word.replace("-", " ")
    return f"its {name}, {fields[index]!r}, must be {_FIELDS[index].fits}"


def _is_right(cron: str) -> bool:
    try:
        CronSim(cron, _START)
    except CronSimError:
        return False
    return True


_KEYS = tuple(Timing.model_fields)


def read_schedule(raw: bytes, rules: Rules | None = None) -> Schedule:
    """Read a file; `rules` are those of the runner that is to run it.

    Raises:
        TriggerError: what is wrong, each in one sentence.
    """
    document, text = read_mapping(raw, "schedule", "`cron` and `notebook`", "{{ scheduled_for }}")
    said, request = split(document, _KEYS)
    checked(lambda: _timing(said, text), lambda: _check_request(request, text, rules))
    return Schedule(_timing(said, text), request)


def _timing(said: Mapping[str, Any], text: str) -> Timing:
    if "cron" not in said:
        raise TriggerError('It has no `cron`, such as cron: "0 6 * * *".')
    return read_keys(Timing, said, text)


def _check_request(request: dict[str, Any], text: str, rules: Rules | None) -> None:
    """Check what it would ask for, with a date in place of the placeholders."""
    try:
        filled = fill(request, {MOMENT: _START})
    except PlaceholderError as error:
        raise TriggerError(f"{error}{in_line(text, error.place)}.") from error
    assert isinstance(filled, dict)
    check_request(filled, text, _KEYS, rules)
