"""Buttons of the page: they pause jobs and let them start again, and tell of them once more."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bottle import HTTPResponse

from runner.config import Settings
from runner.followers.overview import Told
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
        self._told = Told(record)

    def routes(self) -> Iterator[tuple[str, str, Callable[..., HTTPResponse]]]:
        """List method, path and answer of each route."""
        yield "POST", "/ui/jobs/<job_id>/deliveries/<delivery>/again", self._again

    def of(self, job_id: str) -> list[dict[str, Any]]:
        """List what came of a job's callbacks and notifications; nothing if that cannot be read."""
        try:
            return self._told.of(job_id)
        except Problem:
            return []

    def _again(self, job_id: str, delivery: str) -> HTTPResponse:
        self._told.again(job_id, delivery)
        return see_other(f"/jobs/{job_id}")
