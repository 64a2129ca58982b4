"""Real mounts for tests, and what each needs from the machine; all of it is gone afterwards."""

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runner import config
from runner.jobs.health import Health, examine
from tests.conftest import Program, tool, wait_for

LOOK_SECONDS = 0.2
"""Between two looks at the health of a program, which take more than the pause of other looks."""


class Mounts:
    """Mounts of one test, the last one undone first."""

    def __init__(self) -> None:
        self._points: list[Path] = []

    def tmpfs(self, point: Path, size_kib: int) -> Path:
        return self._mount(point, "-t", "tmpfs", "-o", f"size={size_kib}k", "tmpfs")

    def bind(self, source: Path, point: Path) -> Path:
        source.mkdir(parents=True, exist_ok=True)
        return self._mount(point, "--bind", str(source))

    def cover_read_only(self, folder: Path) -> None:
        """The same folder, read-only, over itself: what is open stays open, as on an ill disk."""
        self._mount(folder, "--bind", "-o", "ro", str(folder))

    def bindfs(self, source: Path, point: Path) -> Path:
        """A file system in user space: what happens at `source` raises no events at `point`."""
        program = tool("bindfs")
        if not os.access("/dev/fuse", os.R_OK | os.W_OK):
            pytest.skip("there is no /dev/fuse to use")
        source.mkdir(parents=True, exist_ok=True)
        point.mkdir(parents=True, exist_ok=True)
        done = subprocess.run([program, source, point], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"this kernel mounts no FUSE file systems: {done.stderr.strip()}")
        self._points.append(point)
        return point

    def rclone(self, source: Path, point: Path) -> Path:
        """Another, whose inode numbers change; others' changes are seen within half a second."""
        program = tool("rclone")
        if not os.access("/dev/fuse", os.R_OK | os.W_OK):
            pytest.skip("there is no /dev/fuse to use")
        for folder in (source, point):
            folder.mkdir(parents=True, exist_ok=True)
        options = ("--daemon", "--dir-cache-time", "500ms", "--attr-timeout", "100ms")
        cache = ("--vfs-cache-mode", "writes", "--cache-dir", source.with_name("rclone-cache"))
        done = subprocess.run(
            [program, "mount", source, point, *options, *cache, "--config", os.devnull],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            pytest.skip(f"this kernel mounts no FUSE file systems: {done.stderr.strip()}")
        self._points.append(point)
        return point

    def unmount(self, point: Path, *, lazy: bool = False) -> None:
        """`lazy` where somebody may have a file open there, such as the inbox's lock."""
        subprocess.run(["umount", *(["--lazy"] if lazy else []), point], check=True)
        self._points.reverse()
        self._points.remove(point)
        self._points.reverse()

    @property
    def points(self) -> tuple[Path, ...]:
        """Where something is mounted, in an order that says nothing."""
        return tuple(sorted(self._points))

    def close(self) -> None:
        left = list(self._points)
        for point in reversed(left):
            subprocess.run(["umount", "--lazy", point], check=True)
        self._points.clear()

    def _mount(self, point: Path, *arguments: str) -> Path:
        point.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", *arguments, point], check=True)
        self._points.append(point)
        return point


def _may_mount(folder: Path) -> str | None:
    """Why nothing can be mounted here."""
    if os.geteuid() != 0:
        return "mounts need root"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", folder], capture_output=True, text=True
    )
    if done.returncode:
        return f"nothing can be mounted here: {done.stderr.strip()}"
    subprocess.run(["umount", folder], check=True)
    return None


@pytest.fixture(scope="session")
def why_no_mounts(tmp_path_factory: pytest.TempPathFactory) -> str | None:
    return _may_mount(tmp_path_factory.mktemp("probe"))


@pytest.fixture
def mounts(why_no_mounts: str | None) -> Iterator[Mounts]:
    """Before `make_program` in a test's arguments: programs end first, then their mounts."""
    if why_no_mounts is not None:
        pytest.skip(why_no_mounts)
    made = Mounts()
    yield made
    made.close()


def health(program: Program) -> Health:
    """What the gateway would say now."""
    return examine(config.load(program.root / "config.yaml"))


def await_trouble(program: Program, text: str) -> None:
    """Until health is red, and says why."""

    def is_told() -> bool:
        return any(text in reason for reason in health(program).reasons)

    try:
        wait_for(is_told, 60, LOOK_SECONDS)
    except AssertionError:
        raise AssertionError(f"{text!r} is not in {health(program)}:\n{program.log}") from None


def await_note(program: Program, text: str) -> None:
    """Until health notes it."""
    try:
        wait_for(lambda: any(text in note for note in health(program).notes), pause=LOOK_SECONDS)
    except AssertionError:
        raise AssertionError(f"{text!r} is not in {health(program)}:\n{program.log}") from None


def await_health(program: Program) -> None:
    """Until nothing is wrong any more."""
    try:
        wait_for(lambda: not health(program).reasons, pause=LOOK_SECONDS)
    except AssertionError:
        raise AssertionError(f"{health(program)}:\n{program.log}") from None


def fill(folder: Path, leave_kib: int = 0) -> Path:
    """A file that takes all space of a small mount but so much; a runner writes there meanwhile."""
    ballast = folder / "ballast.tmp"
    with ballast.open("wb", buffering=0) as file:
        try:
            while (free := shutil.disk_usage(folder).free - leave_kib * 1024) > 0:
                file.write(bytes(free))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
    return ballast


def visible(folder: Path) -> list[str]:
    """Everything below a folder that is not hidden, and tells no progress."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    shown = (str(path) for path in found if not path.parts[0].startswith("."))
    return sorted(name for name in shown if not name.endswith(".status.json"))


Make = Callable[..., Program]
