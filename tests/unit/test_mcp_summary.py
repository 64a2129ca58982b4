"""Promises about what a model sees of a job."""

import json
from typing import Any

import pytest

from runner.contract.parameters.listing import unknown_parameters
from runner.mcp.answers import BadCall
from runner.mcp.runs.executed import executed_of
from runner.mcp.runs.job_lines import line_of
from runner.mcp.runs.summary import BRIEF, FULL, progress_line, sentence, shown

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
    assert len(json.dumps(job.results)) < BRIEF.results_characters + 1_000
    told = "; ".join(job.left_out)
    assert "table: 20 of 50 rows shown" in told
    assert "long: 4000 of 9000 characters shown" in told
    assert "part8 (" in told
    assert "50 of 60 files shown" in told
    assert f'get_job("{ID}", detail="full") gives more' in sentence(job)
    whole, _ = shown(finished({"table": table, "long": "y" * 9_000, **many}), sizes=FULL)
    assert whole.left_out == ()
    cut, _ = shown(finished({"long": "y" * 50_000}), sizes=FULL)
    assert "long: 40000 of 50000 characters shown; whole in runner://jobs/" in sentence(cut)
    assert "detail=" not in sentence(cut)


def test_a_number_that_json_lacks_is_told_as_text() -> None:
    """The contract has null in its place."""
    inf = {"text/plain": "inf", "application/json": None}
    some = {"text/plain": "[nan, 1.0]", "application/json": [None, 1.0]}
    none = {"text/plain": "[None]", "application/json": [None]}
    job, _ = shown(finished({"cell_1": inf, "cell_2": some, "cell_3": none}))
    assert job.results == {
        "cell_1": {"text/plain": "inf"},
        "cell_2": {"application/json": [None, 1.0], "text/plain": "[nan, 1.0]"},
        "cell_3": {"application/json": [None]},
    }
    row = {"job_id": ID, "name": "x", "status": "succeeded", "accepted_at": "2026-11-27T06:00:00"}
    assert line_of({**row, "results": {"cell_1": inf}}).endswith("; inf")


def test_an_answer_says_what_was_run_and_what_it_leaves_out() -> None:
    """The values that it was given, its attempts, and what other cells printed."""
    printed = {"output_type": "stream", "name": "stdout", "text": "x" * 48}
    executed = executed_of(
        {"cells": [code("p()", 1, "says", outputs=[printed])]}, has_parameters=False
    )
    report = finished({"total": 1}, parameters={"n": 3}, attempt=3)
    told = sentence(shown(report, executed)[0])
    assert 'after 0.6 s in attempt 3\nParameters: {"n":3}\n' in told
    assert f'Printed, and not shown: 48 characters of [0] says; get_job("{ID}", cell=…)' in told
    assert not executed.has_no_code
    warned = finished(warnings=["The notebook ended itself in its cell In[1]; not run: 2."])
    assert "in its cell [0] says; not run: 2." in sentence(shown(warned, executed)[0])
    assert executed.renumbered("Caused by: Cell In[1], line 2") == (
        "Caused by: Cell [0] says, line 2"
    )
    for cells in ([], [code("", None, "a")], [EXECUTED["cells"][0]]):
        assert executed_of({"cells": cells}, has_parameters=False).has_no_code
    assert not executed_of(None, has_parameters=False).has_no_code


def test_what_a_cell_prints_as_its_result_is_not_told_again() -> None:
    """A cell tagged `results` without a value has its text as one; other cells are counted."""
    out = {"output_type": "stream", "name": "stdout", "text": "5\n"}
    err = {"output_type": "stream", "name": "stderr", "text": "warn"}
    many = {"output_type": "stream", "name": "stdout", "text": "x" * 9_000}
    result = finished({"cell_2": {"text/plain": "5\n", "application/json": 5}})

    def told(*cells: Json) -> str:
        return sentence(shown(result, executed_of({"cells": [*cells]}, has_parameters=False))[0])

    assert "Printed" not in told(code("print(5)", 2, "p", outputs=[out]))
    assert "not shown: 4 characters of [0] p" in told(code("q()", 2, "p", outputs=[out, err]))
    full = told(code("many()", 1, "m", outputs=[many]), code("print(5)", 2, "p", outputs=[out]))
    assert f'9000 characters of [0] m; get_job("{ID}", cell=…, detail="full") gives' in full


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
    assert job.left_out == ()


def code(source: str, count: int | None, cell_id: str, **more: object) -> Json:
    metadata = {"tags": more.pop("tags", [])}
    cell = {"cell_type": "code", "source": source, "id": cell_id, "metadata": metadata}
    return {**cell, "execution_count": count, "outputs": more.pop("outputs", [])}


PLOT = {"output_type": "display_data", "data": {"image/png": DOT}, "metadata": {}}
EXECUTED = {
    "cells": [
        {"cell_type": "markdown", "source": "# Daily", "id": "title"},
        code("rate = 0", 1, "defaults", tags=["parameters"]),
        code("rate = 2", 2, "added", tags=["injected-parameters"]),
        code("plot()", 3, "plots", outputs=[PLOT, PLOT]),
        code("An exception was encountered", None, "note", tags=["papermill-error-cell-tag"]),
        code("pick('c')", 4, "fails"),
    ]
}


def test_cells_have_one_numbering() -> None:
    """That of the notebook asked for: the runner's own cells have no index, and ids stay."""
    executed = executed_of(EXECUTED, has_parameters=True)
    assert [one.name for one in executed.cells] == [
        "[0] title",
        "[1] defaults",
        "[2] plots",
        "[3] fails",
    ]
    assert executed.at("fails") == executed.at(3) == executed.at("-1") == executed.at(-1)
    assert executed.at("cell_4") == executed.at(3)
    assert executed.at("plots").pictures == 2
    assert executed.renumbered("Cell In[4], line 1\nCell In[2], line 7") == (
        "Cell [3] fails, line 1\nCell In[2], line 7"
    )
    result, _ = shown(finished({"cell_3": {"text/plain": "x"}, "total": 1}), executed)
    assert result.places == ("cell_3 is [2] plots",)
    assert result.plots == ("[2] plots (2)",)
    for wrong in ("4", -5, "nobody"):
        with pytest.raises(BadCall, match="from 0 to 3"):
            executed.at(wrong)


def test_a_failure_tells_what_repair_needs() -> None:
    """The cell, the notebook's frames before the libraries' and the variables, in one numbering."""
    failure: Json = {
        "status": "failed",
        "error_type": "papermill_execution_error",
        "message": "Cell In[4] (cell_index 3): KeyError: 'c'",
        "cell": 4,
        "cell_index": 3,
        "cell_source": "pick('c')",
        "traceback": [
            "Cell In[4], line 1",
            "----> 1 pick('c')",
            "",
            *(f"File /x/lib/python3.13/site-packages/p.py:{n}, in f()" for n in range(3_000)),
            "",
            "KeyError: 'c'",
        ],
        "variables": {"df": {"type": "pandas.DataFrame", "shape": [2, 1], "columns": ["a"]}},
    }
    executed = executed_of(EXECUTED, has_parameters=True)
    job, _ = shown(finished(**failure), executed)
    said = sentence(job).splitlines()
    assert said == [
        f"Job {ID} (sales/daily): failed after 0.6 s",
        "papermill_execution_error: KeyError: 'c'",
        "Cell [3] fails, line 1",
        "----> 1 pick('c')",
        "[3000 library frames, the last: p.py:2999, in f()]",
        "KeyError: 'c'",
        "Variables then: df pandas.DataFrame [2, 1] (a)",
        f'Pictures in cells: [2] plots (2); get_job("{ID}", cell=…) gives them',
        f"All of it: runner://jobs/{ID}, and its /notebook",
    ]
    assert "Cell [3]:\npick('c')\n" in sentence(shown(finished(**failure))[0])
    long = {**failure, "cell_source": "other()\n\npick('c')"}
    cells = [*EXECUTED["cells"][:-1], code(long["cell_source"], None, "fails")]
    killed = executed_of({"cells": cells}, has_parameters=True)
    assert "Cell [3] fails:\nother()" in sentence(shown(finished(**long), killed)[0])
    assert "Cell [3]:\nother()" in sentence(shown(finished(**long), executed)[0])
    around = [
        *failure["traceback"][:1],
        "      1 first()",
        "----> 3 pick('c')",
        "",
        "KeyError: 'c'",
    ]
    raised = executed_of(
        {"cells": [*cells[:-1], code(long["cell_source"], 4, "fails")]}, has_parameters=True
    )
    told = sentence(shown(finished(**{**long, "traceback": around}), raised)[0])
    assert "pick('c')\nCell [3] fails, line 1\n----> 3 pick('c')\nKeyError" in told
    around[0] = "Cell In[4], line 3"
    told = sentence(shown(finished(**{**long, "traceback": around}), raised)[0])
    assert "Cell [3] fails, line 3:\nother()\n\npick('c')\nKeyError" in told
    again = f"Attempt 1 ended, and it was to run again: {failure['message']}"
    told = sentence(shown(finished(**failure, warnings=[again]), executed)[0])
    assert "Warnings: Attempt 1 ended, and it was to run again: the same" in told
    cut: Json = {"status": "timed_out", "error_type": "timeout", "cell": 4, "cell_index": 3}
    cut |= {
        "message": "The run passed its limit of 1 s. Code cell 3 of 3 was running: `pick('c')`."
    }
    job, _ = shown(finished(**cut, cell_source="pick('c')"), executed)
    assert job.message is not None
    assert job.message.endswith("limit of 1 s. Cell [3] fails was running: `pick('c')`.")


def test_a_job_that_is_not_over_says_how_to_ask_again() -> None:
    """And how far it is."""
    progress = {"status": "running", "cell": 3, "cells": 9, "elapsed_seconds": 7.2, "log_tail": "z"}
    job, _ = shown({"job_id": ID, "name": "n", "status": "running", "progress": progress})
    assert job.progress == "code cell 3 of 9, 7 s; printed last: z"
    assert f'get_job("{ID}"' in sentence(job)
    assert progress_line({"status": "queued"}) is None
    starts = {"status": "running", "cell": 0, "cells": 0, "elapsed_seconds": 2.0}
    assert progress_line(starts) == "its kernel starts, 2 s"
    over = {"job_id": ID, "name": "n", "status": "succeeded", "result": None}
    unpublished, _ = shown({**over, "state": "sealed"})
    assert f'get_job("{ID}"' in sentence(unpublished)
    pruned, _ = shown({**over, "state": "closed"})
    assert pruned.next_step == "Its files are not in the outbox any more."


@pytest.mark.parametrize(
    ("status", "state", "said"),
    [
        ("cancelled", "sealed", "It is over, and its report is on its way"),
        ("cancelled", "closed", "not in the outbox any more"),
        ("running", "running", ": running, is being cancelled"),
    ],
)
def test_a_cancelled_job_without_its_report_is_told_as_it_is(
    status: str, state: str, said: str
) -> None:
    """Its files are gone only where it is closed."""
    row = {"job_id": ID, "name": "x", "status": status, "state": state, "cancelled": True}
    job, _ = shown(row)
    assert said in sentence(job)
    assert "cancel_job" not in sentence(job)


@pytest.mark.parametrize("names", [["year"], ["month", "year"]])
def test_a_list_names_parameters_that_the_notebook_does_not_have(names: list[str]) -> None:
    """By the warning that the job has."""
    cell = {"cell_type": "code", "source": "day = 1", "metadata": {"tags": ["parameters"]}}
    warning = unknown_parameters({"cells": [cell], "metadata": {}}, names)
    assert warning is not None
    row = {"job_id": ID, "name": "x", "status": "succeeded", "accepted_at": "2026-11-27T06:00:00"}
    line = line_of({**row, "parameters": dict.fromkeys(names, 1), "warnings": ["Other.", warning]})
    assert f"; unused: {', '.join(names)}" in line
