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


def commit_of(folder: Path) -> str | None:
    """Return the id of the commit at which a checkout is; None if it is none, or has no commit.

    The checkout may be a folder above it, as for git.
    """
    for place in (folder, *folder.absolute().parents):
        found = place / ".git"
        try:
            mode = found.stat().st_mode
        except OSError:
            continue
        if stat.S_ISREG(mode):
            link = _text(found).partition("gitdir: ")[2].strip()
            return _head(place / link) if link else None
        if stat.S_ISDIR(mode):
            return _head(found)
    return None


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
    """Read a small file; empty if there is none that can be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return ""
        try:
            return file.read(_MOST_BYTES).decode("utf-8", "replace")
        except OSError:
            return ""
