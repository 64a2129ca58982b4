"""Commands that end jobs, or let them wait."""

import click

from runner.cli.jobs.finding import NoSuchJob, find_job
from runner.cli.options import FACE, with_settings
from runner.cli.terminal import errors, remark
from runner.cli.triggers.listings import doubt_about
from runner.config import Settings
from runner.contract.names import job_names
from runner.contract.states.status import Status
from runner.jobs import submit
from runner.jobs.pausing import Pausing
from runner.state.locks import holder_of
from runner.state.pauses import meant_by
from runner.system.files.disk import Disk


@click.command()
@click.argument("what", metavar="NAME|JOB_ID")
@with_settings
def cancel(settings: Settings, what: str) -> None:
    """Cancel a job, or everything queued or running under a name."""
    job = find_job(settings.state, what)
    if job is None:
        raise NoSuchJob(what)
    if job.status in (Status.QUEUED, Status.RUNNING):
        is_one = job.name not in (what, *job_names(what))
        submit.cancel(settings.inbox, job.name, job.job_id if is_one else None, Disk())
        remark(f"asked to cancel {job.name}")
        if holder_of(settings.inbox) is None:
            errors().print("no runner owns the inbox now; it takes effect when one starts")
    else:
        remark(f"{job.name} is over already: {job.status}")


@click.command()
@click.argument("name", default="")
@with_settings
def pause(settings: Settings, name: str) -> None:
    """Start no job of NAME, or none at all, until it is resumed.

    NAME may be a pattern such as 'sales/*', or rule:NAME or hook:NAME for the jobs of one of
    these. What runs goes on, and what comes waits.
    """
    remark(Pausing(settings.state).pause(name, FACE).in_words)
    doubt = doubt_about(name, settings)
    if doubt is not None:
        remark(doubt)


@click.command()
@click.argument("name", default="")
@with_settings
def resume(settings: Settings, name: str) -> None:
    """Let paused jobs start again. NAME is what `runner pause` was given."""
    pausing = Pausing(settings.state)
    pausing.resume(name)
    remark(f"{meant_by(name)} start again")
    left = [one.name or "all jobs" for one in pausing.all()]
    if left:
        remark(f"still paused: {', '.join(left)}")
