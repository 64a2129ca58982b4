"""Chooses the name under which a request's outcome appears in the outbox.

Plain names stay as they are, all others become safe, short and distinct. Never looks at the disk.
"""

import hashlib
import re
import unicodedata
from datetime import date

MAX_COMPONENT_BYTES = 200
"""A folder or file name has 255 bytes; suffixes such as `.result.json` need room beside it."""
MAX_NAME_BYTES = 1000
KEPT_BYTES = 150
MAX_NORMALISED_CHARS = 500

_UNSAFE_CHARS = frozenset('<>:"\\|?*/')
_UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Control and format characters (also those that turn text around), surrogates, line ends."""
_LOOKS_LIKE_OUTPUT = re.compile(r"\.(ipynb|json|files)$", re.IGNORECASE)
_DEVICE = re.compile(
    r"(con|prn|aux|nul|com[\d\u00b9\u00b2\u00b3]|lpt[\d\u00b9\u00b2\u00b3]|conin\$|conout\$)(\.|$)",
    re.IGNORECASE,
)


_OF_HISTORY = re.compile(r"([0-9a-f]{32}|unknown-\d{8}T\d{6})", re.IGNORECASE)
"""Names of runs in the history: no job's name may be one, nor lie in one."""
FILES = ".files"
"""End of the name of the folder with the files that a job published."""
MADE_NAMES = "http"
"""The folder of requests to which nobody gave a name: their jobs are `http/DATE/JOB_ID`."""
_DAY = "/[0-9]{4}-[0-9]{2}-[0-9]{2}"
_MADE_FOLDER = re.compile(rf"{MADE_NAMES}({_DAY})?")
_MADE_NAME = re.compile(rf"({MADE_NAMES}{_DAY}/[0-9a-f]{{8}})[0-9a-f]{{24}}")


def job_name(path: str) -> str:
    """Return the job's name for a request at `path` below the inbox, without its suffix.

    `path` is relative, with `/` between folders, as `os.fsdecode` gives it. Some names get a hash
    of their bytes in place of the unsafe part: those that Windows, a shell or a terminal would
    misread, that are no valid UTF-8 or not in NFC, that are too long, or that look like another
    job's output. So do names below another one that look like one of its earlier runs in the
    history.
    """
    if is_made_name(path):
        return path
    if is_made_folder(path) and "/" in path:
        return f"{path}-{_digest(path)}"
    *folders, last = path.split("/")
    safe = [*(_safe(part, is_folder=True) for part in folders), _safe(last, is_folder=False)]
    safe[1:] = (_apart_from_history(part) for part in safe[1:])
    name = "/".join(safe)
    if len(name.encode()) <= MAX_NAME_BYTES:
        return name
    return f"{_cut(safe[-1], KEPT_BYTES)}-{_digest(path)}"


def made_name(day: date, job_id: str) -> str:
    """Name a job to which nobody gave a name, by the day of its request in UTC."""
    return f"{MADE_NAMES}/{day:%Y-%m-%d}/{job_id}"


def is_made_name(name: str) -> bool:
    """Tell whether nobody gave a job its name."""
    return _MADE_NAME.fullmatch(name) is not None


def is_made_folder(path: str) -> bool:
    """Tell whether this is a folder of such names: `http` or `http/DATE`."""
    return _MADE_FOLDER.fullmatch(path) is not None


def shown_name(name: str) -> str:
    """Cut a name that nobody chose to what tells it from others."""
    match = _MADE_NAME.fullmatch(name)
    return name if match is None else f"{match[1]}…"


def job_names(path: str) -> tuple[str, ...]:
    """Return the names of all requests whose path has these letters, however they are encoded.

    An accented letter is one character or two (Unicode's NFC, NFD); the path's own name is first.
    """
    forms = (path, unicodedata.normalize("NFC", path), unicodedata.normalize("NFD", path))
    return tuple(dict.fromkeys(job_name(form) for form in forms))


def is_job_name(name: str) -> bool:
    """Return whether `name` can be used as it is: a chosen name must not need a change."""
    return bool(name) and job_name(name) == name


def _safe(component: str, *, is_folder: bool) -> str:
    if not _needs_change(component, is_folder=is_folder):
        return component
    start = component[:MAX_NORMALISED_CHARS]  # normalising endless combining marks takes for ever
    plain = unicodedata.normalize("NFC", "".join("_" if _is_unsafe(c) else c for c in start))
    plain = plain.strip(" .") or "_"
    plain = re.sub(r"^[-.~#]", "_", plain)
    if _DEVICE.match(plain):
        plain = f"_{plain}"
    return f"{_cut(plain, KEPT_BYTES)}-{_digest(component)}"


def _apart_from_history(component: str) -> str:
    if not _OF_HISTORY.fullmatch(component):
        return component
    return f"{_cut(component, KEPT_BYTES)}-{_digest(component)}"


def _needs_change(component: str, *, is_folder: bool) -> bool:
    return bool(
        not component
        or any(_is_unsafe(char) for char in component)
        or component[0] in " -.~#"
        or component[-1] in " ."
        or _DEVICE.match(component)
        or len(component.encode("utf-8", "surrogatepass")) > MAX_COMPONENT_BYTES
        or not unicodedata.is_normalized("NFC", component)
        or (is_folder and _LOOKS_LIKE_OUTPUT.search(component))
    )


def _is_unsafe(char: str) -> bool:
    return char in _UNSAFE_CHARS or unicodedata.category(char) in _UNSAFE_CATEGORIES


def _cut(text: str, size: int) -> str:
    return text.encode()[:size].decode("utf-8", "ignore")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
