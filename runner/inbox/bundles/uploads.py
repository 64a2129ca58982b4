"""The files that a client sends along with a request. Opens them only when they are needed."""

import base64
import hashlib
import os
import unicodedata
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import IO

from runner.contract.outcome import InputFile, refuse
from runner.contract.rules import MEGABYTE, BundleLimits
from runner.contract.states.status import ErrorType
from runner.inbox.bundles.names import clash, digest_of, is_junk, objection_to_path

REQUEST_FILE = "request.json"
"""The request in the archive that a client writes: its first file."""


_FORM = '`files` is a mapping of names to texts, or to `{"base64": "…"}`.'


@dataclass(frozen=True)
class Upload:
    """A file that goes along with a request, by the path that it gets; `opens` gives its bytes."""

    path: str
    size: int
    opens: Callable[[], AbstractContextManager[IO[bytes]]]


def upload_of(path: str, content: bytes) -> Upload:
    """Send bytes as a file."""
    return Upload(path, len(content), lambda: BytesIO(content))


def uploads_in(files: object) -> list[Upload]:
    """Read files that came as JSON, by their names: each a text, or bytes as `{"base64": …}`.

    Raises:
        Refused: it is something else.
    """
    if not isinstance(files, dict):
        raise refuse(ErrorType.INVALID_REQUEST, f"{_FORM} `files` is {type(files).__name__}.")
    return [upload_of(str(name), _decoded(str(name), one)) for name, one in files.items()]


def _decoded(name: str, content: object) -> bytes:
    if isinstance(content, str):
        return content.encode("utf-8", "surrogatepass")
    packed = content.get("base64") if isinstance(content, dict) and len(content) == 1 else None
    if not isinstance(packed, str):
        raise refuse(ErrorType.INVALID_REQUEST, f"{_FORM} The one of {name[:100]!r} is neither.")
    try:
        return base64.b64decode("".join(packed.split()), validate=True)
    except ValueError as error:  # of a text that is not ASCII, too
        message = f"The file {name[:100]!r} is no base64: {error}."
        raise refuse(ErrorType.INVALID_REQUEST, message) from error


def uploads_of(path: Path) -> Iterator[Upload]:
    """Send a file under its own name, or each file of a folder under the folder's name.

    Raises:
        OSError: it is not there.
    """
    if not path.is_dir():
        yield Upload(path.name, path.stat().st_size, partial(_file, path))
        return
    above = path.resolve().parent
    for folder, folders, names in os.walk(path.resolve()):
        folders.sort()
        for name in sorted(names):
            file = Path(folder, name)
            size = file.stat().st_size
            yield Upload(file.relative_to(above).as_posix(), size, partial(_file, file))


def uploads_below(folder: Path, paths: Iterable[str]) -> Iterator[Upload]:
    """Send files of a folder, each under its path below it.

    Raises:
        OSError: one is not there.
    """
    for path in paths:
        file = folder / path
        yield Upload(path, file.stat().st_size, partial(_file, file))


def checked(uploads: Sequence[Upload], limits: BundleLimits) -> tuple[Upload, ...]:
    """Return the files as they are sent, without what an operating system adds.

    Raises:
        Refused: a name, a size or a number that no request may have.
    """
    files = [
        replace(one, path=unicodedata.normalize("NFC", one.path))
        for one in uploads
        if not is_junk(one.path)
    ]
    for one in files:
        why = objection_to_path(one.path)
        if one.path == REQUEST_FILE:
            why = "it is the name of the request itself"
        if why is not None:
            message = f"The file {one.path[-100:]!r} cannot go along: {why}. Rename it."
            raise refuse(ErrorType.INVALID_REQUEST, message)
    twins = clash(one.path for one in files)
    if twins is not None:
        message = f"The files {twins[0]!r} and {twins[1]!r} are one name on some disks. Rename one."
        raise refuse(ErrorType.INVALID_REQUEST, message)
    if len(files) > limits.files:
        message = f"{len(files)} files are above the limit of {limits.files} (limits.inputs)."
        raise refuse(ErrorType.NOTEBOOK_TOO_LARGE, message)
    size = sum(one.size for one in files)
    if size > limits.bytes:
        raise refuse(
            ErrorType.NOTEBOOK_TOO_LARGE,
            f"The files have {size} bytes, above the limit of {limits.bytes / MEGABYTE:g} MB "
            "(limits.inputs_mb).",
        )
    return tuple(files)


def digest_with_files(content: bytes, files: Sequence[Upload]) -> str:
    """Hash a request and its files as the runner does, to tell whether it came before."""
    packed = []
    for file in files:
        with file.opens() as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()  # type: ignore[arg-type]
        packed.append(InputFile(path=file.path, bytes=file.size, sha256=digest))
    return digest_of(content, packed)


def in_archive(archive: Path) -> tuple[Upload, ...]:
    """List the files of an archive as uploads, without the request in it.

    Raises:
        OSError, zipfile.BadZipFile: it cannot be read.
    """
    with zipfile.ZipFile(archive) as opened:
        return tuple(
            Upload(info.filename, info.file_size, partial(_member, archive, info.filename))
            for info in opened.infolist()
            if info.filename != REQUEST_FILE
        )


def _file(path: Path) -> AbstractContextManager[IO[bytes]]:
    return path.open("rb")


@contextmanager
def _member(archive: Path, name: str) -> Iterator[IO[bytes]]:
    with zipfile.ZipFile(archive) as opened, opened.open(name) as file:
        yield file
