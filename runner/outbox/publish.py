"""Publishes outcomes atomically.

Everything visible outside the hidden folders is complete, and nothing is ever overwritten: files in
the way move to the history. Runs nothing.
"""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from runner.contract.names import FILES
from runner.contract.outcome import PublishedFile
from runner.contract.text import strict_json
from runner.outbox.history_folders import HistoryFolders, Retirement
from runner.outbox.layout import (
    CANCELLED,
    ERROR,
    NOTEBOOK,
    PUBLISHED,
    RESULT,
    STATUS,
    Layout,
    beside,
)
from runner.outbox.staging import Staging
from runner.system.files.disk import Disk, same_file
from runner.system.files.mounts import Anchor
from runner.system.files.output_folder import FileCaps, Staged


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

    def are_below(self, place: Path) -> bool:
        """Tell whether every file of it lies below a folder.

        A staging may have been of fewer, since the outbox refused some.
        """
        return all(
            (place / file.path.removeprefix(f"{self.name}{FILES}/")).is_file()
            for file in self.files
        )


class Outbox:
    """The runner's side of one outbox."""

    def __init__(self, folder: Path, disk: Disk, anchor: Anchor | None = None) -> None:
        """Open an existing `folder`; while it or its mount is gone, nothing is written.

        `anchor` knows the mount on which it lies; by default, the present one.
        """
        self.folder = folder
        self._disk = disk
        self._anchor = anchor or Anchor(folder)
        self._layout = Layout(folder)
        self._staging = Staging(self._layout, disk)
        self._history = HistoryFolders(self._layout, disk)

    def check(self) -> None:
        """Make sure that the folder is there, and not only the point where it was mounted.

        Raises:
            OutboxGone: a lost mount must not be filled underneath.
        """
        reason = self._anchor.trouble()
        if reason is not None:
            raise OutboxGone(str(self.folder), reason)

    def stage(self, job_id: str, source: Path, caps: FileCaps, name: str) -> Staged:
        """Copy the regular files below `source` to the staging folder, and sync them.

        Raises:
            OSError: it could not be written; nothing of it is visible.
            OutboxGone: see `check`.
        """
        self.check()
        return self._staging.stage(job_id, source, caps, name)

    def survey(self, source: Path, caps: FileCaps, name: str) -> Staged:
        """Return the result of `stage` without it, for an outbox that cannot take files now.

        Raises:
            OSError: they cannot be read.
        """
        return self._staging.survey(source, caps, name)

    def has_files(self, new: Publication) -> bool:
        """Tell whether the files of a publication are here already, staged or in place."""
        is_staged = new.are_below(self._layout.staged_files(new.job_id))
        return is_staged or self._files_are_in_place(new)

    def publish(self, new: Publication) -> list[str]:
        """Make a sealed outcome visible, the JSON last. May be repeated after a crash.

        Other files at those places move to the history; the returned warnings say so.

        Raises:
            OSError, OutboxGone: not published, or in part without its JSON; to be repeated.
        """
        self.check()
        base = self._layout.base(new.name)
        self._disk.make_folders(self.folder, base.parent, "published: folder")
        report = beside(base, RESULT if new.succeeded else ERROR)
        moved: list[str] = []
        self._disk.unlink(beside(base, STATUS))
        if not same_file(report, new.report):
            moved = self._clear_the_way(new, base)
            self._place_what_it_names(new, base)
            self._staging.place(new.job_id, "report", new.report, report)
        # An earlier start may have put it there and been killed before this.
        self._disk.sync_folder(base.parent, "published: report")
        self._staging.remove(new.job_id)
        return moved

    def _place_what_it_names(self, new: Publication, base: Path) -> None:
        notebook = beside(base, NOTEBOOK)
        if new.files and not self._files_are_in_place(new):
            self._disk.rename(self._layout.staged_files(new.job_id), beside(base, FILES))
        if new.executed is not None and not same_file(notebook, new.executed):
            self._staging.place(new.job_id, "notebook", new.executed, notebook)
        self._disk.sync_folder(base.parent, "published: what the report names")

    def _clear_the_way(self, new: Publication, base: Path) -> list[str]:
        """Move everything away that is not this very publication, begun before a crash."""
        foreign = [
            path
            for suffix in PUBLISHED
            if os.path.lexists(path := beside(base, suffix)) and not self._is_of(new, suffix, path)
        ]
        if not foreign:
            self._history.sync(new.name, None)
            return []
        self._history.retire_unknown(new.name, foreign, datetime.now(UTC))
        names = ", ".join(path.name for path in foreign)
        return [f"Files that were not the runner's lay under this name and moved away: {names}."]

    def _is_of(self, new: Publication, suffix: str, path: Path) -> bool:
        """Tell whether a notebook or files are in place already."""
        if suffix == NOTEBOOK:
            return new.executed is not None and same_file(path, new.executed)
        return suffix == FILES and bool(new.files) and self._files_are_in_place(new)

    def _files_are_in_place(self, new: Publication) -> bool:
        """Tell whether the staged folder was renamed already: then staging lacks it."""
        if self._layout.staged_files(new.job_id).exists():
            return False
        return new.are_below(beside(self._layout.base(new.name), FILES))

    def retire(self, name: str, job_id: str | None, now: datetime) -> Retirement:
        """Move the files of `name` to the history: those of the job `job_id`, or of an unknown one.

        Return what `bring_back` needs.

        Raises:
            OSError, OutboxGone: not all of it is moved; may be repeated.
        """
        self.check()
        base = self._layout.base(name)
        self._disk.unlink(beside(base, STATUS))
        self._disk.unlink(beside(base, CANCELLED))
        return self._history.retire(name, job_id, now)

    def bring_back(self, retirement: Retirement) -> None:
        """Undo `retire`, the report last; files that lie there by now stay.

        Raises:
            OSError, OutboxGone: not all of it is back, and no report without what it names.
        """
        self.check()
        self._history.bring_back(retirement)

    def status(self, name: str, content: dict[str, strict_json.JsonValue]) -> None:
        """Replace `NAME.status.json`, atomically and without a sync.

        Raises:
            OSError, OutboxGone
        """
        self._place_unsynced(name, STATUS, content)

    def answer_cancel(self, name: str, content: dict[str, strict_json.JsonValue]) -> None:
        """Replace `NAME.cancelled.json`: a power cut may take it, and never leaves it empty.

        Raises:
            OSError, OutboxGone
        """
        self._place_unsynced(name, CANCELLED, content, "answer to a cancel: bytes")

    def _place_unsynced(
        self,
        name: str,
        suffix: str,
        content: dict[str, strict_json.JsonValue],
        why: str | None = None,
    ) -> None:
        self.check()
        base = self._layout.base(name)
        self._disk.make_folders(self.folder, base.parent)
        temp = f"{suffix[1:]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
        raw = strict_json.dumps(content) + b"\n"
        self._staging.place_unsynced(temp, raw, beside(base, suffix), why)

    def keep_beside(self, name: str, job_id: str, filename: str, content: bytes) -> None:
        """Put a file of a job into its history folder.

        Raises:
            OSError, OutboxGone
        """
        self.check()
        self._history.keep(name, job_id, filename, content)

    def prune(self, name: str, job_id: str) -> None:
        """Remove one run from the history.

        Raises:
            OSError, OutboxGone
        """
        self.check()
        self._history.prune(name, job_id)

    def clean(self, keep: Iterable[str]) -> None:
        """Remove staged leftovers of all jobs but those in `keep`.

        Raises:
            OSError, OutboxGone
        """
        self.check()
        self._staging.clean(keep)
