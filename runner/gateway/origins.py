"""In what a job ran, over HTTP."""

from collections.abc import Callable, Iterator

from bottle import HTTPResponse

from runner.gateway.http.answers import json_answer
from runner.jobs.histories.origins import origin_of
from runner.jobs.problem import NoResultYet, gone, not_found
from runner.jobs.record import Record
from runner.state.jobs import Place, State


class OriginRoutes:
    """Answers at `/jobs/ID/environment` for one gateway."""

    def __init__(self, record: Record) -> None:
        self._record = record

    def routes(self) -> Iterator[tuple[str, str, Callable[..., HTTPResponse]]]:
        """List method, path and answer of each route."""
        yield "GET", "/jobs/<job_id>/environment", self._show

    def _show(self, job_id: str) -> HTTPResponse:
        job = self._record.job(job_id)
        origin = origin_of(self._record, job_id)
        if origin is not None and not origin.is_unknown:
            return json_answer(200, origin.content())
        if job.state is not State.CLOSED:
            raise NoResultYet(job_id, job.status)
        if job.place is Place.PRUNED:
            raise gone(f"In what job {job_id} ran is not kept any more.")
        raise not_found(
            f"It is not known in what job {job_id} ran: no kernel was chosen, or an earlier "
            "version ran it."
        )
