"""The Bottle app: routes, headers and status codes for the other modules.

Every answer is JSON except downloads, rendered notebooks, events, Prometheus' text, and the pages
of `page/`, which a browser gets at `/`, at `/jobs/ID` and below `/ui/`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any

from bottle import Bottle, HTTPError, HTTPResponse, request, response

from runner.config import MEGABYTE, Settings
from runner.contract.states.status import ERROR_RULES, ErrorType, Status
from runner.followers.overview import Told
from runner.gateway.deliveries import DeliveryRoutes
from runner.gateway.functions import FunctionRoutes
from runner.gateway.http.access import Access, IncomingRequest, not_authorized
from runner.gateway.http.answers import (
    HEADERS,
    Seated,
    download,
    has_left,
    instead,
    json_answer,
    plainly,
    problem_of,
    see_other,
    stream,
    text_answer,
    told,
)
from runner.gateway.http.forms import posted, texts, uploads
from runner.gateway.http.media_types import BodyKind, body_kind, check_parameters_type
from runner.gateway.http.negotiation import VARY, wants_metrics_text, wants_page
from runner.gateway.http.problems import bad
from runner.gateway.http.queries import strictly
from runner.gateway.http.session import COOKIE
from runner.gateway.metrics import Metrics
from runner.gateway.notebook_pages import NotebookPages, framed
from runner.gateway.origins import OriginRoutes
from runner.gateway.page.routes import OPEN as OPEN_PAGES
from runner.gateway.page.routes import Pages
from runner.gateway.pauses import PauseRoutes
from runner.gateway.sharing.routes import SHARED, Reports
from runner.gateway.sharing.store import Shares
from runner.gateway.triggers.hooks import HOOKS, HookRoutes
from runner.gateway.triggers.rules import RuleRoutes
from runner.gateway.triggers.schedules import ScheduleRoutes
from runner.inbox import unclaimed as waiting
from runner.jobs.backend import Backend, backend_of
from runner.jobs.body import JobRequest, read_body, read_form, seconds_to_wait, with_key
from runner.jobs.health import examine
from runner.jobs.pausing import Pausing
from runner.jobs.problem import Problem, not_found, unavailable
from runner.jobs.record import MAX_LIMIT, Question
from runner.jobs.submissions import Submitted, accepted, too_large
from runner.jobs.submit import cancel
from runner.outbox.reader import Report
from runner.outbox.report import with_url
from runner.reports.printing.printer import Printer
from runner.reports.rendering.process import MODULE, RENDER_SECONDS
from runner.submitters.rules.overview import RulesOverview
from runner.submitters.schedules.overview import Schedules
from runner.system.files.disk import Disk, read_regular
from runner.system.processes.side_process import SideProcess

Answer = Callable[..., HTTPResponse]
FACE = "http"
"""The submitter of requests that name no other."""
PAGES = re.compile(r"/(inbox|jobs/[^/]+(/report)?|shared/[^/]+|schedules(/[\s\S]+)?)?")
"""Addresses at which a browser gets a page, beside those below `/ui/`."""
FRAMES = re.compile(r"/shared/[^/]+/figures/[0-9]+")
"""Addresses of the frames in a report."""
HEALTH_PATHS = frozenset({"/", "/healthz"})
_LIMIT = re.compile(r"[0-9]{1,9}")
MAX_COOKIE_CHARS = 8_000
"""Longest header of a browser of ours; Python's parser may take a minute for a longer one."""
TYPED = {"/library": "/ui/library", "/run": "/ui/library"}
"""Addresses that people type into a browser, and their pages."""


class App:
    """One gateway over one set of folders."""

    def __init__(self, settings: Settings, disk: Disk | None = None) -> None:
        backend = backend_of(settings, disk)
        self._settings = settings
        self._disk = backend.disk
        self._access = Access(settings.gateway)
        self._record = backend.record
        self.arrivals = backend.arrivals
        self._runs = backend.runs
        self._metrics = Metrics(settings, self._record)
        self.aside = SideProcess(MODULE, RENDER_SECONDS), Printer(settings.gateway.chromium)
        self._notebooks = NotebookPages(*self.aside, read_regular)
        schedules = Schedules(backend)
        shares = Shares(settings.state, backend.disk)
        reports = Reports(settings, self._record, self._notebooks, shares)
        self._pages = Pages(self._access, backend, schedules, reports)
        self._functions = FunctionRoutes(settings, backend.functions)
        self._schedules = ScheduleRoutes(schedules, FACE)
        self._parts = *_parts(backend), reports
        self.wsgi = self._routes()

    def _routes(self) -> Bottle:
        app = Bottle()
        app.add_hook("before_request", self._let_in)
        app.default_error_handler = self._server_error
        routes: list[tuple[str, str, Callable[..., Any]]] = [
            ("GET", "/", self._home),
            ("GET", "/healthz", self._health),
            ("GET", "/metrics", self._show_metrics),
            ("GET", "/inbox", self._show_inbox),
            ("GET", "/openapi.json", self._describe),
            ("POST", "/run", self._run),
            ("GET", "/notebooks", self._functions.show_all),
            ("GET", r"/notebooks/<path:re:[\s\S]+>", self._functions.show),
            ("POST", r"/notebooks/<path:re:[\s\S]+>", self._call),
            ("GET", "/schedules", _either(self._pages.schedules.all, self._schedules.show_all)),
            # What ends as a command is none of the names here, so that `Allow` says what is true.
            (
                *("GET", r"/schedules/<name:re:(?![\s\S]+/(?:run|pause|resume)$)[\s\S]+>"),
                _either(self._pages.schedules.one, self._schedules.show),
            ),
            ("POST", r"/schedules/<name:re:[\s\S]+>/run", self._run_schedule),
            *self._schedules.switches(),
            *chain.from_iterable(part.routes() for part in self._parts),
            ("GET", "/jobs", self._list),
            ("GET", "/jobs/<job_id>", self._show_to_any),
            ("DELETE", "/jobs/<job_id>", self._cancel),
            ("POST", "/jobs/<job_id>/retry", self._retry),
            ("GET", "/jobs/<job_id>/result", self._result),
            ("GET", "/jobs/<job_id>/notebook", self._notebook),
            ("GET", "/jobs/<job_id>/files", self._files),
            ("GET", r"/jobs/<job_id>/files/<path:re:[\s\S]+>", self._file),
            ("GET", "/jobs/<job_id>/events", self._events),
        ]
        for method, path, answer in routes:
            app.route(path, method, plainly(strictly(method, path, answer), self._tell_any))
        for path in sorted(HEALTH_PATHS):  # HAProxy's probes
            app.route(path, "OPTIONS", plainly(self._health))
        for method, path, answer in self._pages.routes():
            app.route(path, method, answer)
        return app

    def _let_in(self) -> None:
        _read_as_text()
        _tidy_path()
        coming = _coming()
        try:
            self._access.check(coming)
        except Problem as problem:
            raise (
                self._pages.refuse(problem, coming) if coming.wants_page else told(problem)
            ) from None

    def _server_error(self, error: HTTPError) -> str | bytes:
        if error.status_code == 405 and request.method == "OPTIONS":
            response.status = 204  # `Allow` lists the methods
            return b""
        page = TYPED.get(request.path)
        if page is not None and request.method == "GET" and _wants_page():
            response.status = 303
            return instead(error, see_other(page))
        return instead(error, self._tell_any(problem_of(error, is_person=_wants_page())))

    def _tell_any(self, problem: Problem) -> HTTPResponse:
        """Answer with a problem: a page for a browser, JSON for all others."""
        return (self._pages.tell if _wants_page() else told)(problem)

    def _home(self) -> HTTPResponse:
        """Answer a browser with the page, and others with health, which needs no token."""
        coming = _coming()
        if not coming.is_page:
            return self._health()
        if not self._access.is_in(coming):
            return self._pages.refuse(not_authorized(), coming)
        return plainly(self._pages.home, self._pages.tell)()

    def _show_to_any(self, job_id: str) -> HTTPResponse:
        return self._pages.job(job_id) if _wants_page() else self._show(job_id)

    def _health(self) -> HTTPResponse:
        health = examine(self._settings)
        is_in = self._access.is_in(_coming())
        return json_answer(health.status, health.content if is_in else health.public)

    def _show_metrics(self) -> HTTPResponse:
        wanted = request.query.get("format")
        accept = request.get_header("accept") or ""
        if wanted not in (None, "json", "prometheus"):
            raise bad("`format` is json or prometheus.")
        if wanted == "prometheus" or (wanted is None and wants_metrics_text(accept)):
            return _as_text(self._metrics, accept)
        return json_answer(200, self._metrics.as_json())

    def _show_inbox(self) -> HTTPResponse:
        """Answer with the list: as a page for a browser, and as JSON for programs."""
        if _coming().is_page:
            return self._pages.inbox()
        files = waiting.read(self._settings.state) or waiting.WaitingList()
        return json_answer(200, waiting.content_of(files))

    def _describe(self) -> HTTPResponse:
        with_token = self._settings.gateway.secret is not None
        return json_answer(200, self._functions.described(with_token=with_token))

    def _call(self, path: str) -> HTTPResponse:
        """Run a notebook of the library with the parameters in the body."""
        coding = request.get_header("content-encoding")
        check_parameters_type(request.get_header("content-type"), coding)
        return self._submit(self._functions.read_call(path, self._body()))

    def _run(self) -> HTTPResponse:
        return self._submit(self._read_posted())

    def _submit(self, body: JobRequest) -> HTTPResponse:
        job_id = with_key(body, request.get_header("idempotency-key"))
        seconds = _wait_seconds(self._settings.gateway.wait_seconds)
        return self._await(self._runs.submit(body.submitted_by(FACE), job_id), seconds)

    def _read_posted(self) -> JobRequest:
        kind = body_kind(request.get_header("content-type"), request.get_header("content-encoding"))
        if kind is BodyKind.JSON:
            return read_body(self._body(), self._settings)
        self._access.check_form(_coming())
        form = posted(self._settings)
        return read_form(texts(form), uploads(form), self._settings)

    def _retry(self, job_id: str) -> HTTPResponse:
        seconds = _wait_seconds(0.0)
        return self._await(self._runs.retry(job_id, FACE), seconds)

    def _run_schedule(self, name: str) -> HTTPResponse:
        seconds = _wait_seconds(0.0)
        return self._await(self._schedules.run(name), seconds)

    def _await(self, job: Submitted, seconds: float) -> HTTPResponse:
        report = self._runs.wait(job, seconds, has_left())
        if report is not None:
            return _report(report)
        return self._come_again(job)

    def _come_again(self, job: Submitted) -> HTTPResponse:
        headers = {"Location": f"/jobs/{job.job_id}", "Retry-After": "1"}
        progress = self._record.progress(job.name, job.job_id)
        return json_answer(202, accepted(job, progress), headers)

    def _body(self) -> bytes:
        """Read the body and count it: waitress has it in memory or in a temp file by now."""
        limit = int(self._settings.limits.notebook_mb * MEGABYTE)
        raw: bytes = request.environ["wsgi.input"].read(limit + 1)
        if len(raw) > limit:
            raise too_large(self._settings.limits)
        return raw

    def _list(self) -> HTTPResponse:
        return json_answer(200, self._record.list(_question()))

    def _show(self, job_id: str) -> HTTPResponse:
        seconds = _wait_seconds(0.0)
        if seconds:
            name = self._record.name_of(job_id)
            self._runs.wait(Submitted(job_id, name), seconds, has_left())
        return text_answer(200, self._record.show_text(job_id))

    def _cancel(self, job_id: str) -> HTTPResponse:
        name = self._record.name_of(job_id)
        job = self._record.show(job_id)
        if job["status"] not in (Status.QUEUED, Status.RUNNING):
            return json_answer(200, job)
        cancel(self._settings.inbox, name, job_id, self._disk)
        return self._come_again(Submitted(job_id, name))

    def _result(self, job_id: str) -> HTTPResponse:
        return text_answer(200, self._record.report(job_id)[1].raw)

    def _notebook(self, job_id: str) -> HTTPResponse:
        wanted = request.query.get("format", "ipynb")
        if wanted not in ("ipynb", "html"):
            raise bad("`format` is ipynb or html.")
        if wanted == "ipynb":
            return download(*self._record.published(job_id, ""))
        try:
            return self._notebooks.of_job(self._record, job_id)
        except Problem as problem:
            if not _wants_page():
                raise
            return framed(problem, request.path)

    def _files(self, job_id: str) -> HTTPResponse:
        job, report = self._record.report(job_id)
        files: Any = report.head.get("files") or []
        return json_answer(200, {"files": [with_url(file, job_id, job.name) for file in files]})

    def _file(self, job_id: str, path: str) -> HTTPResponse:
        if not path:
            return self._files(job_id)
        return download(*self._record.published(job_id, path))

    def _events(self, job_id: str) -> HTTPResponse:
        name = self._record.name_of(job_id)
        if not self.arrivals.take_seat():
            raise unavailable("Too many clients wait already (gateway.max_waiting).")
        headers = {**HEADERS, "Content-Type": "text/event-stream; charset=utf-8"}
        news = Seated(stream(self._news(name, job_id, has_left())), self.arrivals.leave_seat)
        return HTTPResponse(news, 200, headers)

    def _news(
        self, name: str, job_id: str, has_left: Callable[[], bool]
    ) -> Iterator[list[tuple[str, object]]]:
        """Give what each look tells: `state` as it changes, `progress`, and at last `result`."""
        said: Mapping[str, object] = {}
        for seen in self.arrivals.looks(name, job_id, has_left=has_left):
            if seen.report is not None:
                status = seen.report.head["status"]
                state = {"job_id": job_id, "status": status}
                yield [("state", state), ("result", seen.report.content)]
                return
            state = {"job_id": job_id, "status": self._status(job_id, seen.progress)}
            parts = {"state": state, "progress": seen.progress}
            yield [(kind, one) for kind, one in parts.items() if one not in (None, said.get(kind))]
            said = parts

    def _status(self, job_id: str, progress: dict[str, Any] | None) -> str:
        if progress is not None:
            return str(progress["status"])
        job = self._record.find(job_id)
        is_over = job is None or job.status not in (Status.QUEUED, Status.RUNNING)
        return "queued" if job is None else "running" if is_over else str(job.status)


def _parts(
    backend: Backend,
) -> tuple[HookRoutes, RuleRoutes, PauseRoutes, DeliveryRoutes, OriginRoutes]:
    """Make the parts of the gateway that stand on their own."""
    return (
        HookRoutes(backend),
        RuleRoutes(RulesOverview(backend)),
        PauseRoutes(Pausing(backend.settings.state, backend.disk), FACE),
        DeliveryRoutes(Told(backend.record)),
        OriginRoutes(backend.record),
    )


def _read_as_text() -> None:
    """Turn headers in Latin-1, as Node.js and Python's clients send them, into UTF-8 for bottle.

    Bottle knows no other encoding, and fails at a name or at another program's cookie with such a
    letter.
    """
    environ = request.environ
    for name, value in list(environ.items()):
        if (name.startswith("HTTP_") or name == "CONTENT_TYPE") and not value.isascii():
            try:
                value.encode("latin-1").decode()
            except UnicodeDecodeError:
                environ[name] = value.encode().decode("latin-1")


def _tidy_path() -> None:
    """Turn `//run` and `/run/` into `/run`: a base address with a final slash makes the former."""
    raw = request.environ.get("bottle.raw_path", "")
    try:
        raw.encode("latin-1").decode()
    except UnicodeError:  # bottle drops the unreadable parts
        raise told(not_found("The address is no UTF-8.")) from None
    request.environ["PATH_INFO"] = "/" + request.environ.get("PATH_INFO", "").strip("/")


def _either(page: Answer, plain: Answer) -> Answer:
    """Answer a browser with a page, and programs with JSON."""
    return lambda **arguments: (page if _coming().is_page else plain)(**arguments)


def _as_text(metrics: Metrics, accept: str) -> HTTPResponse:
    from runner.gateway.prometheus import as_text  # most gateways are never asked

    body, media_type = as_text(metrics, accept)
    return HTTPResponse(body, 200, {**HEADERS, **VARY, "Content-Type": media_type})


def _wants_page() -> bool:
    return wants_page(request.get_header("accept"), request.get_header("user-agent"))


def _cookie(header: str) -> str | None:
    """Return our cookie's value; skip long headers and escapes, which ours never has."""
    if len(header) > MAX_COOKIE_CHARS or "\\" in header:
        return None
    cookie: str | None = request.get_cookie(COOKIE)
    return cookie


def _coming() -> IncomingRequest:
    """Describe the request at the door."""
    names = ("host", "origin", "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest", "user-agent")
    headers = {name: request.get_header(name) for name in (*names, "authorization")}
    path = request.path
    is_form = path.startswith("/ui/")
    has_page = PAGES.fullmatch(path) is not None
    is_wanted = _wants_page()
    return IncomingRequest(
        headers={name: value for name, value in headers.items() if value is not None},
        method=request.method,
        cookie=_cookie(request.get_header("cookie") or ""),
        is_open=path in HEALTH_PATHS
        or path.startswith((HOOKS, SHARED))
        or OPEN_PAGES.fullmatch(path) is not None,
        is_health=path == "/healthz" or (path == "/" and not is_wanted),
        is_form=is_form,
        wants_page=is_wanted,
        is_page=(is_form or has_page) and is_wanted,
        is_frame=FRAMES.fullmatch(path) is not None and request.method == "GET",
    )


def _report(report: Report) -> HTTPResponse:
    """Answer with a result, or with an error and the status of its type."""
    content = report.head
    error_type = content.get("error_type")
    status = 200 if error_type is None else ERROR_RULES[ErrorType(str(error_type))].http
    place = {"Content-Location": f"/jobs/{content['job_id']}/result"}
    return text_answer(status, report.raw, place)


def _wait_seconds(default: float) -> float:
    """Return how long the client waits.

    Raises:
        HttpProblem: it says so in no way that is known.
    """
    return seconds_to_wait(request.query.get("wait"), request.get_header("prefer"), default)


def _question() -> Question:
    query = request.query
    limit = query.get("limit", "50")
    if not (_LIMIT.fullmatch(limit) and 1 <= int(limit) <= MAX_LIMIT):
        raise bad(f"`limit` is a number from 1 to {MAX_LIMIT}.")
    status = query.get("status")
    if status is not None and status not in list(Status):
        raise bad(f"`status` is one of: {', '.join(Status)}.")
    name = query.getunicode("name")
    if name is None and "name" in query:
        raise bad("`name` is no UTF-8.")
    return Question(
        limit=int(limit),
        status=None if status is None else Status(status),
        name=name,
        before=query.get("before"),
    )
