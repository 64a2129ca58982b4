"""Control groups (cgroups(7), version 2) for runs, if the runner may make some.

Makes one for each run, moves kernels into it, and reads its counters. Leaves version 1 alone.
"""

import contextlib
import errno
import os
from dataclasses import dataclass
from pathlib import Path

MOUNTS = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))
OWN = "runner.daemon"
"""Group of the daemon and the like: a group with subgroups may hold no process."""
PREFIX = "run-"
CONTROLLERS = frozenset({"memory", "pids"})
_MEGABYTE = 1024 * 1024


class NoCgroup(Exception):
    """The runner may not make control groups here: `reason`."""


@dataclass(frozen=True)
class Cgroup:
    """The control group of one run."""

    folder: Path

    @classmethod
    def make(cls, base: Path, key: str, memory_mb: int | None, tasks: int | None) -> "Cgroup":
        """Make a group below `base`, with its limits.

        Raises:
            OSError: it cannot be made.
        """
        made = cls(base / f"{PREFIX}{key}")
        made.folder.mkdir()
        if memory_mb is not None:
            made.limit_memory(memory_mb)
        if tasks is not None:
            made._write("pids.max", tasks)
        return made

    def limit_memory(self, memory_mb: int) -> None:
        """Set the memory limit of the group anew.

        Raises:
            OSError: it cannot be limited, or is gone.
        """
        self._write("memory.max", memory_mb * _MEGABYTE)
        self._write("memory.oom.group", 1)
        with contextlib.suppress(FileNotFoundError):  # a system that does not account for swap
            self._write("memory.swap.max", 0)

    def enter(self, pid: int = 0) -> None:
        """Move a process in, or the calling one; its children begin there.

        Raises:
            OSError: it cannot be moved, or is gone.
        """
        self._write("cgroup.procs", pid)

    @property
    def ran_out_of_memory(self) -> bool:
        """Whether the system killed it at its limit, or because the machine had no more."""
        return self._events("memory.events").get("oom_kill", 0) > 0

    @property
    def was_full(self) -> bool:
        """Whether it held all its memory and wanted more."""
        return self._events("memory.events").get("oom", 0) > 0

    @property
    def was_refused_a_task(self) -> bool:
        """Whether the limit refused a fork or a thread."""
        return self._events("pids.events").get("max", 0) > 0

    @property
    def peak(self) -> int:
        """Most memory ever held, in bytes; before Linux 5.19 the memory held now."""
        for name in ("memory.peak", "memory.current"):
            with contextlib.suppress(OSError, ValueError):
                return int((self.folder / name).read_text())
        return 0

    def kill(self) -> None:
        """Kill everything in it at once, whatever it forks meanwhile (from Linux 5.14)."""
        with contextlib.suppress(OSError):
            self._write("cgroup.kill", 1)

    def remove(self) -> bool:
        """Remove it; False while something in it has not ended yet."""
        self.kill()
        try:
            self.folder.rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True

    def _events(self, name: str) -> dict[str, int]:
        try:
            lines = (self.folder / name).read_text().splitlines()
        except OSError:
            return {}
        return {key: int(count) for key, _, count in (line.partition(" ") for line in lines)}

    def _write(self, name: str, value: int) -> None:
        (self.folder / name).write_text(str(value))


def take_over(mounts: tuple[Path, ...] = MOUNTS, own: Path = Path("/proc/self/cgroup")) -> Path:
    """Prepare this process's group for groups of runs, and return it.

    The process moves into its subgroup `runner.daemon`, with the container's first process if that
    is there too. Groups of an earlier runner are removed.

    Raises:
        NoCgroup: see there.
    """
    base = usable_base(mounts, own)
    try:
        _step_aside(base)
        wanted = " ".join(f"+{name}" for name in sorted(CONTROLLERS))
        (base / "cgroup.subtree_control").write_text(wanted)
        for left in base.glob(f"{PREFIX}*"):
            Cgroup(left).remove()
    except OSError as error:
        raise NoCgroup(f"{base} cannot be divided: {error.strerror}") from error
    return base


def usable_base(mounts: tuple[Path, ...] = MOUNTS, own: Path = Path("/proc/self/cgroup")) -> Path:
    """Return this process's group if groups of runs may be made in it; changes nothing.

    Raises:
        NoCgroup: see there.
    """
    base = _base(mounts, own)
    missing = CONTROLLERS - set(_read(base / "cgroup.controllers").split())
    if missing:
        raise NoCgroup(f"{base} has no controller for {' and '.join(sorted(missing))}")
    if not os.access(base / "cgroup.procs", os.W_OK) or not _is_ours(base):
        raise NoCgroup(f"{base} is not delegated to the runner")
    return base


def _base(mounts: tuple[Path, ...], own: Path) -> Path:
    """Return this process's group, or the one above if a runner has moved here before."""
    paths = [line[3:] for line in _read(own).splitlines() if line.startswith("0::")]
    for mount in mounts:
        if paths and (mount / "cgroup.controllers").exists():
            group = mount / paths[0].lstrip("/")
            return group.parent if group.name == OWN else group
    raise NoCgroup("there is no cgroup of version 2")


def _is_ours(base: Path) -> bool:
    """Return whether root may take it: systemd marks a group left to a service (Delegate=).

    Other users may write only to a group given to them, and a container's first group is its own.
    """
    if os.geteuid() != 0 or base in MOUNTS or not Path("/run/systemd/system").exists():
        return True
    marks = ("trusted.delegate", "user.delegate")
    return any(_attribute(base, mark) == b"1" for mark in marks)


def _attribute(path: Path, name: str) -> bytes:
    try:
        return os.getxattr(path, name)
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.ENOTSUP, errno.EPERM, errno.ENOENT):
            raise
        return b""


def _step_aside(base: Path) -> None:
    """Empty the group of processes; the first one of a machine may keep them.

    Raises:
        NoCgroup: there are processes that are not ours to move.
    """
    if not (base / "cgroup.events").exists():
        return
    inside = {int(pid) for pid in _read(base / "cgroup.procs").split()}
    strangers = inside - {os.getpid(), 1}
    if strangers:
        raise NoCgroup(f"{base} holds other processes too, such as {min(strangers)}")
    (base / OWN).mkdir(exist_ok=True)
    for pid in inside:
        (base / OWN / "cgroup.procs").write_text(str(pid))


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
