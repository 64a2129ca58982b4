"""The figures of the gateway and its jobs in Prometheus' text format.

Counts come from the ledger at each scrape, so they outlive the gateway.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate

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

from runner.gateway.metrics import Metrics, queue_of
from runner.jobs.health import examine
from runner.jobs.problem import Problem
from runner.state.jobs import DURATION_BOUNDS, Bucket, Stage
from runner.state.ledger_reader import LedgerReader
from runner.state.pulse import Worker

_STAGES = {
    Stage.WAIT: ("inbox_runner_wait_seconds", "From accepted to started."),
    Stage.RUN: ("inbox_runner_run_seconds", "From started to finished."),
    Stage.PUBLISH: ("inbox_runner_publish_seconds", "From finished to visible in the outbox."),
}


def as_text(metrics: Metrics, accept: str) -> tuple[bytes, str]:
    """Return the text and its media type, in the version that the client prefers."""
    encode, media_type = choose_encoder(accept)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Scrape(metrics))
    return encode(registry), media_type


class _Scrape(Collector):
    """One answer."""

    def __init__(self, metrics: Metrics) -> None:
        self._settings = metrics.settings
        self._record = metrics.record
        self._gateway = metrics.gateway()

    def collect(self) -> Iterator[Metric]:
        """Yield one scrape, in the form of prometheus_client."""
        health = examine(self._settings)
        yield _gauge(
            "inbox_runner_healthy", "1 if requests would be run now.", float(not health.reasons)
        )
        yield _gauge(
            "inbox_runner_gateway_uptime_seconds",
            "Since the gateway's start.",
            self._gateway.uptime_seconds,
        )
        yield _gauge(
            "inbox_runner_gateway_memory_bytes",
            "Resident memory of the gateway.",
            self._gateway.memory_bytes,
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
    now = queue_of(ledger)
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
