"""Promises of the question to an environment: what it has is right, and asking changes nothing."""

import importlib
import importlib.util
import json
import os
import pickle
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import pytest

from runner.contract.notebook import KernelChoice
from runner.contract.outcome import Refused
from runner.execution.job.importable import EnvironmentNotAnswering, missing_here, missing_in
from runner.execution.job.preparation import check_modules, read_notebook

Ask = Callable[..., list[str]]


def ask_another(modules: list[str], folder: str | None) -> list[str]:
    """This very interpreter, asked as if it were another one."""
    return missing_in(sys.executable, modules, folder)


@pytest.fixture(params=[missing_here, ask_another], ids=["here", "another interpreter"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Either way of asking; both must answer alike."""
    asked: Ask = request.param
    return asked


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A library folder with each kind of neighbour; to import one of them would end the run."""
    ends = "raise SystemExit('imported')\n"
    (tmp_path / "neighbour.py").write_text(ends)
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text(ends)
    (tmp_path / "package" / "inner.py").write_text(ends)
    (tmp_path / "spread").mkdir()
    (tmp_path / "spread" / "inner.py").write_text(ends)
    (tmp_path / f"compiled{EXTENSION_SUFFIXES[0]}").write_bytes(b"no shared library")
    (tmp_path / "text.txt").write_text("import this")
    return tmp_path


@pytest.fixture
def finders() -> Iterator[list[Any]]:
    """`sys.meta_path`, put back afterwards."""
    before = list(sys.meta_path)
    yield sys.meta_path
    sys.meta_path[:] = before


NEIGHBOURS = ["compiled", "neighbour", "package", "spread"]
STANDARD = "sys builtins _frozen_importlib zlib json os.path xml.dom antigravity __main__".split()


def test_standard_library_is_there(ask: Ask) -> None:
    """Builtin, frozen, compiled, plain Python and `__main__` alike."""
    assert ask(STANDARD, None) == []


def test_names_are_of_modules_not_of_distributions(ask: Ask) -> None:
    """PyYAML is `yaml`, Pillow is `PIL`."""
    assert ask(["yaml", "PIL", "dateutil", "PyYAML", "Pillow"], None) == ["Pillow", "PyYAML"]


def test_missing_ones_come_sorted_and_once(ask: Ask) -> None:
    """By their top-level names."""
    assert ask(["no_z", "os", "no_a.b", "no_a", "no_z"], None) == ["no_a", "no_z"]


def test_nothing_asked_is_nothing_missing(ask: Ask) -> None:
    """No modules, no complaint."""
    assert ask([], None) == []


def test_neighbours_of_the_notebook_are_there(ask: Ask, library: Path) -> None:
    """Modules, packages with and without `__init__.py`, extension modules; nothing else."""
    assert ask([*NEIGHBOURS, "text", "no_a"], str(library)) == ["no_a", "text"]


def test_neighbours_are_there_from_their_folder_only(ask: Ask, library: Path) -> None:
    """Asked about another folder, they are missing."""
    assert ask(NEIGHBOURS, None) == NEIGHBOURS
    assert ask(NEIGHBOURS, str(library / "spread")) == NEIGHBOURS


def test_module_below_a_package_does_not_import_the_package(ask: Ask, library: Path) -> None:
    """`import a.b` needs `a`; to look for `a.b` itself would run `a`."""
    assert ask(["package.inner", "package.no_such"], str(library)) == []


def test_neighbour_that_appeared_a_moment_ago_is_there(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python remembers what a folder on its path held; the question does not rely on that."""
    monkeypatch.setattr(sys, "path", [str(library), *sys.path])
    assert importlib.util.find_spec("fresh") is None
    stamp = library.stat()
    (library / "fresh.py").touch()
    os.utime(library, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert importlib.util.find_spec("fresh") is None
    assert missing_here(["fresh"], str(library)) == []


@pytest.mark.parametrize("folder", ["not/there", "", "\0", "\udcff", "é ☃", __file__])
def test_strange_folder_gives_an_answer(ask: Ask, tmp_path: Path, folder: str) -> None:
    """A folder that cannot be read has no neighbours."""
    where = folder if os.path.isabs(folder) else f"{tmp_path}/{folder}"
    assert ask(["os", "yaml"], where) == []


@pytest.mark.parametrize("name", ["json.py", "importlib.py", "contextlib.py", "sys.py"])
def test_neighbour_named_like_a_part_of_the_question_is_not_run(
    ask: Ask, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even when the daemon itself was started in that folder."""
    (tmp_path / name).write_text("raise SystemExit('imported')\n")
    monkeypatch.chdir(tmp_path)
    assert ask(["no_a"], str(tmp_path)) == ["no_a"]


def test_folder_of_the_daemon_is_not_the_kernels(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python -c` looks beside itself; a kernel will not look there."""
    monkeypatch.chdir(library)
    assert missing_in(sys.executable, NEIGHBOURS, None) == NEIGHBOURS


# What asking leaves behind


def test_asking_changes_nothing_in_this_process(library: Path) -> None:
    """A kernel is forked from the process that asks."""
    path, found = list(sys.path), set(sys.path_importer_cache)
    modules, where = set(sys.modules), os.getcwd()
    missing_here([*NEIGHBOURS, "no_a"], str(library))
    assert (sys.path, os.getcwd()) == (path, where)
    assert set(sys.path_importer_cache) <= found
    assert set(sys.modules) == modules


def test_folder_that_is_made_after_the_question_can_be_imported_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python would remember for good that there is no such folder."""
    later = tmp_path / "later"
    assert missing_here(["made_later"], str(later)) == ["made_later"]
    later.mkdir()
    (later / "made_later.py").touch()
    monkeypatch.syspath_prepend(str(later.parent))
    sys.path.insert(0, str(later))
    assert importlib.import_module("made_later").__file__ == str(later / "made_later.py")
    del sys.modules["made_later"]


# Finders are anybody's code


class Raising:
    """A finder that fails for one name."""

    def __init__(self, name: str, error: Exception) -> None:
        self.name, self.error = name, error

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == self.name:
            raise self.error

    def invalidate_caches(self) -> None:
        raise self.error


@pytest.mark.parametrize("error", [ImportError("x"), ValueError("x"), RuntimeError("x")])
def test_finder_that_raises_refuses_nobody(finders: list[Any], error: Exception) -> None:
    """No answer is no "no": the notebook will see for itself."""
    finders.insert(0, Raising("no_a", error))
    assert missing_here(["no_a", "no_b", "os"], None) == ["no_b"]


@pytest.mark.parametrize("loaded", [types.ModuleType("made_up"), None], ids=["no spec", "None"])
def test_whatever_is_loaded_is_there(monkeypatch: pytest.MonkeyPatch, loaded: Any) -> None:
    """`find_spec` raises ValueError for a loaded module without a spec."""
    assert missing_here(["made_up"], None) == ["made_up"]
    monkeypatch.setitem(sys.modules, "made_up", loaded)
    assert missing_here(["made_up"], None) == []


# Another interpreter


def interpreter(folder: Path, script: str) -> str:
    """A program that stands for an interpreter."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_other_interpreter_answers_for_itself(library: Path) -> None:
    """A bare virtual environment has the standard library and none of our packages."""
    made = library / "venv"
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", "--symlinks", str(made)], check=True
    )
    asked = ["yaml", "IPython", "json", "neighbour"]
    assert missing_in(str(made / "bin/python"), asked, str(library)) == ["IPython", "yaml"]


def test_environment_of_the_kernel_counts(library: Path) -> None:
    """`PYTHONPATH` of the kernel is not ours."""
    env = {**os.environ, "PYTHONPATH": str(library)}
    assert missing_in(sys.executable, NEIGHBOURS, None, env=env) == []


def test_what_an_interpreter_says_besides_is_passed_over(tmp_path: Path) -> None:
    """Before the answer, after it, without a line's end, and with an exit code of its own."""
    noisy = interpreter(
        tmp_path,
        f'printf "missing modules: []\\n[]"\n{sys.executable} "$@"\necho "[1]"\nprintf x\nexit 3',
    )
    assert missing_in(noisy, ["no_a", "os"], None) == ["no_a"]


def test_any_number_of_modules_can_be_asked_for() -> None:
    """More than one argument of a program can hold."""
    names = [f"no_{index}_{'x' * 60}" for index in range(3000)]
    assert missing_in(sys.executable, names, None) == sorted(names)


def test_names_and_folders_beyond_ascii_arrive_whole(tmp_path: Path) -> None:
    """Even when the other interpreter reads and writes ASCII."""
    folder = tmp_path / "é ☃"
    folder.mkdir()
    (folder / "größe.py").touch()
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    assert missing_in(sys.executable, ["größe", "maß"], str(folder), env=env) == ["maß"]


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exit 3", "it ended with code 3"),
        ("printf 'one\\nto\\033o bad\\n' >&2; exit 1", "it ended with code 1, to o bad"),
        ("printf '\\377' >&2; kill -9 $$", "it ended with code -9, \N{REPLACEMENT CHARACTER}"),
        ("echo '[]'", "it ended with code 0"),
        ("echo 'missing modules: {}'", "it ended with code 0"),
        ("echo 'missing modules: ['", "it ended with code 0"),
    ],
)
def test_interpreter_without_an_answer_is_named_with_the_reason(
    tmp_path: Path, script: str, reason: str
) -> None:
    """The last line of its complaint, in one line and without control characters."""
    python = interpreter(tmp_path, script)
    with pytest.raises(EnvironmentNotAnswering) as caught:
        missing_in(python, ["os"], None)
    assert caught.value.args == (python, reason)
    assert str(caught.value) == f"{python} could not be asked for its modules: {reason}"


@pytest.mark.parametrize("python", ["/not/there/python", "", "pyth\0on", "/", "/etc/passwd"])
def test_interpreter_that_cannot_be_started_is_named(python: str) -> None:
    """Not there, no program, no permission."""
    with pytest.raises(EnvironmentNotAnswering) as caught:
        missing_in(python, ["os"], None)
    assert caught.value.args[0] == python


def test_interpreter_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    """Within the time that was given for it."""
    python = interpreter(tmp_path, "exec sleep 30")
    with pytest.raises(EnvironmentNotAnswering, match=r"no answer in 0\.2 s"):
        missing_in(python, ["os"], None, timeout_seconds=0.2)


def test_error_crosses_processes_whole() -> None:
    """It is raised in a job process and told in the daemon."""
    error = EnvironmentNotAnswering("/usr/bin/python", "why")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.args, str(again)) == (type(error), error.args, str(error))


def test_what_a_neighbour_may_bring_is_not_missed(tmp_path: Path) -> None:
    """A module beside a library notebook may extend the search path when it is imported."""
    notebook = read_notebook(
        json.dumps(
            {"cells": [{"cell_type": "code", "source": "import context\nimport foo_n"}]}
        ).encode()
    ).notebook
    (tmp_path / "context.py").write_text("import sys; sys.path.append('src')\n")
    choice = KernelChoice("python3", "python", None)
    check_modules(notebook, choice, None, str(tmp_path), {})
    with pytest.raises(Refused):
        check_modules(notebook, choice, None, None, {})
