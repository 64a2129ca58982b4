"""Callbacks and notifications of a job over HTTP: what came of each, and once more."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from bottle import HTTPResponse

from runner.followers.overview import Told
from runner.gateway.http.answers import json_answer


class DeliveryRoutes:
    """Answers below `/jobs/ID/deliveries` for one gateway."""

    def __init__(self, told: Told) -> None:
        self._told = told

    def routes(self) -> Iterator[tuple[str, str, Callable[..., HTTPResponse]]]:
        """List method, path and answer of each route."""
        yield "GET", "/jobs/<job_id>/deliveries", self._show
        yield "POST", "/jobs/<job_id>/deliveries/<delivery>/again", self._again

    def _show(self, job_id: str) -> HTTPResponse:
        return _answer(200, self._told.of(job_id))

    def _again(self, job_id: str, delivery: str) -> HTTPResponse:
        return _answer(202, self._told.again(job_id, delivery))


def _answer(status: int, deliveries: Sequence[dict[str, Any]]) -> HTTPResponse:
    return json_answer(status, {"deliveries": [*deliveries]})
