"""The rules for files that come with a request: their names, and one digest of them all. Pure."""

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence

from runner.contract.outcome import InputFile

MAX_COMPONENT_BYTES = 255
MAX_PATH_BYTES = 1000
_JUNK_FOLDERS = frozenset({"__macosx", "__pycache__", ".ipynb_checkpoints", "@eadir"})
_JUNK_FILES = frozenset({".ds_store", "thumbs.db", "desktop.ini", ".ready"})


def is_junk(path: str) -> bool:
    """Tell whether an operating system or a tool adds this file by itself, so that it stays out."""
    *folders, last = path.lower().split("/")
    return (
        last in _JUNK_FILES
        or last.startswith("._")
        or not _JUNK_FOLDERS.isdisjoint((*folders, last))
    )


def objection_to_path(path: str) -> str | None:
    """Say why no input file may have this path; None if one may. `path` has `/` between folders."""
    if not path or path.startswith("/") or "\\" in path or path[1:2] == ":":
        return "it is no path below a folder"
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        return "it leads out of its folder"
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in path):
        return "it has control characters, or is no UTF-8"
    sizes = [len(part.encode()) for part in parts]
    if max(sizes) > MAX_COMPONENT_BYTES or sum(sizes) > MAX_PATH_BYTES:
        return "it is too long"
    return None


def clash(paths: Iterable[str]) -> tuple[str, str] | None:
    """Find two paths that are one on some disks: by letter case, by encoding, file and folder."""
    files: dict[str, str] = {}
    folders: dict[str, str] = {}
    for path in paths:
        same = _folded(path)
        if same in files:
            return files[same], path
        if same in folders:
            return folders[same], path
        files[same] = path
        parts = same.split("/")
        for count in range(1, len(parts)):
            above = "/".join(parts[:count])
            if above in files:
                return files[above], path
            folders[above] = path
    return None


def digest_of(request: bytes, files: Sequence[InputFile]) -> str:
    """Hash a request with its files, in any order: the same digest by every way it comes."""
    total = hashlib.sha256(request)
    for file in sorted(files, key=lambda one: one.path):
        total.update(f"\n{file.sha256} {file.path}".encode())
    return total.hexdigest()


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
