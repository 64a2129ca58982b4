"""Promises about what a model sees of a job."""

import json
from typing import Any

from runner.mcp.runs.summary import RESULTS_CHARACTERS, progress_line, sentence, shown

Json = dict[str, Any]
ID = "0" * 31 + "1"
DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNgYGAAAAAEAAH2FzhVAAAAAElFTkSuQmCC"


def finished(results: Json | None = None, **given: object) -> Json:
    report = {
        "job_id": ID,
        "name": "sales/daily",
        "status": "succeeded",
        "results": results or {},
        "files": [],
        "output_nb": "sales/daily.ipynb",
        "duration_seconds": 0.6,
        "warnings": [],
        **given,
    }
    return {"job_id": ID, "status": report["status"], "result": report}


def test_small_results_are_shown_as_they_are() -> None:
    """With where all of it is."""
    job, pictures = shown(finished({"total": 1.5, "who": {"a": [1, 2]}}))
    assert job.results == {"total": 1.5, "who": {"a": [1, 2]}}
    assert job.left_out == ()
    assert pictures == []
    assert f"All of it: runner://jobs/{ID}" in sentence(job)
    assert job.next_step is None
    assert "succeeded after 0.6 s" in sentence(job)


def test_what_is_cut_is_told() -> None:
    """Rows of a table, the middle of a text, whole values past the budget, files."""
    table = {"columns": ["n"], "index": list(range(50)), "data": [[n] for n in range(50)]}
    many = {f"part{n}": "x" * 3_900 for n in range(9)}
    files = [{"path": f"sales/daily.files/{n}"} for n in range(60)]
    job, _ = shown(finished({"table": table, "long": "y" * 9_000, **many}, files=files))
    assert job.results is not None
    assert len(job.results["table"]["data"]) == len(job.results["table"]["index"]) == 20
    assert len(job.results["long"]) < 4_200
    assert len(json.dumps(job.results)) < RESULTS_CHARACTERS + 1_000
    told = "; ".join(job.left_out)
    assert "table: 30 of 50 rows" in told
    assert "long: 5000 of 9000 characters" in told
    assert "part8 (" in told
    assert "10 of 60 files" in told
    assert "Cut here" in sentence(job)


def test_a_cells_bundle_gives_its_picture_and_says_nothing_twice() -> None:
    """Text that was parsed, and HTML beside text, are left to the resource."""
    bundle = {"text/plain": "[1]", "application/json": [1], "text/html": "<p>"}
    plot = {"image/png": DOT, "text/plain": "<Figure>"}
    job, pictures = shown(finished({"cell_2": bundle, "cell_3": plot}))
    assert job.results == {
        "cell_2": {"application/json": [1]},
        "cell_3": {"image/png": "[picture 1]"},
    }
    assert [picture.media_type for picture in pictures] == ["image/png"]
    assert job.left_out == ("the HTML of cell_2",)


def test_a_failure_keeps_the_end_of_its_traceback() -> None:
    """Where it says what was raised."""
    lines = [*("line" for _ in range(3_000)), "ValueError: no"]
    failure: Json = {
        "status": "failed",
        "error_type": "papermill_execution_error",
        "message": "In cell [1]: ValueError: no",
        "cell_index": 0,
        "cell_source": "boom()",
        "traceback": lines,
    }
    job, _ = shown(finished(**failure))
    assert job.traceback is not None
    assert len(job.traceback) < 4_200
    assert job.traceback.endswith("ValueError: no")
    assert "papermill_execution_error: In cell [1]" in sentence(job)
    assert "boom()" in sentence(job)


def test_a_job_that_is_not_over_says_how_to_ask_again() -> None:
    """And how far it is."""
    progress = {"status": "running", "cell": 3, "cells": 9, "elapsed_seconds": 7.2, "log_tail": "z"}
    job, _ = shown({"job_id": ID, "name": "n", "status": "running", "progress": progress})
    assert job.progress == "cell 3 of 9, 7 s; printed last: z"
    assert f'get_job("{ID}"' in sentence(job)
    assert progress_line({"status": "queued"}) is None
    pruned, _ = shown({"job_id": ID, "name": "n", "status": "succeeded", "result": None})
    assert pruned.next_step == "Its files are not in the outbox any more."
