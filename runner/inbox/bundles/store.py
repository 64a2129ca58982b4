"""Keeps the files that came with requests, one archive a job: `state/inputs/JOBID.zip`.

An archive is written under a token of its own while the inbox is looked at, and gets the job's
name before the ledger has the job.
"""

import logging
import secrets
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from runner.contract.job_ids import JOB_ID
from runner.contract.outcome import InputFile
from runner.system.files.disk import Disk
from runner.system.files.folders import opened
from runner.system.files.packing import Member, pack, unpack

log = logging.getLogger(__name__)

INPUTS = "inputs"
_SUFFIX = ".zip"
_NEW = ".new"


class InputStore:
    """The archives of one state folder. `write` is safe for many threads."""

    def __init__(
        self, state: Path, disk: Disk, new_token: Callable[[], str] = lambda: secrets.token_hex(16)
    ) -> None:
        self._new_token = new_token
        self._state = state
        self._folder = state / INPUTS
        self._disk = disk

    def write(self, members: Iterable[Member]) -> tuple[str, tuple[InputFile, ...]]:
        """Pack files into a new archive; return its token, and what is in it.

        Raises:
            OSError: they cannot be read or written.
        """
        token = self._new_token()
        self._disk.make_folders(self._state, self._folder, "inputs: folder")
        place = self._folder / f"{token}{_NEW}"
        try:
            packed = self._disk.fill(place, lambda file: pack(file, members), "inputs: bytes")
        except BaseException:
            self.discard(token)
            raise
        return token, tuple(
            InputFile(path=path, bytes=size, sha256=digest) for path, size, digest in packed
        )

    def is_new(self, token: str) -> bool:
        """Tell whether the archive of a token is there, and no job's yet."""
        return (self._folder / f"{token}{_NEW}").is_file()

    def adopt(self, token: str, job_id: str) -> None:
        """Give the archive of a token to a job, durably.

        Raises:
            OSError: it cannot be done, or it is not there.
        """
        self._disk.rename(self._folder / f"{token}{_NEW}", self.path_of(job_id))
        self._disk.sync_folder(self._folder, "inputs: name")

    def discard(self, token: str) -> None:
        """Remove the archive of a token, if it is no job's."""
        self._try(self._disk.unlink, self._folder / f"{token}{_NEW}")

    def path_of(self, job_id: str) -> Path:
        """Return the place of a job's archive."""
        return self._folder / f"{job_id}{_SUFFIX}"

    def has(self, job_id: str) -> bool:
        """Tell whether the files of a job are kept."""
        return self.path_of(job_id).is_file()

    def put_into(self, work: Path, job_id: str) -> None:
        """Write the files of a job into its empty work folder.

        Raises:
            OSError, zipfile.BadZipFile, ValueError: they are not kept, or cannot be written.
        """
        unpack(self.path_of(job_id), work)

    def remove(self, job_ids: Iterable[str]) -> None:
        """Remove the files of jobs."""
        if self._folder.is_dir():
            for job_id in job_ids:
                self._try(self._disk.unlink, self.path_of(job_id))

    def clean(self, known: Callable[[str], bool]) -> None:
        """Remove what no known job has: a crash left it, and the inbox still has its request."""
        for entry in _names(self._folder):
            job_id = entry.removesuffix(_SUFFIX)
            if JOB_ID.fullmatch(job_id) is None or not known(job_id):
                self._try(self._disk.unlink, self._folder / entry)

    def _try(self, step: Callable[[Path], None], path: Path) -> None:
        try:
            step(path)
        except OSError as error:
            log.warning("%s stays: %s", path, error)


def _names(folder: Path) -> Collection[str]:
    try:
        with opened(folder):
            return sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return ()
