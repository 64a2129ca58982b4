"""Load on the gateway from other processes, and its list of jobs when the ledger is long.

Prints figures, the goals beside them and ratios; exits with 1 only when a request was lost.
"""

import http.client
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import click
from program import program
from rich.console import Console
from rich.table import Table

from runner.contract.outcome import Outcome
from runner.contract.states.status import Status
from runner.state.contents import Acceptance, Seal
from runner.state.jobs import State
from runner.state.ledger import Ledger

TINY = {"cells": [{"cell_type": "code", "source": "6 * 7", "metadata": {"tags": ["results"]}}]}
JSON = {"Content-Type": "application/json"}
console = Console()

Answer = tuple[float, int, Any]
"""Seconds from when it was due, the status, and the JSON."""


def ask(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: object = None,
    due: float | None = None,
) -> Answer:
    """One request over a connection that stays open."""
    due = time.perf_counter() if due is None else due
    connection.request(method, path, None if body is None else json.dumps(body), JSON)
    answer = connection.getresponse()
    raw = answer.read()
    is_json = answer.getheader("Content-Type") == "application/json"
    return time.perf_counter() - due, answer.status, json.loads(raw) if is_json else None


def wait_in_run(port: int, clients: int, flag: str) -> list[Answer]:
    """So many clients at once, each waiting for a notebook that ends when `flag` is there."""
    source = f"import os, time\nwhile not os.path.exists({flag!r}):\n    time.sleep(0.05)"
    body = {"cells": [{"cell_type": "code", "source": source}]}

    def one(_: int) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        return ask(connection, "POST", "/run?wait=600", body)

    with ThreadPoolExecutor(clients) as pool:
        return list(pool.map(one, range(clients)))


def at_rate(port: int, rate: float, seconds: float, method: str, path: str) -> list[Answer]:
    """Requests on a schedule that does not wait for answers (an open loop)."""
    connections = [http.client.HTTPConnection("127.0.0.1", port, timeout=60) for _ in range(16)]
    begin = time.perf_counter() + 0.1
    total, numbers = int(rate * seconds), count()
    body = TINY if method == "POST" else None

    def work(connection: http.client.HTTPConnection) -> list[Answer]:
        found = []
        while (number := next(numbers)) < total:
            due = begin + number / rate
            time.sleep(max(due - time.perf_counter(), 0))
            found.append(ask(connection, method, path, body, due))
        return found

    with ThreadPoolExecutor(len(connections)) as pool:
        return [answer for part in pool.map(work, connections) for answer in part]


def load(clients: int, rate: float, seconds: float) -> int:
    """The first part; gives how many requests were lost."""
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(4, spawn) as pool:
        root = Path(folder)
        flag = root / "flag"
        settings: dict[str, Any] = {"limits": {"queue": 100_000}, "execution": {"concurrency": 2}}
        with program(root, "serve", "-v", **settings) as running:
            port = running.port
            idle = pool.submit(at_rate, port, 20, 5, "GET", "/").result()
            waiters = pool.submit(wait_in_run, port, clients, str(flag))
            control = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            while _waiting(control) < clients:
                time.sleep(0.1)
            submits = pool.submit(at_rate, port, rate, seconds, "POST", "/run?wait=0")
            metrics = pool.submit(at_rate, port, 1, seconds, "GET", "/metrics")
            health = pool.submit(at_rate, port, 20, seconds, "GET", "/").result()
            sent = submits.result()
            known = [
                ask(control, "GET", f"/jobs/{answer['job_id']}")[1] == 200
                for _, status, answer in sent
                if status == 202
            ]
            flag.touch()
            waited = waiters.result()
            table = _table(f"{clients} clients wait, {rate:g} submits/s for {seconds:g} s")
            _row(table, "GET /, idle", idle, "")
            _row(table, "GET /, under load", health, "p99 < 100 ms")
            _row(table, "GET /metrics, under load", metrics.result(), "")
            _row(table, "POST /run?wait=0", sent, "")
            console.print(table)
    answered: int = sum(status == 200 and one["status"] == "succeeded" for _, status, one in waited)
    lost = len(sent) - sum(known) + clients - answered
    ratio = _percentile(health, 99) / _percentile(idle, 99)
    console.print(f"p99 of GET / under load is {ratio:.1f} times that of an idle gateway")
    console.print(f"{len(sent)} submits, {sum(known)} accepted and found again")
    console.print(f"{clients} waited, {answered} got their result; lost: {lost}")
    return lost


def _waiting(control: http.client.HTTPConnection) -> int:
    found: dict[str, int] = ask(control, "GET", "/metrics")[2]
    return found["queue_depth"] + found["running"]


def listing(jobs: int, requests: int) -> None:
    """The second part: a gateway alone over a ledger of finished jobs."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "state").mkdir()
        fill(root / "state", jobs)
        with program(root, "gateway") as running:
            port = running.port
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            newest = ask(connection, "GET", "/jobs?limit=50")[2]["before"]
            table = _table(f"{jobs:,} finished jobs")
            middle = f"{jobs // 2:032x}"
            for path, goal in (
                ("/jobs?limit=50", "< 20 ms"),
                (f"/jobs?limit=50&before={newest}", "< 20 ms"),
                (f"/jobs?limit=50&before={middle}", "< 20 ms"),
                ("/jobs?limit=50&status=failed", "< 20 ms"),
                ("/jobs?limit=50&name=daily/7", "< 20 ms"),
                ("/metrics", ""),
                ("/metrics?format=prometheus", ""),
            ):
                answers = [ask(connection, "GET", path) for _ in range(requests)]
                _row(table, path.replace(middle, "MIDDLE").replace(newest, "ID"), answers, goal)
            console.print(table)


def fill(state: Path, jobs: int) -> None:
    """A ledger of so many finished jobs, a tenth of them failed."""
    ledger = Ledger(state)
    begin = datetime.now(UTC) - timedelta(days=1)
    with ledger.transaction():
        for number in range(jobs):
            job_id = f"{number:032x}"
            at = (begin + timedelta(milliseconds=number)).isoformat()
            ledger.accept(
                Acceptance(job_id, f"daily/{number % 1000}", "{}", b"{}", "a" * 64, "b" * 64, at)
            )
            ledger.start(job_id, at)
            status = Status.SUCCEEDED if number % 10 else Status.FAILED
            ledger.seal(
                Seal(job_id, Outcome(status=status), None, (), at), from_state=State.RUNNING
            )
            ledger.published(job_id, at)
    ledger.close()


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("request")
    for name in ("n", "p50 ms", "p95 ms", "p99 ms", "max ms"):
        table.add_column(name, justify="right")
    table.add_column("statuses")
    table.add_column("goal")
    return table


def _row(table: Table, name: str, answers: list[Answer], goal: str) -> None:
    figures = [_percentile(answers, part) for part in (50, 95, 99, 100)]
    statuses = ", ".join(str(status) for status in sorted({status for _, status, _ in answers}))
    shown = [f"{1000 * figure:.1f}" for figure in figures]
    table.add_row(name, str(len(answers)), *shown, statuses, goal)


def _percentile(answers: list[Answer], percent: int) -> float:
    seconds = sorted(taken for taken, _, _ in answers)
    if percent == 100:
        return seconds[-1]
    return statistics.quantiles(seconds, n=100, method="inclusive")[percent - 1]


@click.command(help=__doc__)
@click.option("--clients", default=200, show_default=True, help="Clients that wait.")
@click.option("--rate", default=50.0, show_default=True, help="Submits a second.")
@click.option("--seconds", default=20.0, show_default=True, help="How long.")
@click.option("--jobs", default=100_000, show_default=True, help="Finished jobs in the ledger.")
def main(clients: int, rate: float, seconds: float, jobs: int) -> None:
    console.print(f"Python {sys.version.split()[0]}, {len(os.sched_getaffinity(0))} cores")
    listing(jobs, 200)
    sys.exit(1 if load(clients, rate, seconds) else 0)


if __name__ == "__main__":
    main()
