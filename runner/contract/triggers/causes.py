"""The causes of requests that nobody made: who submits, and which occurrence it is. Pure."""

import re
from datetime import UTC, datetime

_SCHEDULE = re.compile(r"schedule:([^@]+)@(\d{4}-\d\d-\d\dT\d\d:\d\dZ)( .*)?")


def stamp(occurrence: datetime) -> str:
    """Write an occurrence as causes and records have it: UTC, in whole minutes."""
    return f"{occurrence.astimezone(UTC):%Y-%m-%dT%H:%MZ}"


def moment_of(stamped: str) -> datetime:
    """Read a stamp; the moment is in UTC."""
    return datetime.strptime(stamped, "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC)


def cause_of_schedule(name: str, occurrence: datetime) -> str:
    """Return the cause of an occurrence, such as `schedule:daily@2026-11-26T06:00Z`."""
    return f"schedule:{name}@{stamp(occurrence)}"


def cause_of_hook(name: str, delivery: str) -> str:
    """Return the cause of a call of a web hook, such as `hook:push@72d3162e`."""
    return f"{hook(name)}@{delivery}"


def cause_of_rule(name: str, token: str) -> str:
    """Return the cause of a job for files, such as `rule:invoices@5f2c…`: whose, and which ones."""
    return f"{rule(name)}@{token}"


def rule(name: str) -> str:
    """Return who submits the jobs of a rule, such as `rule:invoices`."""
    return f"rule:{name}"


def hook(name: str) -> str:
    """Return who submits the jobs of a web hook, such as `hook:push`."""
    return f"hook:{name}"


def trigger_of(cause: str | None) -> str | None:
    """Return who submitted a job of a rule or a web hook; None for other causes."""
    kind, _, rest = (cause or "").partition(":")
    return f"{kind}:{rest.partition('@')[0]}" if kind in ("rule", "hook") and rest else None


def schedule_of(cause: str | None) -> str | None:
    """Return the name of the schedule that a job is of; None for other causes."""
    match = _SCHEDULE.fullmatch(cause or "")
    return match[1] if match is not None else None


def by_hand(cause: str | None) -> str | None:
    """Return by which face somebody ran a schedule by hand; None for other causes."""
    match = _SCHEDULE.fullmatch(cause or "")
    if match is None or match[3] is None:
        return None
    return match[3].removeprefix(" by ")


def scheduled_for(cause: str | None) -> str | None:
    """Return when a schedule's job was due, in ISO 8601 and UTC; None for other causes."""
    match = _SCHEDULE.fullmatch(cause or "")
    return moment_of(match[2]).isoformat() if match is not None else None
