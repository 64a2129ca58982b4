"""The messages between the daemon and a worker of a cluster, and the packing of folders into them.

Reads and writes one folder at a time. Sends nothing.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from runner.contract.outcome import InputFile, Outcome, Value
from runner.contract.text.strict_json import clean
from runner.execution.limits.hold import RunLimits
from runner.execution.order import Order, Progress
from runner.system.files.folders import read
from runner.system.files.output_folder import UNPUBLISHED, FileCaps, collect


class FolderTooLarge(Exception):
    """A folder is too large to travel: `folder, max_bytes`."""


class NotGranted(Exception):
    """A run may not begin here, because its daemon did not allow it: `token`."""


class Terms(Value):
    """The daemon's settings for the job processes of a worker."""

    modules: tuple[str, ...] = ()
    kernel_start_seconds: float = 60
    limits: RunLimits = RunLimits()
    pass_environment: tuple[str, ...] = ()
    warm: int | None = None
    """Kernels that wait in each worker process; None for as many as it has slots."""
    renewed: int = 0
    """Counts the daemon's requests to import everything anew."""


@dataclass(frozen=True)
class Packed:
    """A file or, without content, a folder; its path is relative, with `/`."""

    path: str
    mode: int
    content: bytes | None


@dataclass(frozen=True)
class Luggage:
    """The files that travel with an order."""

    folder: tuple[Packed, ...] | None = None
    """Content of the folder in which it runs; None if it runs in its output folder."""
    inputs: tuple[Packed, ...] = ()
    """Content of its output folder at the beginning."""


@dataclass(frozen=True)
class Parcel:
    """One order on its way to a worker, with everything that it needs there."""

    session: str
    """Id of the daemon's session, from its start to its end."""
    token: str
    """Id of this sending; another sending of the same order has another one."""
    terms: Terms
    order: Order
    notebook: bytes
    luggage: Luggage
    caps: FileCaps
    lease_seconds: float


@dataclass(frozen=True)
class Delivery:
    """A worker's answer to a parcel: outcome, executed notebook and files."""

    outcome: Outcome
    executed: bytes | None
    files: tuple[Packed, ...]


class Word(Value):
    """The daemon's message to a worker, every second or so; hearing it renews the lease."""

    version: str
    instance: str
    """Id of the daemon's folders."""
    start: int
    """Counts the starts of that instance: a later one ends the runs of an earlier one."""
    session: str
    number: int
    """Counts the words of a session: a later one may arrive before an earlier one."""
    lease_seconds: float
    terms: Terms
    allowed: tuple[str, ...] = ()
    """Tokens of the runs that this worker may begin or continue; it ends all others."""
    denied: tuple[str, ...] = ()
    stops: dict[str, str] = {}
    """Reasons to end a run, by token."""
    is_last: bool = False


class RunSeen(Value):
    """One run of the session on a worker."""

    token: str
    progress: Progress | None = None


class Answer(Value):
    """A worker's reply to a word. A worker of another version replies with its version only."""

    version: str
    process: str = ""
    """Id of the worker's process; a restart gives another one."""
    host: str = ""
    trouble: str | None = None
    """Reason why no run can begin there."""
    warm: int = 0
    runs: tuple[RunSeen, ...] = ()


def pack(folder: Path, max_bytes: int) -> tuple[tuple[Packed, ...], list[str]]:
    """Read all of a folder except links, hidden names and caches; warn of unreadable files.

    Raises:
        FolderTooLarge: see there.
    """
    packed: list[Packed] = []
    warnings: list[str] = []
    size = 0
    for relative, mode in _walk(folder, warnings):
        content = None
        if stat.S_ISREG(mode):
            try:
                content = _read(folder / relative, max_bytes - size + 1)
            except FileNotFoundError:
                continue  # people work in there
            except OSError as error:
                warnings.append(_left_behind(relative, error))
                continue
            size += len(content)
        if size > max_bytes:
            raise FolderTooLarge(str(folder), max_bytes)
        packed.append(Packed(relative, stat.S_IMODE(mode), content))
    return tuple(packed), warnings


def pack_inputs(folder: Path, inputs: Iterable[InputFile]) -> tuple[Packed, ...]:
    """Read the files that came with a request out of its output folder.

    Raises:
        OSError
    """
    return tuple(Packed(one.path, 0o644, (folder / one.path).read_bytes()) for one in inputs)


def _read(path: Path, most: int) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(fd, "rb") as file:
        return file.read(most)


def _left_behind(relative: str, error: OSError) -> str:
    path = clean(relative)
    return f"{path!r} of the notebook's folder did not travel with it: {error.strerror}."


def unpack(packed: tuple[Packed, ...], into: Path) -> None:
    """Write packed files into a folder that exists and holds none of them.

    Raises:
        ValueError: a path leads out of the folder.
        OSError: it cannot be written.
    """
    for one in packed:
        path = PurePosixPath(one.path)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"{one.path!r} leads out of its folder")
        target = into / path
        if one.content is None:
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            file.write(one.content)
        target.chmod(one.mode | stat.S_IRUSR | stat.S_IWUSR)


def collect_files(source: Path, caps: FileCaps, name: str) -> tuple[tuple[Packed, ...], list[str]]:
    """Read the files to publish, and return warnings for the others."""
    chunks: dict[str, list[bytes]] = {}

    def take(fd: int, relative: str) -> Iterator[bytes]:
        kept = chunks.setdefault(relative, [])
        while chunk := read(fd, 1 << 20):
            kept.append(chunk)
            yield chunk

    staged = collect(source, caps, name, take)
    packed = tuple(Packed(path, 0o644, b"".join(parts)) for path, parts in chunks.items())
    return packed, list(staged.warnings)


def _walk(folder: Path, warnings: list[str]) -> Iterator[tuple[str, int]]:
    """Yield (relative path, mode) of a folder's entries, each folder before its content."""
    pending = [""]
    while pending:
        inner = pending.pop()
        try:
            with os.scandir(folder / inner) as entries:
                children = sorted(
                    (entry.name, entry.stat(follow_symlinks=False).st_mode) for entry in entries
                )
        except FileNotFoundError:
            continue
        except OSError as error:
            warnings.append(_left_behind(inner, error))
            continue
        for name, mode in children:
            if name.startswith(".") or name in UNPUBLISHED:
                continue
            relative = f"{inner}/{name}" if inner else name
            if stat.S_ISDIR(mode):
                pending.append(relative)
                yield relative, mode
            elif stat.S_ISREG(mode):
                yield relative, mode
