"""Promises about notebooks that change what an import gives: they are told by their text."""

import pytest

from runner.execution.job.early_changes import changes_imports, files_read


@pytest.mark.parametrize(
    "source",
    [
        "%pip install -q numpy==2.0",
        "!pip install pandas",
        "!{sys.executable} -m pip install --upgrade 'pandas<3'",
        "!uv pip install polars",
        "%conda install scipy",
        "!mamba update numpy -y",
        "%%bash\nset -e\npip3 install gift",
        "import subprocess, sys\nsubprocess.run([sys.executable, '-m', 'pip', 'install', 'gift'])",
        "subprocess.check_call(\n    [\n        sys.executable,\n        '-m',\n        'pip',\n"
        "        'install',\n        'gift',\n    ]\n)",
        "os.system('pip uninstall -y gift')",
        "get_ipython().system('pip install \\\n  gift')",
        "from pip import main\nmain(['install', 'gift'])",
        "!python setup.py develop",
        'import os\nos.environ["MPLBACKEND"] = "Agg"',
        "os.environ['OPENBLAS_NUM_THREADS']='1'",
        "os.environ[\n    'A'\n] = 'b'",
        "environ.update(X='1')",
        "os.environ |= {'X': '1'}",
        "os.environ.setdefault('X', '1')",
        "os.environ.pop('X', None)",
        "del os.environ['X']",
        "os.putenv('X', '1')",
        "%env OMP_NUM_THREADS=2",
        "%env OMP_NUM_THREADS 2",
        "%set_env X=1",
        "if True:\n    %env X=1",
        "from dotenv import load_dotenv\nload_dotenv()",
        "settings = {'ARROW_DEFAULT_MEMORY_POOL': 'system'}",
        "with patch.dict(os.environ, X='1'):\n    import gift",
        "env = os.environ\nenv['X'] = '1'",
        "from os import environ as env\nenv['X'] = '1'",
        "os.environ['X']: str = '1'",
        "os.environ['X'] += ':1'",
        "os.environ.__setitem__('X', '1')",
        "get_ipython().run_line_magic('env', 'X=1')",
        "get_ipython().magic('set_env X 1')",
        "monkeypatch.setenv('X', '1')",
        "from environs import Env\nEnv().read_env()",
    ],
)
def test_what_changes_imports_is_seen(source: str) -> None:
    """By any installer, or through the environment."""
    assert changes_imports(["import os", source])


@pytest.mark.parametrize(
    "source",
    [
        "import pandas as pd\ndf = pd.read_csv('x.csv')\ndf.update(other)",
        "# !pip install pandas\n    # os.environ['X'] = '1'\nimport pandas",
        "import os\nprint(os.environ['HOME'], os.environ.get('X'))",
        "if os.environ['HOME'] == '/root': print(1)",
        "%env",
        "%env HOME",
        "subprocess.run(command, env=os.environ)",
        "copy = dict(os.environ)\nhome = os.environ['HOME']",
        "get_ipython().run_line_magic('matplotlib', 'inline')",
        "!pip list\n!pip --version",
        "%matplotlib inline",
        "pipeline.add(step)",
        "uvicorn.install",
        "MAXIMUM = 3",
        "",
    ],
)
def test_what_only_reads_is_not(source: str) -> None:
    """Such notebooks have the kernel that waits for them."""
    assert not changes_imports([source])


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "source", ["pip " * 60_000, "environ[" * 30_000, "\n" * 250_000, "(\n " * 80_000]
)
def test_a_long_source_takes_no_time(source: str) -> None:
    """Whatever it repeats."""
    changes_imports([source])
    files_read([source])


@pytest.mark.parametrize(
    ("sources", "paths"),
    [
        (["import setup"], "setup.py setup/__init__.py"),
        (["import a, b as c"], "a.py a/__init__.py b.py b/__init__.py"),
        (["from a.b import c"],
         "a.py a/__init__.py a/b.py a/b/__init__.py a/b/c.py a/b/c/__init__.py"),
        (["%run -i first.py", "%run './second'"], "first.py ./second ./second.py"),
        (["import sys\nsys.path.insert(0, '../src')", "import a"],
         "sys.py sys/__init__.py ../src/sys.py ../src/sys/__init__.py "
         "a.py a/__init__.py ../src/a.py ../src/a/__init__.py"),
        (["x = 1  # import nothing", "print('from a import b')"], ""),
    ],
)  # fmt: skip
def test_files_beside_the_notebook_are_named(sources: list[str], paths: str) -> None:
    """What it imports, in packages and on a path of its own too, and what it runs."""
    assert sorted(files_read(sources)) == sorted(paths.split())


def test_files_of_a_package_are_named() -> None:
    """A relative import is one from where its file lies."""
    assert files_read(["from .settings import x"], "a/b.py") == [
        *("a/settings.py", "a/settings/__init__.py", "a/settings/x.py", "a/settings/x/__init__.py")
    ]
    assert "c.py" in files_read(["from .. import c"], "a/b.py")
