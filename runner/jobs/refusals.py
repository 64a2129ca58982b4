"""Lists everything for which the runner would refuse a request or warn of it, without running it.

Calls the rules of admission and of preparation in their order. Holds none of its own.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, TypeVar

from runner.config import MEGABYTE, Settings
from runner.contract.outcome import ErrorType, Failure, Refused
from runner.contract.parameters import texts_for_values, unknown_parameters
from runner.contract.request import Form, read_request
from runner.execution.environment import clean_environment
from runner.execution.job.kernelspecs import installed_kernels
from runner.execution.job.preparation import check_modules, choose, read_notebook
from runner.inbox.library import as_spelt, library_reader

T = TypeVar("T")
Source = str | dict[str, Any]
"""A notebook's path in the library, or the notebook itself."""


@dataclass(frozen=True)
class Forecast:
    """The prospects of a request: reasons for a refusal, and warnings."""

    refusals: tuple[Failure, ...]
    warnings: tuple[str, ...] = ()


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
        refusals.extend(one.failure for one in settings.rules.refusals(checked))
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
    unknown = None if checked is None else unknown_parameters(notebook, checked.parameters)
    if unknown is not None and settings.execution.unknown_parameters == "refuse":
        refusals.append(Failure(error_type=ErrorType.INVALID_PARAMETERS, message=unknown))
        unknown = None
    text = None if checked is None else texts_for_values(notebook, checked.parameters)
    return Forecast(tuple(refusals), tuple(one for one in (text, unknown) if one is not None))


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
