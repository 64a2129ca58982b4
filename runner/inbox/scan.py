"""What lies in the inbox, and which of it is whole. The folder is the truth; events are hints.

Reads what is whole and holds it open until it is claimed. Never decides what a request means for
a job.
"""

import hashlib
import logging
import os
import stat
import unicodedata
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path

from runner.contract.notebook import is_untitled
from runner.contract.request import JOB_ID, Kind
from runner.inbox import write_lease as lease
from runner.inbox.contents import Contents, syntax_of, unread
from runner.inbox.documents import Documents
from runner.inbox.ignore import (
    MAX_DEPTH,
    is_part_of,
    split_suffix,
    why_left_alone,
    why_no_request,
)
from runner.inbox.unclaimed import LONG_SECONDS, WORDS, Care, Collector, Reason, WaitingList
from runner.inbox.write_lease import Lease

log = logging.getLogger(__name__)

CLAIM_PREFIX = ".claim-"
REFUSED_FOLDER = ".refused"
LOCK_FILE = ".runner.lock"
BATCH_FILES = 128
BATCH_BYTES = 32 * 1024 * 1024
SETTINGS_BYTES = 1024 * 1024

YOUNG_SECONDS = 0.008
"""A file changed less than this ago may still get its mode or its neighbour."""
WRITER_SECONDS = 0.2
LOOK_SECONDS = 0.05
YAML_SECONDS = 10.0
TROUBLE_SECONDS = 2.0
QUIET_SECONDS = 10.0
PAUSE_SECONDS = 60.0
"""A file that cannot be taken is tried again after growing pauses, up to this."""
REMEMBERED = 1_000
"""So many paths of each kind are remembered that are no requests; more are only counted."""
DAY_NS = 86_400 * 10**9
OUR_OWN = frozenset({REFUSED_FOLDER, LOCK_FILE, ".gitkeep"})
GUIDE = "README.md"
"""How to use the inbox; it lies there for colleagues and agents, and nobody wonders about it."""
LINGER = "if none comes, they go to the history of the run before them, as too late for it"


@dataclass(frozen=True, slots=True)
class Sighting:
    """A regular file seen once. `path` is relative to the inbox.

    Device and inode are None where a file may show another inode number at each look, as on some
    FUSE and network mounts; it is the same then if name, size and time of change are.
    """

    path: str
    device: int | None
    inode: int | None
    size: int
    mtime_ns: int
    ctime_ns: int
    suffix: str

    def is_of(self, found: os.stat_result) -> bool:
        """Whether `found` is the file that was seen, unchanged."""
        if (found.st_size, found.st_mtime_ns) != (self.size, self.mtime_ns):
            return False
        return self.inode is None or (found.st_dev, found.st_ino) == (self.device, self.inode)

    def is_same(self, other: "Sighting") -> bool:
        """Whether two sightings of one path are of the same file, unchanged."""
        if self.inode is not None:
            return self == other
        return other.inode is None and (self.size, self.mtime_ns) == (other.size, other.mtime_ns)


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
    contents: Contents
    too_large: bool
    fd: int
    leased: bool

    def intact(self, place: Path) -> bool:
        """Whether at `place`, after the claim, lies what was read, and nobody writes.

        Where a mount's numbers and times cannot be relied on, its bytes say so.

        Raises:
            OSError: it cannot be looked at.
        """
        now = place.lstat()
        if self.sighting.is_of(now):
            return not self.leased or lease.is_held(self.fd)
        if self.sighting.inode is not None or now.st_size != self.sighting.size:
            return False
        return self.too_large or place.read_bytes() == self.raw

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
    stays: "_Stays | None" = None
    failures: int = 0
    refusal: str = ""
    not_before: float = 0.0
    """A file that could not be taken is not tried again before."""
    digest: bytes | None = None
    """Of its bytes, where the time of change alone was another one at the last look."""
    before: "_Memo | None" = None


@dataclass(frozen=True)
class _Wait:
    """Not yet: look again after so many seconds. `path` is the file that is waited for."""

    seconds: float
    path: str
    reason: Reason
    detail: str = ""


@dataclass(frozen=True)
class _Stays:
    """It stays where it is until it changes."""

    reason: Reason
    detail: str = ""


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
    lone_settings: tuple[tuple[str, str], ...] = ()
    """Settings that may belong to a request that was accepted without them: path, file name."""


@dataclass(frozen=True)
class Trust:
    """How far the file system under the inbox can be relied on."""

    leases: bool = True
    """Whether leases, and inode numbers, are what they are on a local disk."""
    settle_seconds: float = LOOK_SECONDS
    """How long a file without a lease must be unchanged."""
    yaml_seconds: float = YAML_SECONDS


SettingsWait = Callable[[str, float], float | None]
"""For settings without a notebook, by the request's path and how many seconds ago they came: for
how many seconds more they wait for one before they count as too late for an accepted request (0
or less: now). None if there is no such request."""


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
    settings_wait: SettingsWait = lambda _path, _age: None
    only: frozenset[str] | None = None
    """Paths to take; None for all."""
    quiet_seconds: float = QUIET_SECONDS
    """How long a notebook without code must be unchanged."""
    waiting: WaitingList = field(default_factory=WaitingList)
    """What stays in the inbox, by the last listing that was worked off."""
    _memos: dict[str, _Memo] = field(default_factory=dict)
    _documents: Documents = field(default_factory=Documents)
    _listed: deque[Group] = field(default_factory=deque)
    _waits: list[float] = field(default_factory=list)
    _lone: list[tuple[str, str]] = field(default_factory=list)
    _abandoned: dict[str, float] = field(default_factory=dict)
    _parts: dict[str, list[str]] = field(default_factory=dict)
    _collector: Collector = field(default_factory=Collector)
    _since: dict[str, float] = field(default_factory=dict)
    _told: dict[str, str] = field(default_factory=dict)
    _lost: set[str] = field(default_factory=set)
    _lost_before: set[str] = field(default_factory=set)

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
            self._list()
        drops: list[Drop] = []
        abandoned: list[str] = []
        size = 0
        while self._listed and len(drops) < min(room, BATCH_FILES) and size < BATCH_BYTES:
            if abandoned and self._listed[0].claim is None:
                self._listed.clear()
                return Scan(tuple(drops), 0.0, len(self._waits), tuple(abandoned))
            group = self._listed.popleft()
            looks = list(self._look_at(group))
            ready = [drop for drop in looks if isinstance(drop, Drop)]
            self._waits.extend(wait.seconds for wait in looks if isinstance(wait, _Wait))
            drops.extend(ready)
            for seen in (held.sighting for drop in ready for held in drop.files):
                if not self._memo(seen).failures:
                    del self._memos[seen.path]
                self._collector.drop(seen.path)
            size += sum(len(held.raw) for drop in ready for held in drop.files)
            if group.claim is not None and not looks and self._is_abandoned(group.claim):
                abandoned.append(group.claim)
        if self._listed:
            look_again: float | None = 0.0
        else:
            look_again = min(self._waits, default=None)
            self.conclude()
        return Scan(tuple(drops), look_again, len(self._waits), tuple(abandoned), tuple(self._lone))

    def put_off(self, drop: Drop, error: OSError, claim: str | None = None) -> float:
        """A drop that is whole cannot be taken: it is tried again after a pause, which is given.

        The pauses grow while nothing about its files changes. With `claim` it is in that folder,
        and cannot be taken out of it.
        """
        detail = error.strerror or str(error)
        pause = 0.0
        for seen in (held.sighting for held in drop.files):
            if claim is not None:
                seen = self._moved(seen, f"{claim}/{Path(seen.path).name}")
            memo = self._memo(seen)
            memo.failures, memo.refusal = memo.failures + 1, detail
            pause = min(2.0 ** (memo.failures - 1), PAUSE_SECONDS)
            memo.not_before = self.clock() + pause
            self.tell(seen, Reason.NOT_REMOVABLE, detail)
        self.conclude()
        return pause

    def _moved(self, seen: Sighting, path: str) -> Sighting:
        """The same file at another place; a rename is a change of its own."""
        try:
            changed = (self.folder / path).lstat().st_ctime_ns
        except OSError:
            changed = seen.ctime_ns
        return replace(seen, path=path, ctime_ns=changed)

    @property
    def pids(self) -> set[int]:
        """The process that reads what is slow to read, if there is one."""
        return self._documents.pids

    def close(self) -> None:
        """Nothing more is looked at."""
        self._documents.close()

    def rely_on(self, trust: Trust) -> None:
        """Rely on the mounts so far, from now on; nothing is put off any longer."""
        self.trust = trust
        for memo in self._memos.values():
            memo.not_before = 0.0

    def tell(self, seen: Sighting, reason: Reason, detail: str = "") -> None:
        """Note why a file stays in the inbox; what nobody expects is logged, once."""
        self._note(seen.path, reason, seen.ctime_ns, detail)

    def _note(self, path: str, reason: Reason, since_ns: int, detail: str = "") -> None:
        self._collector.add(path, reason, since_ns, detail)
        if WORDS[reason].care is Care.STUCK and len(self._told) < REMEMBERED:
            said = f"{reason} {detail}"
            if self._told.get(path) != said:
                why = f"{WORDS[reason].text}: {detail}" if detail else WORDS[reason].text
                log.warning("%r stays in the inbox: %s", path, why)
            self._told[path] = said

    def conclude(self) -> None:
        """A listing is worked off: say what stays, and log once what waits for long."""
        now, reasons = self.clock(), self._collector.reasons
        kept = reasons.keys() | self._memos.keys()
        self._told = {path: said for path, said in self._told.items() if path in kept}
        waiting = reasons.keys() | (self._since.keys() & self._memos.keys())
        self._since = {path: self._since.get(path, now) for path in waiting}
        late = {path for path in reasons if now - self._since[path] >= LONG_SECONDS}
        self._say_late([path for path in late if WORDS[reasons[path]].care is Care.LATE])
        self.waiting = self._collector.result(late)

    def _say_late(self, late: Iterable[str]) -> None:
        for path in sorted(late):
            if path not in self._told and len(self._told) < REMEMBERED:
                self._told[path] = ""
                log.warning(
                    "%r waits in the inbox for more than a minute: %s",
                    path,
                    WORDS[self._collector.reasons[path]].text,
                )

    def _list(self) -> None:
        """List the inbox anew."""
        self._begin()
        self._listed.extend(self._groups())
        self._waits, self._lone = [], []
        present = {sighting.path for group in self._listed for sighting in group.files}
        for path in self._memos.keys() - present:
            del self._memos[path]
        claims = {group.claim for group in self._listed}
        self._abandoned = {one: at for one, at in self._abandoned.items() if one in claims}

    def _begin(self) -> None:
        self._collector, self._parts = Collector(), {}
        self._lost_before, self._lost = self._lost, set()

    def _is_abandoned(self, claim: str) -> bool:
        """Whether to give up an empty claim folder now; one that stays is tried again later."""
        now = self.clock()
        if now < self._abandoned.get(claim, now):
            return False
        self._abandoned[claim] = now + PAUSE_SECONDS
        return True

    def still_has(self, drop: Drop) -> bool:
        """Whether a drop's request still lies where it was dropped."""
        return os.path.lexists(self.folder / drop.main.sighting.path)

    def _scan_cancels(self) -> Scan:
        """With no room for more, only what makes room: each folder is listed anew for it."""
        self._listed.clear()
        self._begin()
        groups = self._groups()
        cancels = [g for g in groups if {s.suffix for s in g.files} == {".cancel"}]
        looks = [one for group in cancels[:BATCH_FILES] for one in self._look_at(group)]
        drops = tuple(one for one in looks if isinstance(one, Drop))
        for seen in (seen for group in groups for seen in group.files):
            if seen.suffix != ".cancel":
                self.tell(seen, Reason.HELD_BACK)
        self.conclude()
        return Scan(drops, TROUBLE_SECONDS, len(self._waits), ())

    def _groups(self) -> list[Group]:
        found: dict[tuple[str, str | None], list[Sighting]] = {}
        for path, claim, sighting in self._walk("", None, 0):
            files = found.setdefault((path, claim), [])
            if sighting is not None:
                files.append(sighting)
        _pair_spellings(found)
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
                    yield from self._walk_into(entry, inner, claim, depth)
                elif entry.is_file(follow_symlinks=False):
                    seen = self._sighting(entry, inner, in_claim=claim is not None)
                    if seen is not None:
                        yield _request_path(folder, entry.name, claim), claim, seen
                else:
                    self._no_file(entry, inner)
            except FileNotFoundError:
                self._lost_name(inner)
            except OSError as error:
                self._unreadable(inner, error)

    def _entries(self, folder: str) -> Iterator[os.DirEntry[str]]:
        try:
            with os.scandir(self.folder / folder) as found:
                yield from found
        except OSError as error:
            if not folder:
                raise
            if not isinstance(error, FileNotFoundError):
                self._unreadable(f"{folder}/", error)

    def _walk_into(
        self, entry: os.DirEntry[str], inner: str, claim: str | None, depth: int
    ) -> Iterator[tuple[str, str | None, Sighting | None]]:
        if claim is not None:
            return
        why = why_left_alone(entry.name, self.ignore, is_folder=True)
        if claim_id(entry.name) is not None:
            seen = list(self._walk(inner, inner, depth + 1))
            yield from seen or [(inner, inner, None)]
        elif why is not None:
            self._left_alone(entry, f"{inner}/", why)
        elif depth >= MAX_DEPTH:
            self._note_entry(entry, f"{inner}/", Reason.TOO_DEEP)
        else:
            yield from self._walk(inner, None, depth + 1)

    def _sighting(self, entry: os.DirEntry[str], path: str, *, in_claim: bool) -> Sighting | None:
        parts = split_suffix(entry.name)
        why = None if in_claim else why_left_alone(entry.name, self.ignore)
        if why is None and parts is None:
            why = why_no_request(entry.name)
        if why is not None or parts is None:
            if why is not None and not in_claim:
                self._left_alone(entry, path, why)
            return None
        found = entry.stat(follow_symlinks=False)
        by_inode = self.trust.leases
        return Sighting(
            path,
            found.st_dev if by_inode else None,
            found.st_ino if by_inode else None,
            found.st_size,
            found.st_mtime_ns,
            found.st_ctime_ns,
            parts[1],
        )

    def _left_alone(self, entry: os.DirEntry[str], path: str, why: Reason) -> None:
        """A name that is none of our business; not our own, either."""
        folder, _, name = path.rstrip("/").rpartition("/")
        if name in OUR_OWN or path == GUIDE:
            return
        if why is Reason.UNFINISHED and len(self._parts.setdefault(folder, [])) < REMEMBERED:
            self._parts[folder].append(name)
        self._note_entry(entry, path, why)

    def _no_file(self, entry: os.DirEntry[str], path: str) -> None:
        why = why_left_alone(entry.name, self.ignore)
        is_link = entry.is_symlink()
        if why is not None or is_link or split_suffix(entry.name) is not None:
            self._note_entry(entry, path, why or (Reason.LINK if is_link else Reason.NO_FILE))

    def _note_entry(self, entry: os.DirEntry[str], path: str, reason: Reason) -> None:
        """What is only counted is not looked at."""
        has_room = self._collector.has_room(reason)
        since_ns = entry.stat(follow_symlinks=False).st_ctime_ns if has_room else 0
        self._note(path, reason, since_ns)

    def _lost_name(self, path: str) -> None:
        """Listed, and gone at the next moment; or always, where a share cannot say its name."""
        if len(self._lost) < REMEMBERED:
            self._lost.add(path)
        if path in self._lost_before:
            self._note(path, Reason.LOST_NAME, self.wall())

    def _look_at(self, group: Group) -> Iterator[Drop | _Wait]:
        """The drops of one group, or how long to wait; held files never leak."""
        memos = [self._memo(seen) for seen in group.files]
        if memos and all(memo.stays for memo in memos):
            for memo in memos:
                if memo.stays is not None:
                    self.tell(memo.sighting, memo.stays.reason, memo.stays.detail)
            return
        put_off = max((memo.not_before for memo in memos), default=0.0) - self.clock()
        if put_off > 0:
            for memo in memos:
                if memo.failures:
                    self.tell(memo.sighting, Reason.NOT_REMOVABLE, memo.refusal)
            yield _Wait(put_off, group.path, Reason.NOT_REMOVABLE)
            return
        looks = [self._look(seen) for seen in group.files]
        held = [look for look in looks if isinstance(look, Held)]
        waits = [look for look in looks if isinstance(look, _Wait)]
        found = [] if waits else list(_drops(group, held, self._settings_wait))
        lingering = [one for one in found if isinstance(one, _Wait)]
        for wait in (*waits, *lingering):
            changed = (seen.ctime_ns for seen in group.files if seen.path == wait.path)
            self._note(wait.path, wait.reason, next(changed, 0), wait.detail)
        self._lone.extend((group.path, Path(one.path).name) for one in lingering)
        if waits:
            yield min(waits, key=lambda wait: wait.seconds)
        yield from found
        used = {one.fd for drop in found if isinstance(drop, Drop) for one in drop.files}
        unused = [one for one in held if one.fd not in used]
        later = [one for one in unused if one.contents.kind is Kind.NOTEBOOK]
        if later and not waits:  # another notebook of the name is taken first
            yield _Wait(LOOK_SECONDS, later[0].sighting.path, Reason.NEIGHBOUR)
        self._leave(unused, waits=bool(waits or lingering or later))

    def _leave(self, unused: Sequence[Held], *, waits: bool) -> None:
        """Those of a group that make no request now; they are looked at again if some wait."""
        for one in unused:
            lease.close(one.fd)
            stays = _why_unused(one)
            if not waits:
                self._memo(one.sighting).stays = stays
                self.tell(one.sighting, stays.reason, stays.detail)
            elif not self._collector.knows(one.sighting.path):
                self.tell(one.sighting, Reason.NEIGHBOUR)

    def _settings_wait(self, path: str, held: Held) -> float | None:
        """How long settings without a notebook wait for one before they are late; see there."""
        seen = held.sighting
        age = self.clock() - self._memo(seen).since
        changed = self.wall() - seen.ctime_ns
        if self.trust.leases and 0 <= changed < DAY_NS:  # they may have come before this start
            age = max(age, changed / 1e9)
        return self.settings_wait(path, age)

    def _memo(self, seen: Sighting) -> _Memo:
        memo = self._memos.get(seen.path)
        if memo is None or not memo.sighting.is_same(seen):
            before, memo = memo, _Memo(seen, self.clock())
            if before is not None and seen.inode is None and before.sighting.size == seen.size:
                memo.before, before.before = before, None
            self._memos[seen.path] = memo
        return memo

    def _look(self, seen: Sighting) -> Held | _Wait | None:
        """One file: held if it is whole, how long to wait, or None if it stays where it is."""
        memo = self._memo(seen)
        if self.trust.leases and 0 <= self.wall() - seen.ctime_ns < YOUNG_SECONDS * 1e9:
            return _Wait(YOUNG_SECONDS, seen.path, Reason.SETTLING)
        left = 0.0 if self.trust.leases or memo.before else self._unsettled(seen, memo)
        if left > 0:
            return _Wait(left, seen.path, Reason.SETTLING)  # some mounts hold up what is opened
        try:
            fd = os.open(
                self.folder / seen.path,
                os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC,
            )
        except FileNotFoundError:
            return None
        except OSError as error:
            return _unreadable(seen, error)
        looked: Held | _Wait | None = None
        try:
            looked = self._look_inside(fd, seen, memo)
        except OSError as error:
            looked = _unreadable(seen, error)
        finally:
            if not isinstance(looked, Held):
                lease.close(fd)
        return looked

    def _look_inside(self, fd: int, seen: Sighting, memo: _Memo) -> Held | _Wait | None:
        opened = os.fstat(fd)
        if not stat.S_ISREG(opened.st_mode) or (
            seen.inode is not None and opened.st_ino != seen.inode
        ):
            return _Wait(LOOK_SECONDS, seen.path, Reason.SETTLING)
        leased = lease.take(fd) if self.trust.leases else Lease.UNAVAILABLE
        if leased is Lease.WRITER:
            memo.since, memo.broken_since = self.clock(), None
            return _Wait(WRITER_SECONDS, seen.path, Reason.WRITER)
        if memo.before is not None:
            _compare_bytes(fd, seen, memo, memo.before, self.max_bytes)
        if leased is Lease.UNAVAILABLE and (left := self._unsettled(seen, memo)) > 0:
            return _Wait(left, seen.path, Reason.SETTLING)
        return self._read(fd, seen, memo, leased is Lease.TAKEN)

    def _unsettled(self, seen: Sighting, memo: _Memo) -> float:
        """For how many seconds more a file without a lease must be unchanged."""
        is_yaml = seen.suffix in (".yaml", ".yml")
        needed = self.trust.yaml_seconds if is_yaml else self.trust.settle_seconds
        return needed - (self.clock() - memo.since)

    def _read(self, fd: int, seen: Sighting, memo: _Memo, leased: bool) -> Held | _Wait | None:
        if seen.size > size_limit(seen.suffix, self.max_bytes):
            return Held(seen, b"", unread(syntax_of(seen.suffix)), True, fd, leased)
        if not seen.size and self._is_downloaded(seen):
            memo.broken_since = None
            return _Wait(TROUBLE_SECONDS, seen.path, Reason.DOWNLOAD)
        if self._documents.is_reading(seen.path):
            return _Wait(LOOK_SECONDS, seen.path, Reason.SETTLING)
        raw = _read_all(fd, seen.size)
        if len(raw) != seen.size:
            return _Wait(LOOK_SECONDS, seen.path, Reason.SETTLING)
        contents = self._documents.read(seen.path, seen.suffix, raw)
        if contents is None:
            return _Wait(LOOK_SECONDS, seen.path, Reason.SETTLING)
        if contents.broken:
            if memo.broken_since is None:
                memo.broken_since = self.clock()
            left = self.broken_seconds - (self.clock() - memo.broken_since)
            if left > 0:
                return _Wait(left, seen.path, Reason.INCOMPLETE, contents.broken)
        elif _is_notebook(seen, contents):
            left = self.quiet_seconds - (self.clock() - memo.since)
            if contents.is_blank and is_untitled(Path(seen.path).stem):
                memo.stays = _Stays(Reason.UNTITLED)
                self.tell(seen, Reason.UNTITLED)
                return None
            if left > 0 and not contents.has_code:
                return _Wait(left, seen.path, Reason.NO_CODE)
        return Held(seen, raw, contents, False, fd, leased)

    def _is_downloaded(self, seen: Sighting) -> bool:
        """Whether a browser keeps the name of a download with an empty file."""
        folder, _, name = seen.path.rpartition("/")
        return seen.suffix != ".cancel" and any(
            is_part_of(part, name) for part in self._parts.get(folder, ())
        )

    def _unreadable(self, path: str, error: OSError) -> None:
        self._note(path, Reason.UNREADABLE, self.wall(), error.strerror or str(error))


def _pair_spellings(found: dict[tuple[str, str | None], list[Sighting]]) -> None:
    """Bring a notebook and its settings together whose names are the same letters.

    An accented letter is one character or two: macOS writes two (Unicode's NFD), most others one.
    Two notebooks whose names differ only so stay two, and one that has settings keeps its own.
    """
    spellings: dict[tuple[str, str | None], list[tuple[str, str | None]]] = {}
    for path, claim in found:
        if not path.isascii():
            letters = unicodedata.normalize("NFC", path)
            spellings.setdefault((letters, claim), []).append((path, claim))
    for keys in spellings.values():
        main = _only_main(found, keys)
        if main is not None:
            for key in keys:
                found[main] += found.pop(key) if key != main else []


def _only_main(
    found: dict[tuple[str, str | None], list[Sighting]], keys: Sequence[tuple[str, str | None]]
) -> tuple[str, str | None] | None:
    """The one of them that holds a notebook without settings beside it."""
    for suffix in (".ipynb", ".json"):
        mains = [key for key in keys if any(seen.suffix == suffix for seen in found[key])]
        if mains:
            settings = {".yaml", ".yml", ".json"} - {suffix}
            has_own = any(seen.suffix in settings for seen in found[mains[0]])
            return mains[0] if len(mains) == 1 and not has_own else None
    return None


def _unreadable(seen: Sighting, error: OSError) -> _Wait:
    return _Wait(TROUBLE_SECONDS, seen.path, Reason.UNREADABLE, error.strerror or str(error))


def _compare_bytes(fd: int, seen: Sighting, memo: _Memo, before: _Memo, limit: int) -> None:
    """Only its time of change is another one: whether it changed, its bytes tell.

    `rclone mount` shows the present as the time of what it has not uploaded yet, now and then.
    """
    memo.before = None
    if seen.size > size_limit(seen.suffix, limit):
        return
    memo.digest = hashlib.sha256(_read_all(fd, seen.size)).digest()
    os.lseek(fd, 0, os.SEEK_SET)
    if memo.digest == before.digest:
        memo.since, memo.broken_since = before.since, before.broken_since


def _is_notebook(seen: Sighting, contents: Contents) -> bool:
    """Whether a file holds a notebook, rather than a request that names or carries one."""
    if seen.suffix == ".ipynb":
        return contents.has_cells
    return seen.suffix == ".json" and contents.kind is Kind.NOTEBOOK


def _why_unused(held: Held) -> _Stays:
    """Why a file that is whole makes no request."""
    contents = held.contents
    if held.sighting.suffix == ".cancel":
        return _Stays(Reason.NO_CANCEL)
    if contents.kind is Kind.SETTINGS:
        return _Stays(Reason.SETTINGS)
    return _Stays(Reason.NO_REQUEST, contents.what)


LoneSettings = Callable[[str, Held], float | None]


def _drops(
    group: Group, held: Sequence[Held], settings_wait: LoneSettings
) -> Iterator[Drop | _Wait]:
    """Which of a stem's files make which request. Those in no drop stay where they are.

    A `.cancel` takes effect in the order of arrival: before a request that came later.
    """
    cancels = [h for h in held if h.sighting.suffix == ".cancel" and _is_cancel(h)]
    submits = list(_submits(group, held, settings_wait))
    arrival = min((d.main.sighting.ctime_ns for d in submits if isinstance(d, Drop)), default=0)
    for one in cancels:
        if one.sighting.ctime_ns < arrival:
            yield Drop(DropKind.CANCEL, group.path, group.claim, one)
    yield from submits
    for one in cancels:
        if one.sighting.ctime_ns >= arrival:
            yield Drop(DropKind.CANCEL, group.path, group.claim, one)


def _submits(
    group: Group, held: Sequence[Held], settings_wait: LoneSettings
) -> Iterator[Drop | _Wait]:
    held = [h for h in held if h.sighting.suffix != ".cancel"]
    main = _first(held, ".ipynb") or next(
        (h for h in held if h.contents.kind is Kind.NOTEBOOK and not h.is_yaml), None
    )
    if main is not None:
        beside = [h for h in held if h is not main and h.contents.kind is not Kind.NOTEBOOK]
        beside = [h for h in beside if h.is_yaml or h.contents.kind is not Kind.FOREIGN]
        yield Drop(DropKind.SUBMIT, group.path, group.claim, main, tuple(beside))
        return
    for one in held:
        if one.contents.kind is Kind.REQUEST:
            yield Drop(DropKind.SUBMIT, group.path, group.claim, one)
        elif one.contents.kind is Kind.SETTINGS:
            left = settings_wait(group.path, one)
            if left is not None and left > 0:
                yield _Wait(left, one.sighting.path, Reason.SETTINGS, LINGER)
            elif left is not None:
                yield Drop(DropKind.LATE_SETTINGS, group.path, group.claim, one)


def _is_cancel(held: Held) -> bool:
    """An empty file, or one job id; anything else is somebody's document."""
    text = held.contents.text
    return text == "" or (text is not None and JOB_ID.fullmatch(text) is not None)


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


def is_of_claim(path: str) -> bool:
    """Whether a path is that of a claim folder, or leads through one."""
    return CLAIM_PREFIX in path and any(claim_id(part) is not None for part in path.split("/"))


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
