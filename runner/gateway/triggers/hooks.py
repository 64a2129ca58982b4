"""Web hooks over HTTP: their list, and calls of one."""

from collections.abc import Callable, Iterator

from bottle import HTTPResponse, request

from runner.config import MEGABYTE, Settings
from runner.contract.triggers.signatures import NotProven
from runner.gateway.http.answers import json_answer
from runner.gateway.http.problems import HttpProblem, HttpProblemType
from runner.jobs.backend import Backend
from runner.jobs.submissions import accepted, too_large
from runner.submitters.hooks.calling import Call, Hooks, Ignored
from runner.submitters.hooks.overview import HooksOverview, row_of

HOOKS = "/hooks/"
"""Beginning of the addresses that senders call: each proves itself to its hook."""


class HookRoutes:
    """Answers below `/hooks` for one gateway. Calls need the hook's proof, and no token."""

    def __init__(self, backend: Backend) -> None:
        self._settings = backend.settings
        self._record = backend.record
        self._overview = HooksOverview(backend)
        self._hooks = Hooks(backend.settings, backend.runs, backend.functions)

    def routes(self) -> Iterator[tuple[str, str, Callable[..., HTTPResponse]]]:
        """List method, path and answer of each route."""
        yield "GET", "/hooks", self._show_all
        yield "POST", HOOKS + r"<name:re:[\s\S]+>", self._call

    def _show_all(self) -> HTTPResponse:
        return json_answer(200, {"hooks": [row_of(one) for one in self._overview.all()]})

    def _call(self, name: str) -> HTTPResponse:
        try:
            outcome = self._hooks.call(name, _coming(self._settings))
        except NotProven as error:
            raise HttpProblem(HttpProblemType.UNAUTHORIZED, str(error)) from error
        if isinstance(outcome, Ignored):
            return json_answer(200, {"status": "ignored", "message": f"{outcome.why}."})
        headers = {"Location": f"/jobs/{outcome.job_id}"}
        job = self._record.find(outcome.job_id)  # a delivery that came before has one
        progress = None if job is None else {"status": job.status}
        return json_answer(202, accepted(outcome, progress), headers)


def _coming(settings: Settings) -> Call:
    limit = int(settings.limits.notebook_mb * MEGABYTE)
    raw: bytes = request.environ["wsgi.input"].read(limit + 1)
    if len(raw) > limit:
        raise too_large(settings.limits)
    headers = {name.lower(): str(value) for name, value in request.headers.items()}
    query = {name: request.query.getunicode(name, "") for name in request.query}
    return Call(headers, query, raw)
