"""Tells on which kind of mount a folder lies, by the mount table, and whether it is still there.

That decides whether events and leases can be trusted. `stat -f` cannot tell: it calls every FUSE
file system by one name; and two bind mounts of one disk have one `st_dev`.
"""

import ctypes
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_TRUSTED = frozenset(
    "bcachefs btrfs ext2 ext3 ext4 f2fs jfs nilfs2 overlay ramfs reiserfs tmpfs xfs zfs".split()
)
"""Local file systems that report every change made on this machine."""

MNT_DETACH, UMOUNT_NOFOLLOW = 2, 8
DETACH_SECONDS = 5.0

_MOUNT_TABLE = Path("/proc/self/mountinfo")
READ_SECONDS = 1.0
"""How old the text may be in any case, should a kernel not tell of changes."""


@dataclass(frozen=True)
class Mount:
    """Where the file system of a folder is mounted, and its type (`unknown` off Linux)."""

    point: str
    kind: str

    @property
    def tells_the_truth(self) -> bool:
        """Whether events and leases there can be relied on."""
        return self.kind in _TRUSTED


def read_table() -> str:
    """Read the text of mountinfo (proc_pid_mountinfo(5)); empty if there is none."""
    if not sys.platform.startswith("linux"):
        return ""
    try:
        return _MOUNT_TABLE.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""


class MountTable:
    """The text of mountinfo for one process, read again when the kernel says that it has changed.

    Reading it costs as much as writing a file, and a runner asks before every change of its outbox.
    Safe for many threads.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._poll = select.poll()
        self._fd = -1
        self._read_at = 0.0
        self._text = ""
        with suppress(OSError):  # there is none off Linux
            self._fd = os.open(_MOUNT_TABLE, os.O_RDONLY | os.O_CLOEXEC)
            self._poll.register(self._fd, select.POLLPRI | select.POLLERR)

    def __call__(self) -> str:
        """Return the table as it is now."""
        with self._lock:
            now = self._clock()
            is_old = now - self._read_at >= READ_SECONDS
            if not self._text or self._has_changed() or is_old:
                self._text, self._read_at = read_table(), now
            return self._text

    def close(self) -> None:
        """Ask the kernel no more."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _has_changed(self) -> bool:
        """Ask the kernel whether something was mounted or unmounted (proc_pid_mounts(5))."""
        return self._fd < 0 or bool(self._poll.poll(0))


def mount_of(folder: Path, table: str | None = None) -> Mount:
    """Find the mount of `folder`, by the longest mount point above it.

    `table` is the text of mountinfo; by default, this process's own.
    """
    real = os.path.realpath(folder)
    deepest = Mount("/", "unknown")
    for mount in _mounts(read_table() if table is None else table):
        if _is_below(real, mount.point) and len(mount.point) >= len(deepest.point):
            deepest = mount
    return deepest


def least_trusted(folder: Path, table: str | None = None) -> Mount:
    """Find the mount that decides how `folder` is watched: its own, or a less trusted one below."""
    text = read_table() if table is None else table
    own, real = mount_of(folder, text), os.path.realpath(folder)
    if not own.tells_the_truth:
        return own
    points = {m.point: m for m in _mounts(text) if m.point != real and _is_below(m.point, real)}
    return next((m for m in points.values() if not m.tells_the_truth), own)


class Anchor:
    """Remembers the mount of a folder, so that an empty mount point is not taken for it.

    A folder made anew on the same mount is the folder. So is one over which something was mounted
    since.
    """

    def __init__(
        self, folder: Path, point: str | None = None, table: Callable[[], str] = read_table
    ) -> None:
        """Remember `point`, an earlier mount point; None means the present one."""
        self.folder = folder
        self._table = table
        self._seen: str | None = None
        self.point = point or mount_of(folder, table()).point

    def trouble(self) -> str | None:
        """Say why the folder may not be touched now, as the end of a sentence; None if it may."""
        try:
            os.scandir(self.folder).close()
            os.stat(f"{self.folder}/.")  # noqa: PTH116  a Path would drop the dot, which needs x
        except FileNotFoundError:
            return "is not there"
        except OSError as error:
            return f"cannot be read ({error.strerror})"
        text = self._table()
        if text == self._seen:
            return None
        if text and self.point != "/" and all(m.point != self.point for m in _mounts(text)):
            return f"was on the mount {self.point}, which is not mounted now"
        self.point, self._seen = mount_of(self.folder, text).point, text
        return None


def detach_below(folder: Path) -> int:
    """Unmount every mount at a folder or below it, the innermost first; return how many.

    This neither touches nor awaits their content (umount2(2), MNT_DETACH). Mounts that this user
    may not unmount stay.
    """
    real = f"{os.path.realpath(folder.parent)}/{folder.name}"
    below = [mount for mount in _mounts(read_table()) if _is_below(mount.point, real)]
    return sum(_detach(mount) for mount in reversed(below))


def _detach(mount: Mount) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.umount2(os.fsencode(mount.point), MNT_DETACH | UMOUNT_NOFOLLOW) == 0:
        return True
    if not mount.kind.startswith("fuse"):
        return False
    command = ["fusermount3", "-u", "-z", "-q", "--", mount.point]
    try:
        done = subprocess.run(command, capture_output=True, timeout=DETACH_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def polls(mode: str, mount: Mount) -> bool:
    """Return whether to poll an inbox, by `intake.mode` and the mount that decides."""
    return mode == "poll" or (mode == "auto" and not mount.tells_the_truth)


def mount_fact(folder: Path) -> str:
    """Name the ledger's entry for the mount of a folder."""
    return f"mount:{folder}"


def _mounts(table: str) -> Iterator[Mount]:
    for line in table.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        if len(fields) >= 5 and right:
            yield Mount(_unescape(fields[4]), right.split(" ")[0])


def _is_below(path: str, point: str) -> bool:
    return point == "/" or path == point or path.startswith(point + "/")


def _unescape(text: str) -> str:
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text
