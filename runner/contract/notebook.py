"""Checks whether a document is a notebook that may run, and completes a sparse one.

Owns the rules of a notebook (cells, an allowed kernel). Never changes its input. Pure.
"""

import copy
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from runner.contract.outcome import refuse
from runner.contract.states.status import ErrorType
from runner.contract.text.strict_json import clean

if TYPE_CHECKING:
    from nbformat import NotebookNode

Notebook = dict[str, Any]

SKIPPED_TAG = "skip-execution"
EXPECTED_TAG = "raises-exception"
"""Tag of a cell whose exception is meant: the cells below it run, and the run succeeds."""
PARAMETERS_TAG = "parameters"
INJECTED_TAG = "injected-parameters"
"""Tag of the cell in which papermill sets the parameters of a run."""
ERROR_TAG = "papermill-error-cell-tag"
"""Tag of the cells by which papermill points out where a run failed."""
_PYTHON_SIGNS = frozenset({".py", "text/x-python", "python", "ipython", "ipython3", "python3"})
_OTHER_LANGUAGES = re.compile(
    r"(i?r|irkernel|bash|z?sh|fish|go|gophernotes|rust|evcxr|js|jslab|node(js)?|deno|tslab|scala|almond"
    r"|spylon|java|i?java(script)?|typescript|kotlin|i?ruby|octave|matlab|imatlab|perl|iperl\d*|lua"
    r"|i?haskell|sas|stata|nbstata|pystata|x?sql|maxima|sage(math)?|wolfram\w*|prolog|swipl|php|erlang"
    r"|i?elixir|clojure|clojupyter|pwsh|powershell|\.net|c|c#|f#|csharp|fsharp|xcpp\d*|xc\d*|cling"
    r"|julia|apache_toree|toree|sparkr?|sparkkernel|coq|agda|ocaml|gap|singular|gnuplot|dot|forth|tcl"
    r"|fortran|swift|nim|zig|dart|raku|scheme|racket|calysto|lisp|xeus|vbnet)"
)
"""Parts of the names of kernels for other languages."""
_NAMES_PYTHON = re.compile(r"\bi?python", re.IGNORECASE)
"""Matches a display name: `Python 3 (ipykernel)`, `Python [conda env:maps]`."""
_CELL_TYPES = frozenset({"code", "markdown", "raw", "heading"})
_MAJOR = re.compile(r"([1-9])(\.\d{1,2})?", re.ASCII)
_CELL_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
MISFITS_OF_A_CELL = 20
"""How many misfits of a cell are mended: a validator reports one at a time."""
_UNTITLED = re.compile(r"Untitled\d*", re.IGNORECASE)


def parse(raw: bytes) -> object:
    """Parse JSON from a file's bytes, with or without a byte order mark.

    Raises:
        ValueError: it does not parse; no prefix of a notebook does.
    """
    try:
        return json.loads(raw)
    except RecursionError as error:
        raise ValueError("it is nested too deeply to be read") from error
    except ValueError as error:
        raise ValueError(_instead(raw) or str(error)) from error


def _instead(raw: bytes) -> str | None:
    """Name a kind of file that people drop instead of a notebook without knowing."""
    start = raw[:200].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not raw.strip(b"\xef\xbb\xbf\0 \t\r\n"):
        return (
            "it holds zeros only; copy it once more"
            if b"\0" in raw
            else "it is empty; save it or copy it once more"
        )
    if start.startswith((b"<!doctype", b"<html")):
        return "it is a web page; download the file itself"
    if start.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS; fetch the file with `git lfs pull`"
    if any(raw.startswith(b"<<<<<<< ", place + 1) for place in (-1, raw.find(b"\n<<<<<<< "))):
        return "it has marks of a merge conflict; resolve it first"
    return None


def parse_checked(raw: bytes) -> Notebook:
    """Parse a notebook's bytes, and check it from outside.

    Raises:
        Refused: `invalid_notebook`, saying why it is none.
    """
    try:
        document = parse(raw)
    except ValueError as error:
        raise refuse(
            ErrorType.INVALID_NOTEBOOK, f"This is no notebook: it is not JSON ({error})."
        ) from error
    return check(document)


def check(document: object) -> Notebook:
    """Check a document from outside only, and return it as a notebook; `normalise` does the rest.

    Raises:
        Refused: `invalid_notebook`, saying what is missing.
    """
    if not isinstance(document, dict):
        raise _invalid(f"its top level is a {type(document).__name__}, not a mapping")
    if not isinstance(document.get("cells"), list) and "worksheets" not in document:
        raise _invalid("it has no list of `cells`")
    return document


def code_sources(document: object, without: str | None = None) -> list[str]:
    """Return the source of every code cell that would be executed, in order; nbformat 3 and 4.

    Args:
        document: The notebook.
        without: A tag; cells that have it are left out too.
    """
    return [
        source_of(cell)
        for cell in _cells(document)
        if cell.get("cell_type") == "code"
        and SKIPPED_TAG not in (tags := tags_of(cell))
        and without not in tags
    ]


def is_untitled(stem: str) -> bool:
    """Return whether a file's name is one that JupyterLab gives a new notebook."""
    return _UNTITLED.fullmatch(stem) is not None


def is_blank(document: object) -> bool:
    """Return whether it has cells, and nothing is written in any of them."""
    if not isinstance(document, dict) or not isinstance(document.get("cells"), list):
        return False
    return not any(source_of(cell).strip() for cell in _cells(document))


def has_code(document: object) -> bool:
    """Return whether any cell is code; without, somebody may have only begun to write it."""
    return any(cell.get("cell_type") == "code" for cell in _cells(document))


def source_of(cell: Mapping[str, Any]) -> str:
    """Return a cell's source as one string; nbformat 3 calls it `input`."""
    source = cell.get("source", cell.get("input", ""))
    if isinstance(source, list):
        return "".join(part for part in source if isinstance(part, str))
    return source if isinstance(source, str) else ""


def tags_of(cell: Mapping[str, Any]) -> Sequence[str]:
    """Return a cell's tags; none if its metadata are missing or malformed.

    Hand-written notebooks may hold them as one text, with commas between.
    """
    metadata = cell.get("metadata")
    tags = metadata.get("tags") if isinstance(metadata, dict) else None
    texts = [tags] if isinstance(tags, str) else tags if isinstance(tags, list) else []
    parts = (part for text in texts if isinstance(text, str) for part in text.split(","))
    return [tag for part in parts if (tag := part.strip())]


def normalise(document: Notebook) -> "NotebookNode":
    """Make a valid nbformat 4.5 notebook from a sparse, old or slightly broken one.

    Adds missing parts (format, metadata, ids), upgrades older formats, and drops old outputs, which
    execution would replace anyway. The input stays as it is.

    Raises:
        Refused: `invalid_notebook`, naming the cell where there is one.
    """
    try:
        return _normalise(document)
    except RecursionError as error:
        raise _invalid("it is nested too deeply") from error


def _normalise(document: Notebook) -> "NotebookNode":
    import nbformat  # imported here: it takes half a second, which only a run should cost

    upgraded = _upgrade(document)
    cells = upgraded.get("cells")
    if not isinstance(cells, list):
        raise _invalid("its `cells` are no list")
    metadata = upgraded.get("metadata")
    whole: dict[str, Any] = {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": _metadata(metadata if isinstance(metadata, dict) else {}),
        "cells": [],
    }
    taken: set[str] = set()
    for index, cell in enumerate(cells):
        whole["cells"].append(_cell(cell, index, taken))
    node: NotebookNode = nbformat.from_dict(whole)
    _make_valid(node)
    return node


def _make_valid(node: "NotebookNode") -> None:
    """Leave out metadata that do not fit the format: no run depends on them.

    Raises:
        Refused: something else does not fit.
    """
    from nbformat.validator import iter_validate

    for _ in range(MISFITS_OF_A_CELL):
        misfits = list(iter_validate(node))
        if not misfits:
            return
        left_out = [_leave_out(node, tuple(one.absolute_path)) for one in misfits]
        if not all(left_out):
            break
    place = "/".join(str(part) for part in misfits[0].absolute_path)
    raise _invalid(f"{misfits[0].message[:200]} (at {place or 'the top level'})")


def _leave_out(node: Any, path: Sequence[str | int]) -> bool:
    """Remove the entry if the path leads into metadata; return whether it did."""
    for part, key in pairwise(path):
        if part == "metadata":
            node[part].pop(key, None)
            return True
        node = node[part]
    return False


@dataclass(frozen=True)
class Unmarked:
    """A notebook without the marks of an earlier run."""

    notebook: "NotebookNode"
    positions: Sequence[int]
    """Position of each cell in the original notebook."""
    note: str | None = None
    """Warning about its parameters if the request gives none."""


def unmark(notebook: "NotebookNode") -> Unmarked:
    """Remove papermill's cells from an executed notebook that is run again.

    Injected parameters stay if there is no cell tagged `parameters`, because nothing else sets
    them.
    """
    has_defaults = any(PARAMETERS_TAG in tags_of(cell) for cell in notebook.cells)
    added = {ERROR_TAG, INJECTED_TAG} if has_defaults else {ERROR_TAG}
    kept = [
        (index, cell)
        for index, cell in enumerate(notebook.cells)
        if added.isdisjoint(tags_of(cell))
    ]
    note = None
    if any(INJECTED_TAG in tags_of(cell) for cell in notebook.cells):
        note = (
            "An earlier run had put parameters into this notebook; they were left out, and it ran "
            "with its own. Give parameters with the request to run with others."
            if has_defaults
            else "The notebook ran with the parameters that an earlier run had put into it, since "
            f"it has no cell tagged `{PARAMETERS_TAG}`."
        )
    whole = type(notebook)({**notebook, "cells": [cell for _, cell in kept]})
    return Unmarked(whole, tuple(index for index, _ in kept), note)


def language_of(document: Mapping[str, Any]) -> str | None:
    """Return the notebook's language in lower case, if its metadata tell."""
    metadata = document.get("metadata")
    if not isinstance(metadata, dict):
        return None
    for section, key in (("kernelspec", "language"), ("language_info", "name")):
        inner = metadata.get(section)
        if isinstance(inner, dict) and isinstance(inner.get(key), str) and inner[key]:
            language = str(inner[key]).lower()
            return "python" if language in _PYTHON_SIGNS else language
    if _PYTHON_SIGNS & set(_texts(metadata.get("language_info"))):
        return "python"
    spec = metadata.get("kernelspec")
    display_name = spec.get("display_name") if isinstance(spec, dict) else None
    return (
        "python" if isinstance(display_name, str) and _NAMES_PYTHON.search(display_name) else None
    )


def _texts(value: object) -> Iterable[str]:
    """Return every text in a mapping of the metadata, and one level below, in lower case."""
    for inner in value.values() if isinstance(value, dict) else ():
        if isinstance(inner, str):
            yield inner.lower()
        elif isinstance(inner, dict):
            yield from (one.lower() for one in inner.values() if isinstance(one, str))


def kernel_of(document: Mapping[str, Any]) -> str | None:
    """Return the name of the notebook's kernelspec."""
    metadata = document.get("metadata")
    spec = metadata.get("kernelspec") if isinstance(metadata, dict) else None
    name = spec.get("name") if isinstance(spec, dict) else None
    return name if isinstance(name, str) and name else None


@dataclass(frozen=True)
class KernelRules:
    """The allowed kernelspecs and languages (lower case), and the installed kernels."""

    allowed: Sequence[str]
    languages: Sequence[str]
    installed: Mapping[str, str]
    """Language in lower case by kernelspec name."""


@dataclass(frozen=True)
class KernelChoice:
    """The kernelspec to run with, its language, and the requested one."""

    name: str
    language: str
    requested: str | None


def choose_kernel(
    rules: KernelRules, *, requested: str | None, named: str | None, language: str | None
) -> KernelChoice:
    """Decide which kernel runs a notebook.

    `requested` is the request's `kernel`; `named` and `language` are the notebook's own. If the
    kernelspec of a Python notebook is not installed here, the first allowed Python kernel runs it:
    names such as `conda-env-x-py`, `venv` or `myproject` mean nothing on another machine.

    Raises:
        Refused: `kernel_not_allowed` or `language_not_allowed`, naming it and what is allowed.
    """
    want = requested or named
    if want is not None and want in rules.installed:
        return _allowed(rules, want, want)
    if requested is not None:
        raise _no_kernel(rules, f"The kernel `{requested}` is not installed here")
    spoken = language or _guess_language(want)
    if want is not None and spoken != "python":
        raise _no_kernel(rules, f"The kernel `{want}` is not installed here")
    spoken = spoken or "python"
    if spoken not in rules.languages:
        raise refuse(
            ErrorType.LANGUAGE_NOT_ALLOWED,
            f"The language `{spoken}` is not allowed here; allowed: {_list(rules.languages)} "
            "(kernels.languages).",
        )
    name = next((k for k in rules.allowed if rules.installed.get(k) == spoken), None)
    if name is None:
        raise _no_kernel(rules, f"No allowed kernel for `{spoken}` is installed here")
    return _allowed(rules, name, want)


def _allowed(rules: KernelRules, name: str, requested: str | None) -> KernelChoice:
    if name not in rules.allowed:
        raise _no_kernel(rules, f"The kernel `{name}` is not allowed here")
    language = rules.installed[name]
    if language not in rules.languages:
        raise refuse(
            ErrorType.LANGUAGE_NOT_ALLOWED,
            f"The kernel `{name}` speaks `{language}`, which is not allowed here; allowed: "
            f"{_list(rules.languages)} (kernels.languages).",
        )
    return KernelChoice(name, language, requested)


def _guess_language(kernel: str | None) -> str | None:
    """Guess Python from the name alone: people name the kernels of their environments as they like.

    None if the name is that of another language.
    """
    if kernel is None:
        return None
    parts = [part for part in re.split(r"[-_\s/]+|(?<=[a-z])(?=\d)", kernel.lower()) if part]
    if "py" in parts or "python" in kernel.lower():
        return "python"
    return None if any(_OTHER_LANGUAGES.fullmatch(part) for part in parts) else "python"


def _no_kernel(rules: KernelRules, why: str) -> Exception:
    return refuse(
        ErrorType.KERNEL_NOT_ALLOWED, f"{why}; allowed: {_list(rules.allowed)} (kernels.allowed)."
    )


def _list(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"


def _invalid(why: str) -> Exception:
    return refuse(ErrorType.INVALID_NOTEBOOK, f"This is no notebook that can run: {why}.")


def _cells(document: object) -> list[dict[str, Any]]:
    if not isinstance(document, dict):
        return []
    cells = document.get("cells")
    if not isinstance(cells, list):
        sheets = document.get("worksheets")
        cells = [
            cell
            for sheet in (sheets if isinstance(sheets, list) else [])
            if isinstance(sheet, dict) and isinstance(sheet.get("cells"), list)
            for cell in sheet["cells"]
        ]
    return [cell for cell in cells if isinstance(cell, dict)]


def _upgrade(document: Notebook) -> Mapping[str, Any]:
    import nbformat

    major = _major(document)
    if not isinstance(major, int) or major > nbformat.current_nbformat:
        raise _invalid(
            f"its nbformat is {major!r}; formats up to {nbformat.current_nbformat} are known"
        )
    if major == nbformat.current_nbformat:
        return document
    try:
        old = nbformat.from_dict({**_with_whole_texts(document), "nbformat": major})
        return nbformat.convert(old, nbformat.current_nbformat)  # type: ignore[no-any-return]
    except Exception as error:
        raise _invalid(f"nbformat {major} could not be upgraded ({error!r})") from error


def _with_whole_texts(document: Notebook) -> Notebook:
    """Join texts that nbformat 3 and older keep as lists of lines, and drop outputs."""
    whole = copy.deepcopy(document)
    for cell in _cells(whole):
        for key in ("input", "source", "rendered"):
            lines = cell.get(key)
            if isinstance(lines, list) and lines and all(isinstance(one, str) for one in lines):
                cell[key] = ("" if lines[0].endswith(("\n", "\r")) else "\n").join(lines)
        if cell.get("cell_type") == "code":
            cell["outputs"] = []
    return whole


def _major(document: Notebook) -> object:
    """Return the whole part of its format's number, which programs also write as `4.5` or `"4"`."""
    major = document.get("nbformat")
    if major is None:
        return 3 if "worksheets" in document else 4
    match = _MAJOR.fullmatch(str(major))
    return major if match is None else int(match[1])


def _metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    kept = {
        key: copy.deepcopy(value)
        for key, value in metadata.items()
        if key not in ("kernelspec", "language_info", "papermill", "widgets", "orig_nbformat")
    }
    for key, needed in (("kernelspec", "name"), ("language_info", "name")):
        section = metadata.get(key)
        if isinstance(section, dict) and isinstance(section.get(needed), str):
            kept[key] = copy.deepcopy(section)
    spec = kept.get("kernelspec")
    if spec is not None and not isinstance(spec.get("display_name"), str):
        spec["display_name"] = spec["name"]
    return kept


def _cell(cell: object, index: int, taken: set[str]) -> dict[str, Any]:
    if not isinstance(cell, dict):
        raise _invalid(f"cell {index} is a {type(cell).__name__}, not a mapping")
    kind = cell.get("cell_type")
    if not isinstance(kind, str) or kind not in _CELL_TYPES:
        raise _invalid(
            f"cell {index} has the `cell_type` {kind!r}; code, markdown and raw are known"
        )
    whole: dict[str, Any] = {
        "cell_type": "markdown" if kind == "heading" else kind,
        "id": _cell_id(cell.get("id"), index, taken),
        "metadata": _cell_metadata(cell),
        "source": _cell_source(cell, index),
    }
    if kind == "code":
        return {**whole, "outputs": [], "execution_count": None}
    if isinstance(cell.get("attachments"), dict):
        whole["attachments"] = copy.deepcopy(cell["attachments"])
    return whole


def _cell_id(value: object, index: int, taken: set[str]) -> str:
    cell_id = value if isinstance(value, str) and _CELL_ID.fullmatch(value) else f"cell-{index}"
    count = 0
    while cell_id in taken:
        cell_id = f"cell-{index}-{count}" if count else f"cell-{index}"
        count += 1
    taken.add(cell_id)
    return cell_id


def _cell_metadata(cell: Mapping[str, Any]) -> dict[str, Any]:
    metadata = cell.get("metadata")
    kept = copy.deepcopy(metadata) if isinstance(metadata, dict) else {}
    kept["tags"] = list(dict.fromkeys(tags_of(cell)))
    if not isinstance(kept.get("jupyter", {}), dict):
        del kept["jupyter"]
    kept.pop("papermill", None)
    return kept


def _cell_source(cell: Mapping[str, Any], index: int) -> str:
    source = cell.get("source", cell.get("input", ""))
    if source is None:
        return ""
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    if isinstance(source, str):
        return str(clean(source))
    raise _invalid(f"the source of cell {index} is neither text nor a list of lines")
