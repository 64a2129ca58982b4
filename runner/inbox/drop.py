"""The values of a look at the inbox: seen files, whole files, and drops made of them."""

import os
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from runner.inbox import write_lease
from runner.inbox.contents import Contents
from runner.inbox.unclaimed import Reason
from runner.system.files.folders import stamp_of

ARCHIVE, JOB_FOLDER = ".zip", ".job"
"""Suffixes of requests that bring files: an archive, and a folder."""
BUNDLES = (ARCHIVE, JOB_FOLDER)


@dataclass(frozen=True, slots=True)
class Sighting:
    """A regular file, or a folder `NAME.job`, as seen once. `path` is relative to the inbox.

    Of a folder, size and times are those of everything below it (`stamp_of`).

    Device and inode are None if a file may show another inode number at each look, as on some FUSE
    and network mounts. Then name, size and time of change identify it.
    """

    path: str
    device: int | None
    inode: int | None
    size: int
    mtime_ns: int
    ctime_ns: int
    suffix: str

    @property
    def is_bundle(self) -> bool:
        """Whether it may be a request that brings files."""
        return self.suffix in BUNDLES

    def is_of(self, now: os.stat_result) -> bool:
        """Tell whether `now` describes the same file, unchanged."""
        if (now.st_size, now.st_mtime_ns) != (self.size, self.mtime_ns):
            return False
        return self.inode is None or (now.st_dev, now.st_ino) == (self.device, self.inode)

    def is_same(self, other: "Sighting") -> bool:
        """Tell whether two sightings of one path are of the same file, unchanged."""
        if self.inode is not None:
            return self == other
        return other.inode is None and (self.size, self.mtime_ns) == (other.size, other.mtime_ns)


@dataclass(frozen=True, slots=True)
class Group:
    """All files of one stem in one folder: a request and its settings."""

    path: str
    """The request's path below the inbox, without suffix and claim folder."""
    claim: str | None
    """The claim folder in which it lies already."""
    files: tuple[Sighting, ...]


@dataclass(frozen=True)
class Held:
    """A whole file: its bytes, and the open descriptor that shows whether it stays whole."""

    sighting: Sighting
    raw: bytes
    """Its bytes; empty if it is too large to be read."""
    contents: Contents
    too_large: bool
    fd: int
    leased: bool

    def intact(self, place: Path) -> bool:
        """Tell whether the claimed file at `place` is the one that was read, without a writer.

        If a mount's numbers and times cannot be relied on, the bytes are compared.

        Raises:
            OSError: it cannot be looked at.
        """
        if self.sighting.suffix == JOB_FOLDER:
            size, changed, _ = stamp_of(place)
            return (size, changed) == (self.sighting.size, self.sighting.mtime_ns)
        now = place.lstat()
        if self.sighting.is_of(now):
            return not self.leased or write_lease.is_held(self.fd)
        if self.sighting.inode is not None or now.st_size != self.sighting.size:
            return False
        if self.sighting.is_bundle:
            return False
        return self.too_large or place.read_bytes() == self.raw

    @property
    def is_yaml(self) -> bool:
        """Tell whether it is YAML rather than JSON."""
        return self.sighting.suffix in (".yaml", ".yml")


class DropKind(Enum):
    """Kinds of drops, by their files."""

    SUBMIT = "submit"
    CANCEL = "cancel"
    LATE_SETTINGS = "late settings"


@dataclass(frozen=True)
class Drop:
    """Whole files that belong together, held open until `release`."""

    kind: DropKind
    path: str
    claim: str | None
    main: Held
    settings: tuple[Held, ...] = ()

    @property
    def files(self) -> tuple[Held, ...]:
        """Its files, the settings first: they are claimed in that order."""
        return (*self.settings, self.main)

    def release(self) -> None:
        """Close the held files."""
        for held in self.files:
            write_lease.close(held.fd)


@dataclass(frozen=True)
class Wait:
    """Look again after so many seconds. `path` is the file to wait for."""

    seconds: float
    path: str
    reason: Reason
    detail: str = ""


@dataclass(frozen=True)
class Stays:
    """A file stays where it is until it changes."""

    reason: Reason
    detail: str = ""


@dataclass(frozen=True)
class Scan:
    """One look at the whole inbox."""

    drops: tuple[Drop, ...]
    look_again: float | None
    """Seconds until a waiting file may be ready; 0 if there is another batch."""
    pending: int
    """Requests that are not ready."""
    abandoned: tuple[str, ...]
    """Claim folders without a request in them."""
    lone_settings: tuple[tuple[str, str], ...] = ()
    """Settings that may belong to a request that was accepted without them: path, file name."""
