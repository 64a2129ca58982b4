"""Finds the inbox, the outbox and the library at the start, and checks them from then on.

A lost mount must not be filled underneath, so the runner waits for a known folder and never makes
it again.
"""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

from runner.config import Settings
from runner.contract.text.shortfall import Shortfall
from runner.inbox.guide import GUIDE, guide_for
from runner.state.ledger import Ledger
from runner.state.locks import Ownership, own
from runner.system.clocks import Clocks
from runner.system.files.mounts import Anchor, MountTable, mount_fact
from runner.system.processes.patience import Looks, NoAnswer

log = logging.getLogger(__name__)

GONE_SECONDS = 2.0
LIBRARY_SECONDS = 0.5


class FolderMissing(Shortfall):
    """A folder that was there at an earlier start is gone, or its mount: `folder, reason`."""

    def __str__(self) -> str:
        remedy = "If it is a mount, mount it; if it was removed on purpose, make it anew"
        if "mount" in self.args[1]:
            remedy = "Mount it; if it was moved on purpose, start with --accept-folders once"
        return f"{self.args[0]} {self.args[1]}. {remedy}"


class InboxLock:
    """The lock of the inbox; taken anew if the folder or its lock file was made anew."""

    def __init__(self, inbox: Path, what: str, clocks: Clocks) -> None:
        """Lock the inbox. `what` describes this process in the lock.

        Raises:
            Owned: another runner has it.
            OSError: it cannot be written.
        """
        self._inbox = inbox
        self._what = what
        self._clocks = clocks
        self._lock = lock_folder(inbox, what, clocks)

    def ensure(self) -> None:
        """Make sure that the present inbox is ours.

        Raises:
            Owned, OSError: nothing is taken until it is.
        """
        if not self._lock.still_holds(self._inbox):
            lock = lock_folder(self._inbox, self._what, self._clocks)
            self._lock.release()
            self._lock = lock

    def release(self) -> None:
        """Give it back."""
        self._lock.release()


def lock_folder(folder: Path, what: str, clocks: Clocks) -> Ownership:
    """Lock one folder for this process.

    Raises:
        Owned: another runner has it.
        OSError: it cannot be written.
    """
    return own([folder], what, clocks.now().isoformat(timespec="seconds"))


class Folders:
    """Knows where the folders lay, and whether they are still there."""

    def __init__(
        self, settings: Settings, ledger: Ledger, table: MountTable, *, accept: bool
    ) -> None:
        """Recall the folders. With `accept` they are taken where they lie now, on any mount."""
        self.table = table
        self._settings = settings
        self._ledger = ledger
        self._accept = accept
        self._anchors: dict[Path, Anchor] = {}
        self._looks = Looks()

    def find(self, pause: Callable[[float], bool] | None) -> bool:
        """Make the folders at the first start; later, wait for a missing one.

        `pause` waits for some seconds and says whether to go on waiting; without it there is no
        waiting. Returns whether all are there.

        Raises:
            FolderMissing: one is not there, and there is no `pause`.
        """
        settings = self._settings
        folders = (settings.inbox, settings.outbox, settings.notebooks)
        return all(self._find(folder, pause) for folder in folders)

    def anchor_of(self, folder: Path) -> Anchor:
        """Return the anchor of a folder, which knows its mount."""
        return self._anchors[folder]

    def trouble(self, folder: Path) -> str | None:
        """Say why a folder is not to be touched now, as the end of a sentence."""
        return self._anchors[folder].trouble()

    def library_trouble(self) -> str | None:
        """Say the same of the library, by a call made aside: its mount may never answer."""
        anchor = self._anchors[self._settings.notebooks]
        try:
            return self._looks.ask("library", anchor.trouble, LIBRARY_SECONDS)
        except NoAnswer as no_answer:
            return str(no_answer)

    def remember_mounts(self) -> None:
        """Record the mount of each folder for the next start, when it may be late."""
        for anchor in self._anchors.values():
            if anchor.trouble() is None:
                self._remember(anchor)

    def _find(self, folder: Path, pause: Callable[[float], bool] | None) -> bool:
        point = None if self._accept else self._ledger.fact(mount_fact(folder))
        is_new = self._ledger.fact(f"folder:{folder}") is None
        has_guide = folder == self._settings.inbox and pause is not None
        guide = guide_for(self._settings) if is_new and has_guide else None
        seek = partial(_seek, folder, guide, partial(Anchor, folder, point, self.table), is_new)
        said = None
        while True:
            try:
                anchor, reason = self._looks.ask(folder, seek, GONE_SECONDS)
            except NoAnswer as no_answer:
                reason = str(no_answer).partition(",")[0]
            if reason is None:
                break
            missing = FolderMissing(str(folder), reason)
            if pause is None:
                raise missing
            if reason != said:
                said = reason
                log.error("waiting: %s", missing)
            if not pause(GONE_SECONDS):
                return False
        self._anchors[folder] = anchor
        self._remember(anchor)
        return True

    def _remember(self, anchor: Anchor) -> None:
        self._ledger.remember(f"folder:{anchor.folder}", "seen")
        self._ledger.remember(mount_fact(anchor.folder), anchor.point)


def _seek(
    folder: Path, guide: bytes | None, find: Callable[[], Anchor], is_new: bool
) -> tuple[Anchor, str | None]:
    """Find a folder's mount, and why it cannot be used now. Make a new folder, with its guide."""
    if is_new and not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        if guide is not None:
            (folder / GUIDE).write_bytes(guide)
    anchor = find()
    return anchor, anchor.trouble()
