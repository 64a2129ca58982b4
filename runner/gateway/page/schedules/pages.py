"""The pages of schedules, and the forms that run, pause and resume one.

Decides nothing about schedules: all of it goes by way of `submitters.schedules.overview`.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from bottle import HTTPResponse

from runner.config import Settings
from runner.gateway.http.answers import see_other
from runner.gateway.http.forms import posted, texts
from runner.gateway.page.format import schedule_url
from runner.gateway.page.result_views import json_text
from runner.gateway.page.schedules.year import first_day, year_of
from runner.jobs.problem import Problem
from runner.state.locks import holder_of
from runner.submitters.schedules.overview import Schedules, View

FACE = "page"
HOME = "/ui/schedules"
_NAME = r"<name:re:[\s\S]+>"


class SchedulePages:
    """The pages of one gateway. `page` renders a template as the others do."""

    def __init__(
        self, settings: Settings, schedules: Schedules, page: Callable[..., HTTPResponse]
    ) -> None:
        self._settings = settings
        self._schedules = schedules
        self._page = page

    def routes(self) -> Iterator[tuple[str, str, Callable[..., HTTPResponse]]]:
        """List method, path and answer of each route."""
        yield "GET", HOME, self.all
        yield "GET", f"{HOME}/{_NAME}", self.one
        yield "POST", f"{HOME}/{_NAME}/run", self._run
        yield "POST", f"{HOME}/{_NAME}/pause", self._pause
        yield "POST", f"{HOME}/{_NAME}/resume", self._resume

    def all(self) -> HTTPResponse:
        """Answer with the list; where it cannot be read, with the reason."""
        why_not, views = "", list[View]()
        try:
            views = self._schedules.all()
        except Problem as problem:
            why_not = problem.message
        return self._shown("schedules.html", schedules=views, why_not=why_not)

    def one(self, name: str) -> HTTPResponse:
        """Answer with one of them: its next times, a year of outcomes, and the last ones."""
        details = self._schedules.details(name)
        zone = ZoneInfo(details.view.timezone or "UTC")
        today = datetime.now(zone).date()
        days = self._schedules.days(name, first_day(today).isoformat())
        parameters = [
            (key, value if isinstance(value, str) else json_text(value))
            for key, value in details.parameters.items()
        ]
        return self._shown(
            "schedule.html",
            one=details.view,
            details=details,
            parameters=parameters,
            has_reasons=any(past.reason for past in details.occurrences),
            zone=zone,
            year=year_of(days, today),
        )

    def _shown(self, template: str, **values: Any) -> HTTPResponse:
        return self._page(
            template,
            here="schedules",
            folder=self._settings.schedules_folder,
            is_served=holder_of(self._settings.inbox) is not None,
            now=datetime.now(UTC),
            **values,
        )

    def _run(self, name: str) -> HTTPResponse:
        job = self._schedules.run(name, FACE)
        return see_other(f"/jobs/{job.job_id}")

    def _pause(self, name: str) -> HTTPResponse:
        self._schedules.pause(name, FACE)
        return self._back(name)

    def _resume(self, name: str) -> HTTPResponse:
        self._schedules.resume(name)
        return self._back(name)

    def _back(self, name: str) -> HTTPResponse:
        """Lead back to the page with the button: the list, or the schedule's own."""
        is_list = texts(posted(self._settings)).get("from") == "list"
        return see_other(HOME if is_list else schedule_url(name))
