"""The pages of rules and of web hooks: what each does, and its newest job."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from bottle import HTTPResponse

from runner.contract.triggers.causes import cause_of_hook
from runner.jobs.backend import Backend
from runner.jobs.problem import Problem
from runner.state.jobs import Job
from runner.state.locks import holder_of
from runner.submitters.hooks.calling import Hooks
from runner.submitters.hooks.outlook import errors_of
from runner.submitters.rules.overview import RulesOverview


class TriggerPages:
    """The pages of one gateway. `page` renders a template as the others do."""

    def __init__(self, backend: Backend, page: Callable[..., HTTPResponse]) -> None:
        self._backend = backend
        self._rules = RulesOverview(backend)
        self._hooks = Hooks(backend.settings, backend.runs, backend.functions)
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
        return self._shown("hooks.html", self._backend.settings.hooks_folder, self._hook_rows)

    def _hook_rows(self) -> list[dict[str, Any]]:
        hooks = self._hooks.all()
        errors = errors_of(hooks, self._backend.functions)
        rows = []
        for one in hooks:
            calls = None if one.hook is None else one.hook.calls
            error = one.error or errors.get(one.name)
            is_on = calls is not None and calls.enabled
            rows.append(
                {
                    "name": one.name,
                    "state": "wrong" if error else "on" if is_on else "disabled",
                    "verify": None if calls is None else calls.verify.type,
                    "notebook": None if one.hook is None else one.hook.request.get("notebook"),
                    "error": error,
                    "last": self._newest(cause_of_hook(one.name, "")),
                }
            )
        return rows

    def _newest(self, cause: str) -> Job | None:
        with self._backend.record.ledger() as ledger:
            return ledger.newest_of(cause)

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
            is_served=holder_of(self._backend.settings.inbox) is not None,
            now=datetime.now(UTC),
        )
