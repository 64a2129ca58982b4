"""A forked kernel is as fresh as a new process: nothing of the runner or of another run is in it.

Probes are cells of a few notebooks. Each notebook runs once by the papermill command, in a process
of its own, and once by the runner.
"""

import json
import os
import re
import signal
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from runner.execution.environment import activated, clean_environment
from tests.conftest import AS_INSTALLED, Json, Program, code, notebook, programs, wait_for

SIGNALS = """
import pathlib, signal
print({str(n): str(signal.getsignal(n)) for n in sorted(signal.valid_signals())
       if n != signal.SIGINT})
"""
PROBES = {
    "names": "print(sorted(globals()))\nprint(sorted(get_ipython().user_ns))",
    "main": "import __main__, sys\nprint(__name__, __main__ is sys.modules['__main__'])\n"
    "print(sorted(vars(__main__)), hasattr(__main__, '__file__'))",
    "counters": "print(get_ipython().execution_count, In, Out, _ih, _oh, _dh == [__import__("
    "'pathlib').Path.cwd()], get_ipython().starting_dir == __import__('os').getcwd())",
    "argv": "import os, sys\n"
    "for line in sys.argv, sys.orig_argv:\n"
    "    line = [os.path.basename(one) for one in line if 'HistoryManager' not in one]\n"
    "    print(line[:-1], line[-1].endswith('.json'))",
    "path": "import sys\nprint(sys.path)",
    # papermill's command sets PYDEVD_DISABLE_FILE_VALIDATION itself.
    "environment": "import os\n"
    "hidden = {'JPY_PARENT_PID', 'RUNNER_JOB_ID', 'RUNNER_NAME', 'RUNNER_INPUT_DIR',"
    " 'RUNNER_OUTPUT_DIR',"
    " 'RUNNER_SUBMITTED_BY', 'RUNNER_INSTANCE', 'PYDEVD_DISABLE_FILE_VALIDATION', 'PWD', 'OLDPWD',"
    " '_', 'JPY_SESSION_NAME', 'SHLVL'}\n"
    "print(sorted((k, v) for k, v in os.environ.items() if k not in hidden))\n"
    "!echo $PAGER $MPLBACKEND $TERM",
    "signals": SIGNALS,
    "signals of a new process": SIGNALS,
    "process": "import os\nmask = os.umask(0); os.umask(mask)\n"
    "print(mask, os.getsid(0) == os.getpid(), os.getpgrp() == os.getpid(), os.nice(0))",
    "limits": "import resource\n"
    "names = [n for n in dir(resource) if n.startswith('RLIMIT_') and n not in"
    " ('RLIMIT_NOFILE', 'RLIMIT_OFILE')]\n"
    "print({n: resource.getrlimit(getattr(resource, n)) for n in names})",
    "files": "import os\n"
    "links = [os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd')"
    " if os.path.exists(f'/proc/self/fd/{n}')]\n"
    "print(sorted({one for one in links if one.startswith('/') and one != '/dev/null'"
    " and '/proc/' not in one}))",
    "threads": "import threading\n"
    "print(sorted(t.name for t in threading.enumerate()"
    " if type(t).__name__ != 'ParentPollerUnix'))\n"
    "print(threading.current_thread() is threading.main_thread())",
    "logging": "import logging\nprint(logging.root.handlers, logging.root.level)\n"
    "logging.warning('a warning')\nlogging.getLogger('papermill').warning('another')\n"
    "logging.info('not shown')\nlogging.basicConfig(level='INFO', force=False)\n"
    "logging.getLogger('mine').info('shown now')",
    "warnings": "import warnings\nwarnings.warn('look here')\n"
    "print([(f[0], str(f[2])) for f in warnings.filters if f[0] == 'error'])",
    "collector": "import gc\nprint(gc.isenabled(), gc.get_threshold(), gc.get_debug())",
    "interpreter": "import sys, threading, asyncio, locale, decimal, time\n"
    "print(sys.flags, sys._xoptions, sys.getrecursionlimit(), sys.getswitchinterval())\n"
    "print(locale.setlocale(locale.LC_ALL), decimal.getcontext(), time.tzname)\n"
    "print(asyncio.get_running_loop().is_running(), sys.ps1, sys.stdout.encoding)",
    "shell": "ip = get_ipython()\n"
    "print(type(ip), ip.history_manager.enabled in (True, False), ip.kernel.implementation)\n"
    "print(sorted(ip.extension_manager.loaded), ip.colors, ip.ast_node_interactivity)\n"
    "print({k: sorted(v) for k, v in ip.magics_manager.magics.items()})\n"
    "print({k: len(v) for k, v in ip.events.callbacks.items()})",
    "figure": "import matplotlib.pyplot as plt\nprint(plt.get_backend(), plt.get_fignums())\n"
    "fig = plt.figure()\nplt.plot([1, 2, 3])\nplt.title('a line')",
    "settings of matplotlib": "import matplotlib as mpl\nprint(mpl.rcParams)\n"
    "print(mpl.matplotlib_fname())",
    "rich output": "from IPython.display import HTML, Markdown, display\n"
    "import pandas as pd\ndisplay(HTML('<b>x</b>'), Markdown('*y*'))\n"
    "pd.DataFrame({'a': [1, 2]})",
    "updates": "from IPython.display import display\n"
    "shown = display('before', display_id='one')\nshown.update('after')",
    "comms": "from comm import create_comm\n"
    "one = create_comm(target_name='t', data={'a': 1})\none.send({'b': 2})\n"
    "print(one.target_name)",
    "input": "input('name? ')",
    "error": "def f(n):\n    return 1 // n\n\nf(0)",
    "shell commands": "!echo out; echo err >&2\n%cd -q .\n!pwd | wc -l\n%env NEW=1\n!echo $NEW",
    "bash": "%%bash\necho $0 | xargs basename\nexit 3",
    "child": "import subprocess, sys\n"
    "print(subprocess.run([sys.executable, '-c', 'import sys; print(sys.path[1:], 1)'],"
    " capture_output=True, text=True))",
    "processes": "import multiprocessing as mp\nprint(mp.current_process().name)\n"
    "with mp.get_context('fork').Pool(2) as pool:\n    print(pool.map(abs, [-1, -2]))\n"
    "with mp.get_context('spawn').Pool(1) as pool:\n    print(pool.map(abs, [-1, -2]))",
    "processes of a module beside it": "import multiprocessing as mp, pathlib\n"
    "pathlib.Path('beside.py').write_text('def work(): pass')\nimport beside\n"
    "process = mp.get_context('spawn').Process(target=beside.work)\n"
    "process.start(); process.join(); print(process.exitcode)",
    "temporary files": "import tempfile\nprint(tempfile.gettempdir(), tempfile.tempdir)",
    "cached modules": "import sys\nprint('runner' in sys.modules, [n for n in sys.modules"
    " if n.startswith('runner.')])",
    "async": "import asyncio\nawait asyncio.sleep(0)\nprint(asyncio.current_task() is not None)",
    "atexit": "import atexit, weakref\nprint(weakref.finalize._shutdown)",
    "late traceback": "import json\njson.loads('{')",
    "stream order": "import sys\nprint('a'); print('b', file=sys.stderr); print('c', flush=True)",
    # A thread of ipykernel carries these over, and may be later than the end of the cell.
    "writing to the descriptors": "import os, time\nos.write(1, b'low level\\n')\ntime.sleep(1)",
    "system": "import os, time\nos.system('echo from a shell')\ntime.sleep(1)",
}
NOTEBOOKS = {
    "process": (
        *("names", "main", "counters", "argv", "path", "files", "threads", "process", "limits"),
        *("signals", "collector", "interpreter", "cached modules", "atexit", "temporary files"),
        "error",
    ),
    "shell": (
        *("environment", "logging", "warnings", "shell", "stream order", "async", "updates"),
        *("comms", "input"),
    ),
    # `%env` asks for a kernel in a process of its own: one that was not forked.
    "children": (
        *("signals of a new process", "child"),
        *("shell commands", "processes of a module beside it", "processes"),
        *("writing to the descriptors", "system", "bash"),
    ),
    "libraries": ("figure", "settings of matplotlib", "rich output", "late traceback"),
}
"""The probes of each: what is changed by another comes before it, what fails is the last."""
VARYING = (
    (re.compile(r"/tmp/ipykernel_\d+/\d+\.py"), "CELL"),
    (re.compile(r"ipykernel_\d+/\d+\.py"), "CELL"),
    (re.compile(r"0x[0-9a-f]+"), "ADDRESS"),
    (re.compile(r"\x1b\[[0-9;]*m"), ""),
    (re.compile(r"Thread-\d+"), "Thread"),
)
PAPERMILL = """
import os, sys
from runner.system.lazy_grammar import put_off
put_off()
from papermill.__main__ import papermill

folders, sys.argv[1:] = sys.argv[1:], ["in.ipynb", "out.ipynb"]
for folder in folders:
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.chdir(folder)
        papermill()
    os.waitpid(pid, 0)
"""
"""The command in each of these folders: a process of its own, though forked, since the kernel is
what counts. And without a second and a half for a grammar that no notebook needs."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """One runner for all probes."""
    make = programs(tmp_path_factory.mktemp("fresh"))
    yield next(make)(AS_INSTALLED).start()
    next(make, None)


Sides = dict[str, list[list[Json]]]
"""By notebook, the outputs of each probe."""


@pytest.fixture(scope="module")
def by_papermill(tmp_path_factory: pytest.TempPathFactory) -> Sides:
    """What the probes say in kernels that are started as Jupyter starts them."""
    folder = tmp_path_factory.mktemp("papermill")
    _papermill(folder, *NOTEBOOKS).wait(500)
    return {name: _outputs(folder / name / "out.ipynb") for name in NOTEBOOKS}


@pytest.fixture(scope="module")
def by_runner(served: Program) -> Sides:
    """What they say in forked kernels."""
    for name in NOTEBOOKS:
        served.drop(f"{name}.ipynb", _probing(name))
    for name in NOTEBOOKS:
        served.await_report(name)
    return {name: _outputs(served.outbox / f"{name}.ipynb") for name in NOTEBOOKS}


def _probing(name: str) -> Json:
    return notebook(*(PROBES[probe] for probe in NOTEBOOKS[name]))


def _papermill(folder: Path, *names: str) -> "subprocess.Popen[bytes]":
    for name in names:
        (folder / name).mkdir()
        (folder / name / "in.ipynb").write_text(json.dumps(_probing(name)))
    return subprocess.Popen(
        [sys.executable, "-c", PAPERMILL, *(str(folder / name) for name in names)],
        env=activated(clean_environment(os.environ), sys.prefix),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # not that of `nohup`
    )


def _outputs(path: Path) -> list[list[Json]]:
    """The outputs of each cell, with what differs from process to process taken out.

    How the text of two streams alternates depends on when the kernel flushes; each is one here.
    """
    document: Any = nbformat.read(path, as_version=4)
    return [_of_cell(cell) for cell in document.cells if cell.cell_type == "code"]


def _of_cell(cell: Any) -> list[Json]:
    found: list[Json] = [_plain(one) for one in cell.outputs if one.output_type != "stream"]
    for name in ("stdout", "stderr"):
        texts = [one.text for one in cell.outputs if one.get("name") == name]
        found.append({name: _plain("".join(texts)).splitlines()})
    return found


def _plain(output: Any) -> Any:
    if isinstance(output, str):
        for pattern, word in VARYING:
            output = pattern.sub(word, output)
        return output
    if isinstance(output, dict):
        return {key: _plain(value) for key, value in output.items()}
    return [_plain(one) for one in output] if isinstance(output, list) else output


@pytest.mark.parametrize("probe", PROBES)
def test_the_runner_gives_what_the_papermill_command_gives(
    probe: str, by_runner: Sides, by_papermill: Sides, tmp_path: Path
) -> None:
    """Every output, as the executed notebook shows it.

    papermill asks for a kernel's outputs without waiting for its greeting, and on a busy machine
    may miss the first; then it is asked once more.
    """
    name = next(name for name, probes in NOTEBOOKS.items() if probe in probes)
    place = NOTEBOOKS[name].index(probe)
    ours, expected = by_runner[name][place], by_papermill[name][place]
    if ours != expected:
        _papermill(tmp_path, name).wait(180)
        expected = _outputs(tmp_path / name / "out.ipynb")[place]
    assert ours == expected
    assert any(list(one.values()) != [[]] for one in ours), "a probe says something"


def test_no_two_runs_share_random_state(served: Program) -> None:
    """They are forked from one process that has numpy imported."""
    source = (
        "import random, uuid, os, tempfile\nimport numpy as np\n"
        "[random.random(), float(np.random.rand()), float(np.random.default_rng().random()),"
        " str(uuid.uuid4()), os.urandom(4).hex(), next(tempfile._get_candidate_names())]"
    )
    for number in range(6):
        served.drop(f"random{number}.ipynb", notebook(code(source, "results")))
    said = [
        served.await_report(f"random{number}")["results"]["cell_1"]["application/json"]
        for number in range(6)
    ]
    for kind in zip(*said, strict=True):
        assert len(set(kind)) == 6


def test_a_file_beside_a_library_notebook_comes_before_what_is_preloaded(served: Program) -> None:
    """As in a new process, where nothing but the kernel's own modules is imported yet."""
    (served.library / "scrapbook.py").write_text("WHOSE = 'mine'\n")
    (served.library / "runner").mkdir()
    (served.library / "runner" / "__init__.py").write_text("WHOSE = 'mine too'\n")
    made = notebook(code("import scrapbook, runner\n[scrapbook.WHOSE, runner.WHOSE]", "results"))
    (served.library / "near.ipynb").write_text(json.dumps(made))
    served.drop("near.json", json.dumps({"notebook": "near.ipynb"}))
    report = served.await_report("near")
    assert report["results"]["cell_1"]["application/json"] == ["mine", "mine too"]


def test_settings_of_matplotlib_beside_a_library_notebook_count(served: Program) -> None:
    """It reads them where it is imported, and it was imported elsewhere."""
    (served.library / "plots").mkdir()
    (served.library / "plots" / "matplotlibrc").write_text("lines.linewidth: 7\n")
    made = notebook(code("import matplotlib\nmatplotlib.rcParams['lines.linewidth']", "results"))
    for name in ("plots/thick", "thin"):
        (served.library / f"{name}.ipynb").write_text(json.dumps(made))
        served.drop(f"{name}.json", json.dumps({"notebook": f"{name}.ipynb"}))
    widths = [
        served.await_report(name)["results"]["cell_1"]["application/json"]
        for name in ("plots/thick", "thin")
    ]
    assert widths == [7.0, 1.5]


def test_what_one_run_changes_the_next_does_not_see(served: Program) -> None:
    """Environment, folder, modules, limits, style of plots."""
    served.drop(
        "dirty.ipynb",
        notebook(
            "import os, sys, resource, json\nimport matplotlib as mpl\nimport pandas as pd\n"
            "os.environ['DIRT'] = '1'; os.chdir('/'); os.umask(0o777); sys.path.append('/dirt')\n"
            "json.dirt = 1; mpl.rcParams['lines.linewidth'] = 99\n"
            "pd.set_option('display.max_rows', 1)\nresource.setrlimit(resource.RLIMIT_CORE, (0, 0))"
        ),
    )
    assert served.await_report("dirty")["status"] == "succeeded"
    source = (
        "import os, sys, json\nimport matplotlib as mpl\nimport pandas as pd\n"
        "['DIRT' in os.environ, os.getcwd() == '/', '/dirt' in sys.path, hasattr(json, 'dirt'),"
        " mpl.rcParams['lines.linewidth'] == 99, pd.get_option('display.max_rows') == 1]"
    )
    served.drop("clean.ipynb", notebook(code(source, "results")))
    report = served.await_report("clean")
    assert report["results"]["cell_1"]["application/json"] == [False] * 6


@pytest.fixture(scope="module")
def user_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python with all that this one has, and with packages of the user, as in the image."""
    folder = tmp_path_factory.mktemp("user") / "venv"
    venv.create(folder, system_site_packages=True)
    python = folder / "bin" / "python"
    # As `ensurepip` makes it, which takes seconds: with the pip that this one has.
    command = "import sys\nfrom pip._internal.cli.main import main\nsys.exit(main())\n"
    (folder / "bin" / "pip").write_text(f"#!{python}\n{command}")
    (folder / "bin" / "pip").chmod(0o755)
    places = [path for path in sys.path if path.endswith("site-packages")]
    [own] = folder.glob("lib/*/site-packages")
    (own / "all.pth").write_text(f"import site; list(map(site.addsitedir, {places!r}))\n")
    return str(python)


def wheel(folder: Path) -> Path:
    """A package of one module (PEP 427)."""
    path = folder / "gift-1.0-py3-none-any.whl"
    about = f"{path.name.partition('-py3')[0]}.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("gift.py", "VALUE = 42\ndef main():\n    print('unwrapped')\n")
        file.writestr(f"{about}/entry_points.txt", "[console_scripts]\nunwrap = gift:main\n")
        file.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: gift\nVersion: 1.0\n")
        kind = "Root-Is-Purelib: true\nTag: py3-none-any\n"
        file.writestr(f"{about}/WHEEL", f"Wheel-Version: 1.0\nGenerator: test\n{kind}")
        file.writestr(f"{about}/RECORD", "")
    return path


@pytest.mark.parametrize("start", ["fork", "cold"])
def test_what_a_notebook_installs_goes_with_its_run(
    start: str, make_program: Callable[..., Program], user_python: str, tmp_path: Path
) -> None:
    """Where the settings say so (`kernels.install: run`): the next one does not find it."""
    program = make_program({"kernels": {"preload": [], "install": "run", "start": start}})
    program.python = user_python
    program.start()
    package = wheel(tmp_path)
    installs = f"%pip install --quiet --no-index {package}"
    elsewhere = (
        f"!pip install --quiet --no-index --target elsewhere {package}\n"
        f"!command -v uv >/dev/null && uv pip install --quiet --no-index --reinstall {package}\n"
        "said = !unwrap\n"
        "import os, shutil\nthere = os.path.exists('elsewhere/gift.py')\n"
        "shutil.rmtree('elsewhere')"
    )
    if start == "cold":  # its environment is the same
        elsewhere = "said = !unwrap\nthere = True"
    what = code("import gift\n[gift.VALUE, said, there]", "results")
    program.drop("first.ipynb", notebook(installs, elsewhere, what))
    report = program.await_report("first", 180)
    assert report["status"] == "succeeded", report
    found = report["results"]["cell_3"]["application/json"]
    assert found == [42, ["unwrapped"], True], (program.outbox / "first.ipynb").read_text()
    assert report["files"] == []
    look = "import importlib.util\n[importlib.util.find_spec('gift') is None]"
    program.drop("second.ipynb", notebook(code(look, "results")))
    assert program.await_report("second")["results"]["cell_1"]["application/json"] == [True]
    wait_for(lambda: not list((program.root / "state" / "work").iterdir()))
