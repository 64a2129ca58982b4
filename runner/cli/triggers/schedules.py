"""Commands on schedules: list them, look ahead, run one now, pause and resume."""

import json
from datetime import datetime
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from runner.cli.console import Listing
from runner.cli.options import FACE, with_settings
from runner.cli.terminal import print_table, remark
from runner.config import Settings
from runner.contract.text.plain_text import visible
from runner.jobs.backend import backend_of
from runner.submitters.schedules.book import SKIPPED, Occurrence
from runner.submitters.schedules.overview import MOST_UPCOMING, Schedules, View
from runner.submitters.schedules.rows import row_of

if TYPE_CHECKING:
    from runner.submitters.schedules.prospects import Prospects

COLUMNS = ("name", "state", "next", "last", "when")
COMMANDLINE = ParameterSource.COMMANDLINE


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@with_settings
@click.pass_context
def schedules(ctx: click.Context, settings: Settings, as_json: bool) -> None:
    """List schedules: when each runs, how the last run went.

    They are the files NAME.yaml in the folder `schedules` of the library.
    """
    if ctx.invoked_subcommand is not None:
        if any(ctx.get_parameter_source(name) is COMMANDLINE for name in ctx.params):
            raise click.UsageError(f"give options after `{ctx.invoked_subcommand}`")
        return
    views = Schedules(backend_of(settings)).all()
    if as_json:
        for one in views:
            click.echo(json.dumps(row_of(one)))
        return
    if not views:
        remark(f"no schedules; a file NAME.yaml in {settings.schedules_folder} is one")
        return
    rows = [(one.name, one.state, _at(one.following), _last(one.last), _when(one)) for one in views]
    print_table(Listing(COLUMNS, rows, (COLUMNS[0], COLUMNS[4])))
    for one in views:
        if one.error is not None:
            remark(f"{one.name}: {one.error}")


@schedules.command("next")
@click.argument("name")
@click.option(
    "-n", "count", type=click.IntRange(1, MOST_UPCOMING), default=5, help="How many; 5 by default."
)
@with_settings
def upcoming(settings: Settings, name: str, count: int) -> None:
    """Print when NAME comes due next, in its time zone."""
    for moment in Schedules(backend_of(settings)).upcoming(name, count):
        click.echo(_exactly(moment))


@schedules.command()
@click.argument("name")
@with_settings
def run(settings: Settings, name: str) -> None:
    """Run NAME now, paused or not. Prints the job's id."""
    job = Schedules(backend_of(settings)).run(name, FACE)
    click.echo(job.job_id)
    remark(f"submitted as {job.name}")


@schedules.command()
@click.argument("name")
@with_settings
def pause(settings: Settings, name: str) -> None:
    """Start no run of NAME by itself until it is resumed."""
    Schedules(backend_of(settings)).pause(name, FACE)
    remark(f"{name} is paused; `runner schedules resume {name}` goes on")


@schedules.command()
@click.argument("name")
@with_settings
def resume(settings: Settings, name: str) -> None:
    """Start runs of NAME again. Those of the pause are not made up."""
    view = Schedules(backend_of(settings)).resume(name)
    if view.error is not None:
        remark(f"{name} is not paused any more, but it is wrong: {view.error}")
    elif view.following is None:
        remark(f"{name} is not paused any more, but no run comes: {view.state}")
    else:
        remark(f"{name} goes on; next run: {_at(view.following)}")


def print_times(prospects: "Prospects") -> None:
    """Print in words when a schedule comes due, and its next times."""
    if prospects.words:
        click.echo(visible(prospects.words))
    for moment in prospects.upcoming:
        click.echo(_exactly(moment))
    if prospects.note:
        remark(f"no run starts by itself: {prospects.note}")


def _exactly(moment: datetime) -> str:
    return f"{moment:%a} {moment.isoformat(sep=' ', timespec='minutes')}"


def _at(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%a %Y-%m-%d %H:%M}"


def _last(one: Occurrence | None) -> str:
    if one is None:
        return ""
    if one.status == SKIPPED:
        return f"skipped: {visible(one.reason or '')}"
    return (one.status or "running") + ("" if one.by is None else " (by hand)")


def _when(one: View) -> str:
    return f"{one.in_words} ({one.timezone})" if one.in_words else ""
