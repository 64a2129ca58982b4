"""Describes the library to a model: titles, parameters with types and defaults, last runs.

Reads the folder and the ledger. Runs nothing.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from runner.contract.outcome import Refused
from runner.contract.parameters.schemas import in_words
from runner.contract.parameters.signature import Signature, TypedParameter
from runner.contract.request import library_path
from runner.contract.text.plain_text import one_line
from runner.inbox.library import (
    Listing,
    Shelved,
    as_spelt,
    library_reader,
    listing,
    probably_meant,
)
from runner.jobs.functions import Functions
from runner.jobs.problem import Problem
from runner.jobs.record import Record
from runner.mcp.answers import BadCall, past_the_end

PAGE = 40
PARAMETER_CHARACTERS = 200
GUESSED = "(probably: a guess by the default, not checked; all other types are)"


@dataclass(frozen=True)
class Shelf:
    """One library, and the record of its runs."""

    folder: Path
    functions: Functions
    record: Record
    max_bytes: int
    """Size of the largest notebook that is read."""

    def text(self, part: str, start: int) -> str:
        """Describe a page of the notebooks whose path has `part` in it.

        Raises:
            BadCall: `start` is past the last one. OSError: the folder cannot be read.
        """
        found = listing(self.folder)
        wanted = _wanted(found, self.path_of(part))
        page = wanted[start : start + PAGE]
        runs = self._runs() if page else {}
        lines = [self._described(one, runs, is_one=len(page) == 1) for one in page]
        if not lines and wanted:
            raise BadCall(past_the_end("start", "This list", len(wanted), "notebooks"))
        if not lines:
            return _nothing(found, part)
        if any(line.endswith("…") for text in lines for line in text.splitlines()):
            lines.append("(… is cut: `path` of one notebook gives all of it)")
        if any("\n  " in text and ": probably " in text for text in lines):
            lines.append(GUESSED)
        left = len(wanted) - start - len(page)
        if left > 0:
            lines.append(f"({left} more notebooks: start={start + PAGE}, or a part of the path)")
        if found.is_cut:
            lines.append("(the library has more than is listed; name a path to run it)")
        return "\n".join(lines)

    def path_of(self, path: str) -> str:
        """Return a path as the library has it.

        JupyterLab shows the library's folder before it, where it shows the runner's other folders.
        """
        wanted = path.strip().strip("/")
        inner = wanted.removeprefix(f"{self.folder.name}/")
        is_meant = not _is_file(self.folder / wanted) and _is_file(self.folder / inner)
        return inner if is_meant else wanted

    def has(self, path: str) -> bool:
        """Return whether a request may name it.

        Raises:
            Refused: no path could be meant.
        """
        return _is_file(self.folder / as_spelt(self.folder, library_path(path)))

    def is_there(self, path: str) -> bool:
        """Return whether the library has a file of this path now."""
        return _is_file(self.folder / path)

    def meant(self, path: str) -> str:
        """Ask whether a similar path was meant; empty if there is none."""
        if self.is_there(path):
            return ""
        return probably_meant(self.folder, PurePosixPath(path))

    def content(self, path: str) -> str:
        """Return a notebook's text.

        Raises:
            Refused
        """
        return library_reader(self.folder, self.max_bytes)(path).decode("utf-8", "replace")

    def paths(self) -> tuple[list[dict[str, str]], bool]:
        """List the notebooks, by path; and whether there are more."""
        try:
            found = listing(self.folder)
        except FileNotFoundError:  # it is made at the runner's first start
            return [], False
        paths = [one.path for one in found.notebooks]
        return [{"path": path, "uri": f"runner://notebooks/{path}"} for path in paths], found.is_cut

    def _runs(self) -> Mapping[str, Mapping[str, Any]]:
        try:
            return self.record.library_runs()
        except Problem:
            return {}

    def _described(
        self, one: Shelved, runs: Mapping[str, Mapping[str, Any]], *, is_one: bool
    ) -> str:
        try:
            function = self.functions.of(one.path)
        except Refused as refused:
            return f"{one.path}: cannot be run: {one_line(refused.failure.message)}"
        title = one_line(function.title)
        head = f"{one.path}: {title}" if title else one.path
        if (job := runs.get(one.path)) is not None:
            head += f" (last run {when(job['accepted_at'])}: {job['status']}, {job['job_id']})"
        return "\n".join([head, *_parameters(function.signature, is_one=is_one)])


def when(time: str) -> str:
    """Write a time of the ledger shortly, in UTC."""
    return f"{time[:19]}Z".replace("T", " ")


def _wanted(found: Listing, part: str) -> Sequence[Shelved]:
    """Return the notebook with exactly this path, or all with it in their path."""
    text = part.strip().strip("/").casefold()
    exact = [one for one in found.notebooks if one.path.casefold() == text]
    return exact or [one for one in found.notebooks if text in one.path.casefold()]


def _nothing(found: Listing, part: str) -> str:
    if not found.notebooks:
        return "The library has no notebooks."
    return f"No path of the library has {part[:200]!r} in it; without `path` all are listed."


def _parameters(signature: Signature, *, is_one: bool) -> Iterable[str]:
    for one in signature.parameters:
        text = _typed(one)
        is_long = len(text) > PARAMETER_CHARACTERS and not is_one
        yield f"  {one.name}: {text[:PARAMETER_CHARACTERS] + '…' if is_long else text}"


def _typed(one: TypedParameter) -> str:
    """Write the type, the default and the description of a parameter."""
    words = in_words(one.schema)
    if not one.is_declared and "type" in one.schema:
        words = f"probably {words}"
    if one.moving_default:
        words += f", default {one.moving_default}"
    elif one.code:
        words += f", default {one_line(one.code)}"
    elif "default" in one.schema:
        words += f", default {json.dumps(one.schema['default'], ensure_ascii=False)}"
    elif one.is_required:
        words += ", required"
    return f"{words} ({one_line(one.help)})" if one.help else words


def _is_file(path: Path) -> bool:
    """Return whether a file has this path; False also where no file can have it."""
    return os.path.isfile(path)  # noqa: PTH113 - `Path.is_file` raises for a long name
