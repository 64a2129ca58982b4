"""Commands on jobs: list, show and cancel them, and see what stays in the inbox."""

import json
import re
import shutil
import sqlite3
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click

from runner.cli.console import hanging
from runner.cli.options import Fault, with_settings
from runner.cli.terminal import errors, print_json, print_table, remark
from runner.config import Settings
from runner.contract.job_ids import JOB_ID
from runner.contract.outcome import Status
from runner.contract.request import is_text
from runner.contract.text.plain_text import one_line
from runner.inbox import unclaimed as waiting
from runner.jobs import submit
from runner.jobs.look import look
from runner.outbox.reader import OutboxReader
from runner.outbox.report import row_of
from runner.state.jobs import Job, JobFilter
from runner.state.ledger_reader import LedgerReader
from runner.state.locks import holder_of
from runner.system.files.disk import Disk

MAX_JOBS = 1_000_000
COLUMNS = ("job id", "name", "by", "status", "error", "accepted", "seconds")
LISTED = 20


class NoSuchJob(Fault):
    """No job has that name or id."""

    exit_code = 1

    def __init__(self, what: str) -> None:
        is_short = re.fullmatch(r"[0-9a-f]{1,5}", what) is not None
        hint = ", and an id needs its first six digits at least" if is_short else ""
        super().__init__(f"there is no job {what!r}; `runner jobs` lists them{hint}")


@click.command()
@click.option(
    "--status", type=click.Choice([str(s) for s in Status]), help="Only jobs of this status."
)
@click.option(
    "--name",
    help="Only jobs whose name begins like that, or fits a pattern such as 'sales/*-report'.",
)
@click.option(
    "-n",
    "--limit",
    type=click.IntRange(0, MAX_JOBS, clamp=True),
    help=f"How many at most; {LISTED} by default.",
)
@click.option("--all", "lists_all", is_flag=True, help="All of them.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@with_settings
def jobs(
    settings: Settings,
    status: str | None,
    name: str | None,
    limit: int | None,
    lists_all: bool,
    as_json: bool,
) -> None:
    """List jobs, the newest first."""
    reader = _reader(settings)
    listed: Sequence[Job] = ()
    if name is None or is_text(name):
        which = JobFilter(status=Status(status) if status else None, pattern=name)
        most = MAX_JOBS if lists_all else LISTED if limit is None else limit
        listed = reader.jobs(which, limit=most)
    if as_json:
        for job in listed:
            click.echo(json.dumps(_row(job)))
    else:
        _print_rows(listed)
    if limit is None and len(listed) == LISTED and (count := reader.count(which)) > LISTED:
        remark(f"the newest {LISTED} of {count}; --limit N or --all for more")


def _print_rows(listed: Sequence[Job]) -> None:
    rows = []
    for job in listed:
        row = _row(job)
        rows.append(
            [
                job.job_id[:8],
                job.name,
                job.submitted_by or "",
                str(job.status),
                str(job.error_type or ""),
                job.accepted_at[:19].replace("T", " "),
                "" if row["seconds"] is None else f"{row['seconds']:.1f}",
            ]
        )
    print_table(COLUMNS, rows, cut=(1, 4, 2))


@click.command()
@click.option("--json", "as_json", is_flag=True, help="The list as one JSON object.")
@with_settings
def inbox(settings: Settings, as_json: bool) -> None:
    """List what stays in the inbox, and why.

    Of each file also since when, and what to do about it.
    """
    known = waiting.read(settings.state)
    if holder_of(settings.inbox) is None:
        errors.print(
            "no runner watches the inbox, so its files are not known; start `runner serve`"
        )
    elif known is None:
        errors.print("the runner has not looked yet, or its state cannot be read")
    files = known or waiting.WaitingList()
    if as_json:
        print_json(waiting.content_of(files))
        return
    for one in files.files:
        path, since = one_line(one.path), one.since[:19].replace("T", " ")
        if sys.stdout.isatty():
            click.echo(f"{click.style(path, bold=True)}  since {since}")
            said = f"{one_line(one.text)}. {one_line(one.advice)}"
            click.echo("\n".join(hanging("    ", said, shutil.get_terminal_size().columns)))
        else:
            click.echo(
                "\t".join((path, since, str(one.reason), one_line(one.text), one_line(one.advice)))
            )
    if files.count > len(files.files):
        errors.print(f"and {files.count - len(files.files)} more")
    elif known is not None and not files.files:
        errors.print("nothing stays in the inbox")


@click.command()
@click.argument("what", metavar="NAME|JOB_ID")
@with_settings
def show(settings: Settings, what: str) -> None:
    """Print what is known of a job: its result, or how far it is."""
    outbox = OutboxReader(settings.outbox)
    job = _find(settings, what)
    if job is not None:
        seen = look(outbox, job.name, job.job_id)
        content: dict[str, Any]
        content = seen.report.content if seen.report is not None else seen.progress or _row(job)
    else:
        report = outbox.current(what)
        if report is None:
            raise NoSuchJob(what)
        content = report.content
    print_json(content)


@click.command()
@click.argument("what", metavar="NAME|JOB_ID")
@with_settings
def cancel(settings: Settings, what: str) -> None:
    """Cancel a job, or everything queued or running under a name."""
    job = _find(settings, what)
    if job is None:
        raise NoSuchJob(what)
    if job.status in (Status.QUEUED, Status.RUNNING):
        submit.cancel(settings.inbox, job.name, job.job_id if what != job.name else None, Disk())
        remark(f"asked to cancel {job.name}")
        if holder_of(settings.inbox) is None:
            errors.print("no runner owns the inbox now; it takes effect when one starts")
    else:
        remark(f"{job.name} is over already: {job.status}")


def _reader(settings: Settings) -> LedgerReader:
    try:
        return LedgerReader(settings.state)
    except sqlite3.Error as error:
        raise Fault(
            f"there is no ledger to read in {settings.state} ({error}); "
            "`runner serve` makes it at its first start"
        ) from error


def _find(settings: Settings, what: str) -> Job | None:
    """Find the job of an id, of the beginning of one, or the latest of a name."""
    reader = _reader(settings)
    if not is_text(what):
        return None
    if JOB_ID.fullmatch(what):
        return reader.job(what)
    job = reader.latest(what)
    if job is None and re.fullmatch(r"[0-9a-f]{6,31}", what):
        return reader.by_prefix(what)
    return job


def _row(job: Job) -> dict[str, Any]:
    return row_of(job, datetime.now(UTC))
