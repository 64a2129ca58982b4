"""The rules for names in the inbox that are left alone, whatever the file holds.

Pure, over one file or folder name. Never looks at the disk.
"""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from runner.inbox.unclaimed import WORDS, Reason

REQUEST_SUFFIXES = frozenset({".ipynb", ".json", ".yaml", ".yml", ".zip", ".cancel"})
_JOB_FOLDER = re.compile(r".+\.job", re.IGNORECASE)

_PREFIXES = (".", "~", "#")
_PARTS = (".part", ".partial", ".crdownload", ".opdownload", ".download", ".filepart")
_UNFINISHED = (
    *_PARTS,
    *("~", ".tmp", ".!sync", ".!ut", ".!qb", ".aria2", ".tmp.driveupload"),
    *(".tmp.drivedownload", "___jb_tmp___", "___jb_old___", ".ffs_tmp"),
)
"""Endings that editors, browsers and sync programs use; compared in lower case."""
_SAVING = "(a document being saved by "
"""Prefix of the folder in which macOS writes before it puts a file in its place."""
_SWAP = re.compile(r"\.sw.")
_SYSTEM = frozenset(
    {
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx"),
        *("$recycle.bin", "recycler", "recycled", "system volume information", "lost+found"),
        *("@eadir", "@tmp", "@recycle", "@recently-snapshot", "@sharebin", "@sharesnap"),
        *("network trash folder", "temporary items", "thevolumesettingsfolder"),
        *("thefindbycontentfolder", "$extend", "recycle.bin", "@snapshot", "@snapshots"),
        *("dfsrprivate", "_gsdata_", "recycle bin", "trashbox"),
    }
)
"""Recycle bins, snapshots, indexes and thumbnails of NAS, Windows and macOS."""
_SYSTEM_ENDS = ("@synoeastream", "@synoresource", ":zone.identifier")
_CHKDSK = re.compile(r"found\.\d{3}")
_CONFLICT = re.compile(
    r"""
    \.sync-conflict-\d{8}-\d{6}                        # Syncthing
    | \(.{0,80}(?:conflict|konflikt|conflit|конфликт|競合|冲突|衝突|modstridende|motstridig)
      .{0,80}(?:\d{4}-\d\d|\d{12}).{0,40}\)$           # Dropbox, Nextcloud, Seafile, FileCloud, Box
    | \((?:.{0,80}\ )?conflicted\ copy(?:\ \d{1,3})?\)$
    | \((?:case|selective\ sync|unicode\ encoding|white\ space)\ conflict(?:\ \d{1,3})?\)$
                                                       # Dropbox
    | \(case\ clash\ from\ .{1,80}\)$                   # Nextcloud
    | \(\#\ [a-z]{1,20}\ [a-z]{1,20}\ \d{4}-\d\d-\d\d\ \w{1,12}\ \#\)$
                                                       # Proton Drive
    | \[(?:conflict|conflicted)\]$                     # Google Drive, pCloud
    | \.conflict\d{0,4}$                               # Resilio, rclone bisync
    | [_-]conflict-\d{4}-?\d\d-?\d\d                   # ownCloud, Cozy
    | _[a-z]{3}-\d\d-\d{4,6}-\d{4}_[a-z]{0,20}conflict(?:_\d{1,4})?$
                                                       # Synology
    | _conf\(\d{1,4}\)$                                # Google Backup and Sync
    | -(?-i:DESKTOP|LAPTOP)-(?-i:[A-Z0-9]{7,8})$       # OneDrive: the computer's name
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""Ending of a stem that a sync program gives to one of two conflicting versions."""
_MAY_BE_CONFLICT = re.compile(
    r"conf|konf|DESKTOP-|LAPTOP-|case clash| \#\)|motstridig|modstridende|[^\x00-\x7f]",
    re.IGNORECASE,
)
_CHECKPOINT = "-checkpoint"
_DATA = frozenset(
    ".csv .tsv .xls .xlsx .ods .parquet .feather .arrow .orc .jsonl .ndjson .npy .npz .pkl .h5 "
    ".hdf5 .nc .sqlite .db .zip .gz".split()
)
_MANGLED = re.compile(r"[^.~/]{1,6}~[0-9A-Z](?:\.[0-9A-Z~]{0,3})?", re.IGNORECASE)
MAX_STEM = 255
MAX_DEPTH = 32
"""How many folders deep below the inbox a request may lie."""


def why_left_alone(
    name: str, extra: Sequence[str] = (), *, is_folder: bool = False
) -> Reason | None:
    """Say why a file or folder of this name is left alone; None if it may be a request.

    `extra` are the shell patterns of `intake.ignore`, matched against the name as it is. A marker
    of a copied file does not count for a folder.
    """
    lowered = name.lower()
    if lowered in _SYSTEM or lowered.endswith(_SYSTEM_ENDS) or _CHKDSK.fullmatch(lowered):
        return Reason.SYSTEM
    if name.startswith(_PREFIXES):
        return Reason.HIDDEN
    if (
        lowered.endswith(_UNFINISHED)
        or _SWAP.fullmatch(lowered[-4:])
        or lowered.startswith(_SAVING)
    ):
        return Reason.UNFINISHED
    if any(fnmatchcase(name, pattern) for pattern in extra):
        return Reason.IGNORED
    return None if is_folder else _why_a_copy(name)


def _why_a_copy(name: str) -> Reason | None:
    parts = split_suffix(name)
    if parts is None:
        return None
    stem = parts[0][-MAX_STEM:]
    if _MAY_BE_CONFLICT.search(stem) and _CONFLICT.search(stem):
        return Reason.CONFLICT
    is_checkpoint = parts[1] == ".ipynb" and stem.lower().endswith(_CHECKPOINT)
    return Reason.CHECKPOINT if is_checkpoint else None


def objection_to_name(name: str, extra: Sequence[str] = ()) -> str | None:
    """Say why `NAME.json` would stay in the inbox; None if it would be taken.

    A client checks a chosen name before it writes the request, instead of waiting in vain.
    """
    *folders, last = name.split("/")
    if len(folders) > MAX_DEPTH:
        return WORDS[Reason.TOO_DEEP].text
    reasons = [why_left_alone(folder, extra, is_folder=True) for folder in folders]
    reason = next(filter(None, reasons), None) or why_left_alone(f"{last}.json", extra)
    return None if reason is None else WORDS[reason].text


def is_left_alone(name: str, extra: Sequence[str] = ()) -> bool:
    """Return whether a file of this name is left alone."""
    return why_left_alone(name, extra) is not None


def why_no_request(name: str) -> Reason:
    """Say why a file without one of our suffixes can be no request."""
    if _MANGLED.fullmatch(name):
        return Reason.MANGLED_NAME
    stem, dot, last = name.rpartition(".")
    return Reason.DATA if stem and f"{dot}{last}".lower() in _DATA else Reason.OTHER


def is_part_of(part: str, name: str) -> bool:
    """Return whether a file or folder called `part` is the unfinished download of `name`.

    Firefox writes `a.part` or `a.Xy12.ipynb.part` beside an empty `a.ipynb`, Chrome
    `a.ipynb.crdownload` or `Unconfirmed 123.crdownload`, Safari a folder `a.ipynb.download`.
    """
    if not part.lower().endswith(_PARTS):
        return False
    stem = name.rpartition(".")[0]
    return part.startswith((f"{stem}.", "Unconfirmed "))


def is_control_of(part: str, name: str) -> bool:
    """Return whether a file called `part` says that `name` itself, which lies there, has gaps.

    aria2 writes into the file of that name, and removes `a.ipynb.aria2` once it is whole.
    """
    return part.lower() == f"{name.lower()}.aria2"


def is_job_folder(name: str) -> bool:
    """Tell whether a folder of this name is a request, with the files that it needs."""
    return _JOB_FOLDER.fullmatch(name) is not None


def split_suffix(name: str) -> tuple[str, str] | None:
    """Split a file name into stem and lower-case suffix; None if it can be no request."""
    stem, dot, last = name.rpartition(".")
    suffix = f"{dot}{last}".lower()
    return (stem, suffix) if stem and suffix in REQUEST_SUFFIXES else None
