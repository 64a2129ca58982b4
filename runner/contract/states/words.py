"""Says in words how far a job got, by its report. Pure."""

import re
from collections.abc import Mapping
from typing import Any

from runner.contract.states.status import Status

_PLACE = re.compile(r"^(?:Cell In\[\d+\] \([^)]{1,40}\)|In cell \[\d+\]): ")
"""Matches what `cell_in_words` puts before a message, and what earlier versions put there."""


def cell_in_words(count: int, index: int | None) -> str:
    """Name a cell by both of its numbers, so that nobody takes one for the other.

    `count` is its execution count; `index` counts from 0, and is None for the cell of parameters
    that papermill added.
    """
    where = "the cell of the parameters" if index is None else f"cell_index {index}"
    return f"Cell In[{count}] ({where})"


def without_cell(message: str) -> str:
    """Remove the cell with which the message of a failure begins, if it does."""
    return _PLACE.sub("", message)


def did_not_run(report: Mapping[str, Any]) -> bool:
    """Return whether no cell was begun; what is published then is the notebook as it came."""
    begun = (report.get("cells") or {}).get("executed")
    return begun == 0 and report.get("status") != Status.SUCCEEDED


def has_outputs_of(report: Mapping[str, Any]) -> bool:
    """Return whether the outputs in the published notebook are those of this run.

    A run that was lost with its kernel leaves the notebook as it came, too.
    """
    kernel = report.get("kernel") or {}
    return not did_not_run(report) and kernel.get("name") is not None


def cells_in_words(report: Mapping[str, Any]) -> str:
    """Say how far a job got: `5 of 5 cells`, `2 of 5 cells begun`, `cell 2 of 5 failed`.

    Empty where that is not known.
    """
    cells = report.get("cells") or {}
    total, executed = cells.get("total", 0), cells.get("executed", 0)
    if not total:
        return "no code cells" if report.get("status") == Status.SUCCEEDED else ""
    if report.get("cell_index") is None or report.get("error_type") is None:
        return f"{executed} of {total} cells{' begun' if executed < total else ''}"
    return f"cell {executed} of {total} {'failed' if report.get('ename') else 'was running'}"


def variables_in_words(report: Mapping[str, Any]) -> list[str]:
    """Describe what was alive at a failure: `rows int in pick()`, `df pandas.DataFrame [2, 1] (a)`.

    Empty where the report does not say.
    """
    said = []
    for name, one in (report.get("variables") or {}).items():
        words = [name, str(one.get("type"))]
        if one.get("shape") is not None:
            words.append(str(one["shape"]))
        if one.get("columns"):
            more = (one.get("shape") or [0, 0])[-1] - len(one["columns"])
            columns = ", ".join(one["columns"]) + (f" and {more} more" if more > 0 else "")
            words.append(f"({columns})")
        if one.get("function"):
            words.append(f"in {one['function']}()")
        said.append(" ".join(words))
    return said
