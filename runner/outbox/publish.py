"""Publishes outcomes atomically, and reads them back by name and job id.

Whatever is visible outside the hidden folders is complete, and nothing is ever overwritten: what
lies in the way moves to the history. Runs nothing.
"""

import errno
import hashlib
import json
import logging
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from runner.contract.outcome import PublishedFile
from runner.contract.text import strict_json
from runner.system.files.disk import Disk, read_regular, same_file
from runner.system.files.folders import Kind, opened, reason_of, walk
from runner.system.files.mounts import Anchor
from runner.system.files.output_folder import FILES, FileCaps, NotTaken, Staged, collect

log = logging.getLogger(__name__)

STAGING = ".staging"
HISTORY = ".history"
RESULT, ERROR, STATUS = ".result.json", ".error.json", ".status.json"
UNKNOWN = "unknown-"
_OF_NOBODY = re.compile(UNKNOWN + r"\d{8}T\d{6}")
NOTEBOOK = ".ipynb"
LONGEST_PATH = 4095
"""Of a whole path, in bytes (PATH_MAX)."""
EVERYBODYS = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE),
        *(errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ESTALE, errno.ETIMEDOUT),
        *(errno.ENOMEM, errno.ENODEV, errno.ENXIO),
    }
)
"""What a file system says when it would take no file at all."""


_IS_FILES = re.compile(r"\.files(\.\d+)?$")


Retirement = tuple[tuple[Path, Path], ...]
"""What was moved to the history: from where, and to where; the reports first."""


class OutboxGone(Exception):
    """The outbox, or the mount that it lies on, is not there: `folder, reason`."""

    def __str__(self) -> str:
        return f"the outbox {self.args[0]} {self.args[1]}"


@dataclass(frozen=True)
class Publication:
    """Everything that becomes visible under one name."""

    job_id: str
    name: str
    succeeded: bool
    report: bytes
    executed: bytes | None
    files: tuple[PublishedFile, ...]


class Outbox:
    """The owner's face of one outbox."""

    def __init__(self, folder: Path, disk: Disk, point: str | None = None) -> None:
        """`folder` exists; should it or its mount vanish, nothing is written until it is back.

        `point` is the mount point on which it is known to lie; by default, where it lies now.
        """
        self.folder = folder
        self._disk = disk
        self._anchor = Anchor(folder, point)

    def check(self) -> None:
        """Make sure that the folder is there, and not only the point where it was mounted.

        Raises:
            OutboxGone: a lost mount must not be filled underneath.
        """
        trouble = self._anchor.trouble()
        if trouble is not None:
            raise OutboxGone(str(self.folder), trouble)

    def stage(self, job_id: str, source: Path, caps: FileCaps, name: str) -> Staged:
        """Copy the regular files below `source` to the staging folder, and sync them.

        Links are never followed, and not published.

        Raises:
            OSError: it could not be written; nothing of it is visible.
            OutboxGone: see `check`.
        """
        self.check()
        place = self._staging(job_id)
        self._clear_staging(place)
        copying = place / "copying"

        def copy(fd: int, relative: str) -> Iterator[bytes]:
            self._ensure_reachable(name, relative)
            target = copying / relative
            self._disk.make_folders(self.folder, place, "staged: folder")
            try:
                self._disk.make_folders(place, target.parent)
                yield from self._disk.copy(fd, target, "staged: bytes")
            except OSError as error:
                if not self._takes_others(error, place):
                    raise
                with suppress(OSError):  # a part of it; nothing names it
                    self._disk.unlink(target)
                raise NotTaken(f"the outbox refuses it ({reason_of(error)})") from error

        staged = collect(source, caps, name, copy)
        if staged.files:
            self._sync_tree(copying)
            self._disk.rename(copying, place / "files")
            self._disk.sync_folder(place, "staged: files")
        return staged

    def survey(self, source: Path, caps: FileCaps, name: str) -> Staged:
        """What `stage` would give, while the outbox cannot take it: the files are only read.

        They are synced where they lie, and so are their names.

        Raises:
            OSError: they cannot be read.
        """
        staged = collect(
            source, caps, name, lambda fd, _: self._disk.read_synced(fd, "kept: bytes")
        )
        if staged.files:
            self._sync_tree(source)
            self._disk.sync_folder(source.parent, "kept: work folder")
        return staged

    def has_files(self, new: Publication) -> bool:
        """Whether the files of a publication are in the outbox already, staged or in place."""
        return self._are_below(self._staging(new.job_id) / "files", new) or (
            self._files_are_there(new)
        )

    def publish(self, new: Publication) -> list[str]:
        """Make a sealed outcome visible, the JSON last. May be repeated after a crash.

        What else lies at those places moves to the history. Gives warnings about that.

        Raises:
            OSError, OutboxGone: not published, or in part without its JSON; to be repeated.
        """
        self.check()
        base = self._base(new.name)
        self._disk.make_folders(self.folder, base.parent, "published: folder")
        report = _beside(base, RESULT if new.succeeded else ERROR)
        moved: list[str] = []
        self._disk.unlink(_beside(base, STATUS))
        if not same_file(report, new.report):
            moved = self._clear_the_way(new, base)
            self._place_what_it_names(new, base)
            self._place(new, "report", new.report, report)
        # If it was there already, who put it there may have been killed before this.
        self._disk.sync_folder(base.parent, "published: report")
        self._remove_staged(self._staging(new.job_id))
        return moved

    def _place_what_it_names(self, new: Publication, base: Path) -> None:
        if new.files and not self._files_are_there(new):
            self._disk.rename(self._staging(new.job_id) / "files", _beside(base, FILES))
        if new.executed is not None and not same_file(_beside(base, NOTEBOOK), new.executed):
            self._place(new, "notebook", new.executed, _beside(base, NOTEBOOK))
        self._disk.sync_folder(base.parent, "published: what the report names")

    def retire(self, name: str, job_id: str | None, now: datetime) -> Retirement:
        """Move what lies under `name` to the history: of the job `job_id`, or of nobody known.

        Gives what `bring_back` needs.

        Raises:
            OSError, OutboxGone: not all of it is moved; may be repeated.
        """
        self.check()
        base = self._base(name)
        found = [
            path
            for suffix in (RESULT, ERROR, NOTEBOOK, FILES)
            if os.path.lexists(path := _beside(base, suffix))
        ]
        self._disk.unlink(_beside(base, STATUS))
        if not found:
            self._sync_history(name, job_id)
            return ()
        owner = job_id if job_id is not None and self._is_of(base, job_id) else None
        return self._to_history(name, owner or self._unknown(name, now), found)

    def bring_back(self, retirement: Retirement) -> None:
        """Undo `retire`, the report last; what lies there by now stays.

        Raises:
            OSError, OutboxGone: not all of it is back, and no report without what it names.
        """
        self.check()
        for place, kept in reversed(retirement):
            if os.path.lexists(place):
                break
            self._disk.rename(kept, place)
        for folder in {place.parent for place, _ in retirement}:
            self._disk.sync_folder(folder, "brought back")

    def status(self, name: str, content: dict[str, strict_json.JsonValue]) -> None:
        """Replace `NAME.status.json`, atomically and without a sync.

        Raises:
            OSError, OutboxGone
        """
        self.check()
        base = self._base(name)
        self._disk.make_folders(self.folder, base.parent)
        staging = self.folder / STAGING
        self._disk.make_folder(staging)
        temp = staging / f"status-{_digest(name)}"
        self._disk.unlink(temp)
        self._disk.write(temp, strict_json.dumps(content))
        self._disk.rename(temp, _beside(base, STATUS))

    def keep_beside(self, name: str, job_id: str, filename: str, content: bytes) -> None:
        """Put something that belongs to a job into its history folder.

        Raises:
            OSError, OutboxGone
        """
        self.check()
        place = self._history(name) / job_id
        self._disk.make_folders(self.folder, place, "late settings: folder")
        target = place / filename
        if not same_file(target, content):  # kept by an attempt that was cut off
            self._disk.write(_free(target), content, "late settings: bytes")
        self._disk.sync_folder(place, "late settings: name")

    def prune(self, name: str, job_id: str) -> None:
        """Remove one run from the history.

        Raises:
            OSError, OutboxGone
        """
        self.check()
        self._remove_run(self._history(name) / job_id)
        self._remove_empty(self._history(name), self.folder / HISTORY)
        self._remove_empty(self._base(name).parent, self.folder)

    def _remove_run(self, place: Path) -> None:
        """What was moved there; not the history of a name that lies in it from an older release."""
        try:
            entries = list(os.scandir(place))
        except FileNotFoundError:
            return
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False) or _IS_FILES.search(entry.name):
                self._disk.remove_tree(Path(entry.path))
        with suppress(OSError):
            self._disk.remove_folder(place)

    def _remove_empty(self, folder: Path, root: Path) -> None:
        """Remove a folder and those above it, below `root`, as far as they are empty."""
        while folder != root:
            try:
                self._disk.remove_folder(folder)
            except OSError:
                return
            folder = folder.parent

    def clean(self, keep: Iterable[str]) -> None:
        """Remove staged leftovers of all jobs but those in `keep`.

        Raises:
            OSError, OutboxGone
        """
        self.check()
        kept = set(keep)
        staging = self.folder / STAGING
        if not staging.is_dir():
            return
        for entry in list(os.scandir(staging)):
            if entry.name not in kept:
                self._remove_staged(Path(entry.path))

    def _remove_staged(self, place: Path) -> None:
        """What cannot be removed is hidden and of no job; the next start tries again."""
        try:
            self._disk.remove_tree(place)
        except OSError as error:
            log.warning("%s stays until the next start: %s", place, error)

    def _clear_staging(self, place: Path) -> None:
        try:
            self._disk.remove_tree(place)
        except OSError:
            self._disk.rename(place, place.with_name(f"left-{secrets.token_hex(8)}"))

    def _base(self, name: str) -> Path:
        return self.folder / name

    def _staging(self, job_id: str) -> Path:
        return self.folder / STAGING / job_id

    def _history(self, name: str) -> Path:
        return self.folder / HISTORY / name

    def _sync_tree(self, place: Path) -> None:
        """What a path does not reach, or may not be read, is not published either."""
        with opened(place) as root:
            below = [entry.path for entry in walk(root) if entry.kind is Kind.FOLDER]
        for folder in (*reversed(below), "."):
            self._disk.sync_folder(place / folder, "files: names")

    def _ensure_reachable(self, name: str, relative: str) -> None:
        """A file is read by its whole path, here and once it lies in the history.

        Raises:
            NotTaken: that would be too long.
        """
        last = name.rpartition("/")[2]
        place = self._history(name) / ("0" * 32) / f"{last}{FILES}"
        if len(os.fsencode(place)) + 1 + len(os.fsencode(relative)) > LONGEST_PATH:
            raise NotTaken("its path in the outbox would be too long")

    def _takes_others(self, error: OSError, place: Path) -> bool:
        """Whether the outbox refuses this one file, and would take another one beside it."""
        if error.errno in EVERYBODYS:
            return False
        probe = place / "probe"
        try:
            self._disk.unlink(probe)
            self._disk.write(probe, b"probe")
            self._disk.unlink(probe)
        except OSError:
            return False
        return True

    def _place(self, new: Publication, temp_name: str, content: bytes, target: Path) -> None:
        staging = self._staging(new.job_id)
        self._disk.make_folders(self.folder, staging)
        temp = staging / temp_name
        self._disk.unlink(temp)
        self._disk.write(temp, content, "published: bytes")
        self._disk.rename(temp, target)

    def _clear_the_way(self, new: Publication, base: Path) -> list[str]:
        """Move away what is there and is not this very publication, begun before a crash."""
        expected = {NOTEBOOK: new.executed is not None, FILES: bool(new.files)}
        foreign: list[Path] = []
        for suffix in (RESULT, ERROR, NOTEBOOK, FILES):
            path = _beside(base, suffix)
            if not os.path.lexists(path):
                continue
            if suffix == NOTEBOOK and expected[NOTEBOOK] and same_file(path, new.executed or b""):
                continue
            if suffix == FILES and expected[FILES] and self._files_are_there(new):
                continue
            foreign.append(path)
        if not foreign:
            self._sync_history(new.name, None)
            return []
        self._to_history(new.name, self._unknown(new.name, datetime.now(UTC)), foreign)
        names = ", ".join(path.name for path in foreign)
        return [f"Files that were not the runner's lay under this name and moved away: {names}."]

    def _files_are_there(self, new: Publication) -> bool:
        """Whether the staged folder was renamed into place already: then staging has it not."""
        place = _beside(self._base(new.name), FILES)
        return not (self._staging(new.job_id) / "files").exists() and self._are_below(place, new)

    def _are_below(self, place: Path, new: Publication) -> bool:
        """Whether every file of a publication lies below a folder: a staging may have been of
        fewer, since the outbox refused some."""
        return all(
            (place / file.path.removeprefix(f"{new.name}{FILES}/")).is_file() for file in new.files
        )

    def _sync_history(self, name: str, job_id: str | None) -> None:
        """Of an attempt that moved everything and broke off before it was durable."""
        place = self._history(name)
        for entry in os.scandir(place) if place.is_dir() else ():
            is_ours = entry.name == job_id or entry.name.startswith(UNKNOWN)
            if is_ours and entry.is_dir(follow_symlinks=False):
                self._disk.sync_folder(Path(entry.path), "history: of an earlier try")

    def _is_of(self, base: Path, job_id: str) -> bool:
        """Whether the report that lies there is that job's. An unreadable one is."""
        for suffix in (RESULT, ERROR):
            try:
                found = json.loads(read_regular(_beside(base, suffix)))
            except FileNotFoundError:
                continue
            except (OSError, ValueError, RecursionError):
                return False
            return isinstance(found, dict) and found.get("job_id") == job_id
        return True

    def _unknown(self, name: str, now: datetime) -> str:
        """Where in the history nobody's files go: into what a try that failed has left empty."""
        place = self._history(name)
        for entry in os.scandir(place) if place.is_dir() else ():
            is_ours = _OF_NOBODY.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
            if is_ours and not any(os.scandir(entry.path)):
                return entry.name
        return f"{UNKNOWN}{now.astimezone(UTC):%Y%m%dT%H%M%S}"

    def _to_history(self, name: str, owner: str, paths: Sequence[Path]) -> Retirement:
        """The report goes first, for good: a report never lies without what it names.

        A rename is one change, so that the sync of the new folder takes the old name away too.
        """
        place = self._history(name) / owner
        self._disk.make_folders(self.folder, place, "history: folder")
        reports = [path for path in paths if path.suffix == ".json"]
        moved: list[tuple[Path, Path]] = []
        if not reports:
            self._sync_history(name, owner)
        for moving in (reports, [path for path in paths if path not in reports]):
            for path in moving:
                kept = _free(place / path.name)
                self._disk.rename(path, kept)
                moved.append((path, kept))
            if moving:
                self._disk.sync_folder(place, "history: report first")
        return tuple(moved)


@dataclass(frozen=True)
class Report:
    """A published result or error JSON.

    As it is in its file, and what is in it but the results: they may have megabytes, and hardly
    anybody has to read them.
    """

    path: Path
    raw: bytes
    head: dict[str, strict_json.JsonValue]

    @property
    def content(self) -> dict[str, strict_json.JsonValue]:
        """All of it, read now."""
        found: dict[str, strict_json.JsonValue] = json.loads(self.raw)
        return found


class OutboxReader:
    """The face for everybody: reads what is published, and needs the folder alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def current(self, name: str) -> Report | None:
        """The newest finished run of a name."""
        return self._report(self.folder / name)

    def of_job(self, name: str, job_id: str) -> Report | None:
        """One job's report, whether it is the current one of its name or in the history."""
        found = self.current(name)
        if found is not None and found.head.get("job_id") == job_id:
            return found
        last = name.rpartition("/")[2]
        return self._report(self.folder / HISTORY / name / job_id / last)

    def status(self, name: str) -> dict[str, strict_json.JsonValue] | None:
        """What `NAME.status.json` tells, while there is one."""
        return _read_json(_beside(self.folder / name, STATUS))

    def _report(self, base: Path) -> Report | None:
        for suffix in (RESULT, ERROR):
            path = _beside(base, suffix)
            raw = _read(path)
            head = _head_of(raw) if raw is not None else None
            if raw is not None and head is not None:
                return Report(path, raw, head)
        return None


def _head_of(raw: bytes) -> dict[str, strict_json.JsonValue] | None:
    """A report without its results; None if it is no JSON object.

    The results end with the first line that is indented as theirs is: no text has a line end.
    """
    before, _, rest = raw.partition(b'\n  "results": {\n')
    _, end, after = rest.partition(b"\n  }")
    if end:
        found = _mapping(before + b'\n  "results": {}' + after)
        if found is not None:
            return found
    return _mapping(raw)


def _read_json(path: Path) -> dict[str, strict_json.JsonValue] | None:
    raw = _read(path)
    return None if raw is None else _mapping(raw)


def _read(path: Path) -> bytes | None:
    try:
        return read_regular(path)
    except OSError:
        return None


def _mapping(raw: bytes) -> dict[str, strict_json.JsonValue] | None:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _beside(base: Path, suffix: str) -> Path:
    return base.with_name(base.name + suffix)


def _free(path: Path) -> Path:
    """`path`, or the next name like it that is free."""
    found, count = path, 1
    while os.path.lexists(found):
        count += 1
        found = path.with_name(f"{path.name}.{count}")
    return found


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
