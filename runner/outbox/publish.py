"""Publishes outcomes atomically.

Everything visible outside the hidden folders is complete, and nothing is ever overwritten: files in
the way move to the history. Runs nothing.
"""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from runner.contract.text import strict_json
from runner.outbox.history_folders import HistoryFolders, Retirement
from runner.outbox.layout import CANCELLED, STATUS, Layout, beside
from runner.outbox.placing import Placed, Placing, Publication, SideBySide
from runner.outbox.staging import Staging
from runner.system.files.disk import Disk
from runner.system.files.mounts import Anchor
from runner.system.files.output_folder import FileCaps, Staged


class OutboxGone(Exception):
    """The outbox, or the mount that it lies on, is not there: `folder, reason`."""

    def __str__(self) -> str:
        return f"the outbox {self.args[0]} {self.args[1]}"


class Outbox:
    """The runner's side of one outbox."""

    def __init__(
        self,
        folder: Path,
        disk: Disk,
        anchor: Anchor | None = None,
        side_by_side: SideBySide = map,
    ) -> None:
        """Open an existing `folder`; while it or its mount is gone, nothing is written.

        `anchor` knows the mount on which it lies; by default, the present one. `side_by_side`
        applies a function to many values, like `map`, perhaps in threads.
        """
        self.folder = folder
        self._disk = disk
        self._anchor = anchor or Anchor(folder)
        self._layout = Layout(folder)
        self._staging = Staging(self._layout, disk)
        self._history = HistoryFolders(self._layout, disk)
        self._placing = Placing(self._layout, disk, self._staging, self._history, side_by_side)

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
        return is_staged or self._placing.files_are_in_place(new)

    def publish(self, group: Sequence[Publication]) -> list[Placed]:
        """Make sealed outcomes visible, each report last. May be repeated after a crash.

        Raises:
            OutboxGone: see `check`.
        """
        self.check()
        return self._placing.publish(group)

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
