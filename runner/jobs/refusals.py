"""Lists everything for which the runner would refuse a request or warn of it, without running it.

Calls the rules of admission and of preparation in their order. Holds none of its own.
"""

import json
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any, TypeVar

from runner.config import MEGABYTE, Settings
from runner.contract.outcome import Failure, Refused
from runner.contract.parameters.guesses import texts_for_values
from runner.contract.parameters.listing import misspelt_parameters, unknown_parameters
from runner.contract.parameters.sidecar import Sidecar, defaults_of
from runner.contract.parameters.signature import signature_of
from runner.contract.request import Form, read_request
from runner.contract.states.status import ErrorType
from runner.execution.environment import clean_environment
from runner.execution.job.kernelspecs import installed_kernels
from runner.execution.job.preparation import check_modules, choose, read_notebook
from runner.inbox.library import as_spelt, library_reader
from runner.inbox.sidecars import sidecar_reader

T = TypeVar("T")
Source = str | dict[str, Any]
"""A notebook's path in the library, or the notebook itself."""


@dataclass(frozen=True)
class Forecast:
    """The prospects of a request: reasons for a refusal, warnings, and what is not known here."""

    refusals: tuple[Failure, ...]
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def forecast(keys: Mapping[str, Any], source: Callable[[], Source], settings: Settings) -> Forecast:
    """Return every reason for a refusal; a later one only if the earlier ones leave a notebook.

    `keys` are a request's keys without `notebook`; `source` finds that, and may raise `Refused`.
    """
    refusals: list[Failure] = []

    def attempt(step: Callable[[], T]) -> T | None:
        try:
            return step()
        except Refused as refused:
            refusals.append(refused.failure)
            return None

    checked = attempt(lambda: read_request(dict(keys), Form.JSON))
    if checked is not None:
        refusals.extend(one.failure for one in settings.request_rules.refusals(checked))
    notebook_source = attempt(source)
    if notebook_source is None:
        return Forecast(tuple(refusals))
    raw = attempt(lambda: _bytes_of(notebook_source, settings))
    if raw is None:
        return Forecast(tuple(refusals))
    notebook = attempt(lambda: read_notebook(raw).notebook)
    if notebook is None:
        return Forecast(tuple(refusals))
    installed = installed_kernels()
    choice = attempt(
        lambda: choose(
            notebook,
            requested=keys.get("kernel"),
            allowed=settings.kernels.allowed,
            languages=settings.kernels.languages,
            installed=installed,
        )
    )
    if choice is not None:
        folder = _folder_of(notebook_source, settings)
        environment = clean_environment(os.environ, settings.kernels.pass_environment)
        python = installed[choice.name].python
        attempt(lambda: check_modules(notebook, choice, python, folder, environment))
    values = {} if checked is None else checked.parameters
    warnings = attempt(lambda: _check_parameters(notebook, notebook_source, values, settings))
    if checked is None or warnings is None:
        return Forecast(tuple(refusals))
    unknown = unknown_parameters(notebook, values)
    if unknown is not None and settings.execution.unknown_parameters == "refuse":
        refusals.append(Failure(error_type=ErrorType.INVALID_PARAMETERS, message=unknown))
        unknown = None
    return Forecast(tuple(refusals), (*warnings, *(() if unknown is None else (unknown,))))


def misspelt(source: Source, names: Collection[str], settings: Settings) -> str | None:
    """Say which parameters are misspelt, as far as the notebook can be read; None if none is."""
    try:
        notebook = read_notebook(_bytes_of(source, settings)).notebook
    except Refused:
        return None
    return misspelt_parameters(notebook, names)


def _check_parameters(
    notebook: Mapping[str, Any], source: Source, values: Mapping[str, Any], settings: Settings
) -> tuple[str, ...]:
    """Check values against the types of a notebook and its sidecar; return what to warn of.

    Raises:
        Refused: a value does not fit, or the sidecar is wrong.
    """
    sidecar: Sidecar | None = None
    if isinstance(source, str):
        sidecar = sidecar_reader(settings.notebooks)(source)
    signature = signature_of(notebook, sidecar)
    today = datetime.now().astimezone().date()
    defaults = {} if sidecar is None else defaults_of(sidecar, today)
    signature.check({**defaults, **values})
    text = texts_for_values(notebook, signature, values)
    return (*signature.notes, *(() if text is None else (text,)))


def _bytes_of(source: Source, settings: Settings) -> bytes:
    if isinstance(source, str):
        return library_reader(settings.notebooks, int(settings.limits.notebook_mb * MEGABYTE))(
            source
        )
    return json.dumps(source, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _folder_of(source: Source, settings: Settings) -> str | None:
    """Return the folder in which a library notebook runs, for its neighbours' imports."""
    if isinstance(source, str):
        folder = settings.notebooks
        return str(folder / as_spelt(folder, PurePosixPath(source)).parent)
    return None
