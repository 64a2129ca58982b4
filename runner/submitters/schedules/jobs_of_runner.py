"""The jobs of schedules, over a runner's folders and ledger."""

from collections.abc import Collection
from typing import Any

from runner.contract.job_ids import id_of_cause
from runner.jobs.backend import Backend
from runner.jobs.body import JobRequest
from runner.jobs.problem import Problem
from runner.jobs.submissions import Submitted
from runner.state.jobs import State
from runner.submitters.schedules.book import Occurrence


class JobsOfRunner:
    """Submits by the inbox, and reads the ledger."""

    def __init__(self, backend: Backend) -> None:
        self._record = backend.record
        self._runs = backend.runs
        self._functions = backend.functions

    def typed(self, request: dict[str, Any], texts: Collection[str]) -> dict[str, Any]:
        """Give parameters that come as texts the types that the notebook wants."""
        return self._functions.typed(request, texts)

    def submit(self, cause: str, wanted: JobRequest) -> Submitted:
        """Submit a request for a cause; the same cause gives the same job.

        Raises:
            Problem: it cannot be submitted now.
            OSError: the inbox cannot be written.
        """
        return self._runs.submit_for(cause, wanted)

    def of_cause(self, cause: str) -> Submitted | None:
        """Find the job that a cause has already, in the inbox or in the ledger.

        Raises:
            Problem: `unavailable`, the ledger cannot be read.
        """
        return self._runs.place_of(id_of_cause(cause))

    def status_of(self, run: Occurrence) -> str | None:
        """Return how a run ended; None while it is not over, or cannot be looked at."""
        try:
            with self._record.ledger() as ledger:
                job = ledger.job(run.job_id or "")
        except Problem:
            return None
        return str(job.status) if job is not None and job.state is State.CLOSED else None
