"""Tells in which environment a kernel runs: its Python, and the packages that it finds.

By the folders of metadata beside them, whose names have both (the specification "Recording
installed projects"), so that nothing is imported or started.
"""

import hashlib
import os
import platform
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from runner import __version__
from runner.contract.outcome import Environment
from runner.system.files.disk import read_regular

_MOST_BYTES = 10_000
_MOST_FOLDERS = 32
_SETTLED_NS = 2_000_000_000
IMAGE = "RUNNER_IMAGE"
"""The variable that names the container's image, where somebody has set it."""

_METADATA = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9._-]*?)(?:-(\d[A-Za-z0-9.!+_]*))?(?:-py[0-9.]*)?\.(?:dist|egg)-info"
)
"""What names a package, and its version, as PEP 508 and PEP 440 have them; others are left out."""
_PYTHON = re.compile(r"python(3\.\d+)")
_VERSION = re.compile(r"^version(?:_info)?\s*=\s*(3\.[\d.]*\d)", re.M)

_Projects = tuple[tuple[str, str], ...]
"""Name and version of each package in a folder."""


@dataclass(frozen=True)
class Interpreter:
    """What runs a kernel's code. `path` is None for this interpreter.

    `own_packages`: the folder into which the run installs.
    """

    language: str
    path: str | None
    own_packages: str | None = None


def environment_of(
    kernel: Interpreter, variables: Mapping[str, str]
) -> tuple[Environment, str | None]:
    """Return the environment of a kernel, and its packages as `packages_in` lists them.

    `variables` are the environment variables of this process.
    """
    python, packages = None, None
    if kernel.language == "python":
        python = platform.python_version() if kernel.path is None else version_of(kernel.path)
        here = [one for one in sys.path if one]
        folders = here if kernel.path is None else folders_of(kernel.path)
        own = [] if kernel.own_packages is None else [kernel.own_packages]
        packages = packages_in([*own, *folders]) if folders else None
    environment = Environment(
        python=python,
        packages_sha256=None if packages is None else digest_of(packages),
        image=variables.get(IMAGE),
        runner=__version__,
    )
    return environment, packages


def packages_in(folders: Iterable[str]) -> str:
    """List the packages in folders, of which the first counts: a line `name==version` for each.

    Names are normalised as PEP 503 has it, and sorted.
    """
    return _listed(tuple(map(_projects, folders)))


@lru_cache(maxsize=4)
def _listed(folders: tuple[_Projects, ...]) -> str:
    found: dict[str, str] = {}
    for projects in folders:
        for name, version in projects:
            found.setdefault(name, version)
    return "".join(
        f"{name}=={version}\n" if version else f"{name}\n"
        for name, version in sorted(found.items())
    )


def digest_of(packages: str) -> str:
    """Return the SHA-256 of a list of packages."""
    return hashlib.sha256(packages.encode()).hexdigest()


def folders_of(python: str) -> list[str]:
    """List where another interpreter looks for packages, as far as its place tells.

    Empty where it is a script that starts one.
    """
    if not Path(python).name.startswith(("python", "pypy")):
        return []
    library = Path(python).parent.parent / "lib"
    kinds = ("python3.*/site-packages", "python3*/dist-packages")
    return [str(folder) for kind in kinds for folder in sorted(library.glob(kind))]


def version_of(python: str) -> str | None:
    """Return the version of another interpreter, as far as its place tells; None if not at all."""
    prefix = Path(python).parent.parent
    try:
        text = read_regular(prefix / "pyvenv.cfg")[:_MOST_BYTES].decode("utf-8", "replace")
    except OSError:
        text = ""
    if (said := _VERSION.search(text)) is not None:
        return said[1]
    names = (_PYTHON.search(folder) for folder in folders_of(python))
    return next((name[1] for name in names if name is not None), None)


_known: dict[str, tuple[tuple[int, ...], _Projects]] = {}
"""What was in each folder, and the folder's change that it was read after."""


def _projects(folder: str) -> _Projects:
    """Return name and version of each package in a folder; read anew only if the folder changed.

    What was changed just now may change again without a later time.
    """
    try:
        status = Path(folder).stat()
        change = (status.st_mtime_ns, status.st_ino, status.st_dev)
        known = _known.get(folder)
        if known is not None and known[0] == change:
            return known[1]
        projects = tuple(_read_projects(os.listdir(folder)))
    except OSError:  # what is on the path may be no folder, or none that is there
        return ()
    if time.time_ns() - status.st_mtime_ns > _SETTLED_NS:
        if len(_known) >= _MOST_FOLDERS:
            _known.clear()
        _known[folder] = change, projects
    return projects


def _read_projects(entries: Iterable[str]) -> Iterator[tuple[str, str]]:
    for entry in entries:
        if entry.endswith("-info") and (match := _METADATA.fullmatch(entry)):
            yield re.sub(r"[-_.]+", "-", match[1]).lower(), match[2] or ""
