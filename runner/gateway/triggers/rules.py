"""The rules over HTTP: their list."""

from collections.abc import Callable, Iterator

from bottle import HTTPResponse

from runner.gateway.http.answers import json_answer
from runner.submitters.rules.overview import RulesOverview, row_of


class RuleRoutes:
    """Answers below `/rules` for one gateway."""

    def __init__(self, rules: RulesOverview) -> None:
        self._rules = rules

    def routes(self) -> Iterator[tuple[str, str, Callable[..., HTTPResponse]]]:
        """List method, path and answer of each route."""
        yield "GET", "/rules", self._show_all

    def _show_all(self) -> HTTPResponse:
        return json_answer(200, {"rules": [row_of(one) for one in self._rules.all()]})
