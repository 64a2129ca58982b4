"""Everything that is found out about a notebook before a kernel is started for it.

Reads it, chooses its kernel and asks that kernel's environment for its modules. Runs nothing.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from nbformat import NotebookNode

from runner.execution.importable import EnvironmentNotAnswering, missing_here, missing_in
from runner.execution.kernelspecs import Installed
from runner.imports import required_modules
from runner.notebook import (
    KernelChoice,
    KernelRules,
    check,
    choose_kernel,
    code_sources,
    kernel_of,
    language_of,
    normalise,
    parse,
)
from runner.outcome import ErrorType, Failure, Refused, refuse

log = logging.getLogger(__name__)


def read_notebook(raw: bytes) -> NotebookNode:
    """A valid notebook out of a file's bytes.

    Raises:
        Refused: `invalid_notebook`.
    """
    try:
        document = parse(raw)
    except ValueError as error:
        raise refuse(
            ErrorType.INVALID_NOTEBOOK, f"This is no notebook: it is not JSON ({error})."
        ) from error
    return normalise(check(document))


def choose(
    notebook: NotebookNode,
    *,
    asked: str | None,
    allowed: Sequence[str],
    languages: Sequence[str],
    installed: Installed,
) -> KernelChoice:
    """The kernel that runs a notebook, among those installed here.

    Raises:
        Refused: `kernel_not_allowed`, `language_not_allowed`.
    """
    return choose_kernel(
        KernelRules(allowed, languages, {name: one.language for name, one in installed.items()}),
        asked=asked,
        named=kernel_of(notebook),
        language=language_of(notebook),
    )


def _before_neighbours(modules: Sequence[str], folder: str | None) -> list[str]:
    """The modules up to the first that lies beside the notebook: that one may change the path."""
    needed: list[str] = []
    for module in modules:
        if folder is not None and (
            Path(folder, f"{module}.py").exists() or Path(folder, module).exists()
        ):
            break
        needed.append(module)
    return needed


def check_modules(
    notebook: NotebookNode,
    choice: KernelChoice,
    python: str | None,
    folder: str | None,
    environment: Mapping[str, str],
) -> None:
    """Ask the kernel's environment for the modules that the notebook will surely import.

    `python` is the kernel's interpreter, None for this one. One that cannot be asked, such as a
    wrapper script, may still start the kernel.

    Raises:
        Refused: `missing_dependencies`, naming them.
    """
    if choice.language != "python":
        return
    needed = _before_neighbours(required_modules(code_sources(notebook)).ordered, folder)
    if not needed:
        return
    if python is None:
        missing = missing_here(needed, folder)
    else:
        try:
            missing = missing_in(python, needed, folder, env=environment)
        except EnvironmentNotAnswering as error:
            log.info("modules are not checked: %s", error)
            return
    if missing:
        raise Refused(
            Failure(
                error_type=ErrorType.MISSING_DEPENDENCIES,
                message=f"Not installed for the kernel `{choice.name}`: {', '.join(missing)}. "
                "Install what brings these modules, or let the notebook do it in its first cell "
                "(%pip install).",
                missing_modules=missing,
            )
        )
