"""What a notebook meets in its kernel, and what its run is reported as, are what people expect.

One runner for all, started in a folder with modules in it that bear names of ours and of Python's.
"""

import json
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import AS_INSTALLED, Json, Program, code, notebook, programs

SHADOWS = ("runner", "queue", "random", "json", "statistics", "watchdog", "bottle", "zmq")
"""Names of modules that the program, a gateway or a preload server imports sooner or later."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """Started by its command, as `-m` itself would take the `runner.py` that lies there."""
    folder = tmp_path_factory.mktemp("as-in-jupyter")
    make = programs(folder)
    settings = {**AS_INSTALLED, "gateway": {"enabled": True, "port": 0}, "limits": {"output_mb": 1}}
    program = next(make)(settings, HOME=str(folder), HTTPS_PROXY="http://proxy:3128")
    for name in SHADOWS:
        (program.root / f"{name}.py").write_text(f"raise RuntimeError('{name} of the folder')\n")
    startup = folder / ".ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (folder / "brought.py").write_text("VALUE = 'brought'\n")
    (startup / "00-path.py").write_text(
        f"import os, sys\nsys.path.append({str(folder)!r})\nwhere = os.environ['RUNNER_NAME']\n"
    )
    program.start((str(Path(sys.executable).with_name("runner")), "serve", "-v"))
    yield program
    next(make, None)


def run(served: Program, name: str, *cells: str | Json) -> Json:
    served.drop(f"{name}.ipynb", notebook(*cells))
    return served.await_report(name)


def value(report: Json) -> object:
    """What the last tagged cell gave."""
    assert report["status"] == "succeeded", report
    return list(report["results"].values())[-1]["application/json"]


def outputs(served: Program, name: str, cell: int = 0) -> list[Json]:
    """What the executed notebook shows for a code cell, but for papermill's own."""
    executed = json.loads((served.outbox / f"{name}.ipynb").read_bytes())
    cells = [c for c in executed["cells"] if c["cell_type"] == "code"]
    return list(cells[cell]["outputs"])


def text(found: list[Json]) -> str:
    return "".join("".join(one["text"]) for one in found if one["output_type"] == "stream")


def test_modules_in_the_current_folder_are_none_of_the_program(served: Program) -> None:
    """Neither the daemon nor the gateway, a job or a kernel takes them for its own."""
    assert value(run(served, "six", code("6", "results"))) == 6
    with urllib.request.urlopen(f"{served.url}/healthz", timeout=60) as answer:
        assert answer.status == 200
    assert "of the folder" not in served.log


def test_commands_look_past_them_too(served: Program) -> None:
    """Whichever is asked, from the folder itself."""
    command = str(Path(sys.executable).with_name("runner"))
    for arguments in (["doctor"], ["jobs"], ["health"], ["check", "--help"]):
        done = subprocess.run(
            [command, *arguments], cwd=served.root, capture_output=True, text=True, timeout=90
        )
        assert "of the folder" not in done.stdout + done.stderr


def test_a_notebook_still_has_its_own_folder_on_its_path(served: Program) -> None:
    """And what it starts has no flag of ours."""
    (served.library / "near.py").write_text("VALUE = 'mine'\n")
    look = (
        "import os, subprocess, sys, near\n"
        "child = subprocess.run([sys.executable, '-c', 'import sys; print(sys.flags.safe_path,"
        " repr(sys.path[0]))'], capture_output=True, text=True).stdout.split()\n"
        "[near.VALUE, '' in sys.path, sys.flags.safe_path, os.environ.get('PYTHONSAFEPATH'), child]"
    )
    (served.library / "near.ipynb").write_text(json.dumps(notebook(code(look, "results"))))
    served.drop("near.json", json.dumps({"notebook": "near.ipynb"}))
    assert value(served.await_report("near")) == ["mine", True, False, None, ["False", "''"]]


# What imports give


def wheel(folder: Path, version: str) -> Path:
    """A package of one module (PEP 427), in the place of one that is preloaded."""
    path = folder / f"scrapbook-{version}-py3-none-any.whl"
    about = f"scrapbook-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("scrapbook/__init__.py", f"__version__ = {version!r}\n")
        file.writestr(
            f"{about}/METADATA", f"Metadata-Version: 2.1\nName: scrapbook\nVersion: {version}\n"
        )
        kind = "Root-Is-Purelib: true\nTag: py3-none-any\n"
        file.writestr(f"{about}/WHEEL", f"Wheel-Version: 1.0\nGenerator: test\n{kind}")
        file.writestr(f"{about}/RECORD", "")
    return path


@pytest.mark.parametrize(
    "install",
    [
        "%pip install --quiet --no-index --no-deps --target lib {wheel}\n"
        "import sys; sys.path.insert(0, 'lib')",
        "import subprocess, sys\nsubprocess.run(\n    [sys.executable, '-m', 'pip', 'install', "
        "'--no-index', '--no-deps', '--target', 'lib', '{wheel}'],\n    check=True)\n"
        "sys.path.insert(0, 'lib')",
        "!pip install --quiet --no-index --no-deps --target=lib {wheel}\n"
        "import sys; sys.path.insert(0, 'lib')",
    ],
)
def test_an_import_gives_what_was_just_installed(
    install: str, served: Program, tmp_path: Path
) -> None:
    """Though another version was imported before anybody had asked for it."""
    name = f"installs{abs(hash(install))}"
    installs = install.replace("{wheel}", str(wheel(tmp_path, "99.1")))
    look = code("import scrapbook\n[scrapbook.__version__]", "results")
    assert value(run(served, name, installs, look)) == ["99.1"]
    assert value(run(served, f"{name}-after", look)) != ["99.1"]


def test_variables_count_that_are_set_before_an_import(served: Program, tmp_path: Path) -> None:
    """By whatever library they are read, and in whatever way they are set."""
    (tmp_path / "matplotlibrc").write_text("lines.linewidth: 7\n")
    report = run(
        served,
        "variables",
        "import os\nos.environ['MPLBACKEND'] = 'svg'\n"
        f"os.environ.update(MPLCONFIGDIR={str(tmp_path)!r})\n%env OPENBLAS_NUM_THREADS=1\n"
        "os.environ['ARROW_DEFAULT_MEMORY_POOL'] = 'system'",
        "import matplotlib, matplotlib.pyplot as plt, numpy, pyarrow, threadpoolctl"
        if _has("threadpoolctl")
        else "import matplotlib, matplotlib.pyplot as plt, numpy, pyarrow",
        code(
            "import os\n[plt.get_backend(), matplotlib.rcParams['lines.linewidth'],"
            " pyarrow.default_memory_pool().backend_name, len(os.listdir('/proc/self/task')) > 0]",
            "results",
        ),
    )
    assert value(report) == ["svg", 7.0, "system", True]


def _has(module: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(module) is not None


def test_a_module_beside_the_notebook_may_set_them_too(served: Program) -> None:
    """What a library notebook imports first is part of it, through as many files as it goes."""
    folder = served.library / "settings-first"
    folder.joinpath("project").mkdir(parents=True)
    (folder / "first.py").write_text("import json, project.base\n")
    (folder / "project/base.py").write_text("from .settings import *\n")
    (folder / "project/settings.py").write_text("import os\nos.environ['MPLBACKEND'] = 'svg'\n")
    look = "import first\nimport matplotlib.pyplot as plt\nplt.get_backend()\n[plt.get_backend()]"
    (folder / "plot.ipynb").write_text(json.dumps(notebook(code(look, "results"))))
    served.drop("first.json", json.dumps({"notebook": "settings-first/plot.ipynb"}))
    assert value(served.await_report("first")) == ["svg"]


def test_shell_lines_use_the_kernels_own_python(served: Program) -> None:
    """Though nobody has activated its environment; proxies are passed on."""
    report = run(
        served,
        "shell",
        "found = !python -c 'import sys; print(sys.executable)'\npips = !pip --version",
        "%%bash --out bash\npython -c 'import sys; print(sys.executable)'",
        code(
            "import os, sys\n[found[0] == bash.strip() == sys.executable, sys.prefix in pips[0],"
            " os.environ['HTTPS_PROXY'], os.environ.get('PYTHONHOME')]",
            "results",
        ),
    )
    assert value(report) == [True, True, "http://proxy:3128", None]


# What a run is reported as


def test_a_caught_exception_that_is_shown_fails_nothing(served: Program) -> None:
    """The cell itself was right; the executed notebook shows what it showed."""
    report = run(
        served,
        "caught",
        "try:\n    1/0\nexcept ZeroDivisionError:\n    get_ipython().showtraceback()",
        code("'went on'", "results"),
    )
    assert report["status"] == "succeeded", report
    assert report["cells"] == {"total": 2, "executed": 2}
    [shown] = outputs(served, "caught")
    assert (shown["output_type"], shown["ename"]) == ("error", "ZeroDivisionError")


def test_an_exception_that_a_cell_is_tagged_for_fails_nothing(served: Program) -> None:
    """As nbclient has it: the cells below run. A module that only such a cell imports may miss."""
    report = run(
        served,
        "expected",
        code("import a_module_that_nobody_has", "raises-exception"),
        code("1 / 0", "raises-exception"),
        code("'went on'", "results"),
    )
    assert value(report) == "went on"
    assert report["cells"] == {"total": 3, "executed": 3}
    names = [outputs(served, "expected", cell)[0]["ename"] for cell in (0, 1)]
    assert names == ["ModuleNotFoundError", "ZeroDivisionError"]


def test_another_cells_exception_fails_beside_it(served: Program) -> None:
    """That one is named."""
    report = run(served, "expected-first", code("1 / 0", "raises-exception"), "int('x')")
    assert (report["ename"], report["cell_index"], report["cell"]) == ("ValueError", 1, 2)


def test_a_caught_exception_is_not_taken_for_the_one_that_fails(served: Program) -> None:
    """That is named, with its own cell."""
    show = "try:\n    1/0\nexcept ZeroDivisionError:\n    get_ipython().showtraceback()"
    report = run(served, "caught-first", show, "int('x')")
    assert (report["ename"], report["cell_index"], report["cell"]) == ("ValueError", 1, 2)


@pytest.mark.parametrize(
    "end",
    [
        *("exit()", "quit()", "exit(0)", "import sys\nsys.exit()", "raise SystemExit(0)", "exit"),
        "import sys\nsys.exit(None)",  # as sys.exit(main()) does
        "import sys\nsys.exit(False)",  # as unittest.main() ends, with whether it has failed
    ],
)
def test_a_notebook_that_ends_itself_ends_there(end: str, served: Program) -> None:
    """As a success; no later cell runs, and the report says so."""
    name = f"ends-{''.join(filter(str.isalnum, end))}"
    report = run(served, name, "print('before')", end, "import time; time.sleep(1)", "print(2)")
    assert report["status"] == "succeeded", report
    assert report["cells"] == {"total": 4, "executed": 2}
    [warning] = report["warnings"]
    assert "In[2]" in warning
    assert "not run: 2" in warning


@pytest.mark.parametrize(
    "end", ["exit(3)", "import sys\nsys.exit(3)", "raise SystemExit('no data')"]
)
def test_a_notebook_that_ends_itself_with_an_error_has_failed(end: str, served: Program) -> None:
    """Its code is the message."""
    name = f"fails-{''.join(filter(str.isalnum, end))}"
    report = run(served, name, "print('before')", end, "print('after')")
    assert (report["error_type"], report["ename"]) == ("papermill_execution_error", "SystemExit")
    assert report["evalue"] in ("3", "no data")
    assert (report["cell_index"], report["cell"]) == (1, 2)


def test_an_error_of_a_magic_bears_its_own_name(served: Program) -> None:
    """It is no output of the cell, and still the reason."""
    report = run(served, "usage", "%nosuchmagic", "1")
    assert report["ename"] == "UsageError"
    assert "%nosuchmagic" in report["message"]
    assert "%nosuchmagic" in report["evalue"]
    history = code("[get_ipython().history_manager.enabled, len(get_ipython().history_manager."
                   "get_tail(5).__class__.__name__) > 0]", "results")  # fmt: skip
    assert value(run(served, "history", history)) == [True, True]


def test_a_failed_notebook_that_is_dropped_again_is_what_it_was(served: Program) -> None:
    """Its marks are no cells, its cells keep their places, and old parameters do not run."""
    made = notebook(
        {"cell_type": "markdown", "source": "# Report", "metadata": {}},
        code("divisor = 1", "parameters"),
        "print(divisor)",
        "1 // divisor",
    )
    served.drop("again.json", json.dumps({"notebook": made, "parameters": {"divisor": 0}}))
    first = served.await_report("again")
    assert (first["cell_index"], first["cell_source"]) == (3, "1 // divisor")
    executed = json.loads((served.outbox / "again.ipynb").read_bytes())
    place = next(
        i for i, c in enumerate(executed["cells"]) if "".join(c["source"]) == "1 // divisor"
    )
    assert place == 6  # two marks, and the injected cell
    served.drop("twice.json", json.dumps({"notebook": executed, "parameters": {"divisor": 0}}))
    second = served.await_report("twice")
    assert (second["cell_index"], second["warnings"]) == (place, [])
    served.drop("thrice.ipynb", executed)
    third = served.await_report("thrice")
    assert third["status"] == "succeeded", third
    assert third["cells"] == {"total": 3, "executed": 3}
    assert third["parameters"] == {}
    assert "earlier run" in third["warnings"][0]
    assert text(outputs(served, "thrice", 1)) == "1\n"


def test_the_kernel_of_another_machine_is_python(served: Program) -> None:
    """Unless its name is that of another language."""
    spec = ".venv (Python 3.12)"
    metadata = {"kernelspec": {"name": spec, "display_name": spec}}
    served.drop("elsewhere.ipynb", notebook(code("1", "results"), metadata=metadata))
    report = served.await_report("elsewhere")
    assert report["status"] == "succeeded", report
    assert report["kernel"] == {"name": "python3", "requested": spec}
    assert spec in report["warnings"][0]


# What it shows


def test_output_that_cannot_be_read_is_missed(served: Program) -> None:
    """JSON with a number of so many digits is read by nobody; what was glued would be gone."""
    report = run(
        served,
        "digits",
        "import sys\nsys.set_int_max_str_digits(0)",
        "import scrapbook as sb\nsb.glue('big', 10**4400)\nsb.glue('small', 1)",
    )
    assert (report["status"], report["results"]) == ("succeeded", {"small": 1})
    [warning] = report["warnings"]
    assert "could not be read" in warning
    assert "4300 digits" in warning


def test_messages_of_any_shape_leave_the_run_whole(served: Program) -> None:
    """What cannot be shown is left out; what was shown before stays."""
    send = (
        "from IPython.display import display\nip = get_ipython()\n"
        "def send(kind, content):\n"
        "    ip.kernel.session.send(ip.kernel.iopub_socket, kind, content,"
        " parent=ip.kernel.get_parent())\n"
    )
    kinds = ("stream", "display_data", "execute_result", "error", "update_display_data",
             "clear_output", "comm_open", "comm_msg", "comm_close", "status", "execute_input",
             "made_up")  # fmt: skip
    contents = (
        "[{}, {'name': 5, 'text': 5}, {'text': None}, {'name': 'stdout'}, {'data': None},"
        " {'data': [1], 'metadata': 3, 'transient': 4}, {'data': {'text/plain': 5}},"
        " {'data': {'image/png': None}, 'transient': {'display_id': [1]}},"
        " {'data': {'text/plain': ['a', 5]}, 'metadata': None, 'execution_count': 'x'},"
        " {'ename': None, 'traceback': 'one'}, {'comm_id': 3, 'data': {'state': 5}},"
        " {'comm_id': 'c', 'target_name': 'jupyter.widget', 'data': {'state': {"
        "'_model_module': '@jupyter-widgets/output', '_model_name': 'OutputModel'}}},"
        " {'comm_id': 'c', 'data': {'state': 7, 'buffer_paths': 8}}, {'comm_id': 'c', 'data': {"
        "'state': {'_model_name': 1}, 'buffer_paths': [3]}}, {'wait': 'x'}, {'execution_state': 1},"
        " {'metadata': {'x' * 1000: 'y' * 100000}, 'data': {'text/plain': 'huge metadata'}},"
        " {'data': {'text/plain': 'deep', 'application/json': deep}}, b'[1]', b'5']"
    )
    report = run(
        served,
        "odd",
        "print('earlier')",
        f"{send}deep = []\nfor _ in range(400):\n    deep = [deep]\n"
        f"for kind in {kinds!r}:\n    for content in {contents}:\n        send(kind, content)\n"
        "display({'image/png': None}, raw=True)\ndisplay({'text/plain': 'one more'}, raw=True)",
        code("'late'", "results"),
    )
    assert report["status"] == "succeeded", report
    assert text(outputs(served, "odd")) == "earlier\n"
    assert "one more" in json.dumps(outputs(served, "odd", 1))
    assert report["cells"] == {"total": 3, "executed": 3}


def test_progress_bars_are_folded_as_a_terminal_does(served: Program) -> None:
    """In the executed notebook, and in what the status tells; plots that are gone do not count."""
    report = run(
        served,
        "bars",
        "from tqdm import tqdm\nfor _ in tqdm(range(1000), mininterval=0): pass\nprint('done')",
        "from IPython.display import clear_output, display\n"
        "shown = display('x' * 1000, display_id='one')\n"
        "for n in range(1500):\n    shown.update('y' * 1000 + str(n))\n"
        "    if n % 10 == 0:\n        clear_output(wait=True); display('z' * 1000, n)",
    )
    assert report["status"] == "succeeded", report
    bar = text(outputs(served, "bars"))
    assert len(bar) < 400
    assert "100%" in bar
    assert "1000/1000" in bar
    assert len(outputs(served, "bars", 1)) == 2


def test_nothing_that_is_written_is_lost(served: Program) -> None:
    """By a shell at the very end of a cell, by a thread after it, by one that outlives the last."""
    late = (
        "import threading, time\n"
        "def work(seconds, word):\n    time.sleep(seconds)\n    print(word)\n"
    )
    report = run(
        served,
        "late",
        "import os\nos.system('echo from a shell')",
        "os.write(1, 'é'.encode()[:1]); os.write(1, 'é'.encode()[1:]);"
        " os.system('echo at the end >&2')",
        f"{late}import asyncio\nasync def later():\n    await asyncio.sleep(0.3)\n"
        "    print('in between')\ntask = asyncio.create_task(later())",
        "await asyncio.sleep(0.8)\nprint('slept')",
        "threading.Thread(target=work, args=(0.8, 'at last')).start()\nprint('done')",
    )
    assert report["status"] == "succeeded", report
    shown = [text(outputs(served, "late", index)) for index in range(5)]
    assert shown == [
        "from a shell\n",
        "éat the end\n",
        "in between\n",
        "slept\n",
        "done\nat last\n",
    ]


def test_what_is_preloaded_knows_that_it_is_in_a_notebook(served: Program) -> None:
    """pandas decides when it is imported how many columns a table shows: 20, or what is there."""
    made = code("import pandas\npandas.get_option('display.max_columns')", "results")
    left = code("import builtins\nhasattr(builtins, 'get_ipython')", "results")
    assert value(run(served, "width", made)) == 20
    assert value(run(served, "left", left)) is True


def test_a_notebook_ends_quietly_and_whole(served: Program) -> None:
    """What exit functions say, or fail with, is no cell's output; files that are open are written.

    A proxy whose object is gone is no reason to stop looking for them.
    """
    ends = (
        "import atexit, builtins, os, weakref\nclass Thing:\n    pass\n"
        "thing = Thing()\nbuiltins.proxy = weakref.proxy(thing)\n"
        "atexit.register(lambda: 1 / 0)\natexit.register(print, 'good', 'bye')\n"
        "atexit.register(os.system, 'echo from a shell')\n"
        "builtins.kept = open('kept.txt', 'w')\nkept.write('all of it')"
    )
    report = run(served, "quiet", ends)

    assert report["status"] == "succeeded", report
    assert [o["output_type"] for o in outputs(served, "quiet")] == ["execute_result"]
    assert (served.outbox / report["files"][0]["path"]).read_text() == "all of it"


def test_what_ipythons_start_up_brings_is_not_missed(served: Program) -> None:
    """It runs before the first cell, in the notebook's own environment."""
    made = code("import brought\n[brought.VALUE, where]", "results")
    assert value(run(served, "brought", made)) == ["brought", "brought"]
