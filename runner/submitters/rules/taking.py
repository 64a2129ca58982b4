"""Takes data files out of the inbox and makes a job of each, or of a batch: once, whatever crashes.

1. `.rule-TOKEN/.of` says whose files these will be.
2. The files are renamed into that folder, under their own paths; that is made durable.
3. A request with the files is submitted for the cause `rule:NAME@TOKEN`. One cause is one job.
4. The files go to `.done/DATE/`, or away, and then the folder.

A start goes on with the folders that it finds: it submits for the same cause again.
"""

import os
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Protocol

from runner.contract.names import job_name
from runner.contract.outcome import Refused
from runner.contract.rules import BundleLimits
from runner.contract.triggers.causes import cause_of_rule
from runner.contract.triggers.placeholders import PlaceholderError
from runner.inbox import write_lease
from runner.inbox.bundles.names import clash, objection_to_path
from runner.inbox.bundles.uploads import checked, uploads_below
from runner.inbox.claim import DONE_FOLDER, RULE_PREFIX
from runner.inbox.library import open_regular
from runner.inbox.write_lease import Lease
from runner.jobs.body import JobRequest
from runner.submitters.rules.files import Ruled
from runner.submitters.rules.whole import DataFile
from runner.system.files.disk import Disk
from runner.system.files.folders import Kind, opened, walk

OWNER_FILE = ".of"
MOST_OWNER = 500
_CLAIM = re.compile(re.escape(RULE_PREFIX) + "[0-9a-f]{32}")


class Jobs(Protocol):
    """What is needed of the jobs; see `Runs`."""

    def submit_for(self, cause: str, wanted: JobRequest, *, is_new: bool = False) -> object:
        """Submit a request. The same cause is the same job; `is_new`: nobody has said it before."""
        ...

    def of_cause(self, cause: str) -> object | None:
        """Find the job that a cause has already."""
        ...


class CannotTake(Exception):
    """Files cannot become a job now; they are where they were: `reason`."""


@dataclass(frozen=True)
class Inbox:
    """The inbox, and how much may come with one request."""

    folder: Path
    limits: BundleLimits


class Taking:
    """Takes files for one inbox. `today` gives the date, `new_token` 32 hex digits."""

    def __init__(
        self,
        inbox: Inbox,
        jobs: Jobs,
        disk: Disk,
        today: Callable[[], date],
        new_token: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        self._inbox = inbox.folder
        self._limits = inbox.limits
        self._jobs = jobs
        self._disk = disk
        self._today = today
        self._new_token = new_token

    def take(self, ruled: Ruled, files: Sequence[DataFile]) -> None:
        """Make one job of these files. Those that have changed meanwhile go back.

        Raises:
            CannotTake: no job can be made of them.
            Problem, OSError: not now; what is taken already is gone on with later.
        """
        claim = self._inbox / f"{RULE_PREFIX}{self._new_token()}"
        self._disk.make_folder(claim)
        self._disk.write(claim / OWNER_FILE, ruled.name.encode(), "rule: owner")
        self._disk.sync_folder(claim, "rule: owner")
        for file in files:
            self._move(self._inbox / file.path, claim / file.path, claim)
        with ExitStack() as held:
            leases = self._leases(claim, files, held)
            self._put_back(claim, [path for path, fd in leases.items() if fd is None])
            self._go_on(claim, ruled, leases)

    def objection(self, file: DataFile) -> str | None:
        """Say why no job can be made of a file, whatever comes with it; None if one can."""
        if file.size > self._limits.bytes:
            return (
                f"It has {file.size} bytes, above the limit of {self._limits.bytes // 1024**2} MB "
                "(limits.inputs_mb)."
            )
        why = objection_to_path(file.path)
        return None if why is None else f"Its name cannot go along: {why}. Rename it."

    def fit_together(self, files: Sequence[DataFile]) -> bool:
        """Tell whether these files may be one batch: by their size, and by their names."""
        size = sum(file.size for file in files)
        return size <= self._limits.bytes and clash(file.path for file in files) is None

    def _leases(
        self, claim: Path, files: Sequence[DataFile], held: ExitStack
    ) -> dict[str, int | None]:
        """Hold each taken file, so that a writer shows who has opened it meanwhile.

        None for one that has changed, or that somebody writes into.
        """
        leases: dict[str, int | None] = {}
        for file in files:
            try:
                fd = os.open(claim / file.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            held.callback(write_lease.close, fd)
            is_written = write_lease.take(fd) is Lease.WRITER
            leases[file.path] = None if is_written or not file.is_of(os.fstat(fd)) else fd
        return leases

    def unfinished(self) -> list[Path]:
        """List the folders that an earlier start, or an error, has left.

        Raises:
            OSError: the inbox cannot be read.
        """
        with os.scandir(self._inbox) as entries:
            return sorted(
                Path(one.path)
                for one in entries
                if _CLAIM.fullmatch(one.name) and one.is_dir(follow_symlinks=False)
            )

    def finish(self, claim: Path, rules: Sequence[Ruled]) -> None:
        """Go on with such a folder: by its rule, or its files go back if there is none any more.

        Raises:
            CannotTake, Problem, OSError: as `take`.
        """
        name, paths = _owner(claim), self._paths(claim)
        ruled = next((one for one in rules if one.name == name and one.rule is not None), None)
        if self._jobs.of_cause(self._cause(claim, name)) is not None:
            is_kept = ruled is None or ruled.rule is None or ruled.rule.files.done == "keep"
            self._dispose(claim, paths, keep=is_kept)
            self._remove(claim)
        elif ruled is None:
            self._put_back(claim, paths)
            self._remove(claim)
        else:
            self._go_on(claim, ruled, {})

    def _cause(self, claim: Path, name: str) -> str:
        return cause_of_rule(name or "-", claim.name.removeprefix(RULE_PREFIX))

    def _go_on(self, claim: Path, ruled: Ruled, leases: Mapping[str, int | None]) -> None:
        paths = self._paths(claim)
        if not paths:
            self._remove(claim)
            return
        try:
            wanted = self._request(claim, ruled, paths)
        except (Refused, PlaceholderError) as error:
            self._put_back(claim, paths)
            self._remove(claim)
            reason = error.failure.message if isinstance(error, Refused) else str(error)
            raise CannotTake(reason) from error
        self._make_durable(claim, paths)
        self._jobs.submit_for(self._cause(claim, ruled.name), wanted, is_new=True)
        assert ruled.rule is not None
        keep = ruled.rule.files.done == "keep"
        opened = {path for path, fd in leases.items() if fd is not None and not _is_held(fd)}
        self._dispose(claim, [path for path in paths if path not in opened], keep=keep)
        self._dispose(claim, [path for path in paths if path in opened], keep=True)
        self._remove(claim)

    def _request(self, claim: Path, ruled: Ruled, paths: Sequence[str]) -> JobRequest:
        assert ruled.rule is not None
        request, name = ruled.rule.request_of(paths)
        if name is None:
            name = f"rules/{ruled.name}"
            if ruled.rule.files.group == "single":
                name += f"/{paths[0].rpartition('/')[2].rpartition('.')[0] or 'file'}"
        uploads = checked(list(uploads_below(claim, paths)), self._limits)
        assert len(uploads) == len(paths), "every file goes along"
        return JobRequest(request, job_name(name), None, uploads)

    def _paths(self, claim: Path) -> list[str]:
        """List the regular files in a folder, by their paths below the inbox."""
        with opened(claim) as root:
            files = [entry.path for entry in walk(root) if entry.kind is Kind.FILE]
        return sorted(path for path in files if path != OWNER_FILE)

    def _put_back(self, claim: Path, paths: Sequence[str]) -> None:
        for path in paths:
            self._move(claim / path, _free(self._inbox / path), self._inbox)

    def _dispose(self, claim: Path, paths: Sequence[str], *, keep: bool) -> None:
        done = self._inbox / DONE_FOLDER / self._today().isoformat()
        for path in paths:
            if keep:
                place = _free(done / path)
                self._move(claim / path, place, self._inbox, "rule: done")
                self._disk.sync_folder(place.parent, "rule: done")
            else:
                self._disk.unlink(claim / path)

    def _make_durable(self, claim: Path, paths: Sequence[str]) -> None:
        """Let no power cut bring a file back that is a job: also of what an earlier start took."""
        folders = {claim}
        for path in paths:
            folders.update(above for above in (claim / path).parents if claim in above.parents)
        for folder in sorted(folders, reverse=True):
            self._disk.sync_folder(folder, "rule: files")
        self._disk.sync_folder(self._inbox, "rule: folder")

    def _move(self, old: Path, new: Path, root: Path, why: str | None = None) -> None:
        """Rename a file; one that is gone is left out."""
        self._disk.make_folders(root, new.parent, why)
        with suppress(FileNotFoundError):
            self._disk.rename(old, new)

    def _remove(self, claim: Path) -> None:
        self._disk.unlink(claim / OWNER_FILE)
        self._disk.remove_tree(claim)


def _owner(claim: Path) -> str:
    """Read whose files these are; nothing where that cannot be read."""
    try:
        with open(claim / OWNER_FILE, "rb", opener=open_regular) as file:
            return file.read(MOST_OWNER).decode("utf-8", "replace")
    except OSError:
        return ""


def _is_held(fd: int) -> bool:
    """Tell whether nobody has opened the file for writing; also where leases are not to be had."""
    try:
        return write_lease.is_held(fd) or write_lease.take(fd) is not Lease.WRITER
    except OSError:
        return True


def _free(place: Path) -> Path:
    """Return a free place: this one, or one with a number before its suffix."""
    free, number = place, 1
    while os.path.lexists(free):
        number += 1
        free = place.with_name(f"{place.stem}-{number}{place.suffix}")
    return free
