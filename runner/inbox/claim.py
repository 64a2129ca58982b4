"""Claims requests by rename, in the request's own folder. Never interprets them.

After the rename a file is compared with the bytes that were read. If it differs, it stays in the
claim folder and is looked at again. Nothing is unlinked before its bytes are in the ledger.
"""

import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from runner.contract.job_ids import JOB_ID
from runner.inbox.contents import size_limit
from runner.inbox.drop import BUNDLES, Drop
from runner.inbox.made_folders import MadeFolders
from runner.system.files.disk import Disk

log = logging.getLogger(__name__)

CLAIM_PREFIX = ".claim-"
REFUSED_FOLDER = ".refused"
DONE_FOLDER = ".done"
"""Where the files go that a rule has taken."""
RULE_PREFIX = ".rule-"
"""A folder of files that a rule is taking."""


@dataclass(frozen=True)
class Claim:
    """A drop that belongs to the runner: its folder, and the job id in the folder's name."""

    job_id: str
    folder: str
    """Relative to the inbox."""
    drop: Drop


SideBySide = Callable[[Callable[[Path], None], Iterable[Path]], Iterable[None]]


class Claims:
    """The claim folders of one inbox."""

    def __init__(
        self,
        inbox: Path,
        max_bytes: int,
        disk: Disk,
        side_by_side: SideBySide = map,
        has_inputs: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """Set it up.

        `side_by_side` applies a function to many values, like `map`, perhaps in threads.
        `has_inputs` tells whether the files that came with a job are kept elsewhere.
        """
        self._has_inputs = has_inputs
        self._inbox = inbox
        self._max_bytes = max_bytes
        self._disk = disk
        self._side_by_side = side_by_side
        self._spare: dict[Path, list[Path]] = {}
        self._made = MadeFolders(inbox, disk)

    def take(self, drop: Drop, job_id: str) -> Claim | None:
        """Rename a drop's files into `.claim-JOBID/`. None if they have changed or are gone.

        The settings go first: a claim that breaks off there holds no request and is undone. They
        are durable in the folder before the notebook goes, so that no crash parts them.

        Raises:
            OSError: they are there, and cannot be taken; nothing is changed.
        """
        folder = drop.claim or _claim_folder(drop, job_id)
        place = self._inbox / folder
        try:
            if drop.claim is None:
                self._make(place)
                for held in drop.files:
                    if held is drop.main and drop.settings:
                        self._disk.sync_folder(place, "claim: settings first")
                    old = self._inbox / held.sighting.path
                    self._disk.rename(old, place / old.name)
            intact = all(held.intact(place / Path(held.sighting.path).name) for held in drop.files)
        except FileNotFoundError as error:
            log.info("could not claim %r: %s; it is looked at again", drop.path, error)
            self.undo_if_empty(folder)
            return None
        except OSError:
            self.undo_if_empty(folder)
            raise
        return Claim(job_id, folder, drop) if intact else None

    def sync(self, claims: Iterable[Claim]) -> None:
        """Make claims durable, before the ledger says that they are accepted.

        Otherwise a power cut could bring an accepted request back into the inbox.
        """
        places = [self._inbox / claim.folder for claim in claims]
        sync = partial(self._disk.sync_folder, why="claim: files")
        for _ in self._side_by_side(sync, places):
            pass
        for parent in {place.parent for place in places}:
            self._disk.sync_folder(parent, "claim: folder")

    def remove(self, folder: str, job_id: str, *, keeps_settings: bool = False) -> None:
        """Empty the claim folder of an accepted request, and keep it for the next claim there.

        A request that was too large to be read, or whose files could not be kept, moves to
        `.refused/`. So do, with `keeps_settings`, the settings beside it, before it goes itself.
        """
        place = self._inbox / folder
        if keeps_settings:
            for path in _settings_in(place):
                self._refuse(path, folder, job_id)
        for entry in sorted(os.scandir(place), key=lambda e: e.name):
            path = Path(entry.path)
            if path.suffix.lower() in BUNDLES:
                self._remove_bundle(path, folder, job_id)
                continue
            suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122
            limit = size_limit(suffix, self._max_bytes)
            if entry.stat(follow_symlinks=False).st_size > limit:
                self._refuse(path, folder, job_id)
            else:
                self._disk.unlink(path)
        self._spare.setdefault(place.parent, []).append(place)
        self._made.note(place.parent)

    def _remove_bundle(self, path: Path, folder: str, job_id: str) -> None:
        if not self._has_inputs(job_id):
            self._refuse(path, folder, job_id)
        elif path.is_dir():
            self._disk.remove_tree(path)
        else:
            self._disk.unlink(path)

    def tidy(self) -> None:
        """Remove the folders that are kept; making and removing one each time costs the most.

        Raises:
            OSError: not all are removed; they are empty, and found again at the next start.
        """
        while self._spare:
            _, places = self._spare.popitem()
            for place in places:
                self._disk.remove_folder(place)

    def remove_emptied(self) -> None:
        """Remove the folders of names that we made, and in which nothing lies any more."""
        self._made.remove_empty(busy=self._spare.keys())

    def _make(self, place: Path) -> None:
        spare = self._spare.get(place.parent)
        if not spare:
            self._disk.make_folder(place)
            return
        try:
            self._disk.rename(spare.pop(), place)
        except FileNotFoundError:
            self._disk.make_folder(place)

    def undo_if_empty(self, folder: str) -> None:
        """Put back the files in a claim folder without a notebook, and remove the folder."""
        place = self._inbox / folder
        try:
            entries = list(os.scandir(place))
            if any(entry.name.lower().endswith((".ipynb", *BUNDLES)) for entry in entries):
                return
            for entry in entries:
                back = place.parent / entry.name
                if entry.name.endswith((".yaml", ".yml", ".json")) and not os.path.lexists(back):
                    self._disk.rename(Path(entry.path), back)
            self._disk.remove_folder(place)
        except OSError as error:
            log.debug("claim folder %r stays: %s", folder, error)

    def _refuse(self, path: Path, folder: str, job_id: str) -> None:
        target = self._inbox / refused_place(folder, path.name, job_id)
        self._disk.make_folders(self._inbox, target.parent)
        self._disk.rename(path, target)


def _settings_in(place: Path) -> list[Path]:
    """List the settings in a claim folder that say anything."""
    files = sorted(Path(entry.path) for entry in os.scandir(place))
    by_suffix = {path.suffix.lower(): path for path in files}
    main = next((by_suffix[one] for one in (".ipynb", *BUNDLES, ".json") if one in by_suffix), None)
    return [path for path in files if path != main and path.lstat().st_size]


def refused_place(folder: str, name: str, job_id: str) -> str:
    """Choose the place below the inbox that keeps a file which is too large."""
    stem, dot, suffix = name.rpartition(".")
    parent = folder.rpartition("/")[0]
    kept = f"{stem[:40]}-{job_id[:8]}{dot}{suffix}"
    return "/".join(part for part in (REFUSED_FOLDER, parent, kept) if part)


def _claim_folder(drop: Drop, job_id: str) -> str:
    parent = drop.main.sighting.path.rpartition("/")[0]
    name = f"{CLAIM_PREFIX}{job_id}"
    return f"{parent}/{name}" if parent else name


def claim_id(folder: str) -> str | None:
    """Read the job id in the name of a claim folder; None for any other folder."""
    name = folder.rpartition("/")[2]
    job_id = name.removeprefix(CLAIM_PREFIX)
    return job_id if name.startswith(CLAIM_PREFIX) and JOB_ID.fullmatch(job_id) else None


def is_of_claim(path: str) -> bool:
    """Tell whether a path is that of a claim folder, or leads through one."""
    return CLAIM_PREFIX in path and any(claim_id(part) is not None for part in path.split("/"))


def is_of_rule(path: str) -> bool:
    """Tell whether a path is that of files that a rule takes or has taken, or leads through one."""
    return any(part.startswith(RULE_PREFIX) or part == DONE_FOLDER for part in path.split("/"))
