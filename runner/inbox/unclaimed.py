"""The list of files that stay in the inbox: why, since when, and what to do about each.

Owns the reasons with their words, and the small files of the state folder that hold the list, and
what rules say of files in it. Looks at no inbox and decides nothing.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum, StrEnum
from pathlib import Path

WAITING_FILE = "inbox.json"
RULED_FILE = "inbox-rules.json"
MAX_LISTED = 1_000
MAX_TEXT = 300
LONG_SECONDS = 60.0
"""A file that should not wait this long is reported."""
MAX_NOTES = 5


class Care(Enum):
    """How urgently somebody should look at a file."""

    STUCK = "stuck"
    """The runner would take it and cannot: reported at once."""
    LATE = "late"
    """It is on its way: reported after a long wait."""
    KNOWN = "known"
    """It waits for something that health reports already."""
    LEFT = "left"
    """It may have been meant as a request: reported after a long wait."""
    QUIET = "quiet"
    """It asks for nothing: listed only."""


class Reason(StrEnum):
    """Why a file or folder of the inbox is not taken."""

    NOT_REMOVABLE = "not_removable"
    UNREADABLE = "unreadable"
    LOST_NAME = "lost_name"
    MANGLED_NAME = "mangled_name"
    TOO_DEEP = "too_deep"
    HELD_BACK = "held_back"
    BLOCKED = "blocked"
    WRITER = "writer"
    SETTLING = "settling"
    INCOMPLETE = "incomplete"
    DOWNLOAD = "download"
    NO_CODE = "no_code"
    NO_NOTEBOOK = "no_notebook"
    NEIGHBOUR = "neighbour"
    NO_REQUEST = "no_request"
    NO_CANCEL = "no_cancel"
    SETTINGS = "settings"
    CONFLICT = "conflict"
    CHECKPOINT = "checkpoint"
    LINK = "link"
    NO_FILE = "no_file"
    UNFINISHED = "unfinished"
    UNTITLED = "untitled"
    SYSTEM = "system"
    HIDDEN = "hidden"
    IGNORED = "ignored"
    RULE_STAYS = "rule_stays"
    RULE = "rule"
    RULE_OFF = "rule_off"
    DATA = "data"
    OTHER = "other"


@dataclass(frozen=True)
class Words:
    """The meaning of a reason, and advice for the owner of the file."""

    care: Care
    text: str
    advice: str


_NOTHING = "Nothing is to be done"
WORDS: dict[Reason, Words] = {
    Reason.NOT_REMOVABLE: Words(
        Care.STUCK,
        "it can be read and not be taken away",
        "Let the runner's user rename files there: write permission on the folder, no sticky bit "
        "over files of others, no immutable flag (chattr -i)",
    ),
    Reason.UNREADABLE: Words(
        Care.STUCK, "it cannot be read", "Give the runner's user the right to read it"
    ),
    Reason.LOST_NAME: Words(
        Care.STUCK,
        "it is listed, and cannot be opened under the name that is listed",
        "Rename it where it was written, or mount the share with iocharset=utf8",
    ),
    Reason.MANGLED_NAME: Words(
        Care.STUCK,
        "its name looks shortened by the server (8.3), so that its suffix is lost",
        "Rename it where it was written, without characters such as : ? * or a final dot",
    ),
    Reason.TOO_DEEP: Words(Care.STUCK, "it lies below more than 32 folders", "Move it further up"),
    Reason.HELD_BACK: Words(Care.KNOWN, "the runner takes no more now", _NOTHING),
    Reason.BLOCKED: Words(
        Care.KNOWN,
        "the files in the outbox under its name cannot be moved into the history",
        "Mend that, or move it away by hand; it is tried again at least once a minute",
    ),
    Reason.WRITER: Words(
        Care.LATE, "somebody has it open for writing", "Close it in the program that writes it"
    ),
    Reason.SETTLING: Words(Care.LATE, "it has not been unchanged for long enough", _NOTHING),
    Reason.INCOMPLETE: Words(
        Care.LATE,
        "it is not whole yet",
        f"{_NOTHING}: if it stays so, it is answered with an error",
    ),
    Reason.DOWNLOAD: Words(
        Care.LATE,
        "it is not whole, and an unfinished download of it lies beside it",
        "Finish the download, or remove both",
    ),
    Reason.NO_CODE: Words(
        Care.LATE,
        "it has no code cell yet",
        f"{_NOTHING}: it runs as it is once nobody has changed it for intake.quiet_seconds",
    ),
    Reason.NO_NOTEBOOK: Words(
        Care.LEFT,
        "it is a folder for a request, and has no notebook or request.yaml in it",
        "Put one in, or remove it",
    ),
    Reason.NEIGHBOUR: Words(Care.LATE, "it waits for a file of the same name", _NOTHING),
    Reason.NO_REQUEST: Words(
        Care.LEFT,
        "it asks for nothing",
        "A request is a mapping with `notebook`; otherwise move it out of the inbox",
    ),
    Reason.NO_CANCEL: Words(
        Care.LEFT,
        "it holds something other than a job's id",
        "Empty it to cancel all of that name, or write one job id into it",
    ),
    Reason.SETTINGS: Words(
        Care.LEFT,
        "they are settings, and wait for their notebook",
        "Drop the notebook of the same name, or remove them",
    ),
    Reason.CONFLICT: Words(
        Care.LEFT,
        "its name says that a sync program found two versions",
        "Keep the right one; rename it to run it, or remove it",
    ),
    Reason.CHECKPOINT: Words(
        Care.LEFT,
        "its name is that of a checkpoint copy",
        "Rename it to run it, or remove it",
    ),
    Reason.LINK: Words(
        Care.LEFT, "it is a symbolic link, and none is followed", "Copy what it points to"
    ),
    Reason.NO_FILE: Words(Care.LEFT, "it is no regular file", "Remove it"),
    Reason.UNFINISHED: Words(
        Care.QUIET,
        "its name is that of an unfinished or temporary file",
        "Rename it when it is whole, or remove it",
    ),
    Reason.UNTITLED: Words(
        Care.QUIET,
        "it is a new notebook in which nothing is written yet",
        "Write into it, or remove it",
    ),
    Reason.SYSTEM: Words(
        Care.QUIET, "its name belongs to a file server or an operating system", _NOTHING
    ),
    Reason.HIDDEN: Words(
        Care.QUIET,
        "its name begins with a dot, ~ or #, as those of hidden and temporary files do",
        "Rename it to run it",
    ),
    Reason.IGNORED: Words(
        Care.QUIET,
        "its name is on the list intake.ignore",
        "Rename it, or change the setting and start the runner again",
    ),
    Reason.RULE_STAYS: Words(
        Care.STUCK,
        "it is of a rule, and stays",
        "It is taken once that is mended; `runner rules` lists the rules",
    ),
    Reason.RULE: Words(Care.LATE, "a rule takes it", _NOTHING),
    Reason.RULE_OFF: Words(
        Care.QUIET,
        "it is of a rule that is off",
        "`enabled: true` in the file of the rule has it taken",
    ),
    Reason.DATA: Words(
        Care.QUIET,
        "it is data, and does not go along with a notebook",
        "Each notebook of the inbox runs in a folder of its own: put notebook and data into one "
        "NAME.zip or a folder NAME.job, or both into the library (notebooks/) and request the "
        "notebook by name",
    ),
    Reason.OTHER: Words(
        Care.QUIET,
        "its name does not end like a request's (.ipynb, .json, .yaml, .yml, .zip, .cancel; of "
        "a folder .job)",
        "If it is a request, rename it; otherwise leave it",
    ),
}

NO_REQUESTS = frozenset({Reason.DATA, Reason.OTHER})
"""Reasons of files that are no requests, so that rules may have more to say of them."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A file of the inbox, or a folder with a slash at its end, that is not taken.

    `since` is UTC in ISO form; `detail` adds facts to the reason.
    """

    path: str
    reason: Reason
    since: str
    detail: str = ""
    is_late: bool = False
    """Whether this runner has seen it wait for more than a minute."""

    @property
    def text(self) -> str:
        """The reason, as the end of a sentence, without its full stop."""
        words = WORDS[self.reason].text
        return f"{words}: {self.detail.rstrip('. ')}" if self.detail else words

    @property
    def advice(self) -> str:
        """The advice on it."""
        return f"{WORDS[self.reason].advice}."

    @property
    def needs_care(self) -> bool:
        """Whether somebody should look at it now."""
        care = WORDS[self.reason].care
        return care is Care.STUCK or (care in (Care.LATE, Care.LEFT) and self.is_late)


@dataclass(frozen=True)
class WaitingList:
    """The files that are not taken; `count` also counts those not listed.

    `at` is the time of the last change.
    """

    files: tuple[Waiting, ...] = ()
    count: int = 0
    at: str = ""


@dataclass(frozen=True)
class SaidByRules:
    """What rules say of files that stay: reason and detail of each, by path.

    `rules` says by name which hinder others. The process that works rules off writes it.
    """

    files: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    rules: Mapping[str, str] = field(default_factory=dict)


class Collector:
    """Collects the files of one look, bounded: urgent ones go first."""

    def __init__(self) -> None:
        self._files: dict[str, Waiting] = {}
        self._quiet: list[Waiting] = []
        self._count = 0

    def add(self, path: str, reason: Reason, since_ns: int = 0, detail: str = "") -> None:
        """Note a file; a later note on the same path replaces an earlier one."""
        if path not in self._files:
            self._count += 1
            if not self.has_room(reason):
                return
        one = Waiting(readable(path), reason, _iso(since_ns), detail[:MAX_TEXT])
        if WORDS[reason].care is Care.QUIET:
            self._quiet.append(one)
        else:
            self._files[path] = one

    def has_room(self, reason: Reason) -> bool:
        """Return whether one more is listed, and not only counted."""
        is_quiet = WORDS[reason].care is Care.QUIET
        return len(self._quiet if is_quiet else self._files) < MAX_LISTED

    def knows(self, path: str) -> bool:
        """Return whether a path is noted."""
        return path in self._files

    def drop(self, path: str) -> None:
        """Drop the note of a file that is taken after all."""
        if self._files.pop(path, None) is not None:
            self._count -= 1

    def result(self, late: Iterable[str] = ()) -> WaitingList:
        """Return the list; `late` are the paths that wait for longer than a minute."""
        known = frozenset(late)
        files = [_late(one) if path in known else one for path, one in self._files.items()]
        files.sort(key=_order)
        return WaitingList((*files, *self._quiet)[:MAX_LISTED], self._count)

    @property
    def reasons(self) -> dict[str, Reason]:
        """The reasons by path, without files that ask for nothing."""
        return {path: one.reason for path, one in self._files.items()}


def readable(path: str) -> str:
    """Write a path as text for every reader: bytes that are no UTF-8 are spelt out."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def notes_of(waiting: WaitingList) -> Iterator[str]:
    """Return health's notes on the list: stuck files by name, then a count of the others."""
    named = [one for one in waiting.files if one.needs_care]
    stuck = [one for one in named if WORDS[one.reason].care is not Care.LEFT]
    for one in stuck[:MAX_NOTES]:
        yield f"{one.path!r} stays in the inbox: {one.text}. {one.advice}"
    if len(stuck) > MAX_NOTES:
        yield f"{len(stuck) - MAX_NOTES} more files stay in the inbox; `runner inbox` lists them"
    left = [one for one in named if WORDS[one.reason].care is Care.LEFT]
    if left:
        first = left[0]
        rest = f", and {len(left) - 1} more" if len(left) > 1 else ""
        yield (
            f"left alone in the inbox: {first.path!r} ({first.text}){rest}; "
            "`runner inbox` says what to do"
        )


def write(state: Path, waiting: WaitingList) -> None:
    """Replace the file; it is not synced, because the next look writes the same.

    Raises:
        OSError
    """
    content = {
        "at": waiting.at,
        "count": waiting.count,
        "files": [asdict(one) for one in waiting.files],
    }
    temp, file = state / f".{WAITING_FILE}", state / WAITING_FILE
    temp.write_bytes(json.dumps(content).encode())
    temp.replace(file)


def read(state: Path) -> WaitingList | None:
    """Read the last list, however old; None if there is none, or it may not be read.

    Of files that the daemon leaves alone and a rule matches, it has what the rules say.
    """
    known = read_own(state)
    said = read_of_rules(state).files if known is not None else {}
    if known is None or not said:
        return known
    files = tuple(
        _of_rule(one, *said[one.path]) if one.path in said and one.reason in NO_REQUESTS else one
        for one in known.files
    )
    return replace(known, files=tuple(sorted(files, key=_care_of)))


def read_own(state: Path) -> WaitingList | None:
    """Read the daemon's list alone, as `read`."""
    try:
        content = json.loads((state / WAITING_FILE).read_bytes())
        files = tuple(
            Waiting(**{**one, "reason": Reason(one["reason"])}) for one in content["files"]
        )
        return WaitingList(files, int(content["count"]), str(content["at"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _of_rule(one: Waiting, reason: str, detail: str) -> Waiting:
    try:
        return replace(one, reason=Reason(reason), detail=detail[:MAX_TEXT])
    except ValueError:  # of another version
        return one


def write_of_rules(state: Path, said: SaidByRules) -> None:
    """Replace the file, or remove it if there is nothing to say.

    It is not synced, because the next start writes it anew.

    Raises:
        OSError
    """
    temp, file = state / f".{RULED_FILE}", state / RULED_FILE
    if said == SaidByRules():
        file.unlink(missing_ok=True)
        return
    temp.write_bytes(json.dumps(asdict(said)).encode())
    temp.replace(file)


def read_of_rules(state: Path) -> SaidByRules:
    """Read what was said last; nothing if there is no such file, or it may not be read."""
    try:
        content = json.loads((state / RULED_FILE).read_bytes())
        files = {
            str(path): (str(reason), str(detail))
            for path, (reason, detail) in content["files"].items()
        }
        return SaidByRules(files, {str(name): str(why) for name, why in content["rules"].items()})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return SaidByRules()


def remove(state: Path) -> None:
    """Remove the list, because the daemon is gone.

    Raises:
        OSError
    """
    (state / WAITING_FILE).unlink(missing_ok=True)


def content_of(waiting: WaitingList) -> dict[str, object]:
    """Return the list as JSON, for every face."""
    return {
        "since": waiting.at,
        "count": waiting.count,
        "files": [content_of_one(one) for one in waiting.files],
    }


def content_of_one(one: Waiting) -> dict[str, str | bool]:
    """Return one file of the list as JSON."""
    return {
        "path": one.path,
        "reason": str(one.reason),
        "text": one.text,
        "advice": one.advice,
        "since": one.since,
        "needs_care": one.needs_care,
    }


def _order(one: Waiting) -> tuple[int, str]:
    return _care_of(one), one.path


def _care_of(one: Waiting) -> int:
    return list(Care).index(WORDS[one.reason].care)


def _late(one: Waiting) -> Waiting:
    return Waiting(one.path, one.reason, one.since, one.detail, is_late=True)


def _iso(nanoseconds: int) -> str:
    try:
        return datetime.fromtimestamp(nanoseconds // 10**9, UTC).isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):  # a file system may hold any number
        return ""
