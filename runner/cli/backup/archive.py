"""Writes and reads one tar file with the records of a state folder and the settings.

The reader distrusts it.
"""

import io
import lzma
import os
import re
import sqlite3
import tarfile
import tempfile
import zlib
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from runner.followers.journal import JOURNAL_FILE
from runner.state.books.callbacks import BOOK_VERSION as CALLBACKS_VERSION
from runner.state.books.callbacks import CALLBACKS_FILE
from runner.state.books.notifications import BOOK_VERSION as NOTIFICATIONS_VERSION
from runner.state.books.notifications import NOTIFICATIONS_FILE
from runner.state.listing import LEDGER_FILE
from runner.state.migrations import VERSION
from runner.submitters.schedules.book import BOOK_FILE, BOOK_VERSION
from runner.system.files.databases import BUSY_MILLISECONDS

SETTINGS_FILE = "config.yaml"
PAUSES = "paused"
"""The folder of small files that say who paused which jobs."""
SHARES = "shares"
"""The folder of small files that say what each link for others shows."""
INPUTS = "inputs"
"""The folder of archives with the files that came with jobs."""
_DATABASES = {
    LEDGER_FILE: ("ledger", VERSION),
    BOOK_FILE: ("record of schedules", BOOK_VERSION),
    CALLBACKS_FILE: ("record of callbacks", CALLBACKS_VERSION),
    NOTIFICATIONS_FILE: ("record of notifications", NOTIFICATIONS_VERSION),
}
"""What each database is, and its newest version that this runner knows."""
_RECORD = re.compile(
    rf"{PAUSES}/[^/\0]+\.json|{INPUTS}/[0-9a-f]{{32}}\.zip"
    rf"|{SHARES}/[0-9a-f]{{32}}-[0-9a-f]{{16}}\.json"
)


class BadArchive(Exception):
    """A file is no backup that this runner can restore: `file, reason`."""

    def __str__(self) -> str:
        return f"{self.args[0]} cannot be restored: {self.args[1]}"


@dataclass(frozen=True)
class Content:
    """The unpacked files: `records` by their place in a state folder, and the settings' text."""

    records: dict[str, Path]
    settings: bytes | None


def write(target: Path, state: Path, settings: Path | None) -> None:
    """Put the records below `state`, which may be in use, and the settings into one tar file.

    Only its owner can read it, because settings may hold tokens. It replaces an earlier one.

    Raises:
        OSError, sqlite3.Error: it cannot be written, or there is no ledger.
    """
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
        part = Path(folder) / target.name
        with _create(part) as file:
            with tarfile.open(fileobj=file, mode="w") as tar:
                for name in _DATABASES:
                    if name == LEDGER_FILE or (state / name).exists():
                        _copy_database(state / name, Path(folder) / name)
                        tar.add(Path(folder) / name, name)
                open_jobs = _open_jobs(Path(folder) / LEDGER_FILE)
                for name in _plain_records(state, open_jobs):
                    with suppress(FileNotFoundError):  # its job is over, and pruned
                        _add_file(tar, name, state / name)
                if settings is not None:
                    _add(tar, SETTINGS_FILE, settings.read_bytes())
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    sync(target.parent)


def unpack(file: Path, folder: Path) -> Content:
    """Unpack a backup into a folder, and check its databases.

    Raises:
        BadArchive: it is none, is damaged, or was made by a newer runner.
        OSError: it cannot be read.
    """
    try:
        with _opened(file) as tar:
            names = tar.getnames()
            if LEDGER_FILE not in names:
                raise BadArchive(str(file), f"there is no {LEDGER_FILE} in it")
            for inner in (PAUSES, SHARES, INPUTS):
                (folder / inner).mkdir()
            records = {name: folder / name for name in names if _is_record(name)}
            for name, place in records.items():
                _extract(tar, name, place)
            settings = folder / SETTINGS_FILE
            if SETTINGS_FILE in names:
                _extract(tar, SETTINGS_FILE, settings)
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise BadArchive(str(file), f"it is not a whole tar file ({error})") from error
    for name in filter(records.__contains__, _DATABASES):
        reason = _objection(name, records[name])
        if reason is not None:
            raise BadArchive(str(file), reason)
    return Content(records, settings.read_bytes() if settings.exists() else None)


def sync(path: Path) -> None:
    """Make a file, or the names in a folder, durable."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _opened(file: Path) -> tarfile.TarFile:
    """Open a tar file.

    Raises:
        BadArchive: it is none. The error of tarfile has a line for each compression it tried.
    """
    try:
        return tarfile.open(file)
    except tarfile.ReadError as error:
        raise BadArchive(str(file), "it is no tar file, as every backup is") from error


def _is_record(name: str) -> bool:
    """Return whether a member of an archive belongs into a state folder."""
    return name in (*_DATABASES, JOURNAL_FILE) or _RECORD.fullmatch(name) is not None


def _open_jobs(ledger: Path) -> list[str]:
    """List the jobs that have no result yet, and may need the files that came with them."""
    with closing(sqlite3.connect(ledger)) as db:
        return [
            job_id for (job_id,) in db.execute("SELECT job_id FROM jobs WHERE state != 'closed'")
        ]


def _plain_records(state: Path, open_jobs: Iterable[str]) -> list[str]:
    """List the records that are no databases, by their place below `state`."""
    inputs = [state / INPUTS / f"{job_id}.zip" for job_id in open_jobs]
    small = [one for folder in (PAUSES, SHARES) for one in sorted((state / folder).glob("*.json"))]
    paths = [state / JOURNAL_FILE, *small, *inputs]
    names = (one.relative_to(state).as_posix() for one in paths if one.is_file())
    return [name for name in names if _is_record(name)]


def _copy_database(source: Path, target: Path) -> None:
    uri = source.absolute().as_uri() + "?mode=ro"
    seconds = BUSY_MILLISECONDS / 1000
    with closing(sqlite3.connect(uri, uri=True, timeout=seconds, isolation_level=None)) as db:
        db.execute("VACUUM INTO ?", (str(target),))


def _create(path: Path) -> IO[bytes]:
    """Create a file for its owner alone."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _add_file(tar: tarfile.TarFile, name: str, path: Path) -> None:
    """Add a file as long as it is now; it may grow meanwhile."""
    member = tarfile.TarInfo(name)
    with path.open("rb") as file:
        member.size = os.fstat(file.fileno()).st_size
        tar.addfile(member, file)


def _extract(tar: tarfile.TarFile, name: str, target: Path) -> None:
    source = tar.extractfile(name)
    if source is None:
        raise tarfile.ReadError(f"{name} is no file")
    with source, _create(target) as file:
        while chunk := source.read(1 << 20):
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())


def _objection(name: str, file: Path) -> str | None:
    """Say what is wrong with a database; None if nothing is."""
    what, newest = _DATABASES[name]
    with closing(sqlite3.connect(file)) as db, suppress(sqlite3.DatabaseError):
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
        if version > newest:
            return (
                f"its {what} has version {version}, made by a newer runner; this one knows "
                f"{newest}. Restore it with the newer runner"
            )
        if db.execute("PRAGMA quick_check").fetchone()[0] == "ok" and version > 0:
            return None
    return f"its {what} is damaged; take another backup"
