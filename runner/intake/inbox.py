"""What lies in the inbox, and which of it is whole. The folder is the truth; events are hints.

Reads what is whole and holds it open until it is claimed. Never decides what a request means for
a job.
"""

import logging
import os
import re
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from runner.intake import lease
from runner.intake.ignore import is_left_alone, split_suffix
from runner.intake.lease import Lease
from runner.notebook import awaits_code, parse
from runner.outcome import Refused
from runner.request import Form, Kind, kind_of, read_document

log = logging.getLogger(__name__)

CLAIM_PREFIX = ".claim-"
JOB_ID = re.compile(r"[0-9a-f]{32}")
BATCH_FILES = 128
BATCH_BYTES = 32 * 1024 * 1024
SETTINGS_BYTES = 1024 * 1024
MAX_DEPTH = 32

YOUNG_SECONDS = 0.008
"""A file changed less than this ago may still get its mode or its neighbour."""
WRITER_SECONDS = 0.2
LOOK_SECONDS = 0.05
YAML_SECONDS = 10.0
TROUBLE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Sighting:
    """A regular file seen once. `path` is relative to the inbox."""

    path: str
    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    suffix: str


@dataclass(frozen=True, slots=True)
class Group:
    """All files of one stem in one folder: a request and what belongs to it."""

    path: str
    """The request's path below the inbox, without suffix and claim folder."""
    claim: str | None
    """The claim folder in which it lies already."""
    files: tuple[Sighting, ...]


@dataclass(frozen=True)
class Held:
    """A file that is whole: its bytes, and the open descriptor that shows whether it stays so."""

    sighting: Sighting
    raw: bytes
    """Empty where the file is too large to be read."""
    document: object
    broken: str | None
    too_large: bool
    fd: int
    leased: bool

    def intact(self, now: os.stat_result) -> bool:
        """Whether `now`, the file's place after the claim, is what was read and nobody writes."""
        seen = self.sighting
        same = (now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns) == (
            seen.device,
            seen.inode,
            seen.size,
            seen.mtime_ns,
        )
        return same and (not self.leased or lease.is_held(self.fd))

    @property
    def kind(self) -> Kind:
        """What the document is; a broken one counts as what its suffix says."""
        if self.sighting.suffix == ".ipynb":
            return Kind.NOTEBOOK
        if self.broken or self.too_large:
            return Kind.REQUEST
        kind = kind_of(self.document)
        return Kind.SETTINGS if kind is Kind.NOTEBOOK and self.is_yaml else kind

    @property
    def is_yaml(self) -> bool:
        """Whether it is YAML rather than JSON."""
        return self.sighting.suffix in (".yaml", ".yml")


class DropKind(Enum):
    """What a drop asks for, as far as its files tell."""

    SUBMIT = "submit"
    CANCEL = "cancel"
    LATE_SETTINGS = "late settings"


@dataclass(frozen=True)
class Drop:
    """Files that are whole and belong together, held open until `release`."""

    kind: DropKind
    path: str
    claim: str | None
    main: Held
    settings: tuple[Held, ...] = ()

    @property
    def files(self) -> tuple[Held, ...]:
        """The settings first: in that order they are claimed."""
        return (*self.settings, self.main)

    def release(self) -> None:
        """Close what is held."""
        for held in self.files:
            lease.close(held.fd)


@dataclass(slots=True)
class _Memo:
    """What is remembered of a file between two scans."""

    sighting: Sighting
    since: float
    broken_since: float | None = None
    stays: bool = False


@dataclass(frozen=True)
class _Wait:
    """Not yet: look again after so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Scan:
    """One look at the whole inbox."""

    drops: tuple[Drop, ...]
    look_again: float | None
    """Seconds until something that waits may be ready; 0 if there is another batch."""
    pending: int
    """Requests that were seen and are not ready."""
    abandoned: tuple[str, ...]
    """Claim folders without a request in them."""


@dataclass(frozen=True)
class Trust:
    """How far the file system under the inbox can be relied on."""

    leases: bool = True
    settle_seconds: float = LOOK_SECONDS
    """How long a file without a lease must be unchanged."""
    yaml_seconds: float = YAML_SECONDS


@dataclass
class Inbox:
    """Scans one inbox. `clock` gives monotonic seconds, `wall` nanoseconds since the epoch."""

    folder: Path
    max_bytes: int
    broken_seconds: float
    ignore: Sequence[str]
    trust: Trust
    clock: Callable[[], float]
    wall: Callable[[], int]
    wants_settings: Callable[[str], bool] = lambda _path: False
    """Whether a request of this path was accepted without its settings a moment ago."""
    only: frozenset[str] | None = None
    """Paths to take; None for all."""
    troubles: dict[str, str] = field(default_factory=dict)
    _memos: dict[str, _Memo] = field(default_factory=dict)
    _listed: deque[Group] = field(default_factory=deque)
    _waiting: list[float] = field(default_factory=list)
    _abandoned: set[str] = field(default_factory=set)

    def scan(self, room: int) -> Scan:
        """Look at everything; give one batch of drops, at most `room`, the first to come first.

        A listing is worked off batch by batch before the folder is listed again, so that 100,000
        files are listed once and not a thousand times. Claim folders come first, and abandoned
        ones are given alone: settings in them go back before their notebook is taken.

        Raises:
            OSError: the inbox itself is not there or cannot be read.
        """
        if room <= 0:
            return self._scan_cancels()
        if not self._listed:
            self._listed.extend(self._groups())
            self._forget({sighting.path for group in self._listed for sighting in group.files})
            self._waiting = []
        drops: list[Drop] = []
        abandoned: list[str] = []
        size = 0
        while self._listed and len(drops) < min(room, BATCH_FILES) and size < BATCH_BYTES:
            if abandoned and self._listed[0].claim is None:
                self._listed.clear()
                return Scan(tuple(drops), 0.0, len(self._waiting), tuple(abandoned))
            group = self._listed.popleft()
            found = list(self._look_at(group))
            ready = [drop for drop in found if isinstance(drop, Drop)]
            self._waiting.extend(wait.seconds for wait in found if isinstance(wait, _Wait))
            drops.extend(ready)
            for seen in (held.sighting for drop in ready for held in drop.files):
                self._memos.pop(seen.path, None)
            size += sum(len(held.raw) for drop in ready for held in drop.files)
            if group.claim is not None and not found and group.claim not in self._abandoned:
                self._abandoned.add(group.claim)
                abandoned.append(group.claim)
        if self._listed:
            look_again: float | None = 0.0
        else:
            look_again = min(self._waiting, default=None)
        return Scan(tuple(drops), look_again, len(self._waiting), tuple(abandoned))

    def _scan_cancels(self) -> Scan:
        """With no room for more, only what makes room: each folder is listed anew for it."""
        self._listed.clear()
        groups = [g for g in self._groups() if {s.suffix for s in g.files} == {".cancel"}]
        found = [one for group in groups[:BATCH_FILES] for one in self._look_at(group)]
        drops = tuple(one for one in found if isinstance(one, Drop))
        return Scan(drops, TROUBLE_SECONDS, len(self._waiting), ())

    def _forget(self, present: set[str]) -> None:
        for path in self._memos.keys() - present:
            del self._memos[path]
        for path in self.troubles.keys() - present:
            del self.troubles[path]

    def _groups(self) -> list[Group]:
        found: dict[tuple[str, str | None], list[Sighting]] = {}
        for path, claim, sighting in self._walk("", None, 0):
            files = found.setdefault((path, claim), [])
            if sighting is not None:
                files.append(sighting)
        groups = []
        while found:  # what is read is freed as it goes: there may be 100,000
            (path, claim), files = found.popitem()
            if self.only is None or path in self.only:
                groups.append(Group(path, claim, tuple(sorted(files, key=lambda s: s.suffix))))
        groups.sort(
            key=lambda g: (
                g.claim is None,
                max((s.ctime_ns for s in g.files), default=0),
                g.path,
            )
        )
        return groups

    def _walk(
        self, folder: str, claim: str | None, depth: int
    ) -> Iterator[tuple[str, str | None, Sighting | None]]:
        """(request path, claim folder, sighting); an empty claim folder with no sighting."""
        for entry in self._entries(folder):
            inner = f"{folder}/{entry.name}" if folder else entry.name
            try:
                if entry.is_dir(follow_symlinks=False):
                    yield from self._walk_into(entry.name, inner, claim, depth)
                elif entry.is_file(follow_symlinks=False):
                    seen = self._sighting(entry, inner, in_claim=claim is not None)
                    if seen is not None:
                        yield _request_path(folder, entry.name, claim), claim, seen
            except FileNotFoundError:
                continue
            except OSError as error:
                self._trouble(inner, error)

    def _entries(self, folder: str) -> Iterator[os.DirEntry[str]]:
        try:
            with os.scandir(self.folder / folder) as found:
                yield from found
        except OSError as error:
            if not folder:
                raise
            self._trouble(folder, error)

    def _walk_into(
        self, name: str, inner: str, claim: str | None, depth: int
    ) -> Iterator[tuple[str, str | None, Sighting | None]]:
        if claim is not None or depth >= MAX_DEPTH:
            return
        if claim_id(name) is not None:
            seen = list(self._walk(inner, inner, depth + 1))
            yield from seen or [(inner, inner, None)]
        elif not is_left_alone(name, self.ignore):
            yield from self._walk(inner, None, depth + 1)

    def _sighting(self, entry: os.DirEntry[str], path: str, *, in_claim: bool) -> Sighting | None:
        parts = split_suffix(entry.name)
        if parts is None or (not in_claim and is_left_alone(entry.name, self.ignore)):
            return None
        found = entry.stat(follow_symlinks=False)
        return Sighting(
            path,
            found.st_dev,
            found.st_ino,
            found.st_size,
            found.st_mtime_ns,
            found.st_ctime_ns,
            parts[1],
        )

    def _look_at(self, group: Group) -> Iterator[Drop | _Wait]:
        """The drops of one group, or how long to wait; held files never leak."""
        if group.files and all(self._memo(seen).stays for seen in group.files):
            return
        looks = [self._look(seen) for seen in group.files]
        held = [look for look in looks if isinstance(look, Held)]
        waits = [look for look in looks if isinstance(look, _Wait)]
        drops = [] if waits else list(_drops(group, held, self.wants_settings))
        if waits:
            yield min(waits, key=lambda wait: wait.seconds)
        yield from drops
        used = {one.fd for drop in drops for one in drop.files}
        for unused in held:
            if unused.fd not in used:
                lease.close(unused.fd)
                self._memo(unused.sighting).stays = not waits

    def _memo(self, seen: Sighting) -> _Memo:
        memo = self._memos.get(seen.path)
        if memo is None or memo.sighting != seen:
            memo = self._memos[seen.path] = _Memo(seen, self.clock())
        return memo

    def _look(self, seen: Sighting) -> Held | _Wait | None:
        """One file: held if it is whole, how long to wait, or None if it stays where it is."""
        memo = self._memo(seen)
        if self.trust.leases and 0 <= self.wall() - seen.ctime_ns < YOUNG_SECONDS * 1e9:
            return _Wait(YOUNG_SECONDS)
        try:
            fd = os.open(
                self.folder / seen.path,
                os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC,
            )
        except FileNotFoundError:
            return None
        except OSError as error:
            self._trouble(seen.path, error)
            return _Wait(TROUBLE_SECONDS)
        looked: Held | _Wait | None = None
        try:
            looked = self._look_inside(fd, seen, memo)
        except OSError as error:
            self._trouble(seen.path, error)
            looked = _Wait(TROUBLE_SECONDS)
        finally:
            if not isinstance(looked, Held):
                lease.close(fd)
        return looked

    def _look_inside(self, fd: int, seen: Sighting, memo: _Memo) -> Held | _Wait | None:
        opened = os.fstat(fd)
        if not stat.S_ISREG(opened.st_mode) or opened.st_ino != seen.inode:
            return _Wait(LOOK_SECONDS)
        self.troubles.pop(seen.path, None)
        leased = lease.take(fd) if self.trust.leases else Lease.UNAVAILABLE
        if leased is Lease.WRITER:
            memo.since, memo.broken_since = self.clock(), None
            return _Wait(WRITER_SECONDS)
        if leased is Lease.UNAVAILABLE:
            needed = self.trust.settle_seconds
            if seen.suffix in (".yaml", ".yml"):
                needed = self.trust.yaml_seconds
            quiet = self.clock() - memo.since
            if quiet < needed:
                return _Wait(needed - quiet)
        return self._read(fd, seen, memo, leased is Lease.TAKEN)

    def _read(self, fd: int, seen: Sighting, memo: _Memo, leased: bool) -> Held | _Wait | None:
        if seen.size > size_limit(seen.suffix, self.max_bytes):
            return Held(seen, b"", None, None, True, fd, leased)
        raw = _read_all(fd, seen.size)
        if len(raw) != seen.size:
            return _Wait(LOOK_SECONDS)
        document, broken = _parse(raw, seen.suffix)
        if broken:
            if memo.broken_since is None:
                memo.broken_since = self.clock()
            left = self.broken_seconds - (self.clock() - memo.broken_since)
            if left > 0:
                return _Wait(left)
        if seen.suffix in (".ipynb", ".json") and not broken:
            stem = Path(seen.path).stem
            if awaits_code(document, stem):
                memo.stays = True
                return None
        return Held(seen, raw, document, broken, False, fd, leased)

    def _trouble(self, path: str, error: OSError) -> None:
        reason = error.strerror or str(error)
        if self.troubles.get(path) != reason:
            log.warning("cannot read %r in the inbox: %s", path, reason)
        self.troubles[path] = reason


def _drops(
    group: Group, held: Sequence[Held], wants_settings: Callable[[str], bool]
) -> Iterator[Drop]:
    """Which of a stem's files make which request. Those in no drop stay where they are.

    A `.cancel` takes effect in the order of arrival: before a request that came later.
    """
    cancels = [h for h in held if h.sighting.suffix == ".cancel" and _is_cancel(h)]
    submits = list(_submits(group, held, wants_settings))
    arrival = min((d.main.sighting.ctime_ns for d in submits), default=0)
    for one in cancels:
        if one.sighting.ctime_ns < arrival:
            yield Drop(DropKind.CANCEL, group.path, group.claim, one)
    yield from submits
    for one in cancels:
        if one.sighting.ctime_ns >= arrival:
            yield Drop(DropKind.CANCEL, group.path, group.claim, one)


def _submits(
    group: Group, held: Sequence[Held], wants_settings: Callable[[str], bool]
) -> Iterator[Drop]:
    held = [h for h in held if h.sighting.suffix != ".cancel"]
    main = _first(held, ".ipynb") or next(
        (h for h in held if h.kind is Kind.NOTEBOOK and not h.is_yaml), None
    )
    if main is not None:
        beside = [h for h in held if h is not main and h.kind is not Kind.NOTEBOOK]
        beside = [h for h in beside if h.is_yaml or h.kind is not Kind.FOREIGN]
        yield Drop(DropKind.SUBMIT, group.path, group.claim, main, tuple(beside))
        return
    for one in held:
        if one.kind is Kind.REQUEST:
            yield Drop(DropKind.SUBMIT, group.path, group.claim, one)
        elif one.kind is Kind.SETTINGS and wants_settings(group.path):
            yield Drop(DropKind.LATE_SETTINGS, group.path, group.claim, one)


def _is_cancel(held: Held) -> bool:
    """An empty file, or one job id; anything else is somebody's document."""
    text = held.document
    return text == "" or (isinstance(text, str) and JOB_ID.fullmatch(text) is not None)


def size_limit(suffix: str, notebook_bytes: int) -> int:
    """How large a file of this suffix may be; what is larger is neither read nor copied."""
    if suffix in (".ipynb", ".json"):
        return notebook_bytes
    return min(SETTINGS_BYTES, notebook_bytes)


def claim_id(folder: str) -> str | None:
    """The job id in the name of a claim folder; None for any other folder."""
    name = folder.rpartition("/")[2]
    found = name.removeprefix(CLAIM_PREFIX)
    return found if name.startswith(CLAIM_PREFIX) and JOB_ID.fullmatch(found) else None


def _first(held: Iterable[Held], suffix: str) -> Held | None:
    return next((h for h in held if h.sighting.suffix == suffix), None)


def _request_path(folder: str, name: str, claim: str | None) -> str:
    parts = split_suffix(name)
    stem = parts[0] if parts else name
    if claim is not None:
        folder = folder.rpartition("/")[0]
    return f"{folder}/{stem}" if folder else stem


def _read_all(fd: int, size: int) -> bytes:
    chunks: list[bytes] = []
    left = size + 1
    while left > 0 and (chunk := os.read(fd, min(left, 1024 * 1024))):
        chunks.append(chunk)
        left -= len(chunk)
    return b"".join(chunks)


def _parse(raw: bytes, suffix: str) -> tuple[object, str | None]:
    """The document, or why it is none."""
    if suffix == ".cancel":
        return raw.decode("ascii", "replace").strip(), None
    if suffix in (".yaml", ".yml"):
        try:
            return read_document(raw, Form.YAML), None
        except Refused as refused:
            return None, refused.failure.message
    try:
        return parse(raw), None
    except ValueError as error:
        return None, str(error)
