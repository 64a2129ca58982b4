"""What kind of mount a folder is on, by the mount table's type.

Decides from that whether events and leases can be trusted there. `stat -f` cannot: it calls every
FUSE file system by one name.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

_TRUSTED = frozenset(
    "bcachefs btrfs ext2 ext3 ext4 f2fs jfs nilfs2 overlay ramfs reiserfs tmpfs xfs zfs".split()
)
"""Local file systems that report every change made on this machine."""

_MOUNT_TABLE = Path("/proc/self/mountinfo")


@dataclass(frozen=True)
class Mount:
    """Where the file system of a folder is mounted, and its type (`unknown` off Linux)."""

    point: str
    kind: str

    @property
    def tells_the_truth(self) -> bool:
        """Whether events and leases there can be relied on."""
        return self.kind in _TRUSTED


def mount_of(folder: Path, table: str | None = None) -> Mount:
    """The mount that `folder` lies on, by the longest mount point above it.

    `table` is the text of mountinfo (proc_pid_mountinfo(5)); by default, this process's own.
    """
    if table is None:
        if not sys.platform.startswith("linux"):
            return Mount("/", "unknown")
        table = _MOUNT_TABLE.read_text(encoding="utf-8", errors="surrogateescape")
    real = os.path.realpath(folder)
    found = Mount("/", "unknown")
    for line in table.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        if len(fields) < 5 or not right:
            continue
        point = _unescape(fields[4])
        if _is_below(real, point) and len(point) >= len(found.point):
            found = Mount(point, right.split(" ")[0])
    return found


def _is_below(path: str, point: str) -> bool:
    return point == "/" or path == point or path.startswith(point + "/")


def _unescape(text: str) -> str:
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text
