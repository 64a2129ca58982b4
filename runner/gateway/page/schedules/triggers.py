"""The pages of rules and of web hooks: what each does, and its newest job."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

from bottle import HTTPResponse

from runner.jobs.backend import Backend
from runner.jobs.problem import Problem
from runner.state.locks import holder_of
from runner.submitters.hooks.overview import HooksOverview
from runner.submitters.rules.overview import RulesOverview


class TriggerPages:
    """The pages of one gateway. `page` renders a template as the others do."""

    def __init__(self, backend: Backend, page: Callable[..., HTTPResponse]) -> None:
        self._settings = backend.settings
        self._rules = RulesOverview(backend)
        self._hooks = HooksOverview(backend)
        self._page = page

    def routes(self) -> Iterator[tuple[str, str, Callable[..., HTTPResponse]]]:
        """List method, path and answer of each route."""
        yield "GET", "/ui/rules", self.rules
        yield "GET", "/ui/hooks", self.hooks

    def rules(self) -> HTTPResponse:
        """Answer with the rules; where they cannot be read, with the reason."""
        return self._shown("rules.html", self._rules.folder, self._rules.all)

    def hooks(self) -> HTTPResponse:
        """Answer with the web hooks; where they cannot be read, with the reason."""
        return self._shown("hooks.html", self._hooks.folder, self._hooks.all)

    def _shown(
        self, template: str, folder: object, read: Callable[[], Sequence[object]]
    ) -> HTTPResponse:
        why_not, rows = "", list[object]()
        try:
            rows = list(read())
        except Problem as problem:
            why_not = problem.message
        return self._page(
            template,
            here="schedules",
            rows=rows,
            why_not=why_not,
            folder=folder,
            is_served=holder_of(self._settings.inbox) is not None,
            now=datetime.now(UTC),
        )
