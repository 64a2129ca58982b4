"""Tables and summaries: a row is a line, an id stays whole, nothing steers the terminal."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.cells import cell_len

from runner.cli.console import Listing, hanging, summary, table, title_of_notebook
from runner.contract.text.strict_json import JsonValue

HEADER = ("job id", "name", "status", "error", "accepted", "seconds")
ROWS = [
    (
        "298854c0",
        "reports/" + "a long name " * 9,
        "failed",
        "papermill_execution_error",
        "x" * 19,
        "1",
    ),
    ("8f14e45f", "報告書" * 20, "succeeded", "", "2026-11-24 04:16:11", "0.3"),
    ("48a01fbd", "two\nlines\x1b[2J", "timed_out", "timeout", "2026-11-24 04:16:11", "300.0"),
]


def listed(rows: Sequence[Sequence[str]]) -> Listing:
    return Listing(HEADER, rows, cut=("name", "error"))


@pytest.mark.parametrize("width", [80, 100, 200, None])
def test_a_row_is_a_line_and_its_id_is_whole(width: int | None) -> None:
    """However wide the terminal is, and in a pipe, where nothing is cut."""
    lines = table(width, listed(ROWS))
    assert [line.split()[0] for line in lines] == ["job", "298854c0", "8f14e45f", "48a01fbd"]
    assert all(line.replace("\t", " ").isprintable() for line in lines)
    assert width is None or max(map(cell_len, lines)) <= width
    assert "2026-11-24 04:16:11" in lines[2]
    if width is None:
        assert lines[2].split("\t")[1:4] == ["報告書" * 20, "succeeded", ""]


def test_a_long_name_is_cut_in_its_middle() -> None:
    """Names of one folder begin alike, and their ends tell them apart."""
    rows = [("298854c0", "sales/2026-11-24/europe/north/daily-report", "failed", "", "", "")]
    line = table(60, listed(rows))[1]
    assert line.startswith("298854c0  sales/")
    assert "…" in line
    assert "-report  failed" in line
    wide = table(61, listed([("298854c0", "報告書" * 20, "failed", "", "", "")]))
    assert cell_len(wide[1]) <= 61


def test_a_heading_is_never_cut() -> None:
    """Only what stands below it is."""
    header = ("job id", "name, notebook", "status")
    row = ("298854c0", "sales/2026-11-24/europe/north", "papermill_execution_error")
    head, line = table(40, Listing(header, [row], cut=("name, notebook",)))
    assert "name, notebook" in head
    assert "…" in line


def test_the_first_table_that_fits_is_taken() -> None:
    """A long name is cut before a column goes, and a column goes before a short name is cut."""
    names = ("name", "when")
    wide, narrow = (
        Listing(names, [("n" * 40, when), ("short", when)], cut=("name",))
        for when in ("2026-11-24 04:16:11", "04:16:11")
    )
    assert table(80, wide, narrow)[1] == "n" * 40 + "  2026-11-24 04:16:11"
    assert table(45, wide, narrow)[2].endswith("  2026-11-24 04:16:11")
    assert table(35, wide, narrow)[2].endswith("  04:16:11")
    assert table(None, wide, narrow)[1] == "n" * 40 + "\t2026-11-24 04:16:11"


def test_a_summary_says_how_it_ended_and_where_the_rest_lies() -> None:
    """Values on one line each, a table by its size, the failing line of a failure."""
    report: dict[str, JsonValue] = {
        "name": "loan",
        "status": "failed",
        "job_id": "298854c0" * 4,
        "duration_seconds": 0.7,
        "cells": {"total": 5, "executed": 3},
        "cell_index": 3,
        "error_type": "papermill_execution_error",
        "ename": "ValueError",
        "message": "In cell [3]: ValueError: \u202eno",
        "traceback": [*(f"line {n}" for n in range(30)), "----> 1 x = 1 / 0"],
        "results": {
            "rate": 1.5,
            "sales": {"columns": ["a", "b"], "index": [0], "data": [[1, 2]]},
            "cell_2": {"text/plain": "'x'\n" * 100},
            **{f"more{n}": n for n in range(20)},
        },
        "warnings": ["something"],
    }
    said = summary(report, {"result": Path("outbox/loan.error.json")}).splitlines()
    assert said[0] == "loan failed in 0.7 s, cell 3 of 5 failed, job 298854c0"
    assert said[1] == "In cell [3]: ValueError: \N{REPLACEMENT CHARACTER}no"
    assert "----> 1 x = 1 / 0" in said
    assert "line 9" not in said
    assert [line.split(maxsplit=1) for line in said if line.startswith("  ")][:2] == [
        ["rate", "1.5"],
        ["sales", "a table of 1 rows: a, b"],
    ]
    assert said[-1].split() == ["result", "outbox/loan.error.json"]
    assert len(said) < 40
    assert max(map(len, said)) < 100


def test_a_failure_is_told_by_the_cell_and_what_was_there() -> None:
    """What a library says of itself helps less than which line called it."""
    cell = ["Cell In[4], line 2", "      1 x = 1.5", "----> 2 linspace(0, 6, x)"]
    library = [f"File /x/site-packages/lib.py:{n}, in call(x)" for n in range(30)]
    report: dict[str, JsonValue] = {
        "name": "plot",
        "status": "failed",
        "job_id": "298854c0" * 4,
        "duration_seconds": 0.7,
        "message": "In cell [4]: TypeError: no",
        "traceback": ["-" * 70, *cell, "", *library, "", "TypeError: no"],
        "variables": {
            "x": {"type": "float", "function": "go"},
            "df": {"type": "pandas.DataFrame", "shape": [2, 3], "columns": ["a", "\u202eb"]},
        },
    }
    said = summary(report, {}).splitlines()
    assert said[2:] == [
        *cell,
        "[30 library frames, the last: lib.py:29, in call(x)]",
        "TypeError: no",
        "  variables  x float in go(); df pandas.DataFrame [2, 3] (a, \N{REPLACEMENT CHARACTER}b "
        "and 1 more)",
    ]


@pytest.mark.parametrize(
    ("changes", "title"),
    [
        ({"status": "succeeded"}, "executed notebook"),
        ({"status": "failed", "error_type": "timeout"}, "executed notebook"),
        ({"status": "rejected", "error_type": "missing_dependencies"}, "notebook"),
        ({"status": "cancelled", "error_type": "cancelled", "started_at": None}, "notebook"),
        ({"status": "rejected", "error_type": "invalid_request", "started_at": None}, "request"),
    ],
)
def test_only_what_ran_is_an_executed_notebook(changes: dict[str, JsonValue], title: str) -> None:
    """Else it is the notebook as it was sent, or no notebook at all."""
    has_run: dict[str, JsonValue] = {
        "started_at": "2026-01-02T03:04:05Z",
        "kernel": {"name": "python3"},
        "cells": {"total": 2, "executed": 1},
    }
    if title != "executed notebook":
        has_run["cells"] = {"total": 2, "executed": 0}
    assert title_of_notebook({**has_run, **changes}) == title


@pytest.mark.parametrize("width", [40, 80, 20])
def test_a_long_line_goes_on_below_itself(width: int) -> None:
    """In a terminal no word is cut, and columns stay free; in a pipe a line is a line."""
    text = "the folder was written, synced, renamed and removed " * 3
    before = "ok       inbox "
    lines = hanging(before, text.strip(), width)
    assert lines[0].startswith(before)
    assert " ".join(line[len(before) :] for line in lines) == text.strip()
    assert width == 20 or max(map(len, lines)) <= width
    assert hanging(before, text, None) == [before + text]
