"""Options that several commands share, and the one line that a known exception becomes."""

import os
import sqlite3
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click

from runner.contract.states.status import ERROR_RULES, Status, exit_code
from runner.contract.text.plain_text import visible
from runner.contract.text.shortfall import Shortfall
from runner.jobs.problem import Problem, ProblemType
from runner.places import FOLDERS, Places, read_places
from runner.state.locks import Owned
from runner.system.processes.standard_streams import is_stdout_closed

P = ParamSpec("P")
R = TypeVar("R")
FAULT = 70
"""Exit code (sysexits.h, EX_SOFTWARE) for a fault of the runner or its machine."""
_VOLUMES = {"/var/lib/inbox-runner": "inbox-runner-state", "/home/jovyan/work": "jupyter-data"}
"""Places of the image's named volumes, by compose.yaml."""
FACE = "cli"
"""The submitter of requests that name no other."""


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
        try:
            return command(*args, **kwargs)
        except Owned as error:
            raise Fault(f"{error}; end that one first, or use other folders") from error
        except Shortfall as error:
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
    """Give a command all settings by the options of the folders; its errors become one line."""

    @wraps(command)
    def wrapped(config_file: Path | None, **rest: Any) -> None:
        from runner import config  # only commands that need all settings

        command(config.load(config_file, _folders_in(rest)), **rest)

    return _with_folder_options(plainly(wrapped))


def with_places(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the folders alone, for which no other setting is checked."""

    @wraps(command)
    def wrapped(config_file: Path | None, **rest: Any) -> None:
        flags = _folders_in(rest)
        places = read_places(config_file, flags)
        if places is None:
            from runner import config  # it says what is wrong, or what is meant

            settings = config.load(config_file, flags)
            places = Places(**{name: getattr(settings, name) for name in FOLDERS})
        command(places, **rest)

    return _with_folder_options(plainly(wrapped))


def _folders_in(options: dict[str, Any]) -> dict[str, Path | None]:
    """Take the options of the folders out of the others."""
    return {name: options.pop(name) for name in FOLDERS}


def _with_folder_options(command: Callable[..., None]) -> Callable[..., None]:
    decorated = command
    for name in reversed(FOLDERS):
        path = click.Path(path_type=Path)
        decorated = click.option(f"--{name}", type=path, help=f"The {name} folder.")(decorated)
    return click.option(
        "--config",
        "config_file",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        help="Settings file; config.yaml of the current folder if there is one.",
    )(decorated)
