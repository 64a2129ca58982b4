"""Where a result comes from: the packages that a kernel finds, and the commit of a checkout."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runner.execution.packages import (
    Interpreter,
    environment_of,
    folders_of,
    packages_in,
    version_of,
)
from runner.system.files.checkout import commit_of
from tests.conftest import tool


def made(folder: Path, *names: str) -> str:
    """A folder with metadata of packages."""
    for name in names:
        (folder / name).mkdir(parents=True)
    return str(folder)


def test_packages_are_told_by_their_metadata(tmp_path: Path) -> None:
    """Of wheels and of Debian, with normalised names; the folder that comes first counts."""
    first = made(tmp_path / "a", "Pillow-12.0.dist-info", "ruamel.yaml-0.18.1.dist-info", "pillow")
    second = made(tmp_path / "b", "pillow-9.4.dist-info", "distro-info-1.5+deb12u1.egg-info")
    Path(second, "python_dateutil-2.8.2-py3.11.egg-info").touch()
    Path(second, "wadllib.egg-info").touch()
    gone = str(tmp_path / "python311.zip")
    assert packages_in([first, gone, second]).splitlines() == [
        "distro-info==1.5+deb12u1",
        "pillow==12.0",
        "python-dateutil==2.8.2",
        "ruamel-yaml==0.18.1",
        "wadllib",
    ]


def test_what_is_installed_later_is_there(tmp_path: Path) -> None:
    """A folder is read once for each of its changes, however soon the next one comes."""
    folder = made(tmp_path, "old-1.0.dist-info")
    long_ago = time.time() - 100
    os.utime(folder, (long_ago, long_ago))
    for number in range(20):
        assert packages_in([folder]).count("\n") == number + 1
        made(tmp_path, f"new{number}-1.0.dist-info")
    os.utime(folder, (long_ago, long_ago))
    assert packages_in([folder]) == packages_in([folder])
    shutil.rmtree(Path(folder, "old-1.0.dist-info"))
    assert "old" not in packages_in([folder])


def test_strange_names_are_no_packages(tmp_path: Path) -> None:
    """A folder that any notebook may make, with bytes, options or codes in its name."""
    made(tmp_path, "fine-1.0.dist-info", "x;y@z --index-url http:-2.dist-info", "a\nb-1.dist-info")
    os.mkdir(os.fsencode(tmp_path) + b"/bad\xff-1.0.dist-info")
    made(tmp_path, "\x1b[31mred-1.dist-info", "-e-1.dist-info")
    own = Interpreter("python", None, str(tmp_path))
    environment, packages = environment_of(own, {})
    assert packages is not None
    assert "fine==1.0\n" in packages
    assert re.fullmatch(r"(?:[a-z0-9][a-z0-9-]*(?:==[\w.!+]+)?\n)+", packages)
    assert environment.packages_sha256 is not None


def test_what_lies_beside_an_interpreter_is_read_without_waiting(tmp_path: Path) -> None:
    """A pipe in the place of a file."""
    (tmp_path / "bin").mkdir()
    os.mkfifo(tmp_path / "pyvenv.cfg")
    assert version_of(str(tmp_path / "bin" / "python")) is None


def test_ours_are_those_of_pip(tmp_path: Path) -> None:
    """And what the run has installed itself comes first."""
    own = made(tmp_path / "own", "numpy-99.1.dist-info")
    environment, packages = environment_of(Interpreter("python", None, own), {"RUNNER_IMAGE": "i"})
    assert packages is not None
    listed = dict(line.split("==") for line in packages.splitlines() if "==" in line)
    assert (listed["numpy"], environment.image) == ("99.1", "i")
    assert environment.packages_sha256 == hashlib.sha256(packages.encode()).hexdigest()
    frozen = subprocess.run(
        [sys.executable, "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    theirs = {line.lower().replace("_", "-").replace(".", "-") for line in frozen.splitlines()}
    ours = {line.replace(".", "-") for line in packages.splitlines()}
    assert {line for line in theirs if "numpy" not in line} <= ours


def test_another_environment_is_told_by_its_place(tmp_path: Path) -> None:
    """A virtual environment; of a script that starts a kernel nothing is known."""
    place = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", str(place), "--without-pip"], check=True)
    python = str(place / "bin" / "python")
    made(Path(folders_of(python)[0]), "demo-1.0.dist-info")
    environment, packages = environment_of(Interpreter("python", python), {})
    assert packages == "demo==1.0\n"
    assert environment.python == version_of(python) == sys.version.split()[0]
    environment, packages = environment_of(Interpreter("python", "/bin/no-such-starter"), {})
    assert (environment.packages_sha256, packages) == (None, None)
    environment, packages = environment_of(Interpreter("r", None), {})
    assert (environment.python, packages) == (None, None)


def git(folder: Path, *arguments: str) -> str:
    """Run git without anybody's settings."""
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    named = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    done = subprocess.run(
        [tool("git"), "-C", str(folder), *named, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    "kind", ["files", "sha256", "packed", "detached", "worktree", "linked", "version 4"]
)
def test_the_commit_of_a_checkout_is_as_git_has_it(tmp_path: Path, kind: str) -> None:
    """On a branch, in a packed reference, without a branch, in a linked worktree; by a link.

    A file that git does not know has none: it may lie there by chance.
    """
    folder = tmp_path / "library"
    folder.mkdir()
    git(
        folder,
        "init",
        "-q",
        "-b",
        "feature/ä",
        f"--object-format={('sha1', kind)[kind == 'sha256']}",
    )
    notebook = Path("deep", "er", "a.ipynb")
    (folder / notebook).parent.mkdir(parents=True)
    (folder / notebook).touch()
    assert commit_of(folder / notebook) is None
    git(folder, "add", "-A")
    assert commit_of(folder / notebook) is None
    git(folder, "commit", "-q", "-m", "one")
    git(folder, "commit", "-q", "--allow-empty", "-m", "two")
    if kind == "packed":
        git(folder, "pack-refs", "--all")
    elif kind == "detached":
        git(folder, "checkout", "-q", "HEAD~1")
    elif kind == "worktree":
        git(folder, "worktree", "add", "-q", "-b", "other", str(tmp_path / "linked"), "HEAD~1")
        folder = tmp_path / "linked"
    elif kind == "linked":
        (tmp_path / "link").symlink_to(folder)
        folder = tmp_path / "link"
    elif kind == "version 4":
        git(folder, "update-index", "--index-version", "4")
    assert commit_of(folder / notebook) == git(folder, "rev-parse", "HEAD")
    (folder / "er").mkdir()
    assert kind == "version 4" or commit_of(folder / "er" / "a.ipynb") is None


@pytest.mark.parametrize("content", ["", "ref: refs/../../x", "ref: refs/heads/none", "\0" * 50])
def test_what_is_no_checkout_has_no_commit(tmp_path: Path, content: str) -> None:
    """Whatever lies there instead."""
    repository = tmp_path / ".git"
    repository.mkdir()
    (tmp_path / "x").write_text("a" * 40)
    (repository / "index").write_bytes(b"DIRC\0\0\0\2\0\0\0\1\1x\0")
    assert commit_of(tmp_path / "x") is None
    (repository / "HEAD").write_text("b" * 40)
    assert commit_of(tmp_path / "x") == "b" * 40
    (repository / "HEAD").write_text(content)
    assert commit_of(tmp_path / "x") is None
    for name in ("HEAD", "index"):
        (repository / name).unlink()
        os.mkfifo(repository / name)
        assert commit_of(tmp_path / "x") is None
