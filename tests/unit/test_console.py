"""Tables and summaries: a row is a line, an id stays whole, nothing steers the terminal."""

from pathlib import Path

import pytest
from rich.cells import cell_len

from runner.cli.console import hanging, summary, table, title_of_notebook
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


@pytest.mark.parametrize("width", [80, 100, 200, None])
def test_a_row_is_a_line_and_its_id_is_whole(width: int | None) -> None:
    """However wide the terminal is, and in a pipe, where nothing is cut."""
    lines = table(HEADER, ROWS, width, cut=(1, 3))
    assert [line.split()[0] for line in lines] == ["job", "298854c0", "8f14e45f", "48a01fbd"]
    assert all(line.isprintable() for line in lines)
    assert width is None or max(map(cell_len, lines)) <= width
    assert "2026-11-24 04:16:11" in lines[2]
    if width is None:
        assert "報告書" * 20 in lines[2]


def test_a_long_name_is_cut_in_its_middle() -> None:
    """Names of one folder begin alike, and their ends tell them apart."""
    rows = [("298854c0", "sales/2026-11-24/europe/north/daily-report", "failed", "", "", "")]
    line = table(HEADER, rows, 60, cut=(1, 3))[1]
    assert line.startswith("298854c0  sales/")
    assert "…" in line
    assert "-report  failed" in line
    wide = table(HEADER, [("298854c0", "報告書" * 20, "failed", "", "", "")], 61, cut=(1, 3))
    assert cell_len(wide[1]) <= 61


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
    assert "line 3" not in said
    assert [line.split(maxsplit=1) for line in said if line.startswith("  ")][:2] == [
        ["rate", "1.5"],
        ["sales", "a table of 1 rows: a, b"],
    ]
    assert said[-1].split() == ["result", "outbox/loan.error.json"]
    assert len(said) < 40
    assert max(map(len, said)) < 100


def test_a_long_traceback_keeps_the_line_of_the_cell() -> None:
    """What a library says of itself helps less than which line called it."""
    library = [f"File lib.py:{n}, in call(x)" for n in range(30)]
    cell = ["Cell In[4], line 2", "      1 x = 1.5", "----> 2 linspace(0, 6, x)", ""]
    report: dict[str, JsonValue] = {
        "name": "plot",
        "status": "failed",
        "job_id": "298854c0" * 4,
        "duration_seconds": 0.7,
        "message": "In cell [4]: TypeError: no",
        "traceback": ["-" * 70, "TypeError", *cell, *library, "TypeError: no"],
    }
    said = summary(report, {}).splitlines()
    assert said[2:6] == [*cell[:3], "[… 22 more lines …]"]
    assert said[-1] == "TypeError: no"
    report["traceback"] = [*cell, *library[:12], "TypeError: no"]
    assert summary(report, {}).splitlines()[2:6] == [*cell[:3], "[… 2 more lines …]"]
    for few in (library[:11], library[:10]):
        report["traceback"] = [*cell, *few, "TypeError: no"]
        assert summary(report, {}).splitlines()[2:] == report["traceback"]
    report["traceback"] = [*library, *cell, "TypeError: no"]
    assert summary(report, {}).count("Cell In[4]") == 1


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
    assert title_of_notebook({"started_at": "2026-01-02T03:04:05Z", **changes}) == title


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
