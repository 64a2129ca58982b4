"""Shows an executed notebook as a page, rendered beside the gateway, or the reason why not.

Remembers slow notebooks for a while, so that each look does not take as long again.
"""

import html
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from bottle import HTTPResponse

from runner.contract.states.status import ErrorType, Status
from runner.contract.states.words import has_outputs_of
from runner.gateway.http.answers import HEADERS
from runner.gateway.http.problems import HttpProblem, headers_of, status_of
from runner.jobs.problem import Problem, ProblemType, gone, not_found
from runner.jobs.record import Record
from runner.reports.printing.printer import CannotPrint
from runner.reports.printing.process import FIGURES
from runner.reports.printing.programs import NoBrowser
from runner.reports.rendering import report
from runner.reports.rendering.figures import POLICY as FIGURE_POLICY
from runner.reports.rendering.notebook import POLICY
from runner.reports.rendering.options import ReportOptions
from runner.reports.rendering.process import figure_question, page_question, report_question
from runner.system.processes.side_process import Busy, CannotAnswer, TookTooMuch

REMEMBERED = 1000
REMEMBERED_SECONDS = 600.0
BUSY_SECONDS = 10
MOST_PRINTED = 12
"""Most figures that are drawn for one PDF; each has a library of megabytes."""
TROUBLE_POLICY = POLICY.replace("allow-same-origin", "allow-same-origin allow-downloads")
TROUBLE_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="color-scheme" content="light dark">
<title>Not rendered</title>
<style>body {{ font: 1rem/1.5 system-ui, sans-serif; margin: 1.5rem; }}</style>
<p>{sentence}</p>
{link}
</html>
"""


LINK = '<p><a href="{address}" download>Download the notebook</a></p>'


class Renders(Protocol):
    """Renders a notebook as a page."""

    def ask(self, question: bytes) -> bytes:
        """Return the page."""
        ...


class Prints(Protocol):
    """Prints a page as PDF."""

    def check(self) -> str:
        """Raise `NoBrowser` if it cannot print anything."""
        ...

    def print(
        self, page: bytes, policy: str, figures: Sequence[bytes] = (), figure_policy: str = ""
    ) -> bytes:
        """Return the PDF."""
        ...


class NotebookPages:
    """Pages of notebooks. Safe for many threads."""

    def __init__(
        self,
        renderer: Renders,
        printer: Prints,
        read: Callable[[Path], bytes],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._renderer = renderer
        self._printer = printer
        self._read = read
        self._clock = clock
        self._lock = threading.Lock()
        self._given_up: OrderedDict[tuple[int | str, ...], tuple[float, str]] = OrderedDict()

    def of_job(self, record: Record, job_id: str) -> HTTPResponse:
        """Answer with a job's notebook; with outputs only if they are of its run.

        Raises:
            Problem: there is none; it cannot be rendered, or not now.
            OSError: it cannot be read.
        """
        path = record.published(job_id, "")[0]
        return self.show(path, note_on(record.report(job_id)[1].head))

    def show(self, path: Path, note: str = "") -> HTTPResponse:
        """Answer with the notebook of that file; with a note in place of its outputs.

        Raises:
            Problem: it cannot be rendered, or not now.
            OSError: it cannot be read.
        """
        page = self._rendered(path, lambda raw: self._renderer.ask(page_question(raw, note)))
        return _page(200, page, POLICY)

    def report(self, path: Path, options: ReportOptions) -> HTTPResponse:
        """Answer with the notebook of that file as a report.

        Raises:
            Problem: it cannot be rendered, or not now.
            OSError: it cannot be read.
        """
        if options.form == "pdf":
            return self._printed(path, options)
        if options.form == "md":
            options = replace(options, is_live=False)
        text = self._rendered(path, lambda raw: self._renderer.ask(report_question(raw, options)))
        if options.form == "html":
            return _page(200, text, report.LIVE_POLICY if options.is_live else report.POLICY)
        return HTTPResponse(text, 200, {**HEADERS, "Content-Type": "text/markdown; charset=utf-8"})

    def figure(self, path: Path, number: int) -> HTTPResponse:
        """Answer with one figure of a report, for a frame in it.

        Raises:
            Problem: there is none of that number, it cannot be rendered, or not now.
            OSError: it cannot be read.
        """
        try:
            page = self._rendered(
                path, lambda raw: self._renderer.ask(figure_question(raw, number))
            )
        except HttpProblem as problem:
            if report.NO_FIGURE in problem.message:
                raise not_found("The report has no such figure.") from problem
            raise
        return _page(200, page, FIGURE_POLICY)

    def _printed(self, path: Path, options: ReportOptions) -> HTTPResponse:
        try:
            self._printer.check()
        except NoBrowser as error:
            raise HttpProblem(ProblemType.UNAVAILABLE, str(error), 501) from error
        on_paper = replace(options, theme="light", frames=FIGURES)

        def both(raw: bytes) -> bytes:
            page = self._renderer.ask(report_question(raw, on_paper))
            if not options.is_live:
                return self._printer.print(page, report.POLICY)
            count = min(page.count(f'src="{FIGURES}'.encode()), MOST_PRINTED)
            figures = [self._renderer.ask(figure_question(raw, number)) for number in range(count)]
            return self._printer.print(page, report.LIVE_POLICY, figures, FIGURE_POLICY)

        name = f"{options.name.rpartition('/')[2]}.pdf"
        headers = {
            **HEADERS,
            "Content-Type": "application/pdf",
            "Content-Disposition": f"inline; filename*=UTF-8''{quote(name, safe='')}",
        }
        form = "live pdf" if options.is_live else "pdf"
        return HTTPResponse(self._rendered(path, both, form), 200, headers)

    def _rendered(self, path: Path, ask: Callable[[bytes], bytes], form: str = "") -> bytes:
        try:
            status = path.stat(follow_symlinks=False)
        except FileNotFoundError as error:
            raise gone("It is not in the outbox any more.") from error
        key = (form, status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
        with self._lock:
            until, why = self._given_up.get(key, (0.0, ""))
        if self._clock() < until:
            raise _not_rendered(why, int(until - self._clock()) + 1)
        try:
            return ask(self._read(path))
        except TookTooMuch as error:
            self._remember(key, str(error))
            raise _not_rendered(str(error), int(REMEMBERED_SECONDS)) from error
        except Busy as error:
            raise _not_rendered(str(error), BUSY_SECONDS) from error
        except CannotPrint as error:
            raise _not_rendered(str(error), BUSY_SECONDS) from error
        except CannotAnswer as error:
            text = f"It cannot be rendered: {error}."
            raise HttpProblem(ErrorType.INVALID_NOTEBOOK, text, 422) from error

    def _remember(self, key: tuple[int | str, ...], why: str) -> None:
        with self._lock:
            self._given_up[key] = (self._clock() + REMEMBERED_SECONDS, why)
            while len(self._given_up) > REMEMBERED:
                self._given_up.popitem(last=False)


def note_on(report: Mapping[str, Any]) -> str:
    """Say why the outputs in a published notebook are not of its job; empty if they are."""
    if has_outputs_of(report):
        return ""
    if report.get("started_at") is None or report.get("status") == Status.REJECTED:
        return "This job did not run."
    return "Nothing of this run is in the notebook."


def _not_rendered(why: str, seconds: int) -> Problem:
    text = f"It is not rendered: {why}."
    return Problem(ProblemType.UNAVAILABLE, text, seconds)


def framed(problem: Problem, address: str) -> HTTPResponse:
    """Show a problem in the frame of a notebook, whose file is at `address`."""
    is_there = problem.error_type not in (ProblemType.NOT_FOUND, ProblemType.GONE)
    link = LINK.format(address=html.escape(address, quote=True)) if is_there else ""
    page = TROUBLE_PAGE.format(sentence=html.escape(problem.message), link=link)
    answer = _page(status_of(problem), page.encode(), TROUBLE_POLICY)
    for name, value in headers_of(problem).items():
        answer.set_header(name, value)
    return answer


def _page(status: int, page: bytes, policy: str) -> HTTPResponse:
    headers = {
        **HEADERS,
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": policy,
    }
    return HTTPResponse(page, status, headers)
