"""The notebooks of the library as functions: the types, the title and the description of each.

Reads a notebook once while it and the file beside it do not change, and only for a moment at each
look. Runs nothing.
"""

import hashlib
import re
import time
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from runner.config import MEGABYTE, Settings
from runner.contract.notebook import parse_checked, source_of, tags_of
from runner.contract.outcome import Refused
from runner.contract.parameters.from_texts import from_texts
from runner.contract.parameters.listing import without_halves
from runner.contract.parameters.sidecar import SUFFIXES, Sidecar, defaults_of, stem_of
from runner.contract.parameters.signature import Signature, signature_of
from runner.contract.request import library_path
from runner.inbox.library import as_spelt, library_reader, listing
from runner.inbox.sidecars import sidecar_reader

LOOK_SECONDS = 1.0
"""How long one look at the library may read; the other notebooks come with the next look."""
MAX_DESCRIPTION = 1_000
MAX_TITLE = 120
MAX_KEPT = 2_000
MAX_NAME = 64
"""Longest name that every client of tools takes."""
TOOL = "tool"
"""Tag of a cell that makes its notebook a tool for agents."""
_TITLE = "Tool:"
_State = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Function:
    """A notebook of the library. `title` and `description` are of its first Markdown cell.

    `defaults`: those of the file beside it, which a request gets if it leaves them out.
    """

    path: str
    signature: Signature
    title: str = ""
    description: str = ""
    is_tool: bool = False
    sidecar: Sidecar | None = None

    def check(self, values: Mapping[str, Any]) -> None:
        """Refuse values that the runner would refuse.

        Raises:
            Refused: `invalid_parameters`.
        """
        defaults: Mapping[str, Any] = {}
        if self.sidecar is not None:
            defaults = defaults_of(self.sidecar, datetime.now().astimezone().date())
        self.signature.check({**defaults, **values})


class Functions:
    """The functions of one library. Safe for many threads: at worst, a notebook is read twice."""

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.notebooks
        max_bytes = int(settings.limits.notebook_mb * MEGABYTE)
        self._notebook = library_reader(self._folder, max_bytes)
        self._sidecar = sidecar_reader(self._folder)
        self._known: dict[str, tuple[_State, Function | Refused]] = {}
        self._messages: dict[str, tuple[_State, str]] = {}

    def of(self, path: str) -> Function:
        """Return a notebook of the library as a function.

        Raises:
            Refused: it is not there, is no notebook, or the file beside it is wrong.
        """
        known = self._look(path)
        if isinstance(known, Refused):
            raise Refused(known.failure)  # one that is raised often would grow
        return known

    def typed(self, request: Mapping[str, Any], texts: Collection[str]) -> dict[str, Any]:
        """Return a request, its parameters named in `texts` with the types that its notebook wants.

        A notebook that cannot be read leaves them: its job says why.
        """
        parameters = request.get("parameters")
        if not isinstance(parameters, dict) or not texts:
            return dict(request)
        try:
            signature = self.of(str(request.get("notebook"))).signature
        except Refused:
            return dict(request)
        return {**request, "parameters": from_texts(parameters, texts, signature)}

    def all(self) -> Iterator[Function | tuple[str, Refused]]:
        """Yield the functions by path, as far as they are known after a moment.

        Yield the path and the reason for one that cannot be run.

        Raises:
            OSError: the library cannot be read.
        """
        deadline = time.monotonic() + LOOK_SECONDS
        for one in listing(self._folder).notebooks:
            if one.path not in self._known and time.monotonic() > deadline:
                continue
            known = self._look(one.path)
            yield (one.path, known) if isinstance(known, Refused) else known

    def broken(self, paths: Iterable[str]) -> dict[str, str]:
        """Say for each notebook whose own parameters file is wrong, why; as far as is known."""
        deadline = time.monotonic() + LOOK_SECONDS
        messages = {}
        for path in paths:
            if time.monotonic() > deadline:
                break
            message = self._message(path)
            if message:
                messages[path] = message
        return messages

    def _message(self, path: str) -> str:
        """Say why the parameters file of a notebook is wrong; empty if it is not, or not there."""
        state = _state_of(self._folder, path)
        known_state, message = self._messages.get(path, (None, ""))
        if known_state == state:
            return message
        try:
            self._sidecar(path)
            message = ""
        except Refused as refused:
            message = refused.failure.message
        if len(self._messages) >= MAX_KEPT:
            self._messages.clear()
        self._messages[path] = state, message
        return message

    def _look(self, path: str) -> Function | Refused:
        try:
            state = _state_of(self._folder, path)
        except Refused as refused:
            return refused
        known_state, known = self._known.get(path, (None, None))
        if known is None or known_state != state:
            known = self._read(path)
            if len(self._known) >= MAX_KEPT:
                self._known.clear()
            self._known[path] = state, known
        return known

    def _read(self, path: str) -> Function | Refused:
        try:
            notebook = parse_checked(self._notebook(path))
            return _function(path, notebook, self._sidecar(path))
        except Refused as refused:
            return refused


def _state_of(folder: Path, path: str) -> _State:
    """Return size and times of a notebook and of the files beside it, which show a change.

    Raises:
        Refused: no path could be meant.
    """
    notebook = folder / as_spelt(folder, library_path(path))
    states = []
    for suffix in (".ipynb", *SUFFIXES):
        try:
            status = notebook.with_name(stem_of(notebook.name) + suffix).stat()
        except OSError:
            states.append((-1, -1, -1))
        else:
            states.append((status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    return tuple(states)


def _function(path: str, notebook: Mapping[str, Any], sidecar: Sidecar | None) -> Function:
    text = _first_markdown(notebook)
    heading = next((line for line in text.splitlines() if line.startswith("#")), "")
    title = heading.lstrip("#").strip()[:MAX_TITLE]
    is_titled = title.startswith(_TITLE)
    is_tagged = any(TOOL in tags_of(cell) for cell in _cells(notebook))
    declared = sidecar or Sidecar()
    title = title.removeprefix(_TITLE).strip()
    if is_titled:
        text = re.sub(rf"{_TITLE}[ \t]*", "", text, count=1)
    return Function(
        path=path,
        signature=signature_of(notebook, sidecar),
        title=declared.title or title,
        description=_cut(declared.description or text),
        is_tool=is_titled or is_tagged or declared.is_tool,
        sidecar=sidecar,
    )


def _cells(notebook: Mapping[str, Any]) -> list[dict[str, Any]]:
    cells = notebook.get("cells")
    return [one for one in cells if isinstance(one, dict)] if isinstance(cells, list) else []


def _first_markdown(notebook: Mapping[str, Any]) -> str:
    cells = (one for one in _cells(notebook) if one.get("cell_type") == "markdown")
    cell = next(cells, None)
    return "" if cell is None else without_halves(source_of(cell).strip()[:10_000])


def _cut(text: str) -> str:
    text = text.strip()
    return text if len(text) <= MAX_DESCRIPTION else f"{text[: MAX_DESCRIPTION - 1].rstrip()}…"


def names_of(paths: Iterable[str], taken: Collection[str] = ()) -> dict[str, str]:
    """Give each path a name of `a-z`, `0-9` and `_`, of 64 characters at the most.

    Paths that would have one name, or a name in `taken`, get a hash at its end.
    """
    names = {path: _name_of(path) for path in paths}
    counts = Counter(names.values())
    return {
        path: name if counts[name] == 1 and name not in taken else _hashed(name, path)
        for path, name in names.items()
    }


def _name_of(path: str) -> str:
    plain = unicodedata.normalize("NFKD", stem_of(path)).encode("ascii", "ignore").decode()
    name = re.sub(r"[^a-z0-9]+", "_", plain.lower()).strip("_")
    if not name[:1].isalpha():
        name = f"notebook_{name}".rstrip("_")
    return name if len(name) <= MAX_NAME else _hashed(name, path)


def _hashed(name: str, path: str) -> str:
    digest = hashlib.sha256(path.encode()).hexdigest()[:8]
    return f"{name[: MAX_NAME - 9].rstrip('_')}_{digest}"
