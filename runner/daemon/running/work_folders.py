"""Makes, clears and removes the folders in which notebooks run: `state/work/JOBID`."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from runner.daemon.running.leftovers import Leftovers
from runner.system.files.disk import Disk

WORK = "work"


class WorkFolders:
    """One folder a job, and one beside it for packages that the run installs itself."""

    def __init__(
        self, state: Path, disk: Disk, clock: Callable[[], float], *, has_packages: bool
    ) -> None:
        self._state = state
        self._disk = disk
        self._has_packages = has_packages
        self._leftovers = Leftovers(disk, clock)

    def of(self, job_id: str) -> Path:
        """Return the path of a job's work folder."""
        return self._state / WORK / job_id

    def packages_of(self, job_id: str) -> Path | None:
        """Return the path of its packages folder, which is not published."""
        return self._state / WORK / f"{job_id}.packages" if self._has_packages else None

    def make(self, job_id: str) -> Path:
        """Make a job's work folder, durable and empty.

        Raises:
            OSError
        """
        work = self.of(job_id)
        self._disk.make_folders(self._state, work.parent, "work folders")
        self._disk.make_folder(work)
        return work

    def clear(self, job_id: str) -> None:
        """Clear the leftovers of an earlier run; move aside those that cannot be removed.

        Raises:
            OSError: it cannot be moved either.
        """
        for folder in self._folders_of(job_id):
            error = self._leftovers.try_to_remove(folder)
            self._leftovers.forget(folder)
            if error is not None:
                aside = folder.with_name(f"{folder.name}.left-{secrets.token_hex(4)}")
                self._disk.rename(folder, aside)
                self._leftovers.add(aside, error)

    def remove(self, job_id: str) -> None:
        """Remove a job's folders, now or in a later try."""
        for folder in self._folders_of(job_id):
            self._leftovers.remove(folder)

    def clean(self, keep: set[str]) -> None:
        """Remove the folders of all jobs but these."""
        work = self._state / WORK
        if work.is_dir():
            for entry in list(os.scandir(work)):
                if entry.name not in keep:
                    self._leftovers.remove(Path(entry.path))

    def try_again(self) -> None:
        """Try again to remove folders, if it is time."""
        self._leftovers.try_again()

    def next_due(self) -> float | None:
        """Return the seconds until the next try; None if nothing is left."""
        return self._leftovers.next_due()

    @property
    def notes(self) -> list[str]:
        """The folders that stay, with the reason and what to do."""
        return self._leftovers.notes

    def _folders_of(self, job_id: str) -> list[Path]:
        packages = self.packages_of(job_id)
        return [self.of(job_id)] if packages is None else [self.of(job_id), packages]
