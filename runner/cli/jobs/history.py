"""Commands on what was: the runs of a name over time, and in what a job ran."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from runner.cli.console import Listing
from runner.cli.jobs.finding import NoSuchJob, find_job
from runner.cli.options import NothingThere, with_settings
from runner.cli.terminal import print_table, remark
from runner.config import Settings
from runner.contract.text.plain_text import visible
from runner.jobs.histories.of_names import NameHistory, history_of
from runner.jobs.histories.origins import origin_of
from runner.jobs.record import Record
from runner.outbox.rows import row_of
from runner.state.jobs import Job, Place, State

COLUMNS = ("job id", "status", "accepted", "seconds", "by")
LISTED = 20
YEAR = timedelta(days=365)


@click.command()
@click.argument("name")
@click.option(
    "-n",
    "limit",
    type=click.IntRange(1, 100),
    default=LISTED,
    help=f"How many; {LISTED} by default.",
)
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
@with_settings
def history(settings: Settings, name: str, limit: int, as_json: bool) -> None:
    """Tell what became of a name: its last runs and failure."""
    now = datetime.now(UTC)
    record = Record(settings)
    found = history_of(record, name, (now - YEAR).date().isoformat())
    if as_json:
        click.echo(json.dumps(_content(record, found, limit, now)))
        return
    rows = [
        (
            job.job_id[:8],
            str(job.error_type or job.status),
            job.accepted_at[:19].replace("T", " "),
            "" if row["seconds"] is None else f"{row['seconds']:.1f}",
            job.submitted_by or "",
        )
        for job in found.recent[:limit]
        if (row := row_of(job, now))
    ]
    print_table(Listing(COLUMNS, rows, (COLUMNS[4],)))
    counts = ", ".join(f"{count} {status}" for status, count in _totals(found).items())
    jobs = "1 job" if found.count == 1 else f"{found.count} jobs"
    remark(f"{jobs}; in the last year {counts or 'none is over'}")
    if found.last_success is not None:
        remark(f"last success: {_when(found.last_success)}")
    if (failed := found.last_failure) is not None:
        cell = f", cell {failed.cell_index}" if failed.cell_index is not None else ""
        remark(f"last failure: {_when(failed.job)}{cell}: {visible(failed.job.message or '')}")


@click.command()
@click.argument("what", metavar="NAME|JOB_ID")
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
@with_settings
def environment(settings: Settings, what: str, as_json: bool) -> None:
    """Print in what a job ran, with its packages.

    As a file of requirements: Python, image and commit are comments above the packages. NAME means
    its last run.
    """
    job = find_job(settings.state, what)
    if job is None:
        raise NoSuchJob(what)
    origin = origin_of(Record(settings), job.job_id)
    if origin is None or origin.is_unknown:
        raise NothingThere(f"it is not known in what {job.name} ran: {_why_unknown(job)}")
    if as_json:
        click.echo(json.dumps(origin.content()))
        return
    for name, value in origin.facts():
        click.echo(f"# {name}: {value}")
    for name, version in (origin.packages or {}).items():
        click.echo(f"{name}=={version}" if version else name)
    if origin.packages is None:
        remark("its packages are not known")


def _why_unknown(job: Job) -> str:
    if job.state is not State.CLOSED:
        return "it is not over"
    if job.place is Place.PRUNED:
        return "its files are not kept any more"
    return "no kernel was chosen, or an earlier version ran it"


def _content(record: Record, found: NameHistory, limit: int, now: datetime) -> dict[str, Any]:
    failed, recent = found.last_failure, found.recent[:limit]
    ends = [found.last_success, None if failed is None else failed.job]
    with record.ledger() as ledger:
        paths = ledger.notebooks_of(one.job_id for one in [*recent, *filter(None, ends)])

    def row(job: Job) -> dict[str, Any]:
        return row_of(job, now, paths.get(job.job_id))

    return {
        "name": found.name,
        "count": found.count,
        "days": found.days,
        "last_success": None if found.last_success is None else row(found.last_success),
        "last_failure": None
        if failed is None
        else {**row(failed.job), "cell": failed.cell, "cell_index": failed.cell_index},
        "runs": [row(job) for job in recent],
    }


def _totals(found: NameHistory) -> dict[str, int]:
    totals: dict[str, int] = {}
    for outcomes in found.days.values():
        for status, count in outcomes.items():
            totals[status] = totals.get(status, 0) + count
    return totals


def _when(job: Job) -> str:
    return f"{job.accepted_at[:19].replace('T', ' ')} UTC ({job.job_id[:8]})"
