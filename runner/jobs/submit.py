"""A client of the folders: writes one request file into the inbox.

Needs nothing but the inbox. Executes nothing.
"""

import errno
import hashlib
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any
from zipfile import BadZipFile, ZipFile

from runner.contract.rules import BundleLimits
from runner.contract.text.plain_text import is_text
from runner.contract.text.shortfall import Shortfall
from runner.contract.text.strict_json import dumps_compact
from runner.inbox import made_folders
from runner.inbox.bundles.uploads import REQUEST_FILE, Upload, digest_with_files, in_archive
from runner.inbox.drop import JOB_FOLDER, Stays
from runner.inbox.ignore import is_left_alone
from runner.inbox.scanning.preview import left_alone
from runner.system.files.disk import Disk, Fill, same_file
from runner.system.files.packing import pack

SUFFIXES = (".ipynb", ".json", ".yaml", ".yml", ".zip", ".job")
ENCODED = (".json", ".zip")
"""Suffixes of what `encode` writes."""
_ID = rb'\{"id":"([0-9a-f]{32})"'
_HEAD = re.compile(_ID + rb"|PK\x03\x04.{26}" + REQUEST_FILE.encode() + _ID, re.DOTALL)
"""The beginning of what `encode` writes, alone or as the first file of an archive."""
_HEAD_BYTES = 128
CLAIM = ".claim-"
ATTEMPTS = 100
"""How often to try to write into a folder that is removed each time."""
PREVIEWED = 1_000
"""Most dropped files that are read, to say whether a daemon would take them."""
LOOKED_THROUGH = 20_000
"""Most entries of the inbox that are searched for one job."""


@dataclass(frozen=True)
class Unaccepted:
    """A request that no daemon has accepted, since `at` (seconds of the epoch)."""

    job_id: str
    name: str
    at: float
    path: Path


@dataclass(frozen=True)
class Dropped:
    """A file that somebody put into the inbox at `at` (seconds of the epoch), which has no id yet.

    `name` is that of the job that it may become; `path` is below the inbox; `stays` says why a
    daemon would leave it there.
    """

    name: str
    path: str
    at: float
    stays: Stays | None = None


class NameBusy(Shortfall):
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


def submit_with_files(
    inbox: Path, name: str, content: bytes, files: Sequence[Upload], disk: Disk
) -> Path:
    """Put `NAME.zip` into the inbox, with the request as its first file.

    Without files it is `NAME.json`, as `submit` writes it.

    Raises:
        NameBusy, OSError: as `submit`.
    """
    if not files:
        return submit(inbox, name, content, disk)
    target = inbox / f"{name}.zip"
    if any(os.path.lexists(target.with_name(target.stem + suffix)) for suffix in SUFFIXES):
        raise NameBusy(name)

    def write(to: IO[bytes]) -> None:
        pack(to, ((file.path, file.opens()) for file in files), (REQUEST_FILE, content))

    if not _put(inbox, target, write, "submit", disk):
        raise NameBusy(name)
    return target


def waiting(inbox: Path, job_id: str) -> tuple[str, str] | None:
    """Return name and digest of a request with that id which no daemon has accepted yet.

    A request that is claimed meanwhile may be in neither place. Then a second look finds it, or it
    is accepted: a caller that has looked into the ledger must look there again.
    """
    return _look_through(inbox, job_id) or _look_through(inbox, job_id)


def unaccepted(inbox: Path) -> list[Unaccepted]:
    """List the requests that `encode` wrote and no daemon has accepted yet, the newest first."""
    requests = [
        one
        for name, file in _files(inbox, CLAIM, ENCODED)
        if not file.name.startswith(".") and (one := _unaccepted(name, file)) is not None
    ]
    return sorted(requests, key=lambda one: (one.at, one.job_id), reverse=True)


def dropped(inbox: Path, ignored: Sequence[str], limits: BundleLimits) -> list[Dropped]:
    """List the files of the inbox that a daemon may take, without those that `encode` wrote.

    The newest first, and of these it is said why one would stay. `ignored` are the patterns of
    names that the inbox leaves alone.
    """
    files = []
    for name, file in _files(inbox, CLAIM, SUFFIXES):
        if is_left_alone(file.name, ignored) or not is_text(name):
            continue
        if file.suffix in ENCODED and _unaccepted(name, file) is not None:
            continue
        try:
            at = file.stat(follow_symlinks=False).st_mtime
        except OSError:
            continue  # it was taken meanwhile
        files.append(Dropped(name, f"{name}{file.suffix}", at))
    files.sort(key=lambda one: one.at, reverse=True)
    stays = left_alone(inbox, (one.path for one in files[:PREVIEWED]), limits)
    return [replace(one, stays=stays.get(one.path)) for one in files]


def _unaccepted(name: str, file: Path) -> Unaccepted | None:
    try:
        with file.open("rb") as opened:
            match = _HEAD.match(opened.read(_HEAD_BYTES))
            at = os.fstat(opened.fileno()).st_mtime
    except OSError:
        return None
    if match is None:
        return None
    return Unaccepted((match[1] or match[2]).decode(), name, at, file)


def _look_through(inbox: Path, job_id: str) -> tuple[str, str] | None:
    for name, file in _files(inbox, f"{CLAIM}{job_id}", ENCODED):
        digest = _digest_of(file, job_id)
        if digest is not None:
            return name, digest
    return None


def _files(inbox: Path, claim: str, suffixes: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    """Yield name and path of each such file, also in folders whose name begins with `claim`."""
    looked = 0
    for folder, folders, files in os.walk(inbox):
        looked += len(files) + len(folders)
        if looked > LOOKED_THROUGH:
            return
        place = Path(folder)
        claims = [name for name in folders if name.startswith(claim)]
        claimed = [f"{one}/{name}" for one in claims for name in _names(place / one)]
        whole = [name for name in folders if name.lower().endswith(JOB_FOLDER)]
        folders[:] = [name for name in folders if not name.startswith(".") and name not in whole]
        for file in (*files, *whole, *claimed):
            if file.lower().endswith(suffixes):
                stem = Path(file).stem
                yield (place / stem).relative_to(inbox).as_posix(), place / file


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _digest_of(file: Path, job_id: str) -> str | None:
    """Hash a request that `encode` wrote, if it has that id."""
    try:
        with file.open("rb") as opened:
            match = _HEAD.match(opened.read(_HEAD_BYTES))
            if match is None or (match[1] or match[2]) != job_id.encode():
                return None
            opened.seek(0)
            if match[1]:
                return hashlib.sha256(opened.read()).hexdigest()
        with ZipFile(file) as archive:
            return digest_with_files(archive.read(REQUEST_FILE), in_archive(file))
    except (OSError, BadZipFile, KeyError):
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


def is_cancel_waiting(inbox: Path, name: str, job_id: str) -> bool:
    """Return whether a cancel of this job waits in the inbox."""
    target = inbox / f"{name}.cancel"
    return same_file(target, b"") or same_file(target, job_id.encode())


def _put(inbox: Path, target: Path, content: bytes | Fill, what: str, disk: Disk) -> bool:
    """Put a file into the inbox, and make its folders; False if its name is taken.

    The runner removes such a folder when it is empty, perhaps between two of these steps. Then this
    starts again.

    Raises:
        OSError: it could not be written.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            made_folders.make(inbox, target.parent, f"{what}: folder", disk)
            disk.create_whole(target, content, f"{what}: bytes")
            break
        except FileExistsError:
            return False
        except FileNotFoundError:
            if attempt == ATTEMPTS or not inbox.is_dir():
                raise
    with suppress(FileNotFoundError):  # it is accepted by now, and its folder gone
        disk.sync_folder(target.parent, f"{what}: name")
    return True
