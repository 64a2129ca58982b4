"""Appends a line of JSON for each finished job to `state/journal.jsonl`, once for each id.

The lines of the last batch say which jobs are there already; a line that broke off is cut away.
"""

import errno
import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from runner.contract.text.plain_text import excerpt
from runner.contract.text.strict_json import dumps_compact
from runner.followers.delivering import BATCH
from runner.state.jobs import Job, seconds_between
from runner.system.files.disk import Disk

JOURNAL_FILE = "journal.jsonl"
MESSAGE_CHARACTERS = 500
TAIL_BYTES = 2 << 20
"""Longer than a batch of lines can be, with the longest names and messages."""


class Journal:
    """One journal. It may be moved away at any time: the next line begins a new one."""

    name = "journal"

    def __init__(self, state: Path, disk: Disk) -> None:
        self._file = state / JOURNAL_FILE
        self._disk = disk
        self._is_named = False
        """Whether its name is durable."""

    def deliver(self, jobs: Sequence[Job]) -> None:
        """Append the missing jobs, and make all of them durable.

        Raises:
            OSError: they cannot be written.
        """
        size, known = self._tail()
        lines = [line_of(job) for job in jobs if job.job_id not in known]
        self._is_named = self._is_named and size > 0
        self._disk.append(self._file, size, b"".join(lines), "journal: lines")
        if not self._is_named:
            self._disk.sync_folder(self._file.parent, "journal: name")
            self._is_named = True

    def _tail(self) -> tuple[int, set[str]]:
        """Return the length of the whole lines, and the ids in the last of them.

        Raises:
            OSError: it cannot be read.
        """
        try:
            fd = os.open(self._file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return 0, set()
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise OSError(errno.EINVAL, f"{self._file} is no regular file")
        with open(fd, "rb") as file:
            size = status.st_size
            start = max(size - TAIL_BYTES, 0)
            file.seek(start)
            tail = file.read(size - start)
        if start and b"\n" not in tail:  # nothing of ours
            return size, set()
        whole = tail[: tail.rfind(b"\n") + 1]
        lines = whole.split(b"\n")[-BATCH - 1 :]
        return start + len(whole), {job_id for line in lines if (job_id := _id_in(line))}


def line_of(job: Job) -> bytes:
    """Write a closed job as one line of JSON. Times are UTC in ISO 8601."""
    seconds = None
    if job.started_at is not None and job.finished_at is not None:
        seconds = round(seconds_between(job.started_at, job.finished_at), 3)
    content = {
        "job_id": job.job_id,
        "name": job.name,
        "status": job.status,
        "error_type": job.error_type,
        "message": None if job.message is None else excerpt(job.message, MESSAGE_CHARACTERS),
        "attempt": job.attempt,
        "submitted_by": job.submitted_by,
        "accepted_at": job.accepted_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "seconds": seconds,
    }
    return dumps_compact(content) + b"\n"


def _id_in(line: bytes) -> str | None:
    """Return the job of a line; None if somebody else wrote it."""
    try:
        return str(json.loads(line)["job_id"])
    except (ValueError, TypeError, KeyError):
        return None
