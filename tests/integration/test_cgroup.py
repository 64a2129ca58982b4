"""Control groups of the runner's own: taken only where they are given, and gone afterwards."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.execution.limits.cgroup import OWN, Cgroup, NoCgroup, take_over
from tests.conftest import wait_for


class Mount:
    """A folder that looks like a mounted hierarchy, where a real one cannot be made to."""

    def __init__(self, root: Path, place: str) -> None:
        self.root, self.own = root / "cgroup", root / "self"
        self.base = self.root / place
        self.base.mkdir(parents=True)
        self.own.write_text(f"0::/{place}\n")
        for folder in {self.root, self.base}:
            (folder / "cgroup.controllers").write_text("cpu memory pids\n")
            (folder / "cgroup.procs").write_text(f"{os.getpid()}\n")
        (self.base / "cgroup.events").touch()

    def take_over(self) -> Path:
        return take_over((self.root,), self.own)


def test_version_one_is_left_alone(tmp_path: Path) -> None:
    """Where there is no hierarchy of version 2, runs are looked at instead."""
    mount = Mount(tmp_path, "service")
    mount.own.write_text("4:memory:/service\n")
    with pytest.raises(NoCgroup, match="version 2"):
        mount.take_over()


def test_a_missing_controller_is_named(tmp_path: Path) -> None:
    """Half of the limits would be no limits."""
    mount = Mount(tmp_path, "service")
    (mount.base / "cgroup.controllers").write_text("cpu pids\n")
    with pytest.raises(NoCgroup, match="no controller for memory"):
        mount.take_over()


def test_other_processes_are_not_moved(tmp_path: Path) -> None:
    """A terminal's group, say: it is not the runner's to divide."""
    mount = Mount(tmp_path, "service")
    (mount.base / "cgroup.procs").write_text(f"{os.getpid()}\n4711\n")
    with pytest.raises(NoCgroup, match="4711"):
        mount.take_over()
    assert not (mount.base / OWN).exists()


def test_a_runner_that_moved_before_takes_the_same_group(tmp_path: Path) -> None:
    """In a container that goes on, groups are not made ever deeper."""
    mount = Mount(tmp_path, "service")
    (mount.base / OWN).mkdir()
    (mount.base / OWN / "cgroup.procs").touch()
    (mount.base / "cgroup.procs").write_text("")
    mount.own.write_text(f"0::/service/{OWN}\n")
    assert mount.take_over() == mount.base
    assert (mount.base / "cgroup.subtree_control").read_text() == "+memory +pids"


@pytest.fixture(scope="module")
def base() -> Path:
    """A real one."""
    try:
        return take_over()
    except NoCgroup as why:
        pytest.skip(f"no control group of our own: {why}")


@pytest.fixture
def group(base: Path) -> Iterator[Cgroup]:
    made = Cgroup.make(base, "test", 60, 20)
    yield made
    wait_for(made.remove)


def run(group: Cgroup, source: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", source], preexec_fn=group.enter, stderr=subprocess.DEVNULL
    )


def test_memory_is_limited_and_its_peak_known(group: Cgroup) -> None:
    """All that is in the group ends together."""
    other = run(group, "import time; time.sleep(60)")
    greedy = run(group, "kept = []\nwhile True: kept.append(b'x' * 10**6)")
    assert greedy.wait(30) == -9
    assert other.wait(30) == -9
    assert group.ran_out_of_memory
    assert 50 < group.peak / 2**20 <= 61


def test_processes_are_limited(group: Cgroup) -> None:
    """A fork beyond the limit fails, and is known to have failed."""
    source = "import os, time\nfor _ in range(30):\n    if os.fork() == 0: time.sleep(60)"
    assert run(group, source).wait(30) == 1
    assert group.was_refused_a_task
    assert not group.ran_out_of_memory


def test_what_is_in_a_group_ends_with_it(group: Cgroup) -> None:
    """Whatever it does."""
    source = "import os, time\nos.fork(); os.setsid() if os.getpid() > 1 else None; time.sleep(60)"
    running = run(group, source)
    wait_for(lambda: (group.folder / "cgroup.procs").read_text())
    wait_for(group.remove)
    assert running.wait(10) == -9
    assert not group.folder.exists()
