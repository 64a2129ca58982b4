"""The routes of the pages: a browser's questions and posts, by the same code as the API.

Owns `/ui/…`, and the pages at `/` and `/jobs/ID`. Every change goes the API's way.
"""

import csv
import io
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from typing import Any, Protocol
from urllib.parse import quote

from bottle import HTTPResponse, request

from runner.contract.job_ids import JOB_ID
from runner.contract.names import shown_name
from runner.contract.states.status import ErrorType, Status
from runner.gateway.http import session
from runner.gateway.http.access import Access, IncomingRequest
from runner.gateway.http.answers import HEADERS, Seated, has_left, plainly, see_other, stream
from runner.gateway.http.forms import posted, texts
from runner.gateway.http.problems import HttpProblem, HttpProblemType, bad, headers_of, status_of
from runner.gateway.page import render
from runner.gateway.page.buttons import DeliveriesOfJobs, PauseButtons
from runner.gateway.page.job_view import JobView, sight_of, submitted
from runner.gateway.page.names.pages import NamePages
from runner.gateway.page.overview import Overview
from runner.gateway.page.result_views import Grid, grid_of, json_text
from runner.gateway.page.run_form import FACE, Asking
from runner.gateway.page.schedules.pages import SchedulePages
from runner.gateway.page.schedules.triggers import TriggerPages
from runner.gateway.page.stream import Live, stream_url
from runner.inbox import unclaimed as waiting
from runner.jobs.backend import Backend
from runner.jobs.histories.differences import Differences, since_last_success
from runner.jobs.histories.of_names import is_bad
from runner.jobs.pausing import Pausing
from runner.jobs.problem import Problem, ProblemType, not_found, unavailable
from runner.jobs.record import Question, Record
from runner.jobs.submissions import NotebookChanged, Submitted
from runner.jobs.submit import cancel
from runner.state.jobs import Job, State
from runner.state.locks import holder_of
from runner.submitters.schedules.overview import Schedules

JOBS_A_PAGE = 25
CLOSING_SECONDS = 1.0
"""A job's record follows its report by a moment; its page waits for both."""
CLOSING_LOOK_SECONDS = 0.02
OPEN = re.compile(r"/ui/(login|static/[\w.-]+)")
_NEXT = re.compile(r"/(?![/\\])[^\s\\]{0,1000}", re.ASCII)


class Sharing(Protocol):
    """The links to a job's report and files, as the page needs them; see `Reports`."""

    def forms(self) -> Iterator[tuple[str, str, Callable[..., HTTPResponse]]]:
        """List method, path and answer of the forms."""

    def of(self, job_id: str) -> Sequence[object]:
        """List the links of a job."""


class Pages:
    """The pages of one gateway."""

    def __init__(
        self, access: Access, backend: Backend, schedules: Schedules, reports: Sharing
    ) -> None:
        self._settings = backend.settings
        self._access = access
        self._record = backend.record
        self._runs = backend.runs
        self._disk = backend.disk
        self._overview = Overview(backend.settings, backend.record)
        self._arrivals = backend.arrivals
        self._live = Live(self._overview, backend.arrivals)
        self._asking = Asking(backend, self._page)
        self._deliveries = DeliveriesOfJobs(backend.record)
        self._reports = reports
        self.schedules = SchedulePages(backend.settings, schedules, self._page)
        self._parts = (
            *(self._asking, self.schedules, TriggerPages(backend, self._page)),
            *(NamePages(backend.record, self._page), self._deliveries),
            PauseButtons(backend.settings, Pausing(backend.settings.state)),
        )

    def routes(self) -> Iterator[tuple[str, str, Callable[..., HTTPResponse]]]:
        """List method, path and answer of each route."""
        ways: list[tuple[str, str, Callable[..., Any]]] = [
            ("GET", "/ui/events", self._events),
            ("GET", "/ui/library", self._show_library),
            ("GET", "/ui/inbox", self.inbox),
            *chain.from_iterable(part.routes() for part in self._parts),
            *self._reports.forms(),
            ("POST", "/ui/jobs/<job_id>/cancel", self._cancel),
            ("POST", "/ui/jobs/<job_id>/retry", self._retry),
            ("GET", "/ui/jobs/<job_id>/table", self._table),
            ("POST", "/ui/jobs", self._change_several),
            ("GET", "/ui/login", self._ask_token),
            ("POST", "/ui/login", self._login),
            ("POST", "/ui/logout", self._logout),
            ("GET", "/ui/static/<name>", self._static),
        ]
        for method, path, answer in ways:
            yield method, path, plainly(answer, self.tell)

    def tell(self, problem: Problem) -> HTTPResponse:
        """Answer with a problem as a page."""
        headers = {name: value for name, value in headers_of(problem).items() if name != "Location"}
        return self._page("problem.html", status_of(problem), headers, problem=problem, here="")

    def refuse(self, problem: Problem, coming: IncomingRequest) -> HTTPResponse:
        """Answer a browser that may not come in with the page that asks for the token."""
        if problem.error_type != HttpProblemType.UNAUTHORIZED or coming.method != "GET":
            return self.tell(problem)
        here = request.path + (f"?{request.query_string}" if request.query_string else "")
        if coming.headers.get("sec-fetch-site") == "cross-site":
            # Its cookie is not sent from a link of another site; it is from a page of our own.
            return self._page("again.html", next=here, here="login")
        return see_other(f"/ui/login?next={quote(here, safe='')}")

    def home(self) -> HTTPResponse:
        """Answer with the overview."""
        question = _question()
        look = self._overview.look(question)
        return self._page(
            "overview.html",
            here="overview",
            asked=question,
            stream=stream_url(question),
            parts=self._live.parts(look, question),
            is_first=question.before is None,
            started=_started(self._record),
        )

    def job(self, job_id: str) -> HTTPResponse:
        """Answer with the page of one job."""
        return self._page(
            "job.html",
            here="",
            job=_sight(self._record, job_id),
            deliveries=self._deliveries.of(job_id),
            shares=self._reports.of(job_id),
            since=self._since(job_id),
            now=datetime.now(UTC),
        )

    def inbox(self) -> HTTPResponse:
        """Answer with the files that stay in the inbox, and advice on each."""
        known = waiting.read(self._settings.state)
        return self._page(
            "inbox.html",
            here="inbox",
            found=known or waiting.WaitingList(),
            is_known=known is not None,
            is_watched=holder_of(self._settings.inbox) is not None,
            now=datetime.now(UTC),
        )

    # The overview

    def _events(self) -> HTTPResponse:
        question = _question()
        self._overview.look(question)  # a wrong question is answered before there is a stream
        if not self._arrivals.take_seat():
            raise unavailable("Too many clients wait already (gateway.max_waiting).")
        headers = {**HEADERS, "Content-Type": "text/event-stream; charset=utf-8"}
        news = Seated(stream(self._live.news(question, has_left())), self._arrivals.leave_seat)
        return HTTPResponse(news, 200, headers)

    # A job

    def _since(self, job_id: str) -> Differences | None:
        """Compare a failure with the last success of its name, as far as that can be read."""
        try:
            job = self._record.job(job_id)
            is_failure = job.state is State.CLOSED and is_bad(job.status)
            return since_last_success(self._record, job) if is_failure else None
        except Problem:
            return None

    def _cancel(self, job_id: str) -> HTTPResponse:
        name = self._record.name_of(job_id)
        if not _sight(self._record, job_id).is_over:
            cancel(self._settings.inbox, name, job_id, self._disk)
        return see_other(f"/jobs/{job_id}")

    def _retry(self, job_id: str) -> HTTPResponse:
        may_differ = texts(posted(self._settings)).get("as") == "now"
        try:
            job = self._runs.retry(job_id, FACE, as_it_is_now=may_differ)
        except NotebookChanged as changed:
            name = shown_name(self._record.name_of(job_id))
            return self._page(
                "changed.html",
                status_of(changed),
                here="",
                job_id=job_id,
                name=name,
                path=changed.path,
            )
        return see_other(f"/jobs/{job.job_id}")

    def _table(self, job_id: str) -> HTTPResponse:
        """Answer with a table of the results as CSV, with all its rows."""
        job, report = self._record.report(job_id)
        name = request.query.getunicode("result") or ""
        results: Any = report.content.get("results") or {}
        grid = grid_of(results.get(name))
        if grid is None:
            raise not_found(f"Job {job_id} has no table of that name.")
        return csv_answer(grid, f"{job.name.rpartition('/')[2]}.{name}.csv")

    def _change_several(self) -> HTTPResponse:
        """Run again or cancel the jobs ticked in the list."""
        sent = posted(self._settings).forms
        job_ids = sent.getall("job")[:JOBS_A_PAGE]
        retry = partial(self._runs.retry, face=FACE)
        changes: dict[str, Callable[[str], object]] = {"retry": retry, "cancel": self._cancel}
        change = changes.get(sent.get("do", ""))
        if change is None or not job_ids:
            raise bad("Tick the jobs first, and then choose what is to be done with them.")
        problems, made = [], list[object]()
        for job_id in job_ids:
            try:
                made.append(change(job_id))
            except NotebookChanged as changed:
                problems.append(
                    f"{changed.path} has changed since job {job_id[:8]}: press Run again on the "
                    "job's own page, which offers to run it as it is now."
                )
            except Problem as problem:
                problems.append(problem.message)
        if problems:
            left_out = (
                f"{len(job_ids) - len(problems)} of {len(job_ids)} done. {' '.join(problems)}"
            )
            raise HttpProblem(ErrorType.INVALID_REQUEST, left_out, 409)
        started = ",".join(one.job_id for one in made if isinstance(one, Submitted))
        return see_other(f"/?again={started}" if started else "/")

    # The library

    def _show_library(self) -> HTTPResponse:
        shelf = self._asking.shelf()
        return self._page("library.html", here="library", now=datetime.now(UTC), **shelf)

    # Who is there

    def _ask_token(self) -> HTTPResponse:
        return self._page(
            "login.html",
            here="login",
            error="",
            next=_next({"next": request.query.getunicode("next") or ""}),
        )

    def _login(self) -> HTTPResponse:
        fields = texts(posted(self._settings))
        cookie = self._access.cookie()
        if cookie is None:
            return see_other("/")
        if not self._access.is_token(fields.get("token")):
            error = "This is not the gateway's token."
            return self._page("login.html", 401, here="login", error=error, next=_next(fields))
        answer = see_other(_next(fields))
        self._keep(answer, cookie, session.SECONDS)
        return answer

    def _logout(self) -> HTTPResponse:
        answer = see_other("/ui/login")
        self._keep(answer, "", 0)
        return answer

    def _keep(self, answer: HTTPResponse, value: str, seconds: int) -> None:
        """Set the cookie, secure or not by the browser's own Origin, whatever a proxy says."""
        is_secure = (request.get_header("origin") or "").lower().startswith("https://")
        answer.set_cookie(
            session.COOKIE,
            value,
            path="/",
            max_age=seconds,
            httponly=True,
            samesite="strict",
            secure=is_secure,
        )

    def _static(self, name: str) -> HTTPResponse:
        file = render.static_file(name)
        if file is None:
            raise not_found("There is nothing at this address.")
        return file

    def _page(
        self,
        template: str,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        **values: Any,
    ) -> HTTPResponse:
        return render.page(
            template,
            status,
            headers,
            has_token=self._settings.gateway.secret is not None,
            served_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            **values,
        )


def _started(record: Record) -> list[tuple[str, str]]:
    """List the jobs that somebody has just run again, by the address: id, and name to show."""
    asked = (request.query.get("again") or "").split(",")[:JOBS_A_PAGE]
    started = []
    for job_id in filter(JOB_ID.fullmatch, asked):
        with suppress(Problem):
            started.append((job_id, shown_name(record.name_of(job_id))))
    return started


def _sight(record: Record, job_id: str) -> JobView:
    """Look at a job, as its page shows it."""
    try:
        job = record.job(job_id)
    except Problem as problem:
        if problem.error_type == ProblemType.UNAVAILABLE:
            raise
        return submitted(job_id, record.name_of(job_id))
    report = record.outbox.of_job(job.name, job_id)
    deadline = time.monotonic() + CLOSING_SECONDS
    while report is not None and job.state is State.SEALED and time.monotonic() < deadline:
        time.sleep(CLOSING_LOOK_SECONDS)
        job = record.job(job_id)
    content = None if report is None else report.content
    try:
        sight = sight_of(job, content, *record.input_of(job))
        return replace(sight, waits_for=_waits_for(record, job))
    except Problem as problem:
        if problem.error_type != ProblemType.GONE:
            raise
        return sight_of(job, content, None)


def _waits_for(record: Record, job: Job) -> str:
    """Say for what a job waits, where that is not the time that its row tells."""
    if job.state is not State.QUEUED:
        return ""
    why = record.waits_for([job.job_id]).get(job.job_id, "")
    return "" if why.endswith(f", {job.waiting.held_until}") else why


def csv_answer(grid: Grid, name: str) -> HTTPResponse:
    """Answer with a table as CSV (RFC 4180) in UTF-8, to be saved under a name."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(grid.columns)
    writer.writerows(
        [json_text(cell) if isinstance(cell, list | dict) else cell for cell in row]
        for row in grid.rows
    )
    headers = {
        **HEADERS,
        "Content-Type": "text/csv; charset=utf-8",
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
    }
    return HTTPResponse(text.getvalue().encode(), 200, headers)


def _question() -> Question:
    query = request.query
    status = query.get("status") or None
    if status is not None and status not in list(Status):
        raise bad(f"`status` is one of: {', '.join(Status)}.")
    return Question(
        limit=JOBS_A_PAGE,
        status=None if status is None else Status(status),
        part=(query.getunicode("name") or "").strip() or None,
        is_over=status is None,
        before=query.get("before"),
    )


def _next(fields: Mapping[str, str]) -> str:
    """Return the next address after the login: only one of ours."""
    address = fields.get("next") or "/"
    return address if _NEXT.fullmatch(address) else "/"
