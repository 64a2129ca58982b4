"""Lists the data files of the inbox that rules match. Opens none of them.

A look each second must cost little with 20,000 files that nobody wants: a folder is read again only
when it has changed, and a name is judged once.
"""

import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.inbox.bundles.names import is_junk
from runner.inbox.ignore import MAX_DEPTH, is_job_folder, is_left_alone
from runner.submitters.rules.whole import DataFile
from runner.system.clocks import Clocks

MOST_FILES = 200_000
"""How many files one look lists."""
SETTLED_NS = 1_000_000_000
"""A folder that changed less than this ago may change again and show the same times."""
KEPT_SECONDS = 30.0
"""How long a listing is believed at most."""

Stamp = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Folder:
    """A folder as it was read: its names, sorted."""

    stamp: Stamp
    read_at: float
    is_settled: bool
    files: Mapping[str, bool]
    """Whether each file is wanted."""
    folders: Sequence[str]


class Listing:
    """Lists one inbox again and again. `tells` says whether its folders show each change."""

    def __init__(
        self, inbox: Path, ignored: Sequence[str], clocks: Clocks, tells: Callable[[], bool]
    ) -> None:
        self._inbox = inbox
        self._ignored = ignored
        self._clocks = clocks
        self._tells = tells
        self._wanted: Callable[[str], bool] | None = None
        self._folders: dict[str, _Folder] = {}

    def files(self, wanted: Callable[[str], bool], known: Mapping[str, DataFile]) -> list[DataFile]:
        """List the regular files that are wanted, without hidden and unfinished ones.

        What was said of a path by the same `wanted` counts further. Files that are `known` are not
        looked at, only whether they are there.

        Raises:
            OSError: the inbox itself cannot be read.
        """
        if wanted != self._wanted:
            self._wanted, self._folders = wanted, {}
        before, self._folders = self._folders, {}
        found: list[DataFile] = []
        for path in self._paths(wanted, before):
            file = known.get(path) or self._file(path)
            if file is not None:
                found.append(file)
                if len(found) >= MOST_FILES:
                    break
        return found

    def _paths(self, wanted: Callable[[str], bool], before: Mapping[str, _Folder]) -> Iterator[str]:
        pending = [""]
        while pending:
            path = pending.pop()
            try:
                folder = self._read(path, wanted, before.get(path))
            except OSError:  # it is gone, or may not be read
                if not path:
                    raise
                continue
            self._folders[path] = folder
            start = f"{path}/" if path else ""
            pending.extend(f"{start}{name}" for name in folder.folders)
            yield from (f"{start}{name}" for name, is_wanted in folder.files.items() if is_wanted)

    def _read(self, path: str, wanted: Callable[[str], bool], before: _Folder | None) -> _Folder:
        place = self._inbox / path
        now = place.stat(follow_symlinks=not path)
        stamp = now.st_dev, now.st_ino, now.st_mtime_ns, now.st_ctime_ns
        seconds = self._clocks.seconds()
        if (
            before is not None
            and before.is_settled
            and before.stamp == stamp
            and seconds - before.read_at < KEPT_SECONDS
        ):
            return before
        age = self._clocks.wall_ns() - now.st_ctime_ns
        known = before.files if before is not None else {}
        files: dict[str, bool] = {}
        folders: list[str] = []
        start = f"{path}/" if path else ""
        depth = start.count("/")
        for name, is_folder in _names(place):
            if not is_folder:
                judged = known.get(name)
                files[name] = self._is_data(start, name, wanted) if judged is None else judged
            elif depth < MAX_DEPTH and self._is_entered(name):
                folders.append(name)
        if len(files) > MOST_FILES:  # what is said of so many is not worth the memory
            files = {name: True for name, is_wanted in files.items() if is_wanted}
        return _Folder(stamp, seconds, self._tells() and age >= SETTLED_NS, files, folders)

    def _is_data(self, start: str, name: str, wanted: Callable[[str], bool]) -> bool:
        path = f"{start}{name}"
        return not (is_left_alone(name, self._ignored) or is_junk(path)) and wanted(path)

    def _is_entered(self, name: str) -> bool:
        return not is_job_folder(name) and not is_left_alone(name, self._ignored)

    def _file(self, path: str) -> DataFile | None:
        try:
            now = os.lstat(f"{self._inbox}/{path}")
        except OSError:  # it is gone, or is listed under a name that cannot be opened
            return None
        if not stat.S_ISREG(now.st_mode):
            return None
        return DataFile(path, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns)


def _names(place: Path) -> list[tuple[str, bool]]:
    """List the names in a folder, sorted, and whether each is a folder's."""
    names: list[tuple[str, bool]] = []
    with os.scandir(place) as entries:
        for entry in entries:
            try:
                names.append((entry.name, entry.is_dir(follow_symlinks=False)))
            except OSError:  # it is gone
                continue
    names.sort()
    return names
