"""Removes status files that an earlier start left, of jobs that are not open.

They stay where a state folder was lost, or restored from a backup. Removes nothing else.
"""

import json
import logging
import os
import re
from collections import deque
from pathlib import Path

from runner.contract.names import FILES
from runner.contract.states.status import Status
from runner.daemon.startup import Parts
from runner.outbox.layout import STATUS
from runner.outbox.publish import OutboxGone
from runner.state.jobs import State
from runner.system.files.disk import Disk
from runner.system.files.folders import Kind, ReadFailed, open_file, opened, read, walk
from runner.system.processes.patience import Looks

log = logging.getLogger(__name__)

LARGEST_BYTES = 64 * 1024
AT_ONCE = 100
_FIELDS = frozenset({"job_id", "name", "status", "elapsed_seconds"})
_JOB_ID = re.compile(r"[0-9a-f]{32}")


class StaleStatus:
    """The status files that lay in the outbox at the start."""

    def __init__(self, parts: Parts, disk: Disk) -> None:
        self._parts = parts
        self._disk = disk
        self._has_begun = False
        self._left: deque[str] = deque()
        """Paths below the outbox: a thread appends them, the loop removes them."""

    def remove(self) -> None:
        """Remove some; the first call begins to look, in a thread: there may be many files."""
        outbox, ledger = self._parts.outbox, self._parts.ledger
        if not self._has_begun:
            self._has_begun = True
            Looks().begin(STATUS, lambda: _list(outbox.folder, self._left))
        try:
            for _ in range(min(len(self._left), AT_ONCE)):
                outbox.check()
                path = self._left.popleft()
                job_id = job_of(outbox.folder, path)
                if job_id is None:
                    continue
                job = ledger.job(job_id)
                if job is None or job.state is State.CLOSED:
                    self._disk.unlink(outbox.folder / path)
                    log.info("removed %s: job %s is over or unknown", path, job_id)
        except (OSError, OutboxGone) as error:
            log.debug("status files of an earlier start: %s", error)


def job_of(folder: Path, path: str) -> str | None:
    """Return the job of a status file; None if it is not certain that a runner wrote it."""
    try:
        with opened(folder) as root:
            fd = open_file(root, path)
        try:
            raw = read(fd, LARGEST_BYTES)
        finally:
            os.close(fd)
        content = json.loads(raw)
    except (OSError, ReadFailed, ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or not content.keys() >= _FIELDS:
        return None
    is_ours = (
        content["name"] == path.removesuffix(STATUS)
        and content["status"] in (Status.QUEUED, Status.RUNNING)
        and isinstance(content["job_id"], str)
        and _JOB_ID.fullmatch(content["job_id"])
    )
    return content["job_id"] if is_ours else None


def _list(folder: Path, paths: deque[str]) -> None:
    """List what looks like a status file by its name."""
    try:
        with opened(folder) as root:
            for entry in walk(root, lambda name: name.startswith(".") or name.endswith(FILES)):
                if entry.kind is Kind.FILE and entry.path.endswith(STATUS):
                    paths.append(entry.path)
    except OSError as error:
        log.debug("status files of an earlier start: %s", error)
