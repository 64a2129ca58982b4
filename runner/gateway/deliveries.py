"""Callbacks of a job over HTTP: what came of each, and once more."""

from collections.abc import Callable, Iterator, Sequence

from bottle import HTTPResponse

from runner.followers.callbacks.overview import Deliveries, row_of
from runner.gateway.http.answers import json_answer
from runner.state.callbacks import Callback


class DeliveryRoutes:
    """Answers below `/jobs/ID/deliveries` for one gateway."""

    def __init__(self, deliveries: Deliveries) -> None:
        self._deliveries = deliveries

    def routes(self) -> Iterator[tuple[str, str, Callable[..., HTTPResponse]]]:
        """List method, path and answer of each route."""
        yield "GET", "/jobs/<job_id>/deliveries", self._show
        yield "POST", "/jobs/<job_id>/deliveries/<delivery>/again", self._again

    def _show(self, job_id: str) -> HTTPResponse:
        return _answer(200, self._deliveries.of(job_id))

    def _again(self, job_id: str, delivery: str) -> HTTPResponse:
        return _answer(202, self._deliveries.again(job_id, delivery))


def _answer(status: int, callbacks: Sequence[Callback]) -> HTTPResponse:
    return json_answer(status, {"deliveries": [row_of(one) for one in callbacks]})
