"""Formats tables and the summary of a finished job for a terminal.

Pure; foreign text leaves here without control characters.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap

from rich.cells import cell_len, set_cell_size

from runner.contract.states.status import ErrorType
from runner.contract.states.words import cells_in_words, has_outputs_of, variables_in_words
from runner.contract.text.plain_text import one_line, visible
from runner.contract.text.strict_json import JsonValue, dumps_compact
from runner.contract.text.tracebacks import folded

NARROWEST = 12
READABLE = 20
"""Columns of a name that still tell it from others."""
GAP = "  "
VALUES = 12
"""Most results that a summary names; it counts the others."""
VALUE_CHARACTERS = 60
LAST_LINES = 5
TRACEBACK_LINES = 20


@dataclass(frozen=True)
class Listing:
    """A table as texts: its columns, its rows, and the columns that may be cut, the last first."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    cut: Sequence[str] = ()


def table(width: int | None, *listings: Listing) -> list[str]:
    """Format one line for each row.

    In a pipe, the first listing, whole, with tabs between its columns. In a terminal of `width`,
    the first listing that fits without cutting a name below `READABLE`, or else the last one.
    """
    if width is None:
        first = listings[0]
        return ["\t".join(map(one_line, row)).rstrip() for row in (first.header, *first.rows)]
    fitting = next((one for one in listings if _least(one) <= width), listings[-1])
    return _fitted(fitting, width)


def _least(listing: Listing) -> int:
    """Return how wide it is if its long cells are cut as far as they stay readable."""
    widths = [
        min(most, READABLE) if name in listing.cut else most
        for name, most in zip(listing.header, _widths(listing), strict=True)
    ]
    return sum(widths) + len(GAP) * (len(widths) - 1)


def _fitted(listing: Listing, width: int) -> list[str]:
    widths = _widths(listing)
    over = sum(widths) + len(GAP) * (len(widths) - 1) - width
    for name in (name for name in reversed(listing.cut) if name in listing.header):
        column = listing.header.index(name)
        narrowest = max(NARROWEST, cell_len(name))
        less = min(max(over, 0), max(widths[column] - narrowest, 0))
        widths[column] -= less
        over -= less
    cells = [[one_line(cell) for cell in row] for row in (listing.header, *listing.rows)]
    return [GAP.join(map(_fit, row, widths)).rstrip() for row in cells]


def _widths(listing: Listing) -> list[int]:
    columns = zip(listing.header, *listing.rows, strict=True)
    return [max(cell_len(one_line(cell)) for cell in column) for column in columns]


def hanging(before: str, text: str, width: int | None) -> list[str]:
    """Put text after `before`, wrapped between words and indented in a terminal of `width`."""
    if width is None or width < len(before) + NARROWEST:
        return [before + text]
    lines = wrap(text, width - len(before), break_long_words=False, break_on_hyphens=False)
    return [(" " * len(before) if n else before) + line for n, line in enumerate(lines or [""])]


def _fit(text: str, width: int) -> str:
    """Fit a text into so many columns, cut in its middle: the end of a name matters as much."""
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    end = (width - 1) // 2
    return set_cell_size(text, width - 1 - end) + "…" + set_cell_size(text[::-1], end)[::-1]


def summary(report: Mapping[str, JsonValue], paths: Mapping[str, Path]) -> str:
    """Summarise a finished job in a few lines: how it ended, its values, where the rest lies.

    `paths` are files to look at, by description.
    """
    lines = [_headline(report)]
    if report.get("message") is not None:
        lines.append(visible(str(report["message"])))
    traceback = report.get("traceback")
    if isinstance(traceback, list):
        texts = [str(line) for line in traceback]
        lines.extend(visible(line) for line in folded(texts, TRACEBACK_LINES))
    results = report.get("results")
    named = list(results.items()) if isinstance(results, dict) else []
    facts = [(one_line(name), _brief(value)) for name, value in named[:VALUES]]
    if len(named) > VALUES:
        facts.append(("…", f"{len(named) - VALUES} more"))
    warnings = report.get("warnings")
    if isinstance(warnings, list):
        facts.extend(("warning", one_line(str(warning))) for warning in warnings)
    if alive := variables_in_words(report):
        facts.append(("variables", one_line("; ".join(alive))))
    facts.extend((name, visible(str(path))) for name, path in paths.items())
    widest = max((cell_len(name) for name, _ in facts), default=0)
    lines.extend(f"  {set_cell_size(name, widest)}  {text}" for name, text in facts)
    return "\n".join(lines)


def unfinished(row: Mapping[str, JsonValue], progress: Mapping[str, JsonValue]) -> list[str]:
    """Say in a few lines how far a job is, and what it printed last; `progress` may be empty."""
    status = f"{row['name']} is {row['status']}"
    since = row.get("started_at") or row.get("accepted_at")
    if progress.get("cells"):
        status += f", cell {progress['cell']} of {progress['cells']}"
    elif "waiting_before" in progress:
        status += f", jobs before it: {progress['waiting_before']}"
    if since is not None:
        status += f", since {since}"
    lines = str(progress.get("log_tail") or "").rstrip().splitlines()[-LAST_LINES:]
    why = row.get("waits_for")
    return [
        one_line(f"{status}, job {str(row['job_id'])[:8]}"),
        *([] if why is None else [one_line(f"  waits for {why}")]),
        *(f"  {visible(line)}" for line in lines),
    ]


def without_files(row: Mapping[str, JsonValue]) -> list[str]:
    """Say in a few lines how a job ended whose files somebody, or the runner, has removed."""
    message = row.get("message")
    seconds = row.get("seconds")
    said = "" if seconds is None else f" in {_rounded(seconds)} s"
    return [
        one_line(f"{row['name']} {row['status']}{said}, job {str(row['job_id'])[:8]}"),
        *([] if message is None else [visible(str(message))]),
        *([] if row.get("notebook") is None else [one_line(f"  notebook  {row['notebook']}")]),
        "  Its files are not in the outbox any more. What is left is this record.",
    ]


def title_of_notebook(report: Mapping[str, JsonValue]) -> str:
    """Say what the file `output_nb` is: a job that never ran publishes what was sent."""
    if report.get("error_type") == ErrorType.INVALID_REQUEST:
        return "request"
    return "executed notebook" if has_outputs_of(report) else "notebook"


def _headline(report: Mapping[str, JsonValue]) -> str:
    """Write `loan succeeded in 0.7 s, 5 of 5 cells, job 9a1023f7`."""
    said = f"{report['name']} {report['status']} in {_rounded(report['duration_seconds'])} s"
    how_far = cells_in_words(report)
    if how_far:
        said += f", {how_far}"
    return one_line(f"{said}, job {str(report['job_id'])[:8]}")


def _rounded(seconds: JsonValue) -> str:
    if isinstance(seconds, int | float):
        return f"{seconds:.2g}" if seconds < 1 else f"{seconds:.1f}"
    return str(seconds)


def _brief(value: JsonValue) -> str:
    """Describe a result on one line: a value, the size of a table, or a cell's kinds of output."""
    if isinstance(value, dict) and {"columns", "data"} <= value.keys():
        columns, rows = value["columns"], value["data"]
        if isinstance(columns, list) and isinstance(rows, list):
            return one_line(f"a table of {len(rows)} rows: {', '.join(map(str, columns))}")[:100]
    if isinstance(value, dict) and isinstance(value.get("application/json"), (dict, list)):
        value = value["application/json"]
    elif isinstance(value, dict) and isinstance(value.get("text/plain"), str):
        value = value["text/plain"]
    text = value if isinstance(value, str) else dumps_compact(value).decode()
    text = one_line(text)
    return text if len(text) <= VALUE_CHARACTERS else f"{text[: VALUE_CHARACTERS - 1]}…"
