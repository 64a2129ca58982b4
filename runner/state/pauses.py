"""The pauses of an inbox: which jobs must not start until somebody resumes them.

One small file for each pause, in `paused/` of the state folder. Clients write and remove them; the
daemon only reads. They outlive a restart.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from runner.contract.triggers.causes import trigger_of
from runner.state.jobs import Job
from runner.system.files.disk import Disk

PAUSES = "paused"
PAUSED_BY = " are paused by "
"""Stands in the words on each pause, and in no others."""


@dataclass(frozen=True)
class Pause:
    """`name` is a job's name, or a pattern with `*`, `?` or `[…]`; empty for all jobs.

    Or it is the rule or the web hook whose jobs are meant: `rule:NAME`, `hook:NAME`.
    """

    name: str
    by: str
    at: str
    """When, in UTC, ISO 8601."""

    @property
    def is_pattern(self) -> bool:
        """Whether it is meant for more than one name."""
        return bool(set(self.name) & set("*?["))

    def holds(self, job: Job) -> bool:
        """Whether a job must not start for it."""
        if not self.name or self.name == job.name or self.name == trigger_of(job.submitted_by):
            return True
        return fnmatchcase(job.name, self.name)

    @property
    def in_words(self) -> str:
        """What does not start, and how to undo it."""
        what = meant_by(self.name)
        undo = f"runner resume {self.name!r}" if self.name else "runner resume"
        since = f"{self.at[:16].replace('T', ' ')} UTC"
        return f"{what}{PAUSED_BY}{self.by} since {since}; `{undo}` lets them start"


def meant_by(name: str) -> str:
    """Say which jobs a pause of that name is for."""
    kind, _, of = name.partition(":")
    if trigger_of(name) == name:
        return f"jobs of the {kind} {of!r}"
    return f"jobs named {name!r}" if name else "all jobs"


def why_waiting(job: Job, pauses: Sequence[Pause], older: Job | None = None) -> str | None:
    """Say for what a queued job waits, besides its turn among names; None if only for that.

    `older` is one of the same name whose end must come first.
    """
    behind = None if older is None else f"the end of an older job of its name, {older.job_id}"
    if job.cancelled:  # only that holds up its end
        return behind
    for pause in pauses:
        if pause.holds(job):
            return f"the end of a pause: {pause.in_words}"
    held_until = job.waiting.held_until
    if held_until is None:
        return behind
    return f"{'its next attempt' if job.attempt else 'its earliest start'}, {held_until}"


class Pauses:
    """Those of one state folder. Not to be shared between threads."""

    def __init__(self, state: Path, disk: Disk | None = None) -> None:
        self._state = state
        self._folder = state / PAUSES
        self._disk = disk or Disk()
        self._names: list[str] = []
        self._known: tuple[Pause, ...] = ()

    def all(self) -> tuple[Pause, ...]:
        """List them, the one for all jobs first. One that was cut by a crash is none.

        Raises:
            OSError: they cannot be read.
        """
        names = self._listed()
        if names != self._names:
            read = [pause for name in names if (pause := self._read(name)) is not None]
            self._known = tuple(sorted(read, key=lambda pause: pause.name))
            self._names = names
        return self._known

    def add(self, pause: Pause) -> bool:
        """Record a pause durably; return whether there was none of that name.

        Raises:
            OSError
        """
        self._state.mkdir(parents=True, exist_ok=True)
        self._disk.make_folders(self._state, self._folder, "pauses: folder")
        content = json.dumps(asdict(pause)).encode()
        try:
            self._disk.create_whole(self._file(pause.name), content, "pauses: bytes")
        except FileExistsError:
            return False
        self._disk.sync_folder(self._folder, "pauses: name")
        return True

    def remove(self, name: str) -> bool:
        """End the pause of a name; return whether there was one.

        Raises:
            OSError
        """
        file = self._file(name)
        if not file.exists():
            return False
        self._disk.unlink(file)
        self._disk.sync_folder(self._folder, "pauses: end")
        return True

    def _file(self, name: str) -> Path:
        return self._folder / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.json"

    def _listed(self) -> list[str]:
        try:
            return sorted(file.name for file in self._folder.iterdir() if file.suffix == ".json")
        except FileNotFoundError:
            return []

    def _read(self, name: str) -> Pause | None:
        try:
            return Pause(**json.loads((self._folder / name).read_bytes()))
        except (FileNotFoundError, ValueError, TypeError):
            return None
