"""Describes jobs in a line each, with parameters and short results; reads times of models.

Pure, over the rows of the record.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

from runner.contract.displays import text_of_odd_numbers
from runner.contract.names import is_made_name
from runner.contract.states.status import Status
from runner.contract.states.words import without_cell
from runner.contract.text.plain_text import one_line
from runner.inbox.unclaimed import Waiting, content_of_one
from runner.jobs.record import Question
from runner.jobs.submit import Dropped, Unaccepted
from runner.mcp.answers import BadCall
from runner.mcp.runs.shelf import when

FACE = "mcp"
BY_CHARACTERS = 200
"""Longest `submitted_by` of a request."""
SUBMITTED = "submitted"
"""State of a request that no runner has accepted."""
RESULTS = 4
UNTAKEN = 20
"""Most files of the inbox that are named."""
VALUE_CHARACTERS = 60
PARAMETERS_CHARACTERS = 200
MESSAGE_CHARACTERS = 200
_OF_CELL = re.compile(r"cell_\d+")
"""Matches the name of a cell's result, by the execution count."""

_UNKNOWN = re.compile(r"(.+?) (?:is no parameter|are no parameters) of the notebook")
"""Matches the warning of `unknown_parameters`."""


def line_of(row: Mapping[str, Any]) -> str:
    """Describe a job: id, name, status, time, seconds, parameters, results or error."""
    sent = sent_path(row.get("submitted_by"))
    what = row.get("notebook") or (f"{sent} in JupyterLab" if sent else "")
    if not is_made_name(row["name"]):
        what = f"{row['name']} ({what})" if what else row["name"]
    is_new = row.get("state") == SUBMITTED
    status = "queued (submitted; no runner has accepted it)" if is_new else row["status"]
    if row.get("cancelled") and row["status"] in (Status.QUEUED, Status.RUNNING):
        status += ", is being cancelled"
    if row.get("waits_for"):
        status += f", waits for {row['waits_for']}"
    line = f"{row['job_id']} {what}".rstrip() + f": {status}, {when(row['accepted_at'])}"
    if row.get("seconds") is not None:
        line += f", {row['seconds']:g} s"
    if row.get("parameters"):
        line += f"; parameters {_short(row['parameters'], PARAMETERS_CHARACTERS)}"
    if unused := unused_in(row.get("warnings") or ()):
        line += f"; unused: {_cut(unused, PARAMETERS_CHARACTERS)}"
    if row.get("error_type"):
        message = without_cell(str(row["message"]))
        where = "" if row.get("cell_index") is None else f" in [{row['cell_index']}]"
        line += f"; {row['error_type']}{where}: {_cut(message, MESSAGE_CHARACTERS)}"
    elif row.get("results"):
        line += f"; {_results(row['results'])}"
    return line


def sent_from(path: str) -> str:
    """Say by whom a notebook of JupyterLab was submitted that was sent whole: its path too."""
    by = f"{FACE}:{path}"
    return by if len(by) <= BY_CHARACTERS else FACE


def sent_path(submitted_by: object) -> str | None:
    """Return the path in JupyterLab of a notebook that was sent whole; None if it was not."""
    face, colon, path = str(submitted_by).partition(":")
    return path if colon and face == FACE else None


def unused_in(warnings: Iterable[str]) -> str:
    """Name the parameters that a job's warnings call unknown; empty if there are none."""
    names = [match[1] for one in warnings if (match := _UNKNOWN.match(one))]
    return ", ".join(names).replace("`", "")


def row_of(request: Unaccepted) -> dict[str, Any]:
    """Describe a request that no runner has accepted, as a row of the record."""
    return {
        "job_id": request.job_id,
        "name": request.name,
        "status": Status.QUEUED,
        "state": SUBMITTED,
        "accepted_at": _at(request.at),
    }


def untaken_row(one: Dropped) -> dict[str, Any]:
    """Describe a file that nobody takes from the inbox, as one that stays there."""
    since = datetime.fromtimestamp(one.at, UTC).isoformat(timespec="seconds")
    if one.stays is not None:
        return content_of_one(Waiting(one.path, one.stays.reason, since, one.stays.detail))
    return {
        "path": one.path,
        "reason": "no_runner",
        "text": "no runner is up to take it",
        "advice": "Start `runner serve`",
        "since": since,
        "needs_care": True,
    }


def untaken_words(one: Dropped) -> str:
    """Say why a file of the inbox is no job yet."""
    if one.stays is None:
        return (
            f"{one.path} waits in the inbox and is no job yet, for no runner is up: "
            "start `runner serve`."
        )
    row = untaken_row(one)
    return f"{one.path} lies in the inbox, and no runner would take it: {row['text']}."


def untaken_line(files: Sequence[Dropped], question: Question) -> str | None:
    """Name the files of the inbox that nobody takes, as far as they answer a question."""
    fitting = [
        one for one in files if fits({"name": one.name, "accepted_at": _at(one.at)}, question)
    ]
    taken = [one_line(one.path) for one in fitting if one.stays is None]
    others = [
        f"{one_line(one.path)} ({untaken_row(one)['text']})"
        for one in fitting
        if one.stays is not None
    ]
    lines = []
    if taken:
        lines.append(
            f"(in the inbox, and no runner is up to take them: {_some(taken)}; "
            "`runner serve` runs them)"
        )
    if others:
        lines.append(f"(in the inbox, and no runner would take them: {_some(others)})")
    return "\n".join(lines) or None


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - UNTAKEN} more" if len(names) > UNTAKEN else ""
    return ", ".join(names[:UNTAKEN]) + more


def _at(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def fits(row: Mapping[str, Any], question: Question) -> bool:
    """Return whether such a row belongs to the answer to a question."""
    at = datetime.fromisoformat(row["accepted_at"])
    name, pattern = str(row["name"]), question.pattern
    if pattern is not None and name != pattern:
        has_marks = bool(set(pattern) & set("*?["))
        if not fnmatchcase(name, pattern if has_marks else f"{pattern}*"):
            return False
    return (
        question.name in (None, name)
        and question.notebook in (None, row.get("notebook"))
        and question.submitted_by in (None, row.get("submitted_by"))
        and (question.since is None or at >= question.since)
        and (question.until is None or at < question.until)
    )


def time_of(argument: str, text: str | None) -> datetime | None:
    """Read a time; one without a zone is UTC.

    Raises:
        BadCall
    """
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        raise BadCall(
            f"`{argument}` {text[:80]!r} is no time; write it like 2026-11-27T06:00:00Z"
            + (", or give a job's id (32 hex digits)." if argument == "before" else ".")
        ) from None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def _results(results: Mapping[str, Any]) -> str:
    """Name the first results with short values; a cell's by its value, as it has no name."""
    words = [
        _value(value) if _OF_CELL.fullmatch(name) else f"{name} = {_value(value)}"
        for name, value in list(results.items())[:RESULTS]
    ]
    more = len(results) - len(words)
    return ", ".join(words) + (f" and {more} more" if more > 0 else "")


def _value(value: object) -> str:
    if isinstance(value, dict) and {"columns", "data"} <= value.keys():
        return f"a table of {len(value['data'])} rows"
    if isinstance(value, dict) and value and all("/" in key for key in value):
        if (odd := text_of_odd_numbers(value)) is not None:
            return _cut(odd, VALUE_CHARACTERS)
        if "application/json" in value:
            return _short(value["application/json"], VALUE_CHARACTERS)
        if any(key.startswith("image/") for key in value):
            return "a picture"
        return _cut(str(value.get("text/plain", next(iter(value)))), VALUE_CHARACTERS)
    return _short(value, VALUE_CHARACTERS)


def _short(value: object, characters: int) -> str:
    return _cut(json.dumps(value, ensure_ascii=False, separators=(",", ":")), characters)


def _cut(text: str, characters: int) -> str:
    line = one_line(text)
    return line if len(line) <= characters else f"{line[: characters - 1]}…"
