"""The command line: commands, exit codes and progress. Results on stdout, all else on stderr.

Holds no rules of its own; a user's mistake is one line, never a traceback.
"""

import json
import logging
import os
import re
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar

import click
from pydantic import TypeAdapter
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from runner import __version__, config
from runner.cli.console import hanging, summary, table
from runner.config import MEGABYTE, ConfigError, Settings, available_memory
from runner.contract.names import job_name
from runner.contract.notebook import parse
from runner.contract.outcome import (
    ErrorResult,
    ErrorType,
    Failure,
    Refused,
    Result,
    Status,
    exit_code,
)
from runner.contract.request import (
    JOB_ID,
    Form,
    Request,
    check_resources,
    check_timeout,
    is_text,
    read_document,
    read_request,
)
from runner.contract.text.plain_text import one_line, visible, visible_json
from runner.contract.text.scalars import Scalar, ScalarError, scalar_of
from runner.contract.text.strict_json import JsonValue, dumps
from runner.inbox import unclaimed as waiting
from runner.inbox.ignore import objection_to_name
from runner.inbox.library import probably_meant
from runner.jobs import submit
from runner.outbox.publish import OutboxReader, Report
from runner.outbox.report import row_of
from runner.state.ledger import Job, LedgerReader
from runner.state.locks import Owned, holder_of, is_astray
from runner.system.door import CannotListen
from runner.system.extras import advice_on
from runner.system.files.disk import Disk
from runner.system.processes.interrupts import quiet_interrupts

if TYPE_CHECKING:
    from runner.cli.doctor import Finding

P = ParamSpec("P")
R = TypeVar("R")

FAULT = 70
HEALTH_SECONDS = 5.0
CHECK_WIDTH = len("environment")
MAX_JOBS = 1_000_000
"""Exit code (sysexits.h, EX_SOFTWARE) where it is the runner or its machine."""
_FOLDERS = ("state", "notebooks", "outbox", "inbox")

errors = Console(stderr=True, highlight=False)


class Fault(click.ClickException):
    """Something outside a request is wrong: settings, folders, another owner."""

    exit_code = FAULT

    def format_message(self) -> str:
        return visible(self.message)


def _plainly(command: Callable[P, R]) -> Callable[P, R]:
    """Known troubles become one line."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        from runner.daemon.folders import FolderMissing

        try:
            return command(*args, **kwargs)
        except (ConfigError, Owned, FolderMissing, submit.NameBusy, CannotListen) as error:
            raise Fault(str(error)) from error
        except sqlite3.Error as error:
            raise Fault(f"the ledger cannot be used: {error}") from error
        except PermissionError as error:
            raise Fault(_what_to_do(error)) from error
        except OSError as error:
            raise Fault(str(error)) from error

    return wrapped


def _what_to_do(error: PermissionError) -> str:
    """Whose the folder is, as far as it can be seen: the usual trouble of a first start."""
    from runner.cli.doctor import advice_for

    if not error.filename:
        return str(error)
    folder = Path(os.fsdecode(error.filename)).parent
    containers = "in containers, set NB_UID and NB_GID (docs/operations.md)"
    return f"{error}. {advice_for(folder, error)} Or, {containers}."


def _with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """A command on the folders: their options, the settings file, known troubles as one line."""

    @wraps(command)
    def wrapped(config_file: Path | None, **rest: Any) -> None:
        folders = {name: rest.pop(name) for name in _FOLDERS}
        command(config.load(config_file, folders), **rest)

    found: Callable[..., None] = _plainly(wrapped)
    for name in _FOLDERS:
        path = click.Path(path_type=Path)
        found = click.option(f"--{name}", type=path, help=f"The {name} folder.")(found)
    return click.option(
        "--config",
        "config_file",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        help="Settings file; config.yaml of the current folder if there is one.",
    )(found)


def _with_resources(command: Callable[..., None]) -> Callable[..., None]:
    """Options for what a run needs of its machine; the command gets them as a request has them."""

    @click.option("--memory-mb", type=int, help="Memory that the run may hold, in MB.")
    @click.option("--gpus", type=int, help="GPUs of a worker; clusters only.")
    @click.option(
        "--label",
        "labels",
        multiple=True,
        help="A label of its worker; may be given again; clusters only.",
    )
    @wraps(command)
    def wrapped(
        *args: Any, memory_mb: int | None, gpus: int | None, labels: tuple[str, ...], **rest: Any
    ) -> None:
        given = {"memory_mb": memory_mb, "gpus": gpus, "labels": list(labels) or None}
        resources = {key: value for key, value in given.items() if value is not None}
        command(*args, resources=resources, **rest)

    return wrapped


def _with_parameters(command: Callable[..., None]) -> Callable[..., None]:
    """Options for a notebook's parameters; the command gets their values by name."""

    @click.option(
        "-p",
        "pairs",
        nargs=2,
        multiple=True,
        metavar="NAME VALUE",
        help="A parameter; VALUE means what it would in YAML: a number, true, null, or text.",
    )
    @click.option(
        "-r", "raw", nargs=2, multiple=True, metavar="NAME TEXT", help="A parameter that is text."
    )
    @click.option(
        "-f",
        "files",
        multiple=True,
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        help="Parameters from a YAML or JSON file.",
    )
    @wraps(command)
    def wrapped(
        *args: Any,
        pairs: tuple[tuple[str, str], ...],
        raw: tuple[tuple[str, str], ...],
        files: tuple[Path, ...],
        **rest: Any,
    ) -> None:
        command(*args, parameters=_parameters(pairs, raw, files), **rest)

    return wrapped


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="runner")
def main() -> None:
    """Drop a Jupyter notebook into a folder, get its result out of another."""


@main.command()
@click.option("-v", "--verbose", is_flag=True, help="Say more.")
@click.option(
    "--accept-folders",
    is_flag=True,
    help="Take the folders where they lie now, though an earlier start found them on a mount.",
)
@_with_settings
def serve(settings: Settings, verbose: bool, accept_folders: bool) -> None:
    """Watch the inbox and run what appears in it, until told to stop."""
    with quiet_interrupts():
        from runner.daemon.loop import Daemon
        from runner.daemon.startup import Options

    _log_to_stderr(logging.DEBUG if verbose else logging.INFO)
    told = None
    if settings.gateway.enabled:
        from runner.gateway.server import check_binding, for_owner

        check_binding(settings)
        told = for_owner(settings)
    Daemon(settings, Options(gateway=told, accept_folders=accept_folders)).run()


@main.command()
@click.option("--owner", type=int, hidden=True, help="The pipe of the daemon that started it.")
@click.option("--host", help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), help="The port to listen on.")
@_with_settings
def gateway(settings: Settings, owner: int | None, host: str | None, port: int | None) -> None:
    """Answer HTTP requests only.

    `runner serve` does it as well; this is for a gateway beside it, over the same folders.
    """
    with quiet_interrupts():
        from runner.gateway.server import read_owner, serve

    _log_to_stderr(logging.INFO)
    if owner is not None:
        serve(read_owner(owner), owner=owner)
        return
    given = {"host": host, "port": port}
    changed = {key: value for key, value in given.items() if value is not None}
    serve(settings.model_copy(update={"gateway": settings.gateway.model_copy(update=changed)}))


@main.command()
@click.option("--stdio", is_flag=True, help="Talk over stdin and stdout instead of HTTP.")
@click.option("--host", help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), help="The port to listen on.")
@_with_settings
def mcp(settings: Settings, stdio: bool, host: str | None, port: int | None) -> None:
    """Offer tools to agents, over MCP.

    For live notebooks in JupyterLab, and for runs over the same folders.
    """
    try:
        with quiet_interrupts():
            from runner.mcp.server import serve, serve_stdio
    except ImportError as error:
        raise _needs("mcp", error) from error

    _log_to_stderr(logging.INFO)
    if stdio:
        serve_stdio(settings)
        return
    given = {"host": host, "port": port}
    changed = {key: value for key, value in given.items() if value is not None}
    serve(settings.model_copy(update={"mcp": settings.mcp.model_copy(update=changed)}))


@main.command()
@_with_settings
def lab(settings: Settings) -> None:
    """Start JupyterLab over the same folders."""
    from runner.cli.lab import become_lab

    _log_to_stderr(logging.INFO)
    become_lab(settings, os.environ)


def _check_ports(_: click.Context, __: click.Parameter, given: str | None) -> str | None:
    """What Dask would only say when the worker starts."""
    if given is not None and not re.fullmatch(r"\d{1,5}(:\d{1,5})?", given):
        raise click.BadParameter(f"{given!r} is neither a port nor a range such as 9000:9003")
    return given


@main.command()
@click.option("--scheduler", help="The scheduler's address, tcp://HOST:8786; from the settings.")
@click.option("--slots", type=click.IntRange(1), help="Notebooks at a time in each process.")
@click.option("--processes", type=click.IntRange(1), default=1, help="Worker processes; 1.")
@click.option("--memory-mb", type=click.IntRange(1), help="Memory to be asked for; all by default.")
@click.option("--gpus", type=click.IntRange(0), default=0, help="GPUs to be asked for; none.")
@click.option("--label", "labels", multiple=True, help="A label that requests may ask for.")
@click.option("--host", help="The address under which this machine is reached.")
@click.option("--port", callback=_check_ports, help="Its port, or a range (9000:9003); any.")
@click.option("--name", help="The worker's name in the cluster.")
@_with_settings
def worker(
    settings: Settings,
    scheduler: str | None,
    slots: int | None,
    processes: int,
    memory_mb: int | None,
    gpus: int,
    labels: tuple[str, ...],
    host: str | None,
    port: str | None,
    name: str | None,
) -> None:
    """Run notebooks of a Dask cluster on this machine.

    Memory, GPUs and labels are those of each process. At the first SIGTERM or Ctrl-C what runs has
    shutdown_seconds of the settings to end; at the second it is interrupted.
    """
    try:
        with quiet_interrupts():
            from runner.execution.cluster.join import Offer, work
            from runner.execution.cluster.tls import security_of
    except ImportError as error:
        raise _needs("dask", error) from error

    _log_to_stderr(logging.INFO)
    address = scheduler or settings.execution.dask.address
    if address is None:
        raise Fault("where is the scheduler? --scheduler tcp://HOST:8786 (execution.dask.address)")
    most = memory_mb or (available_memory() or 0) // MEGABYTE // processes
    offer = Offer(slots or max(settings.concurrency // processes, 1), most, gpus, labels)
    security = security_of(settings.execution.dask.tls)
    where = {"host": host, "port": port, "name": name}
    work(
        address,
        offer,
        processes=processes,
        shutdown_seconds=settings.shutdown_seconds,
        security=security,
        **where,
    )


def _needs(extra: str, error: ImportError) -> Fault:
    return Fault(f"this needs more packages ({error.name}): {advice_on(extra)}")


@main.command()
@_with_settings
def health(settings: Settings) -> None:
    """Say whether a request that comes now would be run.

    As JSON. Ends with 0, or with 1 if it would not.
    """
    from runner.jobs.health import examine
    from runner.system.processes.patience import NoAnswer, ask_apart

    found = ask_apart({"health": lambda: examine(settings)}, HEALTH_SECONDS)["health"]
    if isinstance(found, NoAnswer):
        raise Fault(f"the state folder {settings.state} {found}")
    click.echo(json.dumps(found.content, indent=2))
    raise click.exceptions.Exit(1 if found.reasons else 0)


@main.command()
@click.argument("notebook")
@_with_parameters
@click.option("--name", help="The job's name; the notebook's own by default.")
@click.option("--timeout", "timeout_seconds", type=float, help="Limit of the run in seconds.")
@click.option("--kernel", help="Kernelspec to run with.")
@click.option(
    "--retries",
    type=int,
    default=0,
    help="Runs again if interrupted, or if the kernel died or did not start.",
)
@click.option("--keep", is_flag=True, help="Keep all of it in the folders of the settings.")
@click.option("--json", "as_json", is_flag=True, help="All of the result, also in a terminal.")
@_with_resources
@_with_settings
def run(
    settings: Settings,
    notebook: str,
    parameters: dict[str, Any],
    name: str | None,
    timeout_seconds: float | None,
    kernel: str | None,
    retries: int,
    keep: bool,
    as_json: bool,
    resources: dict[str, Any],
) -> None:
    """Run NOTEBOOK and print its result.

    NOTEBOOK is a file or a path in the library. The result is JSON, or, in a terminal, a few lines.

    A daemon that serves these folders runs it. Without one it is run here, in temporary folders
    that are gone afterwards, unless it is to --keep inbox, outbox and state, or one of these is
    named.

    Exit codes: 0 succeeded, 1 the notebook failed, 2 wrong usage, 3 the request was refused,
    4 time ran out, 5 cancelled, 6 interrupted, 70 the runner itself is in trouble.
    """
    asked: dict[str, Any] = {"parameters": parameters, "retries": retries}
    asked |= {"timeout_seconds": timeout_seconds} if timeout_seconds is not None else {}
    asked |= {"kernel": kernel} if kernel is not None else {}
    asked |= {"resources": resources} if resources else {}
    job_id = submit.new_job_id()
    try:
        asked["notebook"] = _notebook(notebook, settings)
        checked = read_request(asked | {"id": job_id}, Form.JSON)
        limits, is_cluster = settings.limits, settings.execution.is_cluster
        check_timeout(checked, limits.max_run_seconds)
        check_resources(checked, memory_mb=limits.memory_mb, is_cluster=is_cluster)
    except Refused as refused:
        _refuse(refused.failure)
    job = job_name(name or Path(notebook).stem)
    objection = objection_to_name(job, settings.intake.ignore)
    if objection is not None:
        message = f"the inbox leaves the name {job!r} alone: {objection}; choose another --name"
        _refuse(Failure(error_type=ErrorType.INVALID_REQUEST, message=message))
    named = click.get_current_context().params
    is_served = holder_of(settings.inbox) is not None or holder_of(settings.state) is not None
    if keep or is_served or any(named.get(folder) for folder in ("inbox", "outbox", "state")):
        _print_report(_run(settings, job, job_id, asked | {"id": job_id}), as_json)
    with _temporary(settings) as own:
        _print_report(_passing(_run(own, job, job_id, asked | {"id": job_id})), as_json)


@contextmanager
def _temporary(settings: Settings) -> Iterator[Settings]:
    """The same settings with folders of one run; they are gone afterwards. Not the library."""
    folder = tempfile.mkdtemp(prefix="runner-")
    try:
        names = ["inbox", "outbox", "state"]
        names += [] if settings.notebooks.is_dir() else ["notebooks"]
        own = {name: Path(folder, name) for name in names}
        limits = settings.limits.model_copy(update={"free_mb": 0})
        yield settings.model_copy(update={**own, "limits": limits})
    finally:
        try:
            Disk().remove_tree(Path(folder))
        except OSError as error:
            _remark(f"{folder} stays: {error}")


def _passing(report: Report) -> Report:
    """The report of a run whose folders go: it names nothing that is not there any more."""
    content = report.content
    said: list[JsonValue] = []
    if content.get("files"):
        said.append("the files that it wrote are gone with its folders; --keep keeps them")
    warnings = content.get("warnings")
    kept = warnings if isinstance(warnings, list) else []
    changes: dict[str, JsonValue] = {"output_nb": None, "warnings": [*kept, *said]}
    raw = dumps({**content, **changes})
    return replace(report, raw=raw, head={**report.head, **changes})


def _print_report(report: Report, as_json: bool) -> NoReturn:
    """On standard output; ends the command with the code of its status."""
    status = Status(str(report.content["status"]))
    if sys.stdout.isatty() and not as_json:
        click.echo(summary(report.content, _paths(report)))
    else:
        _print_json(report.content)
        if status is not Status.SUCCEEDED:
            _complain(f"{status}: {report.content.get('message')}")
    raise click.exceptions.Exit(exit_code(status))


def _paths(report: Report) -> dict[str, Path]:
    """What of a run is there to look at, from here; nothing where its folders go."""
    executed = report.content.get("output_nb")
    if executed is None:
        return {}
    paths = {
        "result": report.path,
        "executed notebook": report.path.parent / Path(str(executed)).name,
    }
    if report.content.get("files"):
        paths["files"] = paths["executed notebook"].with_suffix(".files")
    return {what: _from_here(path) for what, path in paths.items()}


def _from_here(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


@main.command()
@click.option(
    "--status", type=click.Choice([str(s) for s in Status]), help="Only jobs of this status."
)
@click.option("--name", help="Only jobs of this name.")
@click.option(
    "-n",
    "--limit",
    type=click.IntRange(0, MAX_JOBS, clamp=True),
    default=20,
    show_default=True,
    help="How many at most.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@_with_settings
def jobs(
    settings: Settings,
    status: str | None,
    name: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """List jobs, the newest first."""
    reader = _reader(settings)
    found: Sequence[Job] = ()
    if name is None or is_text(name):
        found = reader.jobs(limit=limit, status=Status(status) if status else None, name=name)
    if as_json:
        for job in found:
            click.echo(json.dumps(_row(job)))
        return
    rows = []
    for job in found:
        row = _row(job)
        rows.append(
            [
                job.job_id[:8],
                job.name,
                str(job.status),
                str(job.error_type or ""),
                job.accepted_at[:19].replace("T", " "),
                "" if row["seconds"] is None else f"{row['seconds']:.1f}",
            ]
        )
    _print_table(("job id", "name", "status", "error", "accepted", "seconds"), rows, cut=(1, 3))


def _print_table(header: Sequence[str], rows: Sequence[Sequence[str]], cut: Sequence[int]) -> None:
    """A line a row; in a terminal as wide as that, in a pipe as wide as it is."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in table(header, rows, width, cut):
        click.echo(line)


def _print_json(content: object) -> None:
    """For people to read and for programs to parse; nothing in it can steer a terminal."""
    click.echo(visible_json(json.dumps(content, ensure_ascii=False, indent=2)))


@main.command()
@click.option("--json", "as_json", is_flag=True, help="The list as one JSON object.")
@_with_settings
def inbox(settings: Settings, as_json: bool) -> None:
    """List what stays in the inbox, and why.

    Of each file also since when, and what to do about it.
    """
    found = waiting.read(settings.state)
    if holder_of(settings.inbox) is None:
        errors.print("no runner watches the inbox; start `runner serve`")
    elif found is None:
        errors.print("the runner has not looked yet, or its state cannot be read")
    found = found or waiting.WaitingList()
    if as_json:
        _print_json(waiting.content_of(found))
        return
    for one in found.files:
        path, since = one_line(one.path), one.since[:19].replace("T", " ")
        if sys.stdout.isatty():
            click.echo(f"{click.style(path, bold=True)}  since {since}")
            said = f"{one_line(one.text)}. {one_line(one.advice)}"
            click.echo("\n".join(hanging("    ", said, shutil.get_terminal_size().columns)))
        else:
            click.echo(
                "\t".join((path, since, str(one.reason), one_line(one.text), one_line(one.advice)))
            )
    if found.count > len(found.files):
        errors.print(f"and {found.count - len(found.files)} more")
    elif not found.files:
        errors.print("nothing stays in the inbox")


@main.command()
@click.argument("what", metavar="NAME|JOB_ID")
@_with_settings
def show(settings: Settings, what: str) -> None:
    """Print what is known of a job: its result, or how far it is."""
    outbox = OutboxReader(settings.outbox)
    job = _find(settings, what)
    if job is not None:
        report = outbox.of_job(job.name, job.job_id)
        waiting = outbox.status(job.name)
        if report is not None:
            content: dict[str, Any] = report.content
        elif waiting is not None and waiting.get("job_id") == job.job_id:
            content = waiting
        else:
            content = _row(job)
    else:
        found = outbox.current(what)
        if found is None:
            raise Fault(f"there is no job {what!r}; `runner jobs` lists them")
        content = found.content
    _print_json(content)


@main.command()
@click.argument("what", metavar="NAME|JOB_ID")
@_with_settings
def cancel(settings: Settings, what: str) -> None:
    """Cancel a job, or everything queued or running under a name."""
    job = _find(settings, what)
    if job is None:
        raise Fault(f"there is no job {what!r}; `runner jobs` lists them")
    if job.status in (Status.QUEUED, Status.RUNNING):
        submit.cancel(settings.inbox, job.name, job.job_id if what != job.name else None, Disk())
        _remark(f"asked to cancel {job.name}")
    else:
        _remark(f"{job.name} is over already: {job.status}")
    if holder_of(settings.inbox) is None:
        errors.print("no runner owns the inbox now; it takes effect when one starts")


@main.command()
@click.argument("notebook")
@_with_parameters
@click.option("--timeout", "timeout_seconds", type=float, help="Limit of the run in seconds.")
@click.option("--kernel", help="Kernelspec to run with.")
@_with_resources
@_with_settings
def check(
    settings: Settings,
    notebook: str,
    parameters: dict[str, Any],
    timeout_seconds: float | None,
    kernel: str | None,
    resources: dict[str, Any],
) -> None:
    """Say why the runner would refuse NOTEBOOK, without running it.

    And of what it would warn. Ends with 0, or with 3 if it would refuse.
    """
    from runner.jobs.refusals import forecast

    asked: dict[str, Any] = {"parameters": parameters}
    asked |= {"timeout_seconds": timeout_seconds} if timeout_seconds is not None else {}
    asked |= {"kernel": kernel} if kernel is not None else {}
    asked |= {"resources": resources} if resources else {}
    found = forecast(asked, lambda: _notebook(notebook, settings), settings)
    for failure in found.refusals:
        click.echo(visible(f"{failure.error_type}: {failure.message}"))
    for warning in found.warnings:
        click.echo(visible(f"warning: {warning}"))
    if not found.refusals:
        errors.print("nothing to refuse", style="green")
    raise click.exceptions.Exit(exit_code(Status.REJECTED) if found.refusals else 0)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="The findings as one JSON object.")
@_with_settings
def doctor(settings: Settings, as_json: bool) -> None:
    """Try out folders, machine and cluster, and say what to change.

    Ends with 0, or with 1 if something would not work.
    """
    from runner.cli.doctor import Level, examine

    logging.getLogger("runner").addHandler(logging.NullHandler())
    found = []
    console = Console(highlight=False, markup=False, soft_wrap=True)
    for finding in examine(settings, Disk()):
        found.append(finding)
        if not as_json:
            _say(console, finding)
    healthy = all(finding.level is not Level.PROBLEM for finding in found)
    if as_json:
        content = {"healthy": healthy, "findings": [asdict(finding) for finding in found]}
        _print_json(content)
    raise click.exceptions.Exit(0 if healthy else 1)


def _say(console: Console, finding: "Finding") -> None:
    color = {"ok": "green", "warning": "yellow", "problem": "red"}[finding.level]
    width = console.width if console.is_terminal else None
    before = f"{finding.level:8} {finding.check:{CHECK_WIDTH}} "
    said, *rest = hanging(before, one_line(finding.message), width)
    console.print(Text(said[:8], style=color).append("\n".join((said[8:], *rest)), style="default"))
    if finding.advice:
        advice = hanging(" " * len(before), one_line(finding.advice), width)
        console.print("\n".join(advice), style="bold")


@main.command()
@click.argument("what", type=click.Choice(["request", "result"]))
def schema(what: str) -> None:
    """Print the JSON Schema of requests or results."""
    if what == "request":
        found = Request.model_json_schema()
    else:
        found = TypeAdapter(Result | ErrorResult).json_schema(by_alias=True)
        found["title"] = "Inbox Runner result"
    found["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    click.echo(json.dumps(found, indent=2))


def _run(settings: Settings, name: str, job_id: str, request: dict[str, Any]) -> Report:
    """Submit, then wait for the daemon that owns the inbox; without one, be it."""
    with quiet_interrupts():
        from runner.daemon.loop import Daemon
        from runner.daemon.startup import Goal, Options

    for folder in (settings.inbox, settings.outbox):
        if not folder.is_dir() and holder_of(settings.state) is None:
            folder.mkdir(parents=True, exist_ok=True)
    if is_astray(settings.inbox, settings.state):
        raise Fault(f"the runner waits for its inbox {settings.inbox}, which may be a lost mount")
    submit.submit(settings.inbox, name, submit.encode(job_id, request), Disk())
    reader = OutboxReader(settings.outbox)
    with _progress() as bar:
        task = bar.add_task(one_line(name), total=None, how_far="starts")

        def show(cell: int, cells: int) -> None:
            done = max(cell - 1, 0)
            how_far = f"{done}/{cells} cells" if cells else "starts"
            bar.update(task, completed=done, total=cells or None, how_far=how_far)

        def wait() -> None:
            bar.update(task, how_far="waits for its turn")

        while True:
            if holder_of(settings.inbox) is None:
                try:
                    options = Options(
                        goal=Goal(name, job_id),
                        on_progress=lambda _, progress: show(progress.cell, progress.cells),
                    )
                    Daemon(settings, options).run()
                except Owned:
                    continue
                report = reader.of_job(name, job_id)
                if report is None:
                    raise click.exceptions.Exit(130)
                return report
            report = _await(settings, submit.watch_report(reader, name, job_id), job_id, show, wait)
            if report is not None:
                return report


def _await(
    settings: Settings,
    news: Iterator[Report | dict[str, Any] | None],
    job_id: str,
    show: Callable[[int, int], None],
    wait: Callable[[], None],
) -> Report | None:
    """The report of a job that a daemon runs; None if there is no daemon any more."""
    try:
        for found in news:
            if isinstance(found, Report):
                return found
            if found is not None and found.get("status") == "running":
                show(_number(found.get("cell")), _number(found.get("cells")))
            elif holder_of(settings.inbox) is None:
                return None
            elif found is not None:
                wait()
    except KeyboardInterrupt:
        _remark(f"job {job_id} goes on; `runner cancel {job_id}` ends it")
        raise click.exceptions.Exit(130) from None
    return None


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[how_far]}"),
        TimeElapsedColumn(),
        console=errors,
        transient=True,
    )


def _notebook(given: str, settings: Settings) -> dict[str, Any] | str:
    """The content of a file, or the path of a library notebook, which runs where it lies.

    Raises:
        Refused: there is no such notebook, it is too large, or it is not JSON.
    """
    path = Path(given)
    if not path.is_file():
        if (settings.notebooks / given).is_file():
            return given
        hint = probably_meant(settings.notebooks, PurePosixPath(given))
        raise Refused(
            Failure(
                error_type=ErrorType.INVALID_REQUEST,
                message=f"There is no notebook {given!r}, neither as a file nor in the library "
                f"{str(settings.notebooks)!r}{hint}.",
            )
        )
    library = Path(os.path.realpath(settings.notebooks))
    real = Path(os.path.realpath(path))
    if real.is_relative_to(library):
        return real.relative_to(library).as_posix()
    size = path.stat().st_size
    if size > settings.limits.notebook_mb * MEGABYTE:
        message = (
            f"{given!r} has {size} bytes, above the limit of {settings.limits.notebook_mb:g} MB "
            "(limits.notebook_mb)."
        )
        raise Refused(Failure(error_type=ErrorType.NOTEBOOK_TOO_LARGE, message=message))
    try:
        document = parse(path.read_bytes())
    except ValueError as error:
        message = f"{given!r} is no notebook: it is not JSON ({error})."
        raise Refused(Failure(error_type=ErrorType.INVALID_NOTEBOOK, message=message)) from error
    if not isinstance(document, dict):
        message = f"{given!r} is no notebook: its top level is no mapping."
        raise Refused(Failure(error_type=ErrorType.INVALID_NOTEBOOK, message=message))
    return document


def _parameters(
    pairs: tuple[tuple[str, str], ...],
    raw: tuple[tuple[str, str], ...],
    files: tuple[Path, ...],
) -> dict[str, Any]:
    """From files first, then from `-p` by the table of scalars, then from `-r` as they stand."""
    named: dict[str, Any] = {}
    for file in files:
        form = Form.JSON if file.suffix == ".json" else Form.YAML
        try:
            document = read_document(file.read_bytes(), form)
        except Refused as refused:
            raise click.UsageError(f"{file}: {refused.failure.message}") from refused
        if not isinstance(document, dict):
            raise click.UsageError(f"{file}: parameters are a mapping of names to values")
        named |= document
    return named | {name: _value(name, text) for name, text in pairs} | dict(raw)


def _value(name: str, text: str) -> Scalar:
    if text == "None":  # papermill's `-p` reads it as null, YAML does not
        errors.print(f"-p {name} None is the text 'None'; write null for no value", markup=False)
    try:
        return scalar_of(text)
    except ScalarError as error:
        raise click.UsageError(f"-p {name}: {error}; or use -r {name} {text[:40]!r}") from error


def _refuse(failure: Failure) -> None:
    click.echo(visible_json(dumps(failure.model_dump(mode="json", exclude_none=True)).decode()))
    _complain(f"refused: {failure.message}")
    raise click.exceptions.Exit(exit_code(Status.REJECTED))


def _reader(settings: Settings) -> LedgerReader:
    try:
        return LedgerReader(settings.state)
    except sqlite3.Error as error:
        raise Fault(
            f"there is no ledger to read in {settings.state} ({error}); "
            "`runner serve` makes it at its first start"
        ) from error


def _find(settings: Settings, what: str) -> Job | None:
    """The job of an id, of the beginning of one, or the latest of a name."""
    reader = _reader(settings)
    if not is_text(what):
        return None
    if JOB_ID.fullmatch(what):
        return reader.job(what)
    found = reader.latest(what)
    if found is None and re.fullmatch(r"[0-9a-f]{6,31}", what):
        return reader.by_prefix(what)
    return found


def _row(job: Job) -> dict[str, Any]:
    return row_of(job, datetime.now(UTC))


def _remark(text: str) -> None:
    """To a person, beside the result."""
    errors.print(visible(text), markup=False, soft_wrap=True)


def _complain(text: str) -> None:
    errors.print(visible(text), style="red", markup=False, soft_wrap=True)


class _VisibleLog(logging.Formatter):
    """One line an event; nothing in it can steer a terminal, a traceback keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        record.message = one_line(record.message)
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))


def _log_to_stderr(level: int) -> None:
    shown = logging.StreamHandler(sys.stderr)
    shown.setFormatter(_VisibleLog("%(asctime)s %(levelname)-7s %(message)s"))
    logging.basicConfig(level=level, handlers=[shown])
    logging.getLogger("watchdog").setLevel(logging.WARNING)
