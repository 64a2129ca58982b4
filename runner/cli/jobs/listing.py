"""Commands that only look: list jobs, show one, see what stays in the inbox.

Imports neither pydantic nor what submits: its start is most of what such a command costs.
"""

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from runner.cli.console import Listing, hanging, summary, unfinished, without_files
from runner.cli.jobs.finding import NoSuchJob, find_job, reader_of
from runner.cli.options import with_places
from runner.cli.terminal import errors, paths_of, print_json, print_table, remark
from runner.contract.names import shown_name
from runner.contract.states.status import Status
from runner.contract.text.plain_text import is_text, one_line
from runner.inbox import unclaimed as waiting
from runner.jobs.look import look
from runner.jobs.pausing import Pausing
from runner.outbox.reader import OutboxReader
from runner.outbox.rows import row_of
from runner.places import Places
from runner.state.jobs import Job, JobFilter, State
from runner.state.locks import holder_of
from runner.state.pauses import why_waiting

MAX_JOBS = 1_000_000
COLUMNS = ("job id", "name", "by", "status", "error", "accepted", "seconds", "notebook")
ENDED = ("job id", "name", "by", "status", "accepted", "seconds", "notebook")
MIXED = "name, notebook"
NARROW = ("job id", MIXED, "by", "status", "accepted", "seconds")
CUT = ("notebook", "name", MIXED, "by")
LISTED = 20


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
@with_places
def jobs(
    places: Places,
    status: str | None,
    name: str | None,
    limit: int | None,
    lists_all: bool,
    as_json: bool,
) -> None:
    """List jobs, the newest first."""
    reader = reader_of(places.state)
    listed: Sequence[Job] = ()
    which = JobFilter(status=Status(status) if status else None, pattern=name)
    if name is None or is_text(name):
        most = MAX_JOBS if lists_all else LISTED if limit is None else limit
        listed = reader.jobs(which, limit=most)
    paths = reader.notebooks_of(job.job_id for job in listed)
    rows = [_row(job, paths.get(job.job_id)) for job in listed]
    if as_json:
        for row in rows:
            click.echo(json.dumps(row))
    elif rows:
        print_table(*_listings(rows, f"{datetime.now(UTC):%Y-%m-%d}"))
    else:
        remark("no jobs" if which == JobFilter() else "no jobs like that")
    _say_if_nobody_works(places, listed)
    if limit is None and len(listed) == LISTED and (count := reader.count(which)) > LISTED:
        remark(f"the newest {LISTED} of {count}; --limit N or --all for more")


def _say_if_nobody_works(places: Places, listed: Sequence[Job]) -> None:
    """Say that open jobs wait for a start."""
    if any(job.state is not State.CLOSED for job in listed) and holder_of(places.inbox) is None:
        remark("no runner works now; open jobs go on at the next start (`runner serve`)")


def _listings(rows: Sequence[Mapping[str, Any]], today: str) -> list[Listing]:
    """Write jobs as a table, and as narrower ones: with short times, without a column of errors,
    and with one column of names and notebooks.

    An error says the status as well, and its type is what a person looks up: it is never cut.
    """
    cells = [
        {
            "job id": row["job_id"][:8],
            "name": row["name"],
            "by": row["submitted_by"] or "",
            "status": str(row["status"]),
            "error": str(row["error_type"] or ""),
            "accepted": row["accepted_at"][:19].replace("T", " "),
            "seconds": "" if row["seconds"] is None else f"{row['seconds']:.1f}",
            "notebook": row["notebook"] or "",
        }
        for row in rows
    ]
    short = [one | _shortened(one, today) for one in cells]
    ended = [one | {"status": one["error"] or one["status"]} for one in short]
    mixed = [one | {MIXED: _told_apart(one)} for one in ended]
    tables = ((cells, COLUMNS), (short, COLUMNS), (ended, ENDED), (mixed, NARROW))
    return [
        Listing(names, [[row[name] for name in names] for row in some], CUT)
        for some, names in tables
    ]


def _shortened(cells: Mapping[str, str], today: str) -> dict[str, str]:
    """Write the time of a job of today, the day of any other, and no id twice."""
    day, _, clock = cells["accepted"].partition(" ")
    return {"accepted": clock if day == today else day, "name": shown_name(cells["name"])}


def _told_apart(cells: Mapping[str, str]) -> str:
    """Return a name that somebody chose, or else the notebook."""
    return cells["notebook"] if cells["notebook"] and "…" in cells["name"] else cells["name"]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="The list as one JSON object.")
@with_places
def inbox(places: Places, as_json: bool) -> None:
    """List what stays in the inbox, and why.

    Of each file also since when, and what to do about it.
    """
    known = waiting.read(places.state)
    if holder_of(places.inbox) is None:
        errors().print(
            "no runner watches the inbox, so its files are not known; start `runner serve`"
        )
    elif known is None:
        errors().print("the runner has not looked yet, or its state cannot be read")
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
        errors().print(f"and {files.count - len(files.files)} more")
    elif known is not None and not files.files:
        errors().print("nothing stays in the inbox")


@click.command()
@click.argument("what", metavar="NAME|JOB_ID")
@click.option("--json", "as_json", is_flag=True, help="All of a result, in a terminal too.")
@with_places
def show(places: Places, what: str, as_json: bool) -> None:
    """Print what is known of a job: its result, or how far it is."""
    outbox = OutboxReader(places.outbox)
    job = find_job(places.state, what)
    seen = None if job is None else look(outbox, job.name, job.job_id)
    report = outbox.current(what) if seen is None else seen.report
    is_for_person = sys.stdout.isatty() and not as_json
    if report is not None and is_for_person:
        click.echo(summary(report.content, paths_of(report)))
        return
    if report is not None:
        print_json(report.content)
    elif job is None:
        raise NoSuchJob(what)
    else:
        row, progress = _described(places, job), seen and seen.progress
        if not is_for_person:
            print_json(progress or row)
        elif job.state is State.CLOSED:
            click.echo("\n".join(without_files(row)))
        else:
            click.echo("\n".join(unfinished(row, progress or {})))
    _say_if_nobody_works(places, [] if job is None else [job])


def _described(places: Places, job: Job) -> dict[str, Any]:
    """Describe a job by the ledger: its row, its notebook, and for what it waits."""
    reader = reader_of(places.state)
    row = _row(job, reader.notebooks_of([job.job_id]).get(job.job_id))
    if job.state is not State.QUEUED:
        return row
    older = reader.before_of_name(job)
    return {**row, "waits_for": why_waiting(job, Pausing(places.state).all(), older)}


def _row(job: Job, notebook: str | None = None) -> dict[str, Any]:
    return row_of(job, datetime.now(UTC), notebook)
