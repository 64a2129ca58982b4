"""Runs one notebook for `run`: by the daemon that serves the folders, or else by one of its own."""

import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from runner.cli.console import summary
from runner.cli.options import FACE, Fault
from runner.cli.terminal import complain, errors, paths_of, print_json, remark
from runner.config import Settings
from runner.contract.states.status import Status, exit_code
from runner.contract.text.plain_text import one_line
from runner.contract.text.strict_json import JsonValue, dumps
from runner.jobs import submit
from runner.jobs.body import JobRequest
from runner.jobs.look import Look
from runner.jobs.waiting import Arrivals
from runner.outbox.reader import Report
from runner.state.locks import Owned, holder_of, is_astray
from runner.system.files.disk import Disk
from runner.system.processes.imports import importing

if TYPE_CHECKING:
    from rich.progress import Progress

RETURN_SECONDS = 10.0
"""How long a daemon that has served a job may be away before `run` does its part."""
AGAIN_SECONDS = 0.1


@contextmanager
def temporary(settings: Settings, names: Sequence[str]) -> Iterator[Settings]:
    """Yield the same settings with temporary folders for one run.

    If the state is among them, no page has the job afterwards, so no message has a link to it.
    """
    folder = tempfile.mkdtemp(prefix="runner-")
    try:
        library = [] if settings.notebooks.is_dir() else ["notebooks"]
        own = {name: Path(folder, name) for name in (*names, *library)}
        limits = settings.limits.model_copy(update={"free_mb": 0})
        gateway = settings.gateway
        if "state" in own:
            gateway = gateway.model_copy(update={"public_url": None})
        yield settings.model_copy(update={**own, "limits": limits, "gateway": gateway})
    finally:
        try:
            Disk().remove_tree(Path(folder))
        except OSError as error:
            remark(f"{folder} stays: {error}")


def passing(report: Report) -> Report:
    """Remove from a report everything that will be gone with the run's folders."""
    content = report.content
    said: list[JsonValue] = []
    files = content.get("files")
    listed = files if isinstance(files, list) else []
    written = [{**file, "url": None} for file in listed if isinstance(file, dict)]
    if written:
        said.append("the files that it wrote are gone with its folders; --keep keeps them")
    warnings = content.get("warnings")
    kept = warnings if isinstance(warnings, list) else []
    changes: dict[str, JsonValue] = {
        "output_nb": None,
        "output_nb_url": None,
        "files": [*written],
        "warnings": [*kept, *said],
    }
    raw = dumps({**content, **changes})
    return replace(report, raw=raw, head={**report.head, **changes})


def print_report(report: Report, as_json: bool) -> NoReturn:
    """Print a report on standard output, and end the command with the code of its status."""
    status = Status(str(report.content["status"]))
    if sys.stdout.isatty() and not as_json:
        click.echo(summary(report.content, paths_of(report)))
    else:
        print_json(report.content)
        if status is not Status.SUCCEEDED:
            complain(f"{status}: {report.content.get('message')}")
    raise click.exceptions.Exit(exit_code(status))


def run_job(settings: Settings, name: str, job_id: str, wanted: JobRequest) -> Report:
    """Submit, then wait for the daemon that owns the inbox; without one, be it."""
    with importing():
        from runner.daemon.loop import Daemon
        from runner.daemon.startup import Goal, Options

    for folder in (settings.inbox, settings.outbox):
        if not folder.is_dir() and holder_of(settings.state) is None:
            folder.mkdir(parents=True, exist_ok=True)
    if is_astray(settings.inbox, settings.state):
        raise Fault(f"the runner waits for its inbox {settings.inbox}, which may be a lost mount")
    content = submit.encode(job_id, wanted.submitted_by(FACE).request)
    was_served = holder_of(settings.inbox) is not None  # it may end before we look again
    submit.submit_with_files(settings.inbox, name, content, wanted.files, Disk())
    arrivals = Arrivals(settings.outbox)
    with closing(arrivals), _progress() as bar:
        task = bar.add_task(one_line(name), total=None, how_far="starts")

        def show(cell: int, cells: int) -> None:
            done = max(cell - 1, 0)
            how_far = f"{done}/{cells} cells" if cells else "starts"
            bar.update(task, completed=done, total=cells or None, how_far=how_far)

        def wait() -> None:
            bar.update(task, how_far="waits for its turn")

        while True:
            if was_served and holder_of(settings.inbox) is None:
                was_served = False
                _await_return(settings, job_id)
            if holder_of(settings.inbox) is None:
                try:
                    options = Options(
                        goal=Goal(name, job_id),
                        on_progress=lambda _, progress: show(progress.cell, progress.cells),
                    )
                    Daemon(settings, options).run()
                except Owned:
                    continue
                report = arrivals.reader.of_job(name, job_id)
                if report is None:
                    raise click.exceptions.Exit(130)
                _tell(settings)
                return report
            was_served = True
            looks = arrivals.looks(name, job_id)
            report = _await(settings, looks, job_id, show, wait)
            if report is not None:
                return report


def _tell(settings: Settings) -> None:
    """Send the callbacks and notifications of the job that ran here: nobody does afterwards."""
    from runner.followers.callbacks import at_once as of_callbacks
    from runner.followers.notifications import at_once as of_notifications

    for what, send in (
        ("callbacks", of_callbacks.send_at_once),
        ("notifications", of_notifications.send_at_once),
    ):
        try:
            for note in send(settings):
                remark(note)
        except (OSError, sqlite3.Error) as error:
            remark(f"{what} cannot be sent: {error}")


def _await(
    settings: Settings,
    looks: Iterator[Look],
    job_id: str,
    show: Callable[[int, int], None],
    wait: Callable[[], None],
) -> Report | None:
    """Wait for the report of a job that a daemon runs; None if the daemon is gone."""
    try:
        for seen in looks:
            if seen.report is not None:
                return seen.report
            if seen.progress is not None and seen.progress.get("status") == "running":
                show(_number(seen.progress.get("cell")), _number(seen.progress.get("cells")))
            elif holder_of(settings.inbox) is None:
                return None
            elif seen.progress is not None:
                wait()
    except KeyboardInterrupt:
        _leave(job_id)
    return None


def _await_return(settings: Settings, job_id: str) -> None:
    """Give a daemon that has ended some time to be there again: it would find its folders taken."""
    seconds = f"{RETURN_SECONDS:g} s"
    remark(f"the runner has ended; without another one in {seconds}, this command runs the job")
    deadline = time.monotonic() + RETURN_SECONDS
    try:
        while holder_of(settings.inbox) is None and time.monotonic() < deadline:
            time.sleep(AGAIN_SECONDS)
    except KeyboardInterrupt:
        _leave(job_id)


def _leave(job_id: str) -> NoReturn:
    remark(f"job {job_id} goes on; `runner cancel {job_id}` ends it")
    raise click.exceptions.Exit(130) from None


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _progress() -> "Progress":
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[how_far]}"),
        TimeElapsedColumn(),
        console=errors(),
        transient=True,
    )
