"""A client of the folders: writes one request file into the inbox.

Needs nothing but the inbox. Executes nothing.
"""

import errno
import os
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from runner.contract.text.strict_json import dumps_compact
from runner.inbox import made_folders
from runner.system.files.disk import Disk, same_file

SUFFIXES = (".ipynb", ".json", ".yaml", ".yml")
CLAIM = ".claim-"
ATTEMPTS = 100
"""How often to try to write into a folder that is removed each time."""
LOOKED_THROUGH = 20_000
"""Most entries of the inbox that are searched for one job."""


class NameBusy(Exception):
    """The inbox holds another request of that name: `name`."""

    def __str__(self) -> str:
        return f"the inbox holds a request named {self.args[0]!r} already; choose another --name"


def new_job_id() -> str:
    """Make an id for a job: 32 hex digits."""
    return secrets.token_hex(16)


def encode(job_id: str, request: Mapping[str, Any]) -> bytes:
    """Write the bytes of a request file; its id stands first, where `waiting` looks for it."""
    return dumps_compact({"id": job_id, **{k: v for k, v in request.items() if k != "id"}})


def submit(inbox: Path, name: str, content: bytes, disk: Disk) -> Path:
    """Put `NAME.json` into the inbox: whole and durable before it has a name.

    The inbox must exist; folders of the name are made in it.

    Raises:
        NameBusy: a request of that name waits there.
        OSError: it could not be written; nothing of it is visible.
    """
    target = inbox / f"{name}.json"
    if any(os.path.lexists(target.with_name(target.stem + suffix)) for suffix in SUFFIXES):
        raise NameBusy(name)
    if not _put(inbox, target, content, "submit", disk):
        raise NameBusy(name)
    return target


def waiting(inbox: Path, job_id: str) -> tuple[str, bytes] | None:
    """Return name and bytes of a request with that id which no daemon has accepted yet.

    A request that is claimed meanwhile may be in neither place. Then a second look finds it, or it
    is accepted: a caller that has looked into the ledger must look there again.
    """
    return _look_through(inbox, job_id) or _look_through(inbox, job_id)


def _look_through(inbox: Path, job_id: str) -> tuple[str, bytes] | None:
    looked = 0
    for folder, folders, files in os.walk(inbox):
        looked += len(files) + len(folders)
        if looked > LOOKED_THROUGH:
            return None
        place = Path(folder)
        claim = f"{CLAIM}{job_id}"
        if claim in folders:
            files = [*files, *(f"{claim}/{name}" for name in _names(place / claim))]
        folders[:] = [name for name in folders if not name.startswith(".")]
        for file in files:
            content = _request_of(place / file, job_id) if file.endswith(".json") else None
            if content is not None:
                stem = Path(file).name.removesuffix(".json")
                return (place / stem).relative_to(inbox).as_posix(), content
    return None


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _request_of(file: Path, job_id: str) -> bytes | None:
    """Return the bytes of a request file that `encode` wrote, if it has that id."""
    try:
        with file.open("rb") as opened:
            if not re.match(rb'\{"id":"' + job_id.encode(), opened.read(64)):
                return None
            opened.seek(0)
            return opened.read()
    except OSError:
        return None


def cancel(inbox: Path, name: str, job_id: str | None, disk: Disk) -> None:
    """Put `NAME.cancel` into the inbox, for one job or for all of that name.

    Raises:
        OSError: it could not be written, or one for another job of that name waits there.
    """
    target = inbox / f"{name}.cancel"
    content = (job_id or "").encode()
    if _put(inbox, target, content, "cancel", disk):
        return
    if not (same_file(target, b"") or same_file(target, content)):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))


def _put(inbox: Path, target: Path, content: bytes, what: str, disk: Disk) -> bool:
    """Put a file into the inbox, and make its folders; False if its name is taken.

    The runner removes such a folder when it is empty, perhaps between two of these steps. Then this
    starts again.

    Raises:
        OSError: it could not be written.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            made_folders.make(inbox, target.parent, f"{what}: folder", disk)
            if not _create(target, content, f"{what}: bytes", disk):
                return False
            break
        except FileNotFoundError:
            if attempt == ATTEMPTS or not inbox.is_dir():
                raise
    with suppress(FileNotFoundError):  # it is accepted by now, and its folder gone
        disk.sync_folder(target.parent, f"{what}: name")
    return True


def _create(target: Path, content: bytes, why: str, disk: Disk) -> bool:
    try:
        disk.create_whole(target, content, why)
    except FileExistsError:
        return False
    return True
