"""A person drops a notebook and finds its result: the program as its users run it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import (
    AS_INSTALLED,
    Json,
    Program,
    Serving,
    code,
    notebook,
    programs,
    results_in_order,
    wait_for,
)

SHARED = Path(__file__).resolve().parents[3] / "shared" / "samples"
LIBRARY = Path(__file__).resolve().parents[2] / "notebooks"

SCRAPS = notebook(
    code("factor = 2\nregion = 'EU'", "parameters"),
    "import scrapbook as sb\nimport pandas as pd\n"
    "df = pd.DataFrame({'name': ['Alice', 'Bob'], 'score': [95, 87]})\n"
    "sb.glue('people', df)",
    "sb.glue('scaled', [s * factor for s in df.score.tolist()])\nsb.glue('region', region)",
)
PEOPLE = {"columns": ["name", "score"], "index": [0, 1], "data": [["Alice", 95], ["Bob", 87]]}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A program that preloads what it does at home."""
    with contextmanager(programs)(tmp_path_factory.mktemp("installed")) as make:
        yield make(AS_INSTALLED).start()


def test_a_dropped_notebook_comes_back_with_its_results(installed: Program) -> None:
    """Result JSON and executed notebook appear, the request is gone, nothing else is left."""
    program = installed
    program.drop("report.ipynb", SCRAPS)
    report = program.await_report("report")
    assert report["status"] == "succeeded"
    assert report["results"] == {"people": PEOPLE, "scaled": [190, 174], "region": "EU"}
    assert report["output_nb"] == "report.ipynb"
    assert report["cells"] == {"total": 3, "executed": 3}
    assert (report["attempt"], report["submitted_by"]) == (1, "file")
    executed = json.loads((program.outbox / "report.ipynb").read_bytes())
    assert [cell["execution_count"] for cell in executed["cells"]] == [1, 2, 3]
    left = {path.name for path in program.inbox.iterdir()}
    assert left == {".runner.lock", "README.md"}, "the runner's own"
    seen = sorted(path.name for path in program.outbox.glob("[!.]*") if path.name[:4] != "same")
    assert seen == ["report.ipynb", "report.result.json"]


def test_the_last_value_of_a_tagged_cell_comes_as_json(standing: Program) -> None:
    """As data people end their cells, and the executed notebook shows what it always did."""
    program = standing
    ends = {
        "df['score'].mean()": 91.0,
        "{'n': np.int64(2), 'best': df['score'].max()}": {"n": 2, "best": 95},
        "(df['score'] > 90).any(), df['day'].max(), Decimal('1.50'), float('nan')": [
            *(True, "2026-01-03T00:00:00.000", "1.50", None)
        ],
        "df['score'].to_numpy()": [95, 87],
    }
    program.drop(
        "ends.ipynb",
        notebook(
            "from decimal import Decimal\nimport numpy as np, pandas as pd\n"
            "df = pd.DataFrame({'score': [95, 87]})\n"
            "df['day'] = pd.to_datetime(['2026-01-02', '2026-01-03'])",
            *(code(source, "results") for source in ends),
        ),
    )
    report = program.await_report("ends")
    values = [bundle["application/json"] for bundle in report["results"].values()]
    assert values == list(ends.values())
    executed = json.loads((program.outbox / "ends.ipynb").read_bytes())
    shown = [cell["outputs"][0]["data"] for cell in executed["cells"][1:]]
    assert [list(data) for data in shown] == [["text/plain"]] * len(ends)


def test_settings_beside_a_notebook_are_taken_with_it(standing: Program) -> None:
    """Parameters keep their types, and the settings file is consumed."""
    program = standing
    program.drop("daily.yaml", "parameters: {factor: 3, region: US}\ntimeout_seconds: 60\n")
    program.drop("daily.ipynb", SCRAPS)
    report = program.await_report("daily")
    assert report["results"]["scaled"] == [285, 261]
    assert report["results"]["region"] == "US"
    assert report["parameters"] == {"factor": 3, "region": "US"}
    assert report["notebook"] is None, "it came with the request"
    assert not (program.inbox / "daily.yaml").exists()


def test_a_request_runs_a_notebook_of_the_library_where_it_lies(standing: Program) -> None:
    """Its neighbours can be imported and read; its files go to an output folder of the job."""
    program = standing
    folder = program.library / "reports"
    folder.mkdir(parents=True)
    (folder / "helper.py").write_text("VALUE = 41\n")
    (folder / "data.txt").write_text("from the neighbour")
    source = (
        "import os, pathlib, helper\n"
        "out = pathlib.Path(os.environ['RUNNER_OUTPUT_DIR'])\n"
        "(out / 'sub').mkdir()\n(out / 'sub' / 'made.txt').write_text('x')\n"
    )
    shown = "{'value': helper.VALUE + more, 'text': open('data.txt').read()}"
    daily = notebook(code("more = 0", "parameters"), source, code(shown, "results"))
    (folder / "daily.ipynb").write_text(json.dumps(daily))
    program.drop("ask.yaml", "notebook: reports/daily.ipynb\nparameters: {more: 1}\n")
    report = program.await_report("ask")
    assert report["status"] == "succeeded", report
    assert report["notebook"] == "reports/daily.ipynb"
    value = next(iter(report["results"].values()))["application/json"]
    assert value == {"value": 42, "text": "from the neighbour"}
    assert [file["path"] for file in report["files"]] == ["ask.files/sub/made.txt"]
    assert (program.outbox / "ask.files" / "sub" / "made.txt").read_text() == "x"
    left = sorted(path.name for path in folder.iterdir() if path.name != "__pycache__")
    assert left == ["daily.ipynb", "data.txt", "helper.py"]


def test_a_sparse_notebook_in_a_json_request_runs(standing: Program) -> None:
    """Cells with type and source are enough; the request's id is the job's."""
    program = standing
    cells = [{"cell_type": "code", "source": "6*7", "metadata": {"tags": ["results"]}}]
    job_id = os.urandom(16).hex()
    program.drop("bare.json", {"notebook": {"cells": cells}, "id": job_id})
    report = program.await_report("bare")
    assert report["results"] == {"cell_1": {"text/plain": "42", "application/json": 42}}
    assert report["job_id"] == job_id


def test_a_failing_cell_gives_an_error_that_a_program_can_act_on(standing: Program) -> None:
    """Which cell, which exception, and what the finished cells gave."""
    program = standing
    program.drop(
        "undefined.ipynb",
        notebook(
            "import scrapbook as sb\nsb.glue('before', 1)",
            {"cell_type": "markdown", "source": "this goes wrong", "metadata": {}},
            "print(undefined_variable)",
            "print('never')",
        ),
    )
    report = program.await_report("undefined")
    assert report["error_type"] == "papermill_execution_error"
    assert (report["cell"], report["cell_index"]) == (2, 2)
    assert report["cell_source"] == "print(undefined_variable)"
    assert report["ename"] == "NameError"
    assert report["results"] == {"before": 1}
    assert not any("\x1b" in line for line in report["traceback"])
    executed = json.loads((program.outbox / "undefined.ipynb").read_bytes())
    outputs = [cell.get("outputs") for cell in executed["cells"]]
    assert any(out[0]["output_type"] == "error" for out in outputs if out)
    assert executed["cells"][-1]["execution_count"] is None


def test_the_run_as_a_whole_has_a_limit(standing: Program) -> None:
    """Cells that each take less than the limit, but together more, end as timeout."""
    program = standing
    cells = [code(f"import time\ntime.sleep(1.2)\n{n}", "results") for n in range(6)]
    program.drop("slow.json", {"notebook": notebook(*cells), "timeout_seconds": 4})
    report = program.await_report("slow")
    assert report["error_type"] == "timeout"
    assert report["status"] == "timed_out"
    assert report["results"].keys() >= {"cell_1", "cell_2"}
    assert "cell_6" not in report["results"]
    assert 3.5 < report["duration_seconds"] < 12


def test_files_of_the_work_folder_are_published(standing: Program) -> None:
    """What a notebook leaves, flushed or not, is in the outbox and in the list; links are not."""
    program = standing
    source = (
        "import os\nopen('table.csv', 'w').write('a,b\\n1,2\\n')\n"
        "left_open = open('open.txt', 'w'); left_open.write('not closed')\n"
        "os.symlink('/etc/hostname', 'link.txt')"
    )
    program.drop("files.ipynb", notebook(source))
    report = program.await_report("files")
    assert [f["path"] for f in report["files"]] == ["files.files/open.txt", "files.files/table.csv"]
    assert report["files"][1]["media_type"] == "text/csv"
    assert (program.outbox / "files.files" / "open.txt").read_text() == "not closed"
    assert not (program.outbox / "files.files" / "link.txt").exists()


def test_16_notebooks_at_once_come_back_each_once(serving: Serving) -> None:
    """All of them, and never more at a time than `concurrency` allows."""
    program = serving({"execution": {"concurrency": 2}})
    for number in range(16):
        program.drop(f"batch/n{number:03}.ipynb", notebook(code(f"{number}", "results")))
    folder = program.outbox / "batch"
    wait_for(lambda: folder.exists() and len(list(folder.glob("*.result.json"))) == 16, 180)
    reports = [program.report(f"batch/n{number:03}") or {} for number in range(16)]
    values = [report["results"]["cell_1"]["application/json"] for report in reports]
    assert values == list(range(16))
    assert len({report["job_id"] for report in reports}) == 16
    moments = sorted(
        moment
        for report in reports
        for moment in ((report["started_at"], 1), (report["finished_at"], -1))
    )
    running = most = 0
    for _, change in sorted(moments, key=lambda moment: (moment[0], moment[1])):
        running += change
        most = max(most, running)
    assert most == 2


def test_a_name_dropped_three_times_has_one_result_and_two_in_the_history(
    standing: Program,
) -> None:
    """One current result, the last; the earlier ones in order; nobody sees an old one as new."""
    program = standing
    for number in (1, 2, 3):
        program.drop("again.ipynb", notebook(code(str(number), "results")))
        wait_for(lambda: not (program.inbox / "again.ipynb").exists())
    wait_for(lambda: _value(program.report("again")) == 3)
    history = program.outbox / ".history" / "again"
    earlier = [json.loads(path.read_bytes()) for path in history.glob("*/again.result.json")]
    assert [folder.name for folder in history.iterdir()].sort() == results_in_order(earlier).sort()
    assert [_value(r) for r in sorted(earlier, key=lambda r: r["accepted_at"])] == [1, 2]


def test_whoever_sees_the_request_gone_sees_no_older_result(standing: Program) -> None:
    """The old files move to the history before the request leaves the inbox."""
    program = standing
    program.drop("fresh.ipynb", notebook(code("1", "results")))
    first = program.await_report("fresh")
    go = program.root / "go"
    wait = f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.05)\n2"
    program.drop("fresh.ipynb", notebook(code(wait, "results")))
    wait_for(lambda: not (program.inbox / "fresh.ipynb").exists())
    assert program.report("fresh") is None
    go.touch()
    assert _value(program.await_report("fresh")) == 2
    kept = program.outbox / ".history" / "fresh" / first["job_id"] / "fresh.result.json"
    assert json.loads(kept.read_bytes()) == first


def test_status_is_told_while_a_notebook_runs(standing: Program) -> None:
    """State, cell k of n and the log's tail; gone when the result is there."""
    program = standing
    go = program.root / "go"
    wait = f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.05)"
    program.drop("long.ipynb", notebook("print('hello from the notebook')", wait))
    status = program.outbox / "long.status.json"
    found = wait_for(lambda: status.exists() and json.loads(status.read_bytes()))
    assert found["status"] == "running"  # and no cell yet, if its kernel takes its time
    found = wait_for(lambda: _in_cell(status, 2))
    assert found["cells"] == 2
    assert "hello" in found["log_tail"]
    go.touch()
    program.await_report("long")
    assert not status.exists()


def _in_cell(status: Path, cell: int) -> Json | None:
    found: Json = json.loads(status.read_bytes())
    return found if found["cell"] == cell else None


def test_the_sample_notebooks_of_the_library_do_what_they_say(standing: Program) -> None:
    """Parameters and scraps, a plot and a file, and one that fails."""
    program = standing
    for path in sorted(LIBRARY.glob("*.ipynb")):
        program.drop(path.name, path.read_bytes())
    program.drop("disk_usage.yaml", "parameters: {folder: .}\n")
    loan = program.await_report("loan")
    assert loan["results"]["monthly_payment"] == 372.86
    assert len(loan["results"]["first_year"]["data"]) == 12
    usage = program.await_report("disk_usage")
    assert usage["status"] == "succeeded", usage
    assert {f["media_type"] for f in usage["files"]} == {"text/csv", "image/png"}
    failing = program.await_report("failing")
    assert failing["ename"] == "ZeroDivisionError"
    assert failing["results"] == {"reached": "the cell before the error"}


def test_ctrl_c_ends_the_program_cleanly(serving: Serving) -> None:
    """Exit code 0, quickly, and nothing is left running."""
    program = serving()
    program.drop("one.ipynb", notebook("1"))
    program.await_report("one")
    assert program.stop(signal.SIGINT) == 0
    wait_for(lambda: not program.processes())
    assert "stopped" in program.log


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared samples are not beside the project")
def test_the_shared_samples_give_what_they_must(standing: Program) -> None:
    """The table that comes with the samples, row by row."""
    program = standing
    (program.library).mkdir(exist_ok=True)
    (program.library / "scraps.ipynb").write_bytes((SHARED / "scraps.ipynb").read_bytes())
    program.drop("asked.yaml", (SHARED / "library_request.yaml").read_bytes())
    program.drop("slow_sum.yaml", "timeout_seconds: 8\n")
    for path in [*SHARED.glob("*.ipynb"), *SHARED.glob("real/*.ipynb")]:
        program.drop(path.name, path.read_bytes())

    def results(name: str) -> dict[str, object]:
        found: dict[str, object] = program.await_report(name, 120)["results"]
        return found

    assert results("scraps") == {
        "analysis_results": PEOPLE,
        "summary": {"mean_score": 91.0, "total_records": 2},
        "scaled": [190, 174],
        "region": "EU",
    }
    assert results("asked").items() >= {"scaled": [285, 261], "region": "US"}.items()
    assert program.await_report("asked")["parameters"] == {"factor": 3, "region": "US"}
    assert results("tagged") == {
        "cell_1": {
            "text/plain": "{'message': 'Hello World'}\n",
            "application/json": {"message": "Hello World"},
        },
        "cell_2": {
            "text/plain": "{'status': 'completed', 'value': 42}",
            "application/json": {"status": "completed", "value": 42},
        },
    }
    undefined = program.await_report("undefined")
    assert (undefined["cell"], undefined["cell_index"]) == (2, 2)
    assert program.await_report("missing")["missing_modules"] == ["cv2", "tensorflow"]
    assert program.await_report("late_import")["module"] == "no_such_module_x"
    slow = program.await_report("slow_sum", 120)
    assert slow["error_type"] == "timeout"
    assert {"step0", "step1"} <= set(slow["results"])
    assert "step5" not in slow["results"]
    r_kernel = program.await_report("r_kernel")
    assert r_kernel["error_type"] == "kernel_not_allowed"
    assert "`ir`" in r_kernel["message"]
    files = {f["path"] for f in program.await_report("files")["files"]}
    assert files == {"files.files/plot.png", "files.files/table.csv"}
    strange = results("strange_values")
    assert strange["nan"] in ("nan", None)
    assert strange["text"] == "café ☃"
    assert strange["when"] == {
        "columns": ["t", "x"],
        "index": [0],
        "data": [["2026-01-02T03:04:05.000", None]],
    }
    for name in ("Cheryl", "Snobol", "xkcd1313"):
        assert program.await_report(name, 120)["status"] == "succeeded"
    assert program.await_report("xkcd1313")["kernel"]["name"] == "python3"
    assert program.await_report("ProbabilityParadox", 120)["ename"] == "TypeError"
    assert program.await_report("Convex Hull", 120)["ename"] == "FileNotFoundError"


def _value(report: dict[str, object] | None) -> object:
    if report is None:
        return None
    results = report["results"]
    assert isinstance(results, dict)
    return results["cell_1"]["application/json"]


def test_a_scrap_that_cannot_be_read_is_named_and_all_else_kept(standing: Program) -> None:
    """`result_extraction_error`: the notebook ran, and what can be read of it is there."""
    program = standing
    broken = (
        "from IPython.display import display\nimport scrapbook as sb\nsb.glue('good', 1)\n"
        "display({'application/scrapbook.scrap.pandas+json': {'name': 'frame', 'data': 'AAAA',"
        " 'encoder': 'pandas', 'version': 1}}, metadata={'scrapbook': {'name': 'frame'}}, raw=True)"
    )
    program.drop("scraps.ipynb", notebook(broken, code("2", "results")))
    report = program.await_report("scraps")
    assert report["error_type"] == "result_extraction_error"
    assert "frame" in report["message"]
    assert report["results"]["good"] == 1
    assert report["results"]["cell_2"]["application/json"] == 2


def test_without_scrapbook_only_tagged_cells_are_reported(serving: Serving) -> None:
    """And the tag is a setting."""
    program = serving({"results": {"scrapbook": False, "tag": "answer"}})
    glue = "import scrapbook as sb; sb.glue('a', 1)"
    program.drop("tags.ipynb", notebook(glue, code("42", "answer"), code("7", "results")))
    results = program.await_report("tags")["results"]
    assert list(results) == ["cell_2"]


def test_retries_are_for_machinery_and_never_for_a_cell(standing: Program) -> None:
    """A kernel that died runs again as often as was asked for; an exception does not."""
    program = standing
    marker = program.root / "died-once"
    dies_once = (
        f"import os, pathlib\nmarker = pathlib.Path({str(marker)!r})\n"
        "if not marker.exists():\n    marker.touch()\n    os._exit(1)"
    )
    program.drop("dies.json", {"notebook": notebook(dies_once, code("3", "results")), "retries": 2})
    report = program.await_report("dies")
    assert (report["status"], report["attempt"]) == ("succeeded", 2)
    program.drop("raises.json", {"notebook": notebook("1/0"), "retries": 2})
    assert program.await_report("raises")["attempt"] == 1


def test_a_notebook_gives_the_same_outputs_as_the_papermill_command(
    installed: Program, tmp_path: Path
) -> None:
    """Text, rich output, an updated display, a widget's comm, an exception's text on stderr.

    But for a terminal's carriage return at the end of a line, which is folded.
    """
    source = notebook(
        code("times = 2", "parameters"),
        "import sys\nprint('out'); print('err', file=sys.stderr)\n[1, 2] * times",
        "from IPython.display import HTML, display\nh = display('first', display_id=True)\n"
        "h.update('second'); display(HTML('<b>x</b>'))",
        "import os\n(__name__, In[1], _, len(Out), os.path.exists('nothing'))",
        "!echo from the shell",
        "%%capture caught\nprint('hidden')",
        "class A:\n    def _repr_html_(self): return '<i>a</i>'\nA()",
    )
    (tmp_path / "in.ipynb").write_text(json.dumps(source))
    papermill = Path(sys.executable).with_name("papermill")
    done = subprocess.run(
        [papermill, "in.ipynb", "out.ipynb", "-k", "python3", "-p", "times", "3"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    program = installed
    program.drop("same.json", {"notebook": source, "parameters": {"times": 3}})
    program.await_report("same")
    ours = json.loads((program.outbox / "same.ipynb").read_bytes())
    theirs = json.loads((tmp_path / "out.ipynb").read_bytes().replace(rb"\r\n", rb"\n"))
    assert [_shown(cell) for cell in ours["cells"]] == [_shown(cell) for cell in theirs["cells"]]


def _shown(cell: dict[str, Any]) -> object:
    """A cell's code, number and outputs, with what is the same to a reader made equal."""
    outputs = sorted(
        (json.dumps(output, sort_keys=True).replace("A at 0x", "A").split(">")[0][:400])
        if "<__main__.A" not in json.dumps(output)
        else "an A"
        for output in cell.get("outputs", [])
    )
    return ("".join(cell["source"]), cell.get("execution_count"), outputs)


def test_a_large_value_is_one_file(installed: Program) -> None:
    """Also where output comes while the kernel ends, after the results were read once."""
    glue = "import atexit, scrapbook as sb\nsb.glue('big', 'x' * 25_000_000)"
    installed.drop("large.ipynb", notebook(glue, "atexit.register(print, 'bye')\nNone"))
    report = installed.await_report("large")
    assert [one["path"] for one in report["files"]] == ["large.files/big.json"]
    assert len(report["warnings"]) == 1
