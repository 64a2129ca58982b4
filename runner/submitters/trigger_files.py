"""What the folders of schedules, rules and web hooks have in common: how a file is read and named.

Writes nothing.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol, TypeVar

from runner.contract.text.strict_yaml import StrictYamlError, loads
from runner.contract.triggers.documents import MAX_BYTES, TriggerError, is_trigger_name
from runner.inbox.library import open_regular


class Named(Protocol):
    """A file that was read, with the name that it gives."""

    @property
    def name(self) -> str:
        """Its path below the folder, without suffix."""
        ...

    @property
    def path(self) -> Path:
        """Its place."""
        ...


T = TypeVar("T", bound=Named)


def read_file(path: Path) -> bytes:
    """Read a file, and no more than shows that it is too long.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    with open(path, "rb", opener=open_regular) as file:
        return file.read(MAX_BYTES + 1)


def read_named(path: Path, name: str, what: str) -> bytes:
    """Read a file that makes a trigger of this name; `what` it is (`schedule`).

    Raises:
        TriggerError: it can have no such name, or cannot be read.
    """
    if not is_trigger_name(name):
        raise TriggerError(
            f"Rename the file: a {what}'s name has at most 120 characters, and no @."
        )
    try:
        return read_file(path)
    except OSError as error:
        raise TriggerError(f"It cannot be read: {error.strerror or error}.") from error


def one_each(files: Iterable[T], wrong: Callable[[str, Path, str], T]) -> list[T]:
    """List files by name; of several with one name, what `wrong` makes of name, path and error."""
    by_name: dict[str, list[T]] = {}
    for one in files:
        by_name.setdefault(one.name, []).append(one)
    return [_alone(by_name[name], wrong) for name in sorted(by_name)]


def _alone(files: list[T], wrong: Callable[[str, Path, str], T]) -> T:
    first, *others = files
    if not others:
        return first
    names = " and ".join(one.path.name for one in files)
    return wrong(first.name, first.path, f"{names} are two files of one name; keep one.")


def is_meant(file: Path, folder: Path, key: str) -> bool:
    """Return whether a file, wherever it lies, is meant for a folder: it is there, or has a key."""
    if Path(os.path.realpath(file)).is_relative_to(os.path.realpath(folder)):
        return True
    try:
        with file.open("rb") as opened:
            document = loads(opened.read(MAX_BYTES))
    except (OSError, StrictYamlError):
        return False
    return isinstance(document, dict) and key in document
