"""Lists and reads the notebooks of the library, below `notebooks/`.

Reads only, and nothing outside of the folder. Never interprets a notebook.
"""

import os
import stat
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from itertools import islice
from pathlib import Path, PurePosixPath

from runner.config import MEGABYTE
from runner.contract.outcome import Refused, refuse
from runner.contract.request import MAX_SHOWN, library_path
from runner.contract.states.status import ErrorType
from runner.contract.text.plain_text import is_text

LibraryReader = Callable[[str], bytes]
"""Returns a library notebook's bytes by its path; raises `Refused`."""

SUFFIX = ".ipynb"
MAX_LISTED = 1_000
MAX_LOOKED_AT = 20_000
"""Most entries of the library's folders that one listing looks at."""
MAX_COMPARED = 1_000
"""Most entries that are compared with a mistyped path."""
MAX_NAMED = 10
"""Most notebooks that the message about a missing one lists."""


@dataclass(frozen=True)
class Shelved:
    """A notebook of the library: its path below it, its size, and when it changed (UTC, ISO)."""

    path: str
    bytes: int
    changed: str


@dataclass(frozen=True)
class Listing:
    """The notebooks by path; `is_cut` if there are more than are listed or looked at."""

    notebooks: tuple[Shelved, ...]
    is_cut: bool = False


def listing(folder: Path) -> Listing:
    """List the library: regular `.ipynb` files, without hidden ones and links.

    Raises:
        OSError: the folder cannot be read.
    """
    with os.scandir(folder):
        pass  # a missing library is not an empty one
    looked = list(islice(_walk(folder), MAX_LOOKED_AT + 1))
    notebooks = [one for one in looked[:MAX_LOOKED_AT] if one is not None]
    notebooks.sort(key=lambda one: one.path)
    is_cut = len(looked) > MAX_LOOKED_AT or len(notebooks) > MAX_LISTED
    return Listing(tuple(notebooks[:MAX_LISTED]), is_cut)


def _walk(root: Path) -> Iterator[Shelved | None]:
    """Yield every entry, folder by folder; None for an entry that is no notebook."""
    pending = [""]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(root / folder) as entries:
                for entry in entries:
                    inner = f"{folder}/{entry.name}" if folder else entry.name
                    if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                        pending.append(inner)
                    yield _shelved(entry, inner)
        except OSError:
            continue  # a folder that nobody may read hides its own notebooks only


def _shelved(entry: os.DirEntry[str], path: str) -> Shelved | None:
    if entry.name.startswith(".") or not entry.name.endswith(SUFFIX):
        return None
    status = entry.stat(follow_symlinks=False)
    if not stat.S_ISREG(status.st_mode) or not is_text(path):
        return None
    changed = datetime.fromtimestamp(status.st_mtime, UTC).isoformat(timespec="seconds")
    return Shelved(path, status.st_size, changed)


def as_spelt(folder: Path, path: PurePosixPath) -> PurePosixPath:
    """Return a library path as the library spells it: an accented letter is one character or two.

    macOS writes two (Unicode's NFD), most others one. A missing path stays as it is.
    """
    if str(path).isascii() or os.path.lexists(folder / path):
        return path
    spelt = PurePosixPath()
    for part in path.parts:
        spelt /= _spelling(folder / spelt, part)
    return spelt


def _spelling(folder: Path, name: str) -> str:
    if name.isascii() or os.path.lexists(folder / name):
        return name
    letters = unicodedata.normalize("NFC", name)
    try:
        with os.scandir(folder) as entries:
            names = (entry.name for entry in entries)
            return next(
                (one for one in names if unicodedata.normalize("NFC", one) == letters), name
            )
    except OSError:
        return name


def library_reader(folder: Path, max_bytes: int) -> LibraryReader:
    """Make a reader of notebooks below `folder`, and nothing outside of it."""

    def read(path: str) -> bytes:
        pure = _below(folder, path)
        root = Path(os.path.realpath(folder))
        real = Path(os.path.realpath(root / as_spelt(root, pure)))
        if not real.is_relative_to(root):
            raise refuse(
                ErrorType.INVALID_REQUEST, f"`notebook` {path!r} leads out of the library."
            )
        try:
            with open(real, "rb", opener=open_regular) as file:
                if os.fstat(file.fileno()).st_size > max_bytes:
                    raise _too_large(f"The library's {path!r}", max_bytes)
                return file.read()
        except OSError as error:
            raise refuse(
                ErrorType.INVALID_REQUEST,
                _not_read(folder, pure, error),
            ) from error

    return read


def _not_read(folder: Path, path: PurePosixPath, error: OSError) -> str:
    if len(str(path)) > MAX_SHOWN:
        return (
            f"There is no notebook {str(path)[:MAX_SHOWN]!r}… in the library; one itself goes "
            "into `notebook` as a JSON object, not as a text."
        )
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        return f"The library's {str(path)!r} cannot be read ({error.strerror})."
    meant = probably_meant(folder, path)
    missing = f"There is no notebook {str(path)!r} in the library{meant}."
    return missing if meant else f"{missing}{_what_is_there(folder)}"


def _below(folder: Path, path: str) -> PurePosixPath:
    """Return a path below the library; of any other, say which notebook was probably meant.

    Raises:
        Refused
    """
    try:
        return library_path(path)
    except Refused as refused:
        name = PurePosixPath(path[-MAX_SHOWN:].replace("\\", "/")).name
        meant = probably_meant(folder, PurePosixPath(name)) if name not in ("", "..") else ""
        if not meant:
            raise
        message = f"{refused.failure.message.removesuffix('.')}{meant}."
        raise refuse(refused.failure.error_type, message) from refused


def _what_is_there(folder: Path) -> str:
    """List the first notebooks of the library, as a sentence."""
    looked = islice(_walk(folder), MAX_COMPARED)
    paths = sorted(one.path for one in looked if one is not None and len(one.path) <= MAX_SHOWN)
    if not paths:
        return " It has none."
    more = f" and {len(paths) - MAX_NAMED} more" if len(paths) > MAX_NAMED else ""
    return f" It has: {', '.join(map(repr, paths[:MAX_NAMED]))}{more}."


def probably_meant(folder: Path, path: PurePosixPath) -> str:
    """Ask whether a notebook of that name elsewhere, or one of a similar path, was meant."""
    near = _nearest(folder, path)
    return f" (did you mean {near!r}?)" if near else ""


def _nearest(folder: Path, path: PurePosixPath) -> str | None:
    looked = islice(_walk(folder), MAX_COMPARED)
    paths = [one.path for one in looked if one is not None and len(one.path) <= MAX_SHOWN]
    wanted = str(path).removesuffix(SUFFIX)
    name = f"{path.name.removesuffix(SUFFIX)}{SUFFIX}"
    same = [one for one in paths if PurePosixPath(one).name == name]
    if same or len(wanted) > MAX_SHOWN:
        return min(same, default=None)
    near = get_close_matches(wanted, (one.removesuffix(SUFFIX) for one in paths), 1)
    return f"{near[0]}{SUFFIX}" if near else None


def open_regular(path: str, flags: int) -> int:
    """Open a regular file, as an `opener`; never wait for the other end of a pipe.

    Raises:
        OSError: it is something else, or cannot be opened.
    """
    fd = os.open(path, flags | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(0, "it is no regular file")
    return fd


def _too_large(what: str, max_bytes: int) -> Refused:
    return refuse(
        ErrorType.NOTEBOOK_TOO_LARGE,
        f"{what} is above the limit of {max_bytes / MEGABYTE:g} MB (limits.notebook_mb).",
    )
