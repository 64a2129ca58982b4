"""Reads which commit a git checkout is at, without git.

By its own files, as gitrepository-layout(5) describes them.
"""

import os
import re
import stat
from pathlib import Path

_ID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_REF = re.compile(r"ref: (refs/[^\0-\x20\x7f]+)")
_MOST_BYTES = 4 << 20
_MOST_LINKS = 5
"""Most symbolic references that are followed, as in git itself."""


def commit_of(file: Path) -> str | None:
    """Return the id of the commit at which the checkout of a file is.

    None if it lies in none, the checkout does not know the file, or there is no commit.
    """
    real = Path(os.path.realpath(file))
    for place in real.parents:
        repository = _repository_at(place)
        if repository is not None:
            return _head(repository) if _knows(repository, real.relative_to(place)) else None
    return None


def _repository_at(place: Path) -> Path | None:
    """Return the repository whose checkout begins at a folder; None if none does."""
    found = place / ".git"
    try:
        mode = found.stat().st_mode
    except OSError:
        return None
    if stat.S_ISDIR(mode):
        return found
    link = _text(found).partition("gitdir: ")[2].strip()  # of a linked worktree, or a submodule
    return place / link if link else None


def _knows(repository: Path, file: Path) -> bool:
    """Return whether the index names a file; also where it is too large, or shortens names.

    gitformat-index(5): a name follows its length, and ends with a zero byte; only version 4 leaves
    out what it has in common with the one before.
    """
    content, name = _bytes(repository / "index"), os.fsencode(file.as_posix())
    if len(content) == _MOST_BYTES or content[:8] == b"DIRC\0\0\0\4":
        return True
    return bytes([min(len(name), 0xFFF) & 0xFF]) + name + b"\0" in content


def _head(repository: Path) -> str | None:
    common = _text(repository / "commondir").strip()  # of a linked worktree
    shared = repository / common if common else repository
    text = _text(repository / "HEAD").strip()
    for _ in range(_MOST_LINKS):
        ref = _REF.fullmatch(text)
        if ref is None or ".." in ref[1]:
            break
        text = (_text(repository / ref[1]) or _text(shared / ref[1])).strip()
        if not text:
            text = _packed(shared, ref[1])
    return text if _ID.fullmatch(text) else None


def _packed(repository: Path, ref: str) -> str:
    found = re.search(rf"^([0-9a-f]+) {re.escape(ref)}$", _text(repository / "packed-refs"), re.M)
    return found[1] if found else ""


def _text(path: Path) -> str:
    return _bytes(path).decode("utf-8", "replace")


def _bytes(path: Path) -> bytes:
    """Read a file up to `_MOST_BYTES`; empty if there is none that can be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return b""
        try:
            return file.read(_MOST_BYTES)
        except OSError:
            return b""
