"""Promises of the import reader: it names what will surely be imported, and nothing beside it."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.contract.advice.required_modules import MAX_SOURCE_CHARS, required_modules


def modules(*sources: str) -> set[str]:
    """The modules of these cells."""
    return set(required_modules(sources).modules)


def cells(*sources: str, expected: str = "", id: str | None = None) -> Any:  # noqa: A002
    """A row of a table: the cells, and the modules that are expected, by their names."""
    return pytest.param(sources, set(expected.split()), id=id or sources[0])


def doubtful(*sources: str, expected: str = "", why: str) -> Any:
    """A row where a module looks as if it were imported, and why that is not certain."""
    return pytest.param(sources, set(expected.split()), id=why)


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        cells("import cv2", expected="cv2"),
        cells("import os, sys", expected="os sys"),
        cells("import numpy as np", expected="numpy"),
        cells("import a.b.c", expected="a"),
        cells("import a.b as x, c", expected="a c"),
        cells("from a.b import c", expected="a"),
        cells("from a import *", expected="a"),
        cells("from a import (b,\n    c as d)", expected="a"),
        cells("import a; import b; x = 1", expected="a b"),
        cells("x = 1\nimport a\nprint(a)", expected="a"),
        cells("import a\r\nimport b\r\n", expected="a b", id="Windows line ends"),
        cells("    import a", expected="a", id="a cell that is indented"),
        cells("import über", expected="über"),
        cells("import a", "import b", "import a", expected="a b", id="several cells"),
        cells("import a\nawait f()\nimport b", expected="a b", id="top-level await"),
        cells("from __future__ import annotations\nimport a", expected="a"),
        cells("with open('x') as f:\n    import a\nimport b", expected="b"),
        cells("class A:\n    import a", expected="a"),
        cells("try:\n    f()\nfinally:\n    import a", expected="a"),
        cells("import a\na?", expected="a", id="help"),
        cells("a??\n?b\nimport c", expected="c", id="help in front"),
        cells("print('pip install x')\nimport a", expected="a"),
        cells("# import z\n'import y'\nimport a", expected="a"),
        cells("", id="an empty cell"),
        cells("\n\n  \n", id="blank lines"),
        cells("# only a comment"),
    ],
)
def test_plain_imports_are_named(sources: tuple[str, ...], expected: set[str]) -> None:
    """The first part of every dotted name, of the standard library and of others alike."""
    assert modules(*sources) == expected


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        cells("from . import a"),
        cells("from .a import b\nfrom ...c import d\nimport e", expected="e"),
        cells("def f():\n    import a\nimport b", expected="b"),
        cells("async def f():\n    import a"),
        cells("class A:\n    def f(self):\n        import a"),
        cells("f = lambda: __import__('a')\nimport b"),
        cells("if x:\n    import a\nelse:\n    import b\nimport c", expected="c"),
        cells("if TYPE_CHECKING:\n    import a\nimport b", expected="b"),
        cells("import typing\nif typing.TYPE_CHECKING:\n    import a", expected="typing"),
        cells("if __name__ == '__main__':\n    import a"),
        cells("for x in y:\n    import a\nimport b", expected="b"),
        cells("while x:\n    import a"),
        cells("match x:\n    case 1:\n        import a\nimport b", expected="b"),
        cells("import importlib\nimportlib.import_module('a')", expected="importlib"),
    ],
)
def test_imports_that_may_not_run_are_not_named(
    sources: tuple[str, ...], expected: set[str]
) -> None:
    """Functions, branches and loops may never be entered; relative imports need a package."""
    assert modules(*sources) == expected


CATCHES = """
ImportError | ModuleNotFoundError | Exception | BaseException | builtins.ImportError
(ImportError, AttributeError) | (OSError, ModuleNotFoundError) | ImportError as error
OwnError | errors.Unknown | (ValueError, OwnError) | f()
"""
PASSES = "OSError | ValueError | (KeyError, TypeError) | AttributeError as error"


@pytest.mark.parametrize("what", [w.strip() for w in CATCHES.replace("\n", "|").split("|") if w])
def test_import_whose_failure_may_be_caught_is_not_named(what: str) -> None:
    """An optional import is no requirement; what an unknown name catches, nobody knows."""
    if what:
        assert modules(f"try:\n    import a\nexcept {what}:\n    a = None\nimport b") == {"b"}


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        cells("try:\n    import a\nexcept:\n    pass\nimport b", expected="b", id="bare"),
        cells("try:\n    import a\nexcept* ImportError:\n    pass", id="except*"),
        cells(
            "E = ImportError\ntry:\n    import a\nexcept E:\n    pass\nimport b",
            expected="b",
            id="an alias of the error",
        ),
        cells(
            "try:\n    import a\nexcept ValueError:\n    pass\nexcept ImportError:\n    import c",
            id="a later handler",
        ),
        cells(
            "try:\n    try:\n        import a\n    except ValueError:\n        pass\n"
            "except ImportError:\n    pass",
            id="the try outside",
        ),
        cells(
            "try:\n    import a\nexcept ImportError:\n    a = 0\nelse:\n    import b\n"
            "finally:\n    import c",
            expected="c",
            id="finally runs whatever happens",
        ),
        cells("with contextlib.suppress(ImportError):\n    import a\nimport b", expected="b"),
        cells("with suppress(Exception):\n    import a\nimport b", expected="b"),
        cells("with open('x'), suppress(ImportError):\n    import a"),
        cells("with pytest.raises(ImportError):\n    import a\nimport b", expected="b"),
        cells("async with suppress(ImportError):\n    import a"),
    ],
)
def test_guarded_imports_are_not_named(sources: tuple[str, ...], expected: set[str]) -> None:
    """All the ways in which people write an optional import."""
    assert modules(*sources) == expected


@pytest.mark.parametrize(
    "change",
    [
        "%pip install x",
        "%pip install -q x y",
        "%conda install x",
        "%mamba install x",
        "%uv pip install x",
        "!pip install x",
        "!pip3 install x",
        "!{sys.executable} -m pip install x",
        "!apt-get install -y x",
        "!git clone https://example.org/x",
        "!python setup.py install",
        "!!pip install x",
        "out = !pip install x",
        "%sx pip install x",
        "%system pip install x",
        "%time !pip install x",
        "os.system('pip install x')",
        "subprocess.run(['pip', 'install', 'x'])",
        "subprocess.check_call([sys.executable, '-m', 'pip', 'install', 'x'])",
        "sp.run(f'{sys.executable} -m pip install x'.split())",
        "x = subprocess.Popen(['uv', 'pip', 'install', 'x']).wait()",
        "get_ipython().system('pip install x')",
        "get_ipython().run_line_magic('pip', 'install x')",
        "import pip\npip.main(['install', 'x'])",
        "await micropip.install('x')",
        "%%capture\n%pip install x",
        "%%capture out\n!pip install x",
        "%%bash\npip install x",
        "%%sh\nconda install x",
        "%%time\n!pip install x",
        "if missing:\n    !pip install x",
        "for x in y:\n    subprocess.check_call(['pip', 'install', x])",
        "while True:\n    !pip install x",
        "try:\n    import a\nexcept ImportError:\n    !pip install a",
        "try:\n    !pip install x\nexcept ValueError:\n    pass",
        "with capture_output():\n    !pip install x",
        "class A:\n    !pip install x",
        "sys.path.append('..')",
        "sys.path.insert(0, 'lib')",
        "sys.path += ['lib']",
        "sys.path[0:0] = ['lib']",
        "sys.path = ['lib']",
        "if '..' not in sys.path:\n    sys.path.append('..')",
        "sys.modules['a'] = None",
        "sys.meta_path.append(finder)",
        "site.addsitedir('lib')",
        "os.chdir('lib')",
        "from os import chdir\nchdir('lib')",
        "importlib.invalidate_caches()",
        "%cd lib",
        "%run setup.ipynb",
        "%load_ext something",
        "%load setup.py",
        "%env PYTHONPATH=lib",
        "exec(open('setup.py').read())",
        "[__import__(name) for name in names]",
        "sys.exit()",
        "exit(0)",
        "quit()",
        "os._exit(1)",
        "ok or sys.exit()",
        "raise SystemExit",
        "raise RuntimeError('stop')",
        "try:\n    f()\nfinally:\n    sys.exit()",
    ],
)
def test_nothing_is_named_after_a_change_of_what_can_be_imported(change: str) -> None:
    """Who installs something, changes the search path or ends the run makes the rest unknowable."""
    found = modules("import before", change, "import after")
    assert "before" in found
    assert "after" not in found


def test_what_comes_after_a_change_in_the_same_cell_is_not_named_either() -> None:
    """Statements count in their order, not cell by cell."""
    assert modules("import a\n!pip install b\nimport b") == {"a"}


@pytest.mark.parametrize(
    "harmless",
    [
        "%matplotlib inline",
        "%autoreload 2",
        "%who",
        "%config InlineBackend.figure_format = 'retina'",
        "!ls -l",
        "files = !ls",
        "%%html\n<script>import x from 'y'</script>",
        "%%javascript\nimport z",
        "print(sys.version)",
        "if x:\n    print(1)",
        "try:\n    f()\nexcept Exception:\n    pass",
    ],
)
def test_what_changes_nothing_is_passed_over(harmless: str) -> None:
    """Other magics, shell lines, other languages and cells that are no Python at all."""
    assert modules(harmless, "import b") == {"b"}


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        cells("%%time\nimport a", expected="a"),
        cells("%%timeit -n 1\nimport a", expected="a"),
        cells("%%capture out\nimport a\nimport b", expected="a b"),
        cells("%%prun\nimport a", expected="a"),
        cells("%%capture\n%%time\nimport a", expected="a"),
        cells("%time import a", expected="a"),
        cells("%%time\ntry:\n    import a\nexcept ImportError:\n    pass"),
    ],
)
def test_magics_that_run_python_are_read(sources: tuple[str, ...], expected: set[str]) -> None:
    """`%%time` and its like run their cell's body as it stands."""
    assert modules(*sources) == expected


@pytest.mark.parametrize(
    "magic",
    [
        "%%writefile own.py",
        "%%writefile -a own.py",
        "%%writefile ./own.py",
        "%%writefile 'own.py'",
        "%%file own.py",
        "%%writefile own/__init__.py",
        "%%writefile own/inner.py",
    ],
)
def test_modules_that_the_notebook_writes_are_not_named(magic: str) -> None:
    """A module that comes into being during the run cannot be missed before it."""
    assert modules(f"{magic}\nimport inner", "import b, own, c") == {"b"}


def test_writefile_without_a_name_is_passed_over() -> None:
    """IPython itself will complain."""
    assert modules("%%writefile\nx = 1", "import b") == {"b"}


def test_nothing_is_named_after_a_cell_that_is_too_long_to_be_read() -> None:
    """A cell of more than a million characters may do anything."""
    assert modules("import a", "import x\n" + "#" * MAX_SOURCE_CHARS, "import b") == {"a"}


@pytest.mark.parametrize(
    "source",
    ["(" * 5_000, "a b", "if", "x = 'unfinished", "SELECT * FROM t", "\ud800", "%%time\n)"],
)
def test_nothing_is_named_after_a_cell_that_python_cannot_parse(source: str) -> None:
    """It ends the notebook, or is a magic that needs no percent sign; no reason to fail here."""
    assert modules("import a", source, "import b") == {"a"}


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        doubtful(
            "import sys\nif not found:\n    sys.exit()\nimport cv2",
            expected="sys",
            why="the notebook may have ended itself under `if`",
        ),
        doubtful(
            "try:\n    import cv2\nexcept ImportError:\n    raise SystemExit(0)\nimport cv2.aruco",
            why="the handler of a failed import may have ended the notebook",
        ),
        doubtful(
            "try:\n    x = int('x')\nexcept ValueError:\n    x = 0\nelse:\n    import cupy",
            why="an `else` of a try runs only if nothing was raised",
        ),
        doubtful(
            "try:\n    int('x')\n    import cv2\nexcept ValueError:\n    pass",
            why="a caught error may have come first",
        ),
        doubtful(
            "with contextlib.suppress(Exception):\n    !pip install x\nimport x",
            why="an install inside of `suppress`",
        ),
        doubtful(
            "def install():\n    !pip install x\ninstall()\nimport x",
            why="a function of the notebook installs it",
        ),
        doubtful(
            "def setup():\n    sys.path.append('lib')\nsetup()\nimport x",
            why="a function of the notebook changes the search path",
        ),
        doubtful("pip install x", "import x", why="automagic: `pip install x` alone in its cell"),
        doubtful("cd lib", "import x", why="automagic: `cd lib` alone in its cell"),
        doubtful("!wget https://example.org/x.py", "import x", why="the shell fetches it"),
        doubtful("!unzip x.zip", "import x", why="the shell unpacks it"),
        doubtful(
            "%%bash\ncurl -O https://example.org/x.py", "import x", why="a bash cell makes it"
        ),
        doubtful("open('x.py', 'w').write('')\nimport x", why="Python writes the module"),
        doubtful(
            "from pathlib import Path\nPath('x.py').write_text('')\nimport x",
            expected="pathlib",
            why="pathlib writes the module",
        ),
        doubtful(
            "from sys import path\npath.append('lib')\nimport x",
            expected="sys",
            why="sys.path by `from sys import path`",
        ),
        doubtful(
            "import sys as s\ns.path.append('lib')\nimport x",
            expected="sys",
            why="sys.path by an alias of sys",
        ),
        doubtful(
            "from subprocess import call\ncall(['pip', 'install', 'x'])\nimport x",
            expected="subprocess",
            why="`call` imported from subprocess",
        ),
        doubtful(
            "from subprocess import run\nrun(['pip', 'install', 'x'])\nimport x",
            expected="subprocess",
            why="`run` imported from subprocess",
        ),
        doubtful(
            "from os import system\nsystem('pip install x')\nimport x",
            expected="os",
            why="`system` imported from os",
        ),
        doubtful(
            "cmd = 'pip install x'\nimport os\nos.system(cmd)\nimport x",
            expected="os",
            why="a shell command out of a variable",
        ),
        doubtful(
            "ip = get_ipython()\nip.run_line_magic('pip', 'install x')\nimport x",
            why="a magic by a variable that holds get_ipython()",
        ),
        doubtful(
            "get_ipython().run_cell('!pip install x')\nimport x",
            why="get_ipython().run_cell installs",
        ),
        doubtful(
            "with quiet_import():\n    import x", why="an unknown context may swallow the error"
        ),
    ],
)
def test_doubtful_imports_are_not_named(sources: tuple[str, ...], expected: set[str]) -> None:
    """Rather miss one than name one too many: a notebook that would succeed must not be refused."""
    assert modules(*sources) == expected


LINES = st.sampled_from(
    """
import a|import a.b as c|from . import d|from e import *|try:|except ImportError:|except:|else:
finally:|if x:|for x in y:|while 1:|with f() as g:|class A:|def f():|async def f():|match x:
case 1:|pass|raise|return|await f()|%time import t|%%time|%%capture|%%writefile m.py|%%bash
!ls|!pip install x|x = !ls|%pip install x|%|%%|!|?|a?|get_ipython().run_cell_magic('time', '')
get_ipython().run_line_magic()|sys.exit()|sys.path.append(1)|f(|)|'''|"|\\|\x00|\x0c|\ud800|é
""".replace("\n", "|")
    .strip("|")
    .split("|")
)
SOURCES = st.lists(
    st.lists(st.tuples(st.sampled_from(["", "    ", "        ", "\t"]), LINES), max_size=6).map(
        lambda lines: "\n".join(indent + line for indent, line in lines)
    )
    | st.text(max_size=30),
    max_size=3,
)


@given(SOURCES)
@settings(max_examples=60)
def test_no_source_raises(sources: list[str]) -> None:
    """Whatever is in a cell, the answer is a set of plain module names."""
    assert all(name.isidentifier() for name in required_modules(sources).modules)


@pytest.mark.parametrize(
    "source",
    ["import google.colab", "from google.colab import drive", "from google import colab"],
)
def test_what_only_a_service_brings_is_known_by_its_dotted_name(source: str) -> None:
    """No package of `google` would have it."""
    required = required_modules([source])
    assert required.ordered == ("google",)
    assert required.provided == ("google.colab",)
    assert required_modules(["import google.cloud, google.colaboratory"]).provided == ()


@pytest.mark.parametrize(
    ("source", "module", "parts"),
    [
        ("import sklearn", "sklearn", ("sklearn",)),
        ("import os", "yaml", ("yaml",)),
        ("from google.cloud import storage", "google", ("google.cloud.storage",)),
        (
            "import google.auth\nfrom google.cloud import bigquery",
            "google",
            ("google.auth", "google.cloud.bigquery"),
        ),
        ("import googleapiclient.discovery", "google", ("google",)),
    ],
)
def test_a_module_is_known_by_all_of_its_dots(
    source: str, module: str, parts: tuple[str, ...]
) -> None:
    """Of several packages with one first name the dots tell which it is."""
    assert required_modules([source]).imported_as(module) == parts
