"""Decides how a report looks: by the address, the request, and the settings, in this order.

What lies beside a notebook of the library is in the request by then.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from runner.contract.names import shown_name
from runner.contract.report_choices import ReportChoices, first_of
from runner.contract.states.words import has_outputs_of
from runner.jobs.problem import not_found
from runner.jobs.record import Record
from runner.reports.rendering.options import ReportOptions


class Choosing:
    """How the reports of one gateway look. `usual` is what its settings say."""

    def __init__(self, record: Record, usual: ReportChoices) -> None:
        self._record = record
        self._usual = usual

    def options(self, job_id: str, form: str, asked: ReportChoices) -> ReportOptions:
        """Return how a job is reported, if somebody asks for these choices.

        Raises:
            Problem: it has nothing to report, or its files are gone.
        """
        job, report = self._record.report(job_id)
        if not has_outputs_of(report.head):
            raise not_found(f"Job {job_id} has nothing to report: none of its cells ran.")
        ended = datetime.fromisoformat(job.finished_at or job.accepted_at)
        about = f"{ended.day} {ended:%B %Y, %H:%M} UTC"
        if job.status != "succeeded":
            about += f" · {job.status}: {job.message or ''}".rstrip(": ")
        made = first_of((asked, self._of_request(job_id), self._usual))
        return ReportOptions(
            form=form,
            code=made.code == "show",
            theme=made.theme or "auto",
            is_live=made.figures == "live",
            title=made.title or "",
            name=shown_name(job.name),
            about=about[:500],
        )

    def _of_request(self, job_id: str) -> ReportChoices:
        """Return what the request chose; nothing once it is pruned."""
        request: Mapping[str, Any] = self._record.requests_of([job_id]).get(job_id, {})
        return ReportChoices.model_validate(request.get("report") or {})
