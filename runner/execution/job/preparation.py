"""Prepares a run: reads the notebook, chooses its kernel, and checks its modules.

Asks that kernel's environment for the modules. Runs nothing.
"""

import logging
import os
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from nbformat import NotebookNode

from runner.contract.advice.packages import advice_on_missing
from runner.contract.advice.required_modules import required_modules
from runner.contract.notebook import (
    EXPECTED_TAG,
    KernelChoice,
    KernelRules,
    Unmarked,
    choose_kernel,
    code_sources,
    kernel_of,
    language_of,
    normalise,
    parse_checked,
    unmark,
)
from runner.contract.outcome import ErrorType, Failure, Refused
from runner.execution.job.early_changes import changes_imports, files_read
from runner.execution.job.importable import EnvironmentNotAnswering, missing_here, missing_in
from runner.execution.job.kernelspecs import Installed

log = logging.getLogger(__name__)

LOOKED_AT_CHARS = 200_000
LOOKED_AT_FILES = 500
READ_FILES = 50
_CONFIG_FOLDERS = ("/etc/ipython", "/usr/local/etc/ipython", f"{sys.prefix}/etc/ipython")
_MEANS_CODE = ("exec_lines", "exec_files", "extensions", "code_to_run", "module_to_run")


def read_notebook(raw: bytes) -> Unmarked:
    """Read a valid notebook from a file's bytes, without the marks of an earlier run.

    Raises:
        Refused: `invalid_notebook`.
    """
    return unmark(normalise(parse_checked(raw)))


def choose(
    notebook: NotebookNode,
    *,
    requested: str | None,
    allowed: Sequence[str],
    languages: Sequence[str],
    installed: Installed,
) -> KernelChoice:
    """Choose the kernel for a notebook, among those installed here.

    Raises:
        Refused: `kernel_not_allowed`, `language_not_allowed`.
    """
    return choose_kernel(
        KernelRules(allowed, languages, {name: one.language for name, one in installed.items()}),
        requested=requested,
        named=kernel_of(notebook),
        language=language_of(notebook),
    )


def changes_what_is_imported(
    notebook: NotebookNode, folder: str | None, environment: Mapping[str, str]
) -> bool:
    """Return whether it installs something or sets a variable, also in a file that runs with it.

    A preloaded kernel will not do then: it would give the older package, and libraries have read
    their variables already.
    """
    sources = code_sources(notebook)
    beside = _texts_beside(sources, folder) if folder is not None else []
    texts = (_text_of(path) for path in startup_files(environment))
    return changes_imports((*sources, *beside, *texts))


def _texts_beside(sources: Sequence[str], folder: str) -> Iterator[str]:
    """Read the files that these sources import or run, and those that these files import or run."""
    waiting = deque(files_read(sources))
    seen: set[str] = set()
    read = 0
    while waiting and read < READ_FILES:
        path = waiting.popleft()
        if path in seen or len(seen) >= LOOKED_AT_FILES:
            continue
        seen.add(path)
        text = _text_of(Path(folder, path))
        if text:
            read += 1
            waiting.extend(files_read([text], path))
            yield text


def startup_files(environment: Mapping[str, str]) -> list[Path]:
    """List IPython's start-up files, and its settings that may name more."""
    home = Path(environment.get("HOME") or Path.home())
    base = Path(environment.get("IPYTHONDIR") or home / ".ipython").expanduser()
    profile = base / "profile_default"
    files = [
        profile / "startup" / name
        for name in _names_in(profile / "startup")
        if name.endswith((".py", ".ipy"))
    ]
    for place in (profile, *map(Path, _CONFIG_FOLDERS)):
        files += [
            place / name
            for name in _names_in(place)
            if name.startswith("ipython") and name.endswith(("_config.py", "_config.json"))
        ]
    return sorted(files)


def _names_in(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:  # most of them are not there
        return []


def runs_code_first(environment: Mapping[str, str]) -> bool:
    """Return whether IPython runs code of the user before the first cell."""
    return any(
        path.parent.name == "startup" or any(word in _text_of(path) for word in _MEANS_CODE)
        for path in startup_files(environment)
    )


def _text_of(path: Path) -> str:
    """Read the beginning of a file; empty if it cannot be read."""
    try:
        if not path.is_file():
            return ""
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(LOOKED_AT_CHARS)
    except OSError:
        return ""


def _before_neighbours(modules: Sequence[str], folder: str | None) -> list[str]:
    """Keep the modules before the first neighbour of the notebook, which may change the path."""
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

    `python` is the kernel's interpreter; None for this one. An interpreter that gives no answer,
    such as a wrapper script, may still start the kernel. If IPython runs code of the user before
    the first cell, that may make more importable, so nothing is checked.

    Raises:
        Refused: `missing_dependencies`, naming them.
    """
    if choice.language != "python":
        return
    if runs_code_first(environment):
        return
    sources = code_sources(notebook)
    required = required_modules(sources)
    # What only a cell asks for that is meant to raise may well be missing.
    sure = code_sources(notebook, without=EXPECTED_TAG)
    surely = required if sure == sources else required_modules(sure)
    needed = [
        name for name in _before_neighbours(required.ordered, folder) if name in surely.ordered
    ]
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
        modules = [one for name in missing for one in required.imported_as(name)]
        advice = advice_on_missing(modules, python or sys.executable)
        provided = {name.partition(".")[0]: name for name in required.provided}
        missing = [provided.get(name, name) for name in missing]
        raise Refused(
            Failure(
                error_type=ErrorType.MISSING_DEPENDENCIES,
                message=f"Not installed for the kernel `{choice.name}`: {', '.join(missing)}. "
                f"{advice}",
                missing_modules=missing,
            )
        )
