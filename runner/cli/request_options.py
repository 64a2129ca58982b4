"""Options for the keys of a request, and for the parameters of its notebook."""

from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from runner.cli.terminal import errors
from runner.contract.outcome import Refused
from runner.contract.request import Form, Request, Resources, read_document
from runner.contract.text.scalars import Scalar, ScalarError, scalar_of


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
