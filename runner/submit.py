"""A client of the folders: writes one request file into the inbox, and awaits its job's report.

Needs nothing but inbox and outbox. Executes nothing.
"""

import os
import secrets
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from runner.disk import Disk
from runner.outbox import OutboxReader, Report
from runner.strict_json import JsonValue, dumps

SUFFIXES = (".ipynb", ".json", ".yaml", ".yml")
LOOK_SECONDS = 0.1


class NameBusy(Exception):
    """The inbox holds another request of that name: `name`."""

    def __str__(self) -> str:
        return f"the inbox holds a request named {self.args[0]!r} already; choose another --name"


def new_job_id() -> str:
    """An id for a job: 32 hex digits."""
    return secrets.token_hex(16)


def submit(inbox: Path, name: str, request: Mapping[str, Any], disk: Disk) -> Path:
    """Put `NAME.json` into the inbox: written and synced under another name, then linked.

    The inbox must exist; folders of the name are made in it.

    Raises:
        NameBusy: a request of that name waits there.
        OSError: it could not be written; nothing of it is visible.
    """
    target = inbox / f"{name}.json"
    disk.make_folders(inbox, target.parent)
    if any(os.path.lexists(target.with_name(target.stem + suffix)) for suffix in SUFFIXES):
        raise NameBusy(name)
    temp = target.parent / f".submit-{secrets.token_hex(8)}.tmp"
    try:
        disk.write(temp, dumps(request))
        disk.link(temp, target)
    except FileExistsError:
        raise NameBusy(name) from None
    finally:
        disk.unlink(temp)
    disk.sync_folder(target.parent)
    return target


def cancel(inbox: Path, name: str, job_id: str | None, disk: Disk) -> None:
    """Put `NAME.cancel` into the inbox, for one job or for all of that name.

    Raises:
        OSError: it could not be written.
    """
    target = inbox / f"{name}.cancel"
    disk.make_folders(inbox, target.parent)
    temp = target.parent / f".cancel-{secrets.token_hex(8)}.tmp"
    disk.write(temp, (job_id or "").encode())
    disk.rename(temp, target)


def watch_report(
    reader: OutboxReader, name: str, job_id: str
) -> Iterator[Report | dict[str, JsonValue] | None]:
    """Look again and again: what the status file tells, and at last the job's report."""
    while True:
        report = reader.of_job(name, job_id)
        if report is not None:
            yield report
            return
        status = reader.status(name)
        yield status if status is not None and status.get("job_id") == job_id else None
        time.sleep(LOOK_SECONDS)
