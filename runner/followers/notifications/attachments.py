"""Gathers what goes along with a notification: a job's files, and its report; within bounds.

A report is rendered in a process of its own, as the gateway does. What cannot be attached is said.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from runner.config import Settings
from runner.contract.report_choices import ReportChoices
from runner.jobs.problem import Problem
from runner.jobs.record import Record
from runner.reports.choosing import Choosing
from runner.reports.printing.printer import Printer
from runner.reports.printing.programs import NoBrowser
from runner.reports.rendering.process import MODULE, RENDER_SECONDS, report_question
from runner.reports.rendering.report import POLICY
from runner.state.jobs import Job
from runner.system.files.disk import read_regular
from runner.system.processes.side_process import CannotAnswer, SideProcess

MOST_FILES = 10
MOST_BYTES = 8 * 1024**2
"""Most bytes of all attachments together: mail servers often take 10 MB, base64 a third of it."""


@dataclass(frozen=True)
class Attachments:
    """Names and contents; and what is left out, each in a sentence without a stop."""

    files: Sequence[tuple[str, bytes]] = ()
    left_out: Sequence[str] = ()


class Gathering:
    """Reads and renders what goes along. Safe for many threads."""

    def __init__(self, settings: Settings) -> None:
        self._record = Record(settings)
        self._choosing = Choosing(self._record, settings.report)
        self._renderer = SideProcess(MODULE, RENDER_SECONDS)
        self._printer = Printer(settings.gateway.chromium)

    def of_job(self, job_id: str, wanted: Sequence[str]) -> Attachments:
        """Gather what a notification wants of a job."""
        if not wanted:
            return Attachments()
        try:
            job, report = self._record.report(job_id)
        except Problem as problem:
            return Attachments((), (problem.message.rstrip("."),))
        room, files, left_out = MOST_BYTES, list[tuple[str, bytes]](), list[str]()
        for name, content in self._contents(job, report.head, wanted):
            if isinstance(content, str):
                left_out.append(f"{name}: {content}")
            elif len(files) == MOST_FILES:
                left_out.append(f"{name}: more than {MOST_FILES} files")
            elif len(content) > room:
                left_out.append(f"{name}: {len(content):,} bytes, more than fit into a message")
            else:
                files.append((name, content))
                room -= len(content)
        return Attachments(files, left_out)

    def close(self) -> None:
        """End the processes that render and print."""
        self._renderer.close()
        self._printer.close()

    def _contents(
        self, job: Job, report: Mapping[str, Any], wanted: Sequence[str]
    ) -> Iterator[tuple[str, bytes | str]]:
        """Yield names with contents, or with why there is none."""
        last = job.name.rpartition("/")[2]
        for form, render in RENDERED.items():
            if form in wanted:
                try:
                    yield f"{last}.{form}", render(self, job)
                except (CannotAnswer, NoBrowser, OSError, Problem) as error:
                    why = error.message if isinstance(error, Problem) else str(error)
                    yield f"{last}.{form}", f"it is not made: {why.rstrip('.')}"
        if "files" in wanted:
            yield from self._files(job, report)

    def _files(self, job: Job, report: Mapping[str, Any]) -> Iterator[tuple[str, bytes | str]]:
        listed = [one for one in report.get("files") or () if isinstance(one, dict)]
        start = f"{job.name}.files/"
        for number, one in enumerate(listed):
            inner = str(one.get("path", "")).removeprefix(start)
            if number >= 2 * MOST_FILES:
                yield f"{len(listed) - number} more files", "too many"
                return
            if int(one.get("bytes") or 0) > MOST_BYTES:
                yield inner, f"{one['bytes']:,} bytes, more than fit into a message"
                continue
            try:
                yield (
                    inner.rpartition("/")[2],
                    read_regular(self._record.published(job.job_id, inner)[0]),
                )
            except (OSError, Problem) as error:
                yield inner, f"it cannot be read: {error}"

    def _html(self, job: Job) -> bytes:
        """Render a job's report, as its request and the settings have it.

        Raises:
            CannotAnswer, OSError, Problem: it cannot be, or there is nothing to report.
        """
        return self._renderer.ask(self._question(job, ReportChoices()))

    def _pdf(self, job: Job) -> bytes:
        """Print the same on paper.

        Raises:
            NoBrowser: nothing here can.
            CannotAnswer, OSError, Problem: it cannot be, or there is nothing to report.
        """
        self._printer.check()
        page = self._renderer.ask(self._question(job, ReportChoices(theme="light")))
        return self._printer.print(page, POLICY)

    def _question(self, job: Job, asked: ReportChoices) -> bytes:
        options = self._choosing.options(job.job_id, "html", asked)
        options = replace(options, is_live=False)  # there is no gateway to fill its frames
        path = self._record.published(job.job_id, "")[0]
        return report_question(read_regular(path), options)


RENDERED: Mapping[str, Callable[[Gathering, Job], bytes]] = {
    "html": Gathering._html,
    "pdf": Gathering._pdf,
}
"""How each form of a report is made."""
