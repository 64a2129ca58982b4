"""Reads the parameters file beside a notebook of the library: `NAME.parameters.yaml`.

Reads only, and nothing outside of the library.
"""

import os
from collections.abc import Callable
from pathlib import Path

from runner.contract.outcome import refuse
from runner.contract.parameters.sidecar import (
    MAX_BYTES,
    SUFFIX,
    SUFFIXES,
    Sidecar,
    SidecarError,
    read_sidecar,
    refuse_sidecar,
    stem_of,
)
from runner.contract.request import library_path
from runner.contract.states.status import ErrorType
from runner.inbox.library import as_spelt, open_regular

SidecarReader = Callable[[str], Sidecar | None]
"""Returns what lies beside a library notebook, by the notebook's path; raises `Refused`."""


def sidecar_bytes(folder: Path, path: str) -> bytes | None:
    """Return the bytes of the file beside a notebook; None if there is none.

    One byte more than is allowed is read of a file that is too long.

    Raises:
        Refused: `invalid_notebook`, it cannot be read; `invalid_request`, the path is none.
    """
    root = Path(os.path.realpath(folder))
    notebook = as_spelt(root, library_path(path))
    places = [root / notebook.with_name(stem_of(notebook.name) + end) for end in SUFFIXES]
    places = [one for one in places if os.path.lexists(one)]
    if not places:
        return None
    if len(places) > 1:
        error = SidecarError(f"{places[1].name!r} lies there too; keep one")
        raise refuse_sidecar(stem_of(str(notebook)) + SUFFIX, error)
    real = Path(os.path.realpath(places[0]))
    shown = f"The library's {places[0].relative_to(root).as_posix()!r}"
    if not real.is_relative_to(root):
        raise refuse(ErrorType.INVALID_NOTEBOOK, f"{shown} leads out of the library.")
    try:
        with open(real, "rb", opener=open_regular) as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise refuse(
            ErrorType.INVALID_NOTEBOOK, f"{shown} cannot be read ({error.strerror or error})."
        ) from error


def sidecar_reader(folder: Path) -> SidecarReader:
    """Make a reader of the files beside the notebooks below `folder`."""

    def read(path: str) -> Sidecar | None:
        raw = sidecar_bytes(folder, path)
        try:
            return None if raw is None else read_sidecar(raw)
        except SidecarError as error:
            raise refuse_sidecar(f"{stem_of(path)}{SUFFIX}", error) from error

    return read
