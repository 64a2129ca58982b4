"""Which names in the inbox are left alone, whatever is in them.

A pure rule over one file or folder name. Never looks at the disk.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase

REQUEST_SUFFIXES = frozenset({".ipynb", ".json", ".yaml", ".yml", ".cancel"})

_PREFIXES = (".", "~", "#")
_PATTERNS = (
    "*~",
    "*.tmp",
    "*.part",
    "*.partial",
    "*.crdownload",
    "*.filepart",
    "*.sw?",
    "thumbs.db",
    "desktop.ini",
    "@eadir",
)
"""Left behind by editors, browsers, sync tools and file managers; compared in lower case."""


def is_left_alone(name: str, extra: Sequence[str] = ()) -> bool:
    """Whether a file or folder of this name is none of our business.

    `extra` are the shell patterns of `intake.ignore`, matched against the name as it is.
    """
    if name.startswith(_PREFIXES):
        return True
    lowered = name.lower()
    if any(fnmatchcase(lowered, pattern) for pattern in _PATTERNS):
        return True
    return any(fnmatchcase(name, pattern) for pattern in extra)


def split_suffix(name: str) -> tuple[str, str] | None:
    """A file name as stem and lower-case suffix, if it can be a request at all."""
    stem, dot, last = name.rpartition(".")
    suffix = f"{dot}{last}".lower()
    return (stem, suffix) if stem and suffix in REQUEST_SUFFIXES else None
