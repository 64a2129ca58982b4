"""Removes folders, at once or after further tries.

A folder that stays delays nothing and gets a note. A mount that a run left in its folder is
unmounted, and its content is not touched.
"""

import logging
from collections.abc import Callable
from pathlib import Path

from runner.contract.advice.remedies import with_remedy
from runner.system.backoff import Backoff
from runner.system.files.disk import Disk
from runner.system.files.mounts import detach_below

log = logging.getLogger(__name__)

FIRST_SECONDS = 5.0
LAST_SECONDS = 600.0


class Leftovers:
    """Folders that one owner still has to remove, below one folder of its own."""

    def __init__(
        self,
        disk: Disk,
        clock: Callable[[], float],
        detach: Callable[[Path], int] = detach_below,
    ) -> None:
        self._disk = disk
        self._detach = detach
        self._delays = Backoff(clock, FIRST_SECONDS, LAST_SECONDS)

    def remove(self, tree: Path) -> None:
        """Remove a tree, or remember it."""
        error = self.try_to_remove(tree)
        if error is None:
            self._delays.release(str(tree))
        else:
            self.add(tree, error)

    def add(self, tree: Path, error: OSError) -> None:
        """Remember a tree that cannot be removed now."""
        if self._delays.hold(str(tree), with_remedy(error)):
            log.warning("%s stays for now: %s", tree, error)

    def forget(self, tree: Path) -> None:
        """Forget a folder that need not be removed any more."""
        self._delays.release(str(tree))

    def try_to_remove(self, tree: Path) -> OSError | None:
        """Remove a tree; return the error if it fails."""
        try:
            self._disk.remove_tree(tree)
        except OSError as error:
            if not self._detach(tree):
                return error
        else:
            return None
        try:
            self._disk.remove_tree(tree)
        except OSError as error:
            return error
        return None

    def try_again(self) -> None:
        """Remove the folders that are due."""
        for tree in self._delays.due():
            self.remove(Path(tree))

    def next_due(self) -> float | None:
        """Return the seconds until the next try; None if nothing is left."""
        return self._delays.next_due()

    @property
    def notes(self) -> list[str]:
        """The folders that stay, with the reason and what to do."""
        return [f"{tree} cannot be removed: {why}" for tree, why in self._delays.reasons.items()]
