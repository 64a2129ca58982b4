"""Packs files into one plain ZIP file, and unpacks it: stored as they are, without times.

The same files make the same bytes.
"""

import hashlib
import os
import zipfile
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import IO

CHUNK = 1024 * 1024
_EARLIEST = (1980, 1, 1, 0, 0, 0)

Member = tuple[str, AbstractContextManager[IO[bytes]]]
"""A path with `/`, and the file to read, opened when its turn comes."""


def pack(
    target: IO[bytes], members: Iterable[Member], head: tuple[str, bytes] | None = None
) -> list[tuple[str, int, str]]:
    """Write members into a ZIP file; return path, size and SHA-256 of each.

    `head` is a first member, whose bytes begin at once behind its name.
    """
    packed: list[tuple[str, int, str]] = []
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        if head is not None:
            archive.writestr(_info(head[0]), head[1])
        for path, opening in members:
            digest, size = hashlib.sha256(), 0
            with opening as source, archive.open(_info(path), "w", force_zip64=True) as file:
                while chunk := source.read(CHUNK):
                    file.write(chunk)
                    digest.update(chunk)
                    size += len(chunk)
            packed.append((path, size, digest.hexdigest()))
    return packed


def unpack(archive: Path, into: Path) -> None:
    """Write the files of an archive that `pack` made into a folder that has none of them.

    Raises:
        OSError, zipfile.BadZipFile: it cannot be read or written.
        ValueError: a path leads out of the folder.
    """
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            path = PurePosixPath(info.filename)
            if path.is_absolute() or ".." in path.parts:
                raise ValueError(f"{info.filename!r} leads out of its folder")
            target = into / path
            target.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            with opened.open(info) as source, open(fd, "wb") as file:
                while chunk := source.read(CHUNK):
                    file.write(chunk)


def _info(path: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(path, _EARLIEST)
    info.external_attr = 0o644 << 16
    return info
