"""Commands on one notebook: run it, check it, and print the schemas of requests and results."""

import json
import os
import sys
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO

import click
from pydantic import TypeAdapter

from runner.cli.options import with_settings
from runner.cli.request_options import with_request
from runner.cli.running import passing, print_report, run_job, temporary
from runner.cli.terminal import complain, errors, remark
from runner.config import MEGABYTE, Settings, receivers_without_url
from runner.contract.names import job_name
from runner.contract.notebook import parse
from runner.contract.outcome import ErrorResult, Failure, Refused, Result
from runner.contract.request import (
    Form,
    Request,
    read_request,
)
from runner.contract.states.status import ErrorType, Status, exit_code
from runner.contract.text.plain_text import visible, visible_json
from runner.contract.text.strict_json import dumps
from runner.inbox.bundles.uploads import checked as checked_uploads
from runner.inbox.bundles.uploads import uploads_of
from runner.inbox.ignore import objection_to_name
from runner.inbox.library import probably_meant
from runner.jobs import submit
from runner.jobs.body import JobRequest
from runner.state.locks import holder_of

if TYPE_CHECKING:
    from runner.jobs.refusals import Forecast

STDIN = "-"
SUFFIXES = (".yaml", ".yml")


@click.command()
@click.argument("notebook")
@with_request
@click.option(
    "--input",
    "inputs",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="A file or folder that goes along; may be given again.",
)
@click.option("--name", help="The job's name; the notebook's own by default.")
@click.option("--keep", is_flag=True, help="Keep all of it in the folders of the settings.")
@click.option("--json", "as_json", is_flag=True, help="All of the result, also in a terminal.")
@with_settings
def run(
    settings: Settings,
    notebook: str,
    request: dict[str, Any],
    inputs: tuple[Path, ...],
    name: str | None,
    keep: bool,
    as_json: bool,
) -> None:
    """Run NOTEBOOK and print its result.

    NOTEBOOK is a file, a path in the library, or - for standard input. The result is JSON, or, in a
    terminal, a few lines.

    A daemon that serves these folders runs it. Without one it is run here, in temporary folders
    that are gone afterwards. With --keep it uses the folders of the settings instead; a folder
    that an option names is used, and stays.

    A notebook outside of the library runs in a folder of its own and does not see the files beside
    it. Name those that it needs by --input: they lie in that folder, under their own names.

    Exit codes: 0 succeeded, 1 the notebook failed, 2 wrong usage, 3 the request was refused,
    4 time ran out, 5 cancelled, 6 interrupted, 70 the runner itself is in trouble, 130 Ctrl-C
    before there was a result.
    """
    job_id = submit.new_job_id()
    try:
        request["notebook"] = _notebook(notebook, settings)
        checked = read_request(request | {"id": job_id}, Form.JSON)
        settings.request_rules.check(checked)
        files = checked_uploads([*chain(*map(uploads_of, inputs))], settings.bundle_limits)
    except Refused as refused:
        _refuse(refused.failure, as_json)
    wanted = JobRequest(request | {"id": job_id}, name, job_id, files)
    job = job_name(name or _name_of(notebook))
    objection = objection_to_name(job, settings.intake.ignore)
    if objection is not None:
        message = f"the inbox leaves the name {job!r} alone: {objection}; choose another --name"
        _refuse(Failure(error_type=ErrorType.INVALID_REQUEST, message=message), as_json)
    named = click.get_current_context().params
    is_served = holder_of(settings.inbox) is not None or holder_of(settings.state) is not None
    if keep or is_served:
        print_report(run_job(settings, job, job_id, wanted), as_json)
    going = [folder for folder in ("inbox", "outbox", "state") if not named.get(folder)]
    with temporary(settings, going) as own:
        report = run_job(own, job, job_id, wanted)
        if "outbox" in going and sys.stdout.isatty() and not as_json:
            remark("run in temporary folders, for no runner works here; --keep keeps job and files")
        print_report(passing(report) if "outbox" in going else report, as_json)


@click.command()
@click.argument("notebook")
@with_request
@with_settings
def check(settings: Settings, notebook: str, request: dict[str, Any]) -> None:
    """Say why the runner would refuse NOTEBOOK, without running it.

    Say also of what it would warn. NOTEBOOK may be - for standard input, or the file of a schedule
    or a web hook (.yaml); of a schedule the next times are told. Ends with 0, or with 3 if the
    runner would refuse it.
    """
    if notebook.endswith(SUFFIXES):
        if any(request.values()):
            raise click.UsageError("such a file has the keys of its request itself")
        prospect = _forecast_of_trigger(settings, Path(notebook))
    else:
        prospect = _forecast(settings, notebook, request)
    for failure in prospect.refusals:
        click.echo(visible(f"{failure.error_type}: {failure.message}"))
    for warning in prospect.warnings:
        click.echo(visible(f"warning: {warning}"))
    for said in receivers_without_url(settings):
        click.echo(visible(f"warning: {said}"))
    for note in prospect.notes:
        click.echo(visible(f"note: {note}"))
    if not prospect.refusals:
        errors().print("nothing to refuse", style="green")
    raise click.exceptions.Exit(exit_code(Status.REJECTED) if prospect.refusals else 0)


def _forecast(settings: Settings, notebook: str, request: dict[str, Any]) -> "Forecast":
    from runner.jobs.refusals import forecast

    return forecast(request, lambda: _notebook(notebook, settings), settings)


def _forecast_of_trigger(settings: Settings, file: Path) -> "Forecast":
    """Return the prospects of a hook, a rule, or a schedule, whose next times are printed."""
    from runner.cli.triggers.schedules import print_times
    from runner.submitters.hooks import prospects as hooks
    from runner.submitters.rules import prospects as rules
    from runner.submitters.schedules.prospects import prospects_of

    if hooks.is_hook(file, settings):
        return hooks.forecast_of(file, settings)
    if rules.is_rule(file, settings):
        return rules.forecast_of(file, settings)
    prospects = prospects_of(file, settings, datetime.now(UTC))
    print_times(prospects)
    return prospects.forecast


@click.command()
@click.argument("what", type=click.Choice(["request", "result"]))
def schema(what: str) -> None:
    """Print the JSON Schema of requests or results."""
    if what == "request":
        document = Request.model_json_schema()
    else:
        document = TypeAdapter(Result | ErrorResult).json_schema(by_alias=True)
        document["title"] = "Inbox Runner result"
    document["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    click.echo(json.dumps(document, indent=2))


def _notebook(wanted: str, settings: Settings) -> dict[str, Any] | str:
    """Return the content of a file, or the path of a library notebook, which runs where it lies.

    Raises:
        Refused: there is no such notebook, it is too large, or it is not JSON.
    """
    piped = _piped(wanted, settings)
    if piped is not None:
        return piped
    path = Path(wanted)
    if not path.is_file():
        if (settings.notebooks / wanted).is_file():
            return wanted
        hint = probably_meant(settings.notebooks, PurePosixPath(wanted))
        raise Refused(
            Failure(
                error_type=ErrorType.INVALID_REQUEST,
                message=f"There is no notebook {wanted!r}, neither as a file nor in the library "
                f"{str(settings.notebooks)!r}{hint}.",
            )
        )
    library = Path(os.path.realpath(settings.notebooks))
    real = Path(os.path.realpath(path))
    if real.is_relative_to(library):
        return real.relative_to(library).as_posix()
    with path.open("rb") as file:
        return _read(file, repr(wanted), settings)


def _read(file: BinaryIO, shown_as: str, settings: Settings) -> dict[str, Any]:
    """Return the notebook in an open file, which may be a pipe.

    Raises:
        Refused: it is too large, or it is not JSON.
    """
    limit = settings.limits.notebook_mb
    raw = file.read(int(limit * MEGABYTE) + 1)
    if len(raw) > limit * MEGABYTE:
        message = f"{shown_as} is above the limit of {limit:g} MB (limits.notebook_mb)."
        raise Refused(Failure(error_type=ErrorType.NOTEBOOK_TOO_LARGE, message=message))
    try:
        document = parse(raw)
    except ValueError as error:
        message = f"{shown_as} is no notebook: it is not JSON ({error})."
        raise Refused(Failure(error_type=ErrorType.INVALID_NOTEBOOK, message=message)) from error
    if not isinstance(document, dict):
        message = f"{shown_as} is no notebook: its top level is no mapping."
        raise Refused(Failure(error_type=ErrorType.INVALID_NOTEBOOK, message=message))
    return document


def _piped(wanted: str, settings: Settings) -> dict[str, Any] | None:
    """Return a notebook that comes through a pipe; None where it is a file.

    Raises:
        Refused: it is no notebook.
        UsageError: nothing is piped.
    """
    if wanted == STDIN:
        if sys.stdin is None or sys.stdin.isatty():
            hint = "standard input is a terminal: `… | runner run -`, or `runner run - < FILE`"
            raise click.UsageError(hint)
        return _read(sys.stdin.buffer, "standard input", settings)
    path = Path(wanted)
    if not (path.is_fifo() or path.is_char_device()):
        return None
    with path.open("rb") as file:
        return _read(file, repr(wanted), settings)


def _name_of(wanted: str) -> str:
    """Return a job's name where none is chosen; what a shell calls a pipe is no name."""
    if wanted == STDIN or wanted.startswith(("/dev/", "/proc/")):
        return "stdin"
    return Path(wanted).stem


def _refuse(failure: Failure, as_json: bool) -> None:
    """Say why, once in a terminal, and beside it in JSON for programs."""
    if as_json or not sys.stdout.isatty():
        click.echo(visible_json(dumps(failure.model_dump(mode="json", exclude_none=True)).decode()))
    complain(f"refused: {failure.message}")
    raise click.exceptions.Exit(exit_code(Status.REJECTED))
