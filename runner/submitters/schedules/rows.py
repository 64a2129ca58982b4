"""Writes schedules and their occurrences as JSON: one shape for every interface."""

from typing import Any

from runner.submitters.schedules.book import Occurrence
from runner.submitters.schedules.overview import Details, View


def row_of(one: View) -> dict[str, Any]:
    """Write a schedule as JSON; keys without a value are left out."""
    last = one.last
    row = {
        "name": one.name,
        "state": one.state,
        "error": one.error,
        "cron": one.cron or None,
        "timezone": one.timezone or None,
        "in_words": one.in_words or None,
        "notebook": one.notebook or None,
        "next": None if one.following is None else one.following.isoformat(),
        "paused_by": one.paused_by,
        "last": None if last is None else occurrence_row(last),
    }
    return {key: value for key, value in row.items() if value is not None}


def details_row(one: Details) -> dict[str, Any]:
    """Write a schedule as JSON, with its next times and its last ones."""
    return {
        **row_of(one.view),
        "parameters": dict(one.parameters),
        "upcoming": [moment.isoformat() for moment in one.upcoming],
        "occurrences": [occurrence_row(past) for past in one.occurrences],
    }


def occurrence_row(one: Occurrence) -> dict[str, Any]:
    """Write an occurrence as JSON; a run that is not over has no `status`."""
    row = {
        "scheduled_for": one.scheduled_for,
        "status": one.status,
        "reason": one.reason,
        "through": one.through if one.times > 1 else None,
        "times": one.times if one.times > 1 else None,
        "job_id": one.job_id,
        "job_name": one.job_name,
        "by": one.by,
    }
    return {key: value for key, value in row.items() if value is not None}
