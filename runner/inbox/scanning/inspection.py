"""Inspects one file: whether it is whole, and its contents. Holds a whole file open."""

import hashlib
import os
import stat
from collections.abc import Callable, Set
from dataclasses import dataclass, replace
from pathlib import Path

from runner.contract.notebook import is_untitled
from runner.contract.outcome import Failure
from runner.contract.request import Kind
from runner.contract.states.status import ErrorType
from runner.inbox import write_lease
from runner.inbox.bundles.pending import Bundles
from runner.inbox.bundles.reading import refused
from runner.inbox.contents import Contents, size_limit, syntax_of, unread
from runner.inbox.documents import Documents
from runner.inbox.drop import ARCHIVE, JOB_FOLDER, Held, Sighting, Stays, Wait
from runner.inbox.scanning.memory import Memo, Memory
from runner.inbox.unclaimed import Reason
from runner.inbox.write_lease import Lease
from runner.system.clocks import Clocks
from runner.system.files.disk import is_whole

YOUNG_SECONDS = 0.008
"""A file changed less than this ago may still get its mode or its neighbour.

Not one that a client of ours has made: it comes in one piece, and alone."""
WRITER_SECONDS = 0.2
LOOK_SECONDS = 0.05
YAML_SECONDS = 10.0
UNREADABLE_SECONDS = 2.0
QUIET_SECONDS = 10.0
READY_FILE = ".ready"
"""A file in a `NAME.job/` that says that everything is there."""


@dataclass(frozen=True)
class Trust:
    """How far to rely on the file system under the inbox."""

    leases: bool = True
    """Whether leases and inode numbers work as on a local disk."""
    settle_seconds: float = LOOK_SECONDS
    """How long a file without a lease must be unchanged."""
    yaml_seconds: float = YAML_SECONDS


@dataclass(frozen=True)
class Bounds:
    """How large a notebook may be, and how long to wait for a file that may still change."""

    max_bytes: int
    broken_seconds: float
    """How long a broken file must be unchanged before it counts as broken."""
    quiet_seconds: float = QUIET_SECONDS
    """How long a notebook without code, or a folder, must be unchanged."""


@dataclass(frozen=True)
class Places:
    """The inbox, and the reader of requests that bring files; None: these are left alone."""

    folder: Path
    bundles: Bundles | None = None


_NO_NOTEBOOK = replace(
    refused(
        Failure(
            error_type=ErrorType.INVALID_REQUEST,
            message=f"The folder has a file {READY_FILE}, and neither a notebook nor a "
            "request.yaml at its top. Drop it again with one.",
        )
    ),
    broken="it has no notebook or request.yaml in it yet",
)

Look = Held | Wait | Stays | None
"""A whole file, how long to wait, why it stays where it is, or None: it is gone."""


class Inspection:
    """Looks into the files of one inbox, each again and again until it is whole."""

    def __init__(
        self,
        places: Places,
        bounds: Bounds,
        clocks: Clocks,
        memory: Memory,
        is_downloaded: Callable[[Sighting], bool],
    ) -> None:
        """Set it up. `is_downloaded`: whether a file that is empty or broken will be downloaded."""
        self._folder, self._bundles = places.folder, places.bundles
        self._bounds = bounds
        self._clocks = clocks
        self._memory = memory
        self._is_downloaded = is_downloaded
        self._documents = Documents()

    @property
    def pids(self) -> set[int]:
        """The process that reads slow files, if there is one."""
        pids = self._documents.pids
        return pids if self._bundles is None else pids | self._bundles.pids

    def close(self) -> None:
        """Look into nothing more."""
        self._documents.close()
        if self._bundles is not None:
            self._bundles.close()

    def keep(self, present: Set[str]) -> None:
        """Forget all files except the present ones."""
        if self._bundles is not None:
            self._bundles.keep(present)

    def inspect(self, seen: Sighting, trust: Trust) -> Look:
        """Look into one file. A descriptor stays open only for a held file."""
        memo = self._memory.of(seen)
        if seen.is_bundle and self._bundles is None:
            return Stays(Reason.DATA)
        if trust.leases and self._is_young(seen) and not is_whole(self._folder / seen.path):
            return Wait(YOUNG_SECONDS, seen.path, Reason.SETTLING)
        left = 0.0 if trust.leases or memo.before else self._unsettled(seen, memo, trust)
        if left > 0:
            return Wait(left, seen.path, Reason.SETTLING)  # some mounts hold up what is opened
        try:
            fd = os.open(
                self._folder / seen.path,
                os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC,
            )
        except FileNotFoundError:
            return None
        except OSError as error:
            return _unreadable(seen, error)
        look: Look = None
        try:
            look = self._look_inside(fd, seen, memo, trust)
        except OSError as error:
            look = _unreadable(seen, error)
        finally:
            if not isinstance(look, Held):
                write_lease.close(fd)
        return look

    def _is_young(self, seen: Sighting) -> bool:
        return 0 <= self._clocks.wall_ns() - seen.ctime_ns < YOUNG_SECONDS * 1e9

    def _look_inside(self, fd: int, seen: Sighting, memo: Memo, trust: Trust) -> Look:
        if seen.suffix == JOB_FOLDER:
            return self._look_into_folder(fd, seen, memo, trust)
        opened = os.fstat(fd)
        if not stat.S_ISREG(opened.st_mode) or (
            seen.inode is not None and opened.st_ino != seen.inode
        ):
            return Wait(LOOK_SECONDS, seen.path, Reason.SETTLING)
        lease = write_lease.take(fd) if trust.leases else Lease.UNAVAILABLE
        if lease is Lease.WRITER:
            memo.restart(self._clocks.seconds())
            return Wait(WRITER_SECONDS, seen.path, Reason.WRITER)
        before = memo.take_before()
        if before is not None:
            self._compare_bytes(fd, memo, before)
        if lease is Lease.UNAVAILABLE and (left := self._unsettled(seen, memo, trust)) > 0:
            return Wait(left, seen.path, Reason.SETTLING)
        if self._is_too_large(seen):
            return Held(seen, b"", _unread(seen), True, fd, lease is Lease.TAKEN)
        read = self._read(fd, seen, memo)
        if isinstance(read, Wait):
            return read
        raw, contents = read
        held = Held(seen, raw, contents, False, fd, lease is Lease.TAKEN)
        return self._why_not_yet(seen, contents, memo) or held

    def _look_into_folder(self, fd: int, seen: Sighting, memo: Memo, trust: Trust) -> Look:
        """Look into a folder that is a request. It is whole once nobody changes it any more."""
        is_ready = os.path.lexists(self._folder / seen.path / READY_FILE)
        left = 0.0 if is_ready else self._noisy(memo, trust)
        if left > 0:
            return Wait(left, seen.path, Reason.SETTLING)
        assert self._bundles is not None
        contents = self._bundles.read(seen)
        if contents is None:
            return Wait(LOOK_SECONDS, seen.path, Reason.SETTLING)
        if is_ready and contents.kind is Kind.FOREIGN:
            contents = _NO_NOTEBOOK  # its owner says that all is there, and waits for an answer
        held = Held(seen, b"", contents, False, fd, leased=False)
        return self._why_not_yet(seen, contents, memo) or held

    def _noisy(self, memo: Memo, trust: Trust) -> float:
        """Return for how many seconds more a folder must be unchanged."""
        needed = self._bounds.quiet_seconds
        if not trust.leases:
            needed = max(needed, trust.yaml_seconds)
        return needed - (self._clocks.seconds() - memo.since)

    def _is_too_large(self, seen: Sighting) -> bool:
        if seen.suffix == ARCHIVE:
            return self._bundles is not None and seen.size > self._bundles.most_bytes
        return seen.size > size_limit(seen.suffix, self._bounds.max_bytes)

    def _unsettled(self, seen: Sighting, memo: Memo, trust: Trust) -> float:
        """Return for how many seconds more a file without a lease must be unchanged."""
        is_yaml = seen.suffix in (".yaml", ".yml")
        needed = trust.yaml_seconds if is_yaml else trust.settle_seconds
        return needed - (self._clocks.seconds() - memo.since)

    def _compare_bytes(self, fd: int, memo: Memo, before: Memo) -> None:
        """Compare the bytes of a file of which only the time of change is new.

        `rclone mount` sometimes shows the present as the time of a file that it has not uploaded
        yet.
        """
        seen = memo.sighting
        if seen.is_bundle or self._is_too_large(seen):
            return
        digest = hashlib.sha256(_read_all(fd, seen.size)).digest()
        os.lseek(fd, 0, os.SEEK_SET)
        memo.compare(before, digest)

    def _read(self, fd: int, seen: Sighting, memo: Memo) -> tuple[bytes, Contents] | Wait:
        if not seen.size and self._is_downloaded(seen):
            memo.is_no_longer_broken()
            return Wait(UNREADABLE_SECONDS, seen.path, Reason.DOWNLOAD)
        not_read = Wait(LOOK_SECONDS, seen.path, Reason.SETTLING)
        if seen.suffix == ARCHIVE:
            assert self._bundles is not None
            archive = self._bundles.read(seen)
            return not_read if archive is None else (b"", archive)
        if self._documents.is_reading(seen.path):
            return not_read
        raw = _read_all(fd, seen.size)
        if len(raw) != seen.size:
            return not_read
        contents = self._documents.read(seen.path, seen.suffix, raw)
        return not_read if contents is None else (raw, contents)

    def _why_not_yet(self, seen: Sighting, contents: Contents, memo: Memo) -> Wait | Stays | None:
        """Say why a file that was read is not held; None if it is."""
        now, bounds = self._clocks.seconds(), self._bounds
        if contents.broken and self._is_downloaded(seen):
            memo.is_no_longer_broken()
            return Wait(UNREADABLE_SECONDS, seen.path, Reason.DOWNLOAD)
        if contents.broken:
            left = bounds.broken_seconds - memo.broken_for(now)
            if left > 0:
                return Wait(left, seen.path, Reason.INCOMPLETE, contents.broken)
        elif _is_notebook(seen, contents):
            left = bounds.quiet_seconds - (now - memo.since)
            if contents.is_blank and is_untitled(Path(seen.path).stem):
                return Stays(Reason.UNTITLED)
            if left > 0 and not contents.has_code:
                return Wait(left, seen.path, Reason.NO_CODE)
        return None


def _unread(seen: Sighting) -> Contents:
    """Describe a file that is too large to be read."""
    if seen.suffix == ARCHIVE:
        return Contents(kind=Kind.NOTEBOOK, is_request=True)
    return unread(syntax_of(seen.suffix))


def _unreadable(seen: Sighting, error: OSError) -> Wait:
    return Wait(UNREADABLE_SECONDS, seen.path, Reason.UNREADABLE, error.strerror or str(error))


def _is_notebook(seen: Sighting, contents: Contents) -> bool:
    """Tell whether a file holds a notebook, rather than a request."""
    if seen.suffix == ".ipynb":
        return contents.has_cells
    return seen.suffix == ".json" and contents.kind is Kind.NOTEBOOK


def _read_all(fd: int, size: int) -> bytes:
    chunks: list[bytes] = []
    left = size + 1
    while left > 0 and (chunk := os.read(fd, min(left, 1024 * 1024))):
        chunks.append(chunk)
        left -= len(chunk)
    return b"".join(chunks)
