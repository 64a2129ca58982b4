"""Moves a name's files from the outbox to the folders of the history, and prunes them there.

Knows the files alone; `history` records whose they were.
"""

import json
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from runner.outbox.layout import ERROR, HISTORY, RESULT, Layout, beside, free, present
from runner.system.files.disk import Disk, read_regular, same_file

UNKNOWN = "unknown-"
_OF_NOBODY = re.compile(UNKNOWN + r"\d{8}T\d{6}")
_IS_FILES = re.compile(r"\.files(\.\d+)?$")

Retirement = tuple[tuple[Path, Path], ...]
"""The moves to the history: from and to, the reports first."""


class HistoryFolders:
    """The hidden folders of earlier runs, in one outbox."""

    def __init__(self, layout: Layout, disk: Disk) -> None:
        self._layout = layout
        self._disk = disk

    def retire(self, name: str, job_id: str | None, now: datetime) -> Retirement:
        """Move the files of `name` here: those of the job `job_id`, or of an unknown one.

        Raises:
            OSError: not all of it is moved; may be repeated.
        """
        base = self._layout.base(name)
        places = [path for _, path in present(base)]
        if not places:
            self.sync(name, job_id)
            return ()
        if job_id is not None and _is_of(base, job_id):
            return self._move(name, job_id, places)
        return self.retire_unknown(name, places, now)

    def retire_unknown(self, name: str, paths: Sequence[Path], now: datetime) -> Retirement:
        """Move files here that belong to no known job.

        Raises:
            OSError: not all of it is moved; may be repeated.
        """
        return self._move(name, self._unknown(name, now), paths)

    def bring_back(self, retirement: Retirement) -> None:
        """Undo `retire`, the report last; files that lie there by now stay.

        Raises:
            OSError: not all of it is back, and no report without what it names.
        """
        for place, kept in reversed(retirement):
            if os.path.lexists(place):
                break
            self._disk.rename(kept, place)
        for folder in {place.parent for place, _ in retirement}:
            self._disk.sync_folder(folder, "brought back")

    def sync(self, name: str, job_id: str | None) -> None:
        """Make a finished but interrupted move durable."""
        place = self._layout.history(name)
        for entry in os.scandir(place) if place.is_dir() else ():
            is_ours = entry.name == job_id or entry.name.startswith(UNKNOWN)
            if is_ours and entry.is_dir(follow_symlinks=False):
                self._disk.sync_folder(Path(entry.path), "history: of an earlier try")

    def keep(self, name: str, job_id: str, filename: str, content: bytes) -> None:
        """Write a file of a job into its folder.

        Raises:
            OSError
        """
        place = self._layout.history(name) / job_id
        self._disk.make_folders(self._layout.folder, place, "late settings: folder")
        target = place / filename
        if not same_file(target, content):  # kept by an attempt that was cut off
            self._disk.write(free(target), content, "late settings: bytes")
        self._disk.sync_folder(place, "late settings: name")

    def prune(self, name: str, job_id: str) -> None:
        """Remove one run, and the folders that are then empty.

        Raises:
            OSError
        """
        layout = self._layout
        self._remove_run(layout.history(name) / job_id)
        self._remove_empty(layout.history(name), layout.folder / HISTORY)
        self._remove_empty(layout.base(name).parent, layout.folder)

    def _move(self, name: str, owner: str, paths: Sequence[Path]) -> Retirement:
        """Move the report first, durably: no report ever lies without its files.

        A rename is one change, so that the sync of the new folder takes the old name away too.
        """
        place = self._layout.history(name) / owner
        self._disk.make_folders(self._layout.folder, place, "history: folder")
        reports = [path for path in paths if path.suffix == ".json"]
        moved: list[tuple[Path, Path]] = []
        if not reports:
            self.sync(name, owner)
        for moving in (reports, [path for path in paths if path not in reports]):
            for path in moving:
                kept = free(place / path.name)
                self._disk.rename(path, kept)
                moved.append((path, kept))
            if moving:
                self._disk.sync_folder(place, "history: report first")
        return tuple(moved)

    def _unknown(self, name: str, now: datetime) -> str:
        """Name the folder of unknown files: an empty one of a failed try, or a new one."""
        place = self._layout.history(name)
        for entry in os.scandir(place) if place.is_dir() else ():
            is_ours = _OF_NOBODY.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
            if is_ours and not any(os.scandir(entry.path)):
                return entry.name
        return f"{UNKNOWN}{now.astimezone(UTC):%Y%m%dT%H%M%S}"

    def _remove_run(self, place: Path) -> None:
        """Remove the files of a run.

        The history of a name that lies in it from an older release stays.
        """
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
        """Remove a folder and its parents below `root`, as far as they are empty."""
        while folder != root:
            try:
                self._disk.remove_folder(folder)
            except OSError:
                return
            folder = folder.parent


def _is_of(base: Path, job_id: str) -> bool:
    """Tell whether the report there belongs to that job. An unreadable one does not."""
    for suffix in (RESULT, ERROR):
        try:
            content = json.loads(read_regular(beside(base, suffix)))
        except FileNotFoundError:
            continue
        except (OSError, ValueError, RecursionError):
            return False
        return isinstance(content, dict) and content.get("job_id") == job_id
    return True
