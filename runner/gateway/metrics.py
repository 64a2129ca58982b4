"""Figures of the gateway and its jobs, as JSON or in Prometheus' text format.

Counts come from the ledger at each scrape, so they outlive the gateway. Counts nothing itself.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any

import psutil
from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from runner.config import Settings
from runner.contract.states.status import Status
from runner.jobs.health import SERVICE, examine
from runner.jobs.problem import Problem
from runner.jobs.record import Record, row
from runner.state.jobs import DURATION_BOUNDS, Bucket, JobFilter, Stage
from runner.state.ledger_reader import LedgerReader
from runner.state.pulse import Worker

LAST = 10
_STAGES = {
    Stage.WAIT: ("inbox_runner_wait_seconds", "From accepted to started."),
    Stage.RUN: ("inbox_runner_run_seconds", "From started to finished."),
    Stage.PUBLISH: ("inbox_runner_publish_seconds", "From finished to visible in the outbox."),
}


class Metrics(Collector):
    """The content of `/metrics`. Safe for many threads."""

    def __init__(self, settings: Settings, record: Record) -> None:
        self._settings = settings
        self._record = record
        self._process = psutil.Process()
        self._process.cpu_percent()
        self._started = time.monotonic()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def as_json(self) -> dict[str, Any]:
        """Return JSON; the ledger's figures are null if it cannot be read."""
        settings = self._settings
        try:
            with self._record.ledger() as ledger:
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

    def as_text(self, accept: str) -> tuple[bytes, str]:
        """Return Prometheus' text and its media type, in the version that the client prefers."""
        encode, media_type = choose_encoder(accept)
        return encode(self._registry), media_type

    def collect(self) -> Iterator[Metric]:
        """Yield one scrape, in the form of prometheus_client."""
        health = examine(self._settings)
        yield _gauge(
            "inbox_runner_healthy", "1 if requests would be run now.", float(not health.reasons)
        )
        yield _gauge(
            "inbox_runner_gateway_uptime_seconds",
            "Since the gateway's start.",
            time.monotonic() - self._started,
        )
        yield _gauge(
            "inbox_runner_gateway_memory_bytes",
            "Resident memory of the gateway.",
            self._process.memory_info().rss,
        )
        free = GaugeMetricFamily(
            "inbox_runner_disk_free_bytes", "Space left below a folder.", labels=["folder"]
        )
        for name, free_bytes in health.free.items():
            free.add_metric([name], free_bytes)
        yield free
        if health.warm is not None:
            yield _gauge(
                "inbox_runner_warm_kernels", "Kernels that wait, ready to run.", health.warm
            )
        if health.workers is not None:
            yield from _of_workers(health.workers)
        try:
            with self._record.ledger() as ledger:
                yield from list(_of_jobs(ledger))
        except Problem:
            return


def _of_workers(workers: Sequence[Worker]) -> Iterator[Metric]:
    yield _gauge(
        "inbox_runner_workers", "Workers that run notebooks; one machine is one.", len(workers)
    )
    labels = ["host", "worker"]
    slots = GaugeMetricFamily(
        "inbox_runner_slots", "Notebooks that a worker may run at a time.", labels=labels
    )
    running = GaugeMetricFamily(
        "inbox_runner_worker_running", "Notebooks that a worker runs.", labels=labels
    )
    for worker in workers:
        of = [worker.host, worker.address or ""]
        slots.add_metric(of, worker.slots)
        running.add_metric(of, worker.running)
    yield slots
    yield running


def _of_jobs(ledger: LedgerReader) -> Iterator[Metric]:
    jobs = CounterMetricFamily(
        "inbox_runner_jobs", "Finished jobs.", labels=["status", "error_type"]
    )
    for (status, error_type), count in ledger.finished().items():
        jobs.add_metric([status, error_type or ""], count)
    yield jobs
    for stage, (name, documentation) in _STAGES.items():
        yield _histogram(name, documentation, ledger.durations(stage))
    now = _queue(ledger)
    yield _gauge("inbox_runner_queue_depth", "Accepted jobs that wait.", now["queue_depth"])
    yield _gauge("inbox_runner_running", "Jobs that run.", now["running"])
    yield _gauge(
        "inbox_runner_oldest_waiting_seconds",
        "How long the first of the queue waits.",
        now["oldest_waiting_seconds"],
    )


def _histogram(name: str, documentation: str, buckets: list[Bucket]) -> Metric:
    jobs = {bucket.bound: bucket.jobs for bucket in buckets}
    sums = accumulate(jobs.get(bound, 0) for bound in DURATION_BOUNDS)
    bounds = map(floatToGoString, DURATION_BOUNDS)
    return HistogramMetricFamily(
        name,
        documentation,
        buckets=list(zip(bounds, sums, strict=True)),
        sum_value=sum(bucket.seconds for bucket in buckets),
    )


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(name, documentation, value=value)


def _queue(ledger: LedgerReader) -> dict[str, Any]:
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
    queue = _queue(ledger)
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
