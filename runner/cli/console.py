"""Formats tables and the summary of a finished job for a terminal.

Pure; foreign text leaves here without control characters.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from textwrap import wrap

from rich.cells import cell_len, set_cell_size

from runner.contract.outcome import ErrorType, Status, cells_in_words
from runner.contract.text.plain_text import one_line, visible
from runner.contract.text.strict_json import JsonValue, dumps_compact

NARROWEST = 12
GAP = "  "
VALUES = 12
"""Most results that a summary names; it counts the others."""
VALUE_CHARACTERS = 60
TRACEBACK_LINES = 12
FRAME_LINES = 8
CELL = re.compile(r"(Cell In|Input In ?)\[\d+\]")
"""Matches the beginning of a cell's lines in a traceback, by IPython's version."""


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], width: int | None, cut: Sequence[int] = ()
) -> list[str]:
    """Format one line for each row.

    In a terminal of `width`, the columns `cut` shrink until the table fits: the last of them first.
    Other columns, such as an id, stay whole.
    """
    cells = [[one_line(cell) for cell in row] for row in (header, *rows)]
    widths = [max(cell_len(row[n]) for row in cells) for n in range(len(header))]
    over = 0 if width is None else sum(widths) + len(GAP) * (len(widths) - 1) - width
    for column in reversed(cut):
        less = min(max(over, 0), max(widths[column] - NARROWEST, 0))
        widths[column] -= less
        over -= less
    return [GAP.join(map(_fit, row, widths)).rstrip() for row in cells]


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
        visible_lines = [visible(str(line)) for line in traceback]
        lines.extend(_traceback(visible_lines))
    results = report.get("results")
    named = list(results.items()) if isinstance(results, dict) else []
    facts = [(one_line(name), _brief(value)) for name, value in named[:VALUES]]
    if len(named) > VALUES:
        facts.append(("…", f"{len(named) - VALUES} more"))
    warnings = report.get("warnings")
    if isinstance(warnings, list):
        facts.extend(("warning", one_line(str(warning))) for warning in warnings)
    facts.extend((name, visible(str(path))) for name, path in paths.items())
    widest = max((cell_len(name) for name, _ in facts), default=0)
    lines.extend(f"  {set_cell_size(name, widest)}  {text}" for name, text in facts)
    return "\n".join(lines)


def title_of_notebook(report: Mapping[str, JsonValue]) -> str:
    """Say what the file `output_nb` is: a job that never ran publishes what was sent."""
    if report.get("error_type") == ErrorType.INVALID_REQUEST:
        return "request"
    has_run = report.get("started_at") is not None and report["status"] != Status.REJECTED
    return "executed notebook" if has_run else "notebook"


def _traceback(lines: Sequence[str]) -> list[str]:
    """Keep its end, and before that the cell's own line if the error arose below it."""
    left_out = len(lines) - TRACEBACK_LINES
    if left_out <= 0:
        return list(lines)
    cell = max((n for n, line in enumerate(lines) if CELL.match(line)), default=len(lines))
    frame = list(takewhile(str.strip, lines[cell:left_out]))[:FRAME_LINES]
    left_out -= len(frame)
    if left_out <= 1:
        return list(lines)
    return [*frame, f"[… {left_out} more lines …]", *lines[-TRACEBACK_LINES:]]


def _headline(report: Mapping[str, JsonValue]) -> str:
    """Write `loan succeeded in 0.7 s, 5 of 5 cells, job 9a1023f7`."""
    seconds = report["duration_seconds"]
    if isinstance(seconds, int | float):
        seconds = f"{seconds:.2g}" if seconds < 1 else f"{seconds:.1f}"
    said = f"{report['name']} {report['status']} in {seconds} s"
    how_far = cells_in_words(report)
    if how_far:
        said += f", {how_far}"
    return one_line(f"{said}, job {str(report['job_id'])[:8]}")


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
