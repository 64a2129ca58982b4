"""Reports over HTTP, and the links that show one report or one file to who has no token."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from bottle import HTTPResponse, request
from pydantic import Field, ValidationError

from runner.config import Settings
from runner.contract.report_choices import ReportChoices
from runner.contract.states.status import ErrorType
from runner.contract.states.words import has_outputs_of
from runner.gateway.http.answers import HEADERS, download, json_answer, see_other
from runner.gateway.http.forms import posted, texts
from runner.gateway.http.problems import bad
from runner.gateway.notebook_pages import NotebookPages
from runner.gateway.sharing.asking import asked_in, wrong
from runner.gateway.sharing.store import (
    FILES,
    MOST_DAYS,
    MOST_OF_A_JOB,
    REPORT,
    Share,
    Shares,
    rows_of,
)
from runner.gateway.sharing.tickets import Tickets
from runner.jobs.problem import Problem, ProblemType, not_found
from runner.jobs.record import Record
from runner.reports.choosing import Choosing
from runner.reports.rendering.options import FORMS, Form

SHARED = "/shared/"
"""Beginning of the addresses that need no token."""
DAYS = 7.0
_BODY_BYTES = 10_000
_NOT = "There is no such link, or it has ended.\n"
_NUMBER = re.compile(r"[0-9]{1,4}")
_NOW = "It cannot be shown now; try again in a while.\n"


class ShareRequest(ReportChoices):
    """What a link shows, and for how many days; and how its report looks."""

    what: str = Field(REPORT, description="`report`, or `files/` and the path of a file.")
    days: float = Field(DAYS, gt=0, description=f"Up to {MOST_DAYS}.")
    format: Form = Field(FORMS[0], description="As what a report is shown.")

    @property
    def looks(self) -> dict[str, str]:
        """How the report looks: its format, and what else was chosen."""
        return self.model_dump(exclude_none=True, exclude={"what", "days"})


class Reports:
    """The reports of jobs, and their links, for one gateway."""

    def __init__(
        self, settings: Settings, record: Record, notebooks: NotebookPages, shares: Shares
    ) -> None:
        self._settings = settings
        self._record = record
        self._notebooks = notebooks
        self._shares = shares
        self._choosing = Choosing(record, settings.report)
        self._tickets = Tickets()

    def routes(self) -> Iterator[tuple[str, str, Callable[..., HTTPResponse]]]:
        """List method, path and answer of each route."""
        yield "GET", "/jobs/<job_id>/report", self._report
        yield "GET", "/jobs/<job_id>/shares", self._list
        yield "POST", "/jobs/<job_id>/shares", self._share
        yield "DELETE", "/jobs/<job_id>/shares/<share>", self._revoke
        yield "GET", "/jobs/<job_id>/report/figures/<number>", self._figure
        yield "GET", SHARED + "<token>", self._show
        yield "GET", SHARED + "<token>/figures/<number>", self._show_figure

    def forms(self) -> Iterator[tuple[str, str, Callable[..., HTTPResponse]]]:
        """List those of the forms on a job's page."""
        yield "POST", "/ui/jobs/<job_id>/shares", self._share_by_form
        yield "POST", "/ui/jobs/<job_id>/shares/<share>/revoke", self._revoke_by_form

    def of(self, job_id: str) -> list[Share]:
        """List the links of a job."""
        return self._shares.of_job(job_id)

    def _report(self, job_id: str) -> HTTPResponse:
        query = {key: request.query.getunicode(key) for key in request.query}
        form, asked = asked_in(query)
        return self._reported(job_id, form, asked)

    def _reported(
        self, job_id: str, form: str, asked: ReportChoices, token: str = ""
    ) -> HTTPResponse:
        """Show a report. `token` is that of a link, by which its frames get their figures."""
        options = self._choosing.options(job_id, form, asked)
        if options.is_live and form == "html":
            frames = f"{SHARED}{token or self._tickets.make(job_id)}/figures/"
            options = replace(options, frames=frames)
        return self._notebooks.report(self._record.published(job_id, "")[0], options)

    def _figure(self, job_id: str, number: str) -> HTTPResponse:
        """Show a figure in a frame of a report; by itself it could lead its reader elsewhere."""
        if request.get_header("sec-fetch-dest", "iframe") != "iframe":
            raise not_found("A figure is shown in its report only.")
        if not _NUMBER.fullmatch(number):
            raise not_found("A figure has a number.")
        self._choosing.options(job_id, "html", ReportChoices())
        return self._notebooks.figure(self._record.published(job_id, "")[0], int(number))

    def _show_figure(self, token: str, number: str) -> HTTPResponse:
        try:
            return self._figure(self._job_of(token), number)
        except Problem as problem:
            return _refusal(problem)

    def _job_of(self, token: str) -> str:
        """Return the job whose figures this ticket, or this link to a report, shows.

        Raises:
            Problem: it shows none.
        """
        job_id = self._tickets.job_of(token)
        if job_id is not None:
            return job_id
        share = self._shares.open(token)
        if share is None or share.what != REPORT:
            raise not_found("There is no such link.")
        if not self._choosing.options(share.job_id, *asked_in(share.report)).is_live:
            raise not_found("The report has no such figures.")
        return share.job_id

    def _list(self, job_id: str) -> HTTPResponse:
        self._record.job(job_id)
        return json_answer(200, {"shares": [*self._rows(self._shares.of_job(job_id))]})

    def _share(self, job_id: str) -> HTTPResponse:
        raw = request.environ["wsgi.input"].read(_BODY_BYTES)
        try:
            wanted = ShareRequest.model_validate_json(raw or b"{}", strict=True)
        except ValidationError as error:
            raise wrong(error, ShareRequest.model_fields) from error
        share = self._made(job_id, wanted.what, wanted.days, wanted.looks)
        return json_answer(201, next(self._rows([share])), {"Location": share.path})

    def _rows(self, shares: list[Share]) -> Iterator[dict[str, object]]:
        return rows_of(shares, self._settings.gateway.public_url or "")

    def _made(self, job_id: str, what: str, days: float, looks: Mapping[str, str]) -> Share:
        """Make a link to what is there.

        Raises:
            Problem: it is not there, or there are too many links.
        """
        if not 0 < days <= MOST_DAYS:
            raise bad(f"`days` is a number above 0, up to {MOST_DAYS}.")
        _, report = self._record.report(job_id)
        if what.startswith(FILES):
            self._record.published(job_id, what.removeprefix(FILES))
        elif what != REPORT:
            raise bad("`what` is report, or files/ and the path of a file of the job.")
        elif not has_outputs_of(report.head):
            raise not_found(f"Job {job_id} has nothing to report: none of its cells ran.")
        if len(self._shares.of_job(job_id)) >= MOST_OF_A_JOB:
            message = f"Job {job_id} has {MOST_OF_A_JOB} links; revoke one of them first."
            raise Problem(ErrorType.INVALID_REQUEST, message)
        return self._shares.make(job_id, what, days, looks)

    def _revoke(self, job_id: str, share: str) -> HTTPResponse:
        if not self._shares.revoke(job_id, share):
            raise not_found(f"Job {job_id} has no link of that id.")
        return self._list(job_id)

    def _show(self, token: str) -> HTTPResponse:
        """Show what a link is for; whatever is wrong, there is no such link."""
        share = self._shares.open(token)
        try:
            if share is None:
                raise not_found("There is no such link.")
            if share.what == REPORT:
                answer = self._reported(share.job_id, *asked_in(share.report), token)
            else:
                path = share.what.removeprefix(FILES)
                answer = download(*self._record.published(share.job_id, path))
        except Problem as problem:
            answer = _refusal(problem)
        answer.set_header("X-Robots-Tag", "noindex")
        return answer

    def _share_by_form(self, job_id: str) -> HTTPResponse:
        fields = texts(posted(self._settings))
        days = fields.get("days", "")
        if not days.isascii() or not days.isdecimal() or len(days) > 3:
            raise bad(f"Give a number of days, up to {MOST_DAYS}.")
        form, choices = asked_in(fields)
        looks = {"format": form, **choices.model_dump(exclude_none=True)}
        self._made(job_id, fields.get("what", REPORT), int(days), looks)
        return see_other(f"/jobs/{job_id}")

    def _revoke_by_form(self, job_id: str, share: str) -> HTTPResponse:
        self._shares.revoke(job_id, share)
        return see_other(f"/jobs/{job_id}")


def _refusal(problem: Problem) -> HTTPResponse:
    """Tell who has a link that there is nothing, or not now, and nothing else."""
    is_there = problem.error_type not in (ProblemType.NOT_FOUND, ProblemType.GONE)
    return _plain(503, _NOW) if is_there else _plain(404, _NOT)


def _plain(status: int, text: str) -> HTTPResponse:
    return HTTPResponse(text, status, {**HEADERS, "Content-Type": "text/plain; charset=utf-8"})
