"""The prospects of a schedule's file: when it runs, and why the runner would refuse that."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from pathlib import Path

from runner.config import Settings
from runner.contract.outcome import Failure
from runner.contract.states.status import ErrorType
from runner.contract.triggers.documents import with_line
from runner.contract.triggers.placeholders import PlaceholderError
from runner.jobs.functions import Functions
from runner.jobs.refusals import Forecast, forecast
from runner.submitters.schedules.files import Plan, ScheduleFiles
from runner.submitters.schedules.overview import in_words
from runner.submitters.schedules.scheduling import request_of
from runner.submitters.trigger_files import read_file

TIMES = 3


@dataclass(frozen=True)
class Prospects:
    """When a schedule comes due next, in words and in its zone, and what becomes of the first run.

    `note` says why no run starts by itself, if that is so.
    """

    forecast: Forecast
    words: str = ""
    upcoming: Sequence[datetime] = ()
    note: str = ""


def prospects_of(file: Path, settings: Settings, now: datetime) -> Prospects:
    """Read a file, wherever it lies, and look ahead."""
    folder = Path(os.path.realpath(settings.schedules_folder))
    parent = Path(os.path.realpath(file.parent))
    planned = ScheduleFiles(folder, settings.request_rules, settings.intake.ignore).one(
        parent / file.name
    )
    plan = planned.plan
    if plan is None:
        return Prospects(_refusal(planned.error or ""))
    upcoming = tuple(islice(plan.calendar.after(now), TIMES))
    note = "" if plan.schedule.timing.enabled else "enabled: false"
    return Prospects(
        _with_lines(_of_run(plan, upcoming[0] if upcoming else now, settings), planned.path),
        f"{in_words(plan.schedule.timing.cron)} ({plan.calendar.zone.key})",
        upcoming,
        note if upcoming else "until is over",
    )


def _of_run(plan: Plan, moment: datetime, settings: Settings) -> Forecast:
    try:
        wanted = request_of(plan, moment, Functions(settings).typed)
    except PlaceholderError as error:
        return _refusal(f"{error}.")
    keys = dict(wanted.request)
    notebook = keys.pop("notebook")
    return forecast(keys, lambda: notebook, settings)


def _with_lines(forecast: Forecast, path: Path) -> Forecast:
    """Add the line of the file to each refusal that names one of its keys."""
    text = read_file(path).decode("utf-8-sig", "replace")
    refusals = tuple(
        one.model_copy(update={"message": with_line(one.message, text)})
        for one in forecast.refusals
    )
    return replace(forecast, refusals=refusals)


def _refusal(message: str) -> Forecast:
    return Forecast((Failure(error_type=ErrorType.INVALID_REQUEST, message=message),))
