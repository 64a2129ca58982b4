"""Lists the inbox: files that may be requests, and the others with their reason.

Opens no file.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from runner.inbox.claim import DONE_FOLDER, REFUSED_FOLDER, RULE_PREFIX, claim_id
from runner.inbox.drop import JOB_FOLDER, Sighting
from runner.inbox.guide import GUIDE
from runner.inbox.ignore import (
    MAX_DEPTH,
    is_control_of,
    is_job_folder,
    is_left_alone,
    is_part_of,
    split_suffix,
    why_left_alone,
    why_no_request,
)
from runner.inbox.scanning.remaining import REMEMBERED, Remaining
from runner.inbox.unclaimed import Reason
from runner.system.files.folders import stamp_of

LOCK_FILE = ".runner.lock"
OUR_OWN = frozenset({REFUSED_FOLDER, DONE_FOLDER, LOCK_FILE, ".gitkeep"})

Entry = tuple[str, str | None, Sighting | None]
"""The request's path, its claim folder, the file; an empty claim folder has no file."""


class Lister:
    """Lists one inbox again and again. `wall_ns` gives nanoseconds since the epoch."""

    def __init__(
        self,
        folder: Path,
        ignore: Sequence[str],
        remaining: Remaining,
        wall_ns: Callable[[], int],
    ) -> None:
        """Set it up. `ignore` are the shell patterns of names that are left alone."""
        self._folder = folder
        self._ignore = ignore
        self._remaining = remaining
        self._wall_ns = wall_ns
        self._has_inodes = True
        self._unfinished: dict[str, list[str]] = {}
        self._lost: set[str] = set()
        self._lost_before: set[str] = set()

    def entries(self, *, has_inodes: bool) -> Iterator[Entry]:
        """List the inbox anew.

        `has_inodes` says whether a file has the same inode number at each look.

        Raises:
            OSError: the inbox itself is not there or cannot be read.
        """
        self._has_inodes = has_inodes
        self._unfinished = {}
        self._lost_before, self._lost = self._lost, set()
        yield from self._walk("", None, 0)

    def is_downloaded(self, seen: Sighting) -> bool:
        """Tell whether it is unfinished by what lies beside it.

        A browser reserves the name of a download with an empty file; others fill a file with gaps.
        """
        folder, _, name = seen.path.rpartition("/")
        belongs = is_control_of if seen.size else is_part_of
        return seen.suffix != ".cancel" and any(
            belongs(part, name) for part in self._unfinished.get(folder, ())
        )

    def _walk(self, folder: str, claim: str | None, depth: int) -> Iterator[Entry]:
        for entry in self._scandir(folder):
            inner = f"{folder}/{entry.name}" if folder else entry.name
            try:
                if entry.is_dir(follow_symlinks=False):
                    yield from self._walk_into(entry, inner, claim, depth)
                elif entry.is_file(follow_symlinks=False):
                    seen = self._sighting(entry, inner, in_claim=claim is not None)
                    if seen is not None:
                        yield _request_path(folder, entry.name, claim), claim, seen
                else:
                    self._note_no_file(entry, inner)
            except FileNotFoundError:
                self._note_lost_name(inner)
            except OSError as error:
                self._note_unreadable(inner, error)

    def _scandir(self, folder: str) -> Iterator[os.DirEntry[str]]:
        try:
            with os.scandir(self._folder / folder) as entries:
                yield from entries
        except OSError as error:
            if not folder:
                raise
            if not isinstance(error, FileNotFoundError):
                self._note_unreadable(f"{folder}/", error)

    def _walk_into(
        self, entry: os.DirEntry[str], inner: str, claim: str | None, depth: int
    ) -> Iterator[Entry]:
        if is_job_folder(entry.name) and (claim or not is_left_alone(entry.name, self._ignore)):
            seen = self._folder_sighting(entry, inner)
            folder = inner.rpartition("/")[0]
            yield _request_path(folder, entry.name, claim), claim, seen
            return
        if claim is not None:
            return
        why = why_left_alone(entry.name, self._ignore, is_folder=True)
        if claim_id(entry.name) is not None:
            claimed = list(self._walk(inner, inner, depth + 1))
            yield from claimed or [(inner, inner, None)]
        elif why is not None:
            self._note_left_alone(entry, f"{inner}/", why)
        elif depth >= MAX_DEPTH:
            self._note(entry, f"{inner}/", Reason.TOO_DEEP)
        else:
            yield from self._walk(inner, None, depth + 1)

    def _sighting(self, entry: os.DirEntry[str], path: str, *, in_claim: bool) -> Sighting | None:
        parts = split_suffix(entry.name)
        why = None if in_claim else why_left_alone(entry.name, self._ignore)
        if why is None and parts is None:
            why = why_no_request(entry.name)
        if why is not None or parts is None:
            if why is not None and not in_claim:
                self._note_left_alone(entry, path, why)
            return None
        now = entry.stat(follow_symlinks=False)
        return Sighting(
            path,
            now.st_dev if self._has_inodes else None,
            now.st_ino if self._has_inodes else None,
            now.st_size,
            now.st_mtime_ns,
            now.st_ctime_ns,
            parts[1],
        )

    def _folder_sighting(self, entry: os.DirEntry[str], path: str) -> Sighting:
        size, changed, status = stamp_of(self._folder / path)
        now = entry.stat(follow_symlinks=False)
        return Sighting(
            path,
            now.st_dev if self._has_inodes else None,
            now.st_ino if self._has_inodes else None,
            size,
            changed,
            max(changed, status, now.st_ctime_ns),
            JOB_FOLDER,
        )

    def _note_left_alone(self, entry: os.DirEntry[str], path: str, why: Reason) -> None:
        """Note a name that is left alone, except the runner's own."""
        folder, _, name = path.rstrip("/").rpartition("/")
        if name in OUR_OWN or path == GUIDE or name.startswith(RULE_PREFIX):
            return
        if why is Reason.UNFINISHED and len(self._unfinished.setdefault(folder, [])) < REMEMBERED:
            self._unfinished[folder].append(name)
        self._note(entry, path, why)

    def _note_no_file(self, entry: os.DirEntry[str], path: str) -> None:
        why = why_left_alone(entry.name, self._ignore)
        is_link = entry.is_symlink()
        if why is not None or is_link or split_suffix(entry.name) is not None:
            self._note(entry, path, why or (Reason.LINK if is_link else Reason.NO_FILE))

    def _note(self, entry: os.DirEntry[str], path: str, reason: Reason) -> None:
        """Note an entry, without a look at it if it is only counted."""
        has_room = self._remaining.has_room(reason)
        since_ns = entry.stat(follow_symlinks=False).st_ctime_ns if has_room else 0
        self._remaining.note(path, reason, since_ns)

    def _note_lost_name(self, path: str) -> None:
        """Note an entry that is gone a moment later; or always, if a share cannot say its name."""
        if len(self._lost) < REMEMBERED:
            self._lost.add(path)
        if path in self._lost_before:
            self._remaining.note(path, Reason.LOST_NAME, self._wall_ns())

    def _note_unreadable(self, path: str, error: OSError) -> None:
        detail = error.strerror or str(error)
        self._remaining.note(path, Reason.UNREADABLE, self._wall_ns(), detail)


def _request_path(folder: str, name: str, claim: str | None) -> str:
    parts = split_suffix(name)
    stem = parts[0] if parts else name
    if parts is None and is_job_folder(name):
        stem = name[: -len(JOB_FOLDER)]
    if claim is not None:
        folder = folder.rpartition("/")[0]
    return f"{folder}/{stem}" if folder else stem
