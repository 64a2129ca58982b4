"""The rules over HTTP: their list."""

from collections.abc import Callable, Iterator
from typing import Any

from bottle import HTTPResponse

from runner.gateway.http.answers import json_answer
from runner.submitters.rules.overview import RulesOverview, RuleView


class RuleRoutes:
    """Answers below `/rules` for one gateway."""

    def __init__(self, rules: RulesOverview) -> None:
        self._rules = rules

    def routes(self) -> Iterator[tuple[str, str, Callable[..., HTTPResponse]]]:
        """List method, path and answer of each route."""
        yield "GET", "/rules", self._show_all

    def _show_all(self) -> HTTPResponse:
        return json_answer(200, {"rules": [_row(one) for one in self._rules.all()]})


def _row(one: RuleView) -> dict[str, Any]:
    last = one.last
    return {
        "name": one.name,
        "state": one.state,
        "pattern": one.pattern,
        "group": one.group,
        "notebook": one.notebook,
        "error": one.error,
        "last": None if last is None else {"job_id": last.job_id, "status": last.status},
    }
