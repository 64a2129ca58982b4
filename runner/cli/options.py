"""Options that several commands share, and the one line that a known exception becomes."""

import os
import sqlite3
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click

from runner import config
from runner.cli.terminal import errors
from runner.config import ConfigError
from runner.contract.outcome import Refused
from runner.contract.request import Form, Request, Resources, read_document
from runner.contract.states.status import ERROR_RULES, Status, exit_code
from runner.contract.text.plain_text import visible
from runner.contract.text.scalars import Scalar, ScalarError, scalar_of
from runner.jobs import submit
from runner.jobs.problem import Problem, ProblemType
from runner.state.locks import Owned
from runner.system.door import CannotListen
from runner.system.processes.standard_streams import is_stdout_closed

P = ParamSpec("P")
R = TypeVar("R")
FAULT = 70
"""Exit code (sysexits.h, EX_SOFTWARE) for a fault of the runner or its machine."""
_VOLUMES = {"/var/lib/inbox-runner": "inbox-runner-state", "/home/jovyan/work": "jupyter-data"}
"""Places of the image's named volumes, by compose.yaml."""
_FOLDERS = ("state", "notebooks", "outbox", "inbox")


class Fault(click.ClickException):
    """Something outside a request is wrong: settings, folders, another owner."""

    exit_code = FAULT

    def format_message(self) -> str:
        return visible(self.message)


class NothingThere(Fault):
    """What the command names does not exist."""

    exit_code = 1


class RefusedRequest(Fault):
    """The rules refuse what the command would submit or change."""

    exit_code = exit_code(Status.REJECTED)


class WrongUsage(Fault):
    """The command line names a file that cannot be meant, told in one line."""

    exit_code = click.UsageError.exit_code


def plainly(command: Callable[P, R]) -> Callable[P, R]:
    """Turn known exceptions into one line."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        from runner.daemon.folders import FolderMissing

        try:
            return command(*args, **kwargs)
        except Owned as error:
            raise Fault(f"{error}; end that one first, or use other folders") from error
        except (ConfigError, FolderMissing, submit.NameBusy, CannotListen) as error:
            raise Fault(str(error)) from error
        except Problem as problem:
            raise _of_problem(problem) from problem
        except sqlite3.Error as error:
            raise Fault(f"the ledger cannot be used: {error}") from error
        except BrokenPipeError as error:
            raise (error if is_stdout_closed() else Fault(str(error))) from None
        except PermissionError as error:
            raise Fault(_what_to_do(error)) from error
        except OSError as error:
            raise Fault(str(error)) from error

    return wrapped


def _of_problem(problem: Problem) -> Fault:
    """Turn a problem into the command's end: by its type it is a person's slip, or ours."""
    if problem.error_type in (ProblemType.NOT_FOUND, ProblemType.GONE):
        return NothingThere(problem.message)
    return (RefusedRequest if problem.error_type in ERROR_RULES else Fault)(problem.message)


def _what_to_do(error: PermissionError) -> str:
    """Say who owns the folder, if that can be seen: the usual problem of a first start."""
    from runner.cli.doctor import advice_for

    if not error.filename:
        return str(error)
    folder = Path(os.fsdecode(error.filename)).parent
    for place, volume in _VOLUMES.items():
        if folder.is_relative_to(place):
            ids = f"{os.geteuid()}:{os.getegid()}"
            return (
                f"{error}. {advice_for(folder, error)} If it is the container's volume, made with "
                "other ids: `docker compose down`, then `docker run --rm -u 0 -v "
                f"{volume}:/v inbox-runner chown -R {ids} /v`, then `docker compose up -d` "
                "(docs/operations.md)."
            )
    containers = "in containers, set NB_UID and NB_GID (docs/operations.md)"
    return f"{error}. {advice_for(folder, error)} Or, {containers}."


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of the folders, and make known exceptions one line."""

    @wraps(command)
    def wrapped(config_file: Path | None, **rest: Any) -> None:
        folders = {name: rest.pop(name) for name in _FOLDERS}
        command(config.load(config_file, folders), **rest)

    decorated: Callable[..., None] = plainly(wrapped)
    for name in _FOLDERS:
        path = click.Path(path_type=Path)
        decorated = click.option(f"--{name}", type=path, help=f"The {name} folder.")(decorated)
    return click.option(
        "--config",
        "config_file",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        help="Settings file; config.yaml of the current folder if there is one.",
    )(decorated)


def with_request(command: Callable[..., None]) -> Callable[..., None]:
    """Add an option for each key of a request; the command gets the given ones as `request`.

    An option has the name of its key.
    """

    @click.option("--timeout", "timeout_seconds", type=float, help="Limit of the run in seconds.")
    @click.option("--kernel", help="Kernelspec to run with.")
    @click.option(
        "--retries",
        type=int,
        help="Runs again if interrupted, or if the kernel died or did not start.",
    )
    @click.option("--not-before", help="Earliest start, such as 2026-12-01T06:00:00+01:00.")
    @click.option(
        "--start-within", "start_within_seconds", type=float, help="Expires if it has not started."
    )
    @click.option("--priority", type=int, help="From -10 to 10; higher ones start earlier.")
    @click.option("--callback", help="An address to which the result is posted.")
    @click.option("--group", help="A group of the settings, of which only so many run at once.")
    @click.option("--memory-mb", type=int, help="Memory that the run may hold, in MB.")
    @click.option("--gpus", type=int, help="GPUs of a worker; clusters only.")
    @click.option(
        "--label",
        "labels",
        multiple=True,
        help="A label of its worker; may be given again; clusters only.",
    )
    @wraps(command)
    def wrapped(*args: Any, parameters: dict[str, Any], **options: Any) -> None:
        needs = _take(options, Resources.model_fields)
        keys = _take(options, Request.model_fields.keys() - {"notebook"})
        request = {"parameters": parameters, **keys, **({"resources": needs} if needs else {})}
        command(*args, request=request, **options)

    return _with_parameters(wrapped)


def _take(options: dict[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """Take the options that are keys out of the others, and return those with a value."""
    taken = {key: options.pop(key) for key in keys if key in options}
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in taken.items()
        if value not in (None, ())
    }


def _with_parameters(command: Callable[..., None]) -> Callable[..., None]:
    """Add options for a notebook's parameters; the command gets their values by name."""

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


def _parameters(
    pairs: tuple[tuple[str, str], ...],
    raw: tuple[tuple[str, str], ...],
    files: tuple[Path, ...],
) -> dict[str, Any]:
    """Collect parameters: from files first, then from `-p` by the table, then from `-r`."""
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
        errors().print(f"-p {name} None is the text 'None'; write null for no value", markup=False)
    try:
        return scalar_of(text)
    except ScalarError as error:
        raise click.UsageError(f"-p {name}: {error}; or use -r {name} {text[:40]!r}") from error
