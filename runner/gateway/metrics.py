"""Figures of the gateway and its jobs, as JSON; `prometheus` writes them as its text.

Counts come from the ledger at each scrape, so they outlive the gateway. Counts nothing itself.
"""

import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import psutil

from runner.config import Settings
from runner.contract.states.status import Status
from runner.jobs.health import SERVICE, examine
from runner.jobs.problem import Problem
from runner.jobs.record import Record, row
from runner.state.jobs import JobFilter
from runner.state.ledger_reader import LedgerReader

LAST = 10


@dataclass(frozen=True)
class Gateway:
    """The figures of the gateway's own process."""

    uptime_seconds: float
    memory_bytes: int


class Metrics:
    """The content of `/metrics`. Safe for many threads."""

    def __init__(self, settings: Settings, record: Record) -> None:
        self.settings = settings
        self.record = record
        self._process = psutil.Process()
        self._process.cpu_percent()
        self._started = time.monotonic()

    def as_json(self) -> dict[str, Any]:
        """Return JSON; the ledger's figures are null if it cannot be read."""
        settings = self.settings
        try:
            with self.record.ledger() as ledger:
                jobs = _jobs(ledger)
        except Problem:
            jobs = dict.fromkeys(("jobs", "queue_depth", "running", "oldest_waiting_seconds"))
            jobs["last_durations"] = []
        health = examine(settings)
        return {
            "service": SERVICE,
            "uptime": round(time.monotonic() - self._started, 1),
            "memory_usage_mb": round(self._process.memory_info().rss / 1024**2, 1),
            "cpu_percent": self._process.cpu_percent(),
            "config": {
                "max_notebook_size_mb": settings.limits.notebook_mb,
                "execution_timeout": settings.limits.run_seconds,
                "use_scrapbook": settings.results.scrapbook,
                "allowed_kernels": list(settings.kernels.allowed),
            },
            "warm_kernels": health.warm,
            "slots": health.slots,
            "workers": [asdict(worker) for worker in health.workers or ()],
            **jobs,
        }

    def gateway(self) -> Gateway:
        """Return the figures of this process."""
        return Gateway(time.monotonic() - self._started, self._process.memory_info().rss)


def queue_of(ledger: LedgerReader) -> dict[str, Any]:
    """Count the jobs that wait and that run."""
    first = ledger.queued(1)
    waited = 0.0
    if first:
        accepted = datetime.fromisoformat(first[0].accepted_at)
        waited = max((datetime.now(UTC) - accepted).total_seconds(), 0.0)
    return {
        "queue_depth": ledger.count_queued(),
        "running": len(ledger.jobs(JobFilter(status=Status.RUNNING), limit=10_000)),
        "oldest_waiting_seconds": round(waited, 3),
    }


def _jobs(ledger: LedgerReader) -> dict[str, Any]:
    by_status = dict.fromkeys((str(status) for status in Status), 0)
    for (status, _), count in ledger.finished().items():
        by_status[status] += count
    queue = queue_of(ledger)
    by_status[Status.QUEUED] = queue["queue_depth"]
    by_status[Status.RUNNING] = queue["running"]
    last = [row(job) for job in ledger.jobs(limit=LAST) if job.finished_at is not None]
    return {
        "jobs": by_status,
        **queue,
        "last_durations": [
            {key: one[key] for key in ("job_id", "name", "status", "seconds")} for one in last
        ],
    }
