"""Writes and reads one tar file with a ledger and the settings; the reader distrusts it."""

import io
import lzma
import os
import sqlite3
import tarfile
import tempfile
import zlib
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from runner.state.ledger_reader import BUSY_MILLISECONDS, LEDGER_FILE
from runner.state.migrations import VERSION

SETTINGS_FILE = "config.yaml"


class BadArchive(Exception):
    """A file is no backup that this runner can restore: `file, reason`."""

    def __str__(self) -> str:
        return f"{self.args[0]} cannot be restored: {self.args[1]}"


@dataclass(frozen=True)
class Content:
    """The unpacked files: the ledger's file, and the settings' text if there is one."""

    ledger: Path
    settings: bytes | None


def write(target: Path, state: Path, settings: Path | None) -> None:
    """Put the ledger below `state`, which may be in use, and the settings into one tar file.

    Only its owner can read it, because settings may hold tokens. It replaces an earlier one.

    Raises:
        OSError, sqlite3.Error: it cannot be written, or there is no ledger.
    """
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
        ledger, part = Path(folder) / LEDGER_FILE, Path(folder) / target.name
        _copy_ledger(state, ledger)
        with _create(part) as file:
            with tarfile.open(fileobj=file, mode="w") as tar:
                tar.add(ledger, LEDGER_FILE)
                if settings is not None:
                    _add(tar, SETTINGS_FILE, settings.read_bytes())
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    sync(target.parent)


def unpack(file: Path, folder: Path) -> Content:
    """Unpack a backup into a folder, and check its ledger.

    Raises:
        BadArchive: it is none, is damaged, or was made by a newer runner.
        OSError: it cannot be read.
    """
    ledger = folder / LEDGER_FILE
    try:
        with _opened(file) as tar:
            names = tar.getnames()
            if LEDGER_FILE not in names:
                raise BadArchive(str(file), f"there is no {LEDGER_FILE} in it")
            _extract(tar, LEDGER_FILE, ledger)
            settings = folder / SETTINGS_FILE
            if SETTINGS_FILE in names:
                _extract(tar, SETTINGS_FILE, settings)
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise BadArchive(str(file), f"it is not a whole tar file ({error})") from error
    reason = _objection(ledger)
    if reason is not None:
        raise BadArchive(str(file), reason)
    return Content(ledger, settings.read_bytes() if settings.exists() else None)


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


def _copy_ledger(state: Path, target: Path) -> None:
    uri = (state / LEDGER_FILE).absolute().as_uri() + "?mode=ro"
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


def _extract(tar: tarfile.TarFile, name: str, target: Path) -> None:
    source = tar.extractfile(name)
    if source is None:
        raise tarfile.ReadError(f"{name} is no file")
    with source, _create(target) as file:
        while chunk := source.read(1 << 20):
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())


def _objection(ledger: Path) -> str | None:
    """Say what is wrong with a ledger; None if nothing is."""
    with closing(sqlite3.connect(ledger)) as db, suppress(sqlite3.DatabaseError):
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
        if version > VERSION:
            return (
                f"its ledger has version {version}, made by a newer runner; this one knows "
                f"{VERSION}. Restore it with the newer runner"
            )
        if db.execute("PRAGMA quick_check").fetchone()[0] == "ok" and version > 0:
            return None
    return "its ledger is damaged; take another backup"
