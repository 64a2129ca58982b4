"""Buttons of the page: they pause jobs and let them start again, and send callbacks again."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bottle import HTTPResponse

from runner.config import Settings
from runner.followers.callbacks.overview import Deliveries, row_of
from runner.gateway.http.answers import see_other
from runner.gateway.http.forms import posted, texts
from runner.gateway.page.run_form import FACE
from runner.jobs.pausing import Pausing
from runner.jobs.problem import Problem
from runner.jobs.record import Record

PLACES = {"rules": "/ui/rules", "hooks": "/ui/hooks"}
"""Pages besides the overview that have such buttons."""


class PauseButtons:
    """Those of one gateway; both lead back to the page that the form names, or the overview."""

    def __init__(self, settings: Settings, pausing: Pausing) -> None:
        self._settings = settings
        self._pausing = pausing

    def routes(self) -> Iterator[tuple[str, str, Callable[..., HTTPResponse]]]:
        """List method, path and answer of each route."""
        yield "POST", "/ui/pause", self._pause
        yield "POST", "/ui/resume", self._resume

    def _pause(self) -> HTTPResponse:
        fields = texts(posted(self._settings))
        self._pausing.pause(fields.get("name", ""), FACE)
        return _back(fields)

    def _resume(self) -> HTTPResponse:
        fields = texts(posted(self._settings))
        self._pausing.resume(fields.get("name", ""))
        return _back(fields)


def _back(fields: Mapping[str, str]) -> HTTPResponse:
    return see_other(PLACES.get(fields.get("from", ""), "/"))


class DeliveriesOfJobs:
    """Those of one gateway."""

    def __init__(self, record: Record) -> None:
        self._deliveries = Deliveries(record)

    def routes(self) -> Iterator[tuple[str, str, Callable[..., HTTPResponse]]]:
        """List method, path and answer of each route."""
        yield "POST", "/ui/jobs/<job_id>/deliveries/<delivery>/again", self._again

    def of(self, job_id: str) -> list[dict[str, Any]]:
        """List what came of a job's callbacks; nothing where that cannot be read."""
        try:
            return [row_of(one) for one in self._deliveries.of(job_id)]
        except Problem:
            return []

    def _again(self, job_id: str, delivery: str) -> HTTPResponse:
        self._deliveries.again(job_id, delivery)
        return see_other(f"/jobs/{job_id}")
