"""Chooses the name under which a request's outcome appears in the outbox.

Plain names stay as they are, all others become safe, short and distinct. Never looks at the disk.
"""

import hashlib
import re
import unicodedata

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
_UNNAMED = re.compile(r"http/\d{4}-\d\d-\d\d(/[0-9a-f]{32})?")
"""Name of an HTTP request without one: `http/DATE/JOB_ID`; no job may be `http/DATE`."""


def job_name(path: str) -> str:
    """Return the job's name for a request at `path` below the inbox, without its suffix.

    `path` is relative, with `/` between folders, as `os.fsdecode` gives it. Some names get a hash
    of their bytes in place of the unsafe part: those that Windows, a shell or a terminal would
    misread, that are no valid UTF-8 or not in NFC, that are too long, or that look like another
    job's output. So do names below another one that look like one of its earlier runs in the
    history.
    """
    unnamed = _UNNAMED.fullmatch(path)
    if unnamed and unnamed[1]:
        return path
    if unnamed:
        return f"{path}-{_digest(path)}"
    *folders, last = path.split("/")
    safe = [*(_safe(part, is_folder=True) for part in folders), _safe(last, is_folder=False)]
    safe[1:] = (_apart_from_history(part) for part in safe[1:])
    name = "/".join(safe)
    if len(name.encode()) <= MAX_NAME_BYTES:
        return name
    return f"{_cut(safe[-1], KEPT_BYTES)}-{_digest(path)}"


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
