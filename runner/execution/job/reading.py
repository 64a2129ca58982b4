"""Reads the results of an executed notebook, within its own bounds on size, memory and time.

Large outputs are read in a process of their own: a table of 16 kB may need gigabytes. A value that
cannot be a result becomes a file of the run; it fails nothing.
"""

import gc
import json
import os
import select
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from runner.contract.names import job_name
from runner.contract.results import SCRAP_PREFIX, Extraction, Large, Problem, extract
from runner.contract.text.strict_json import dumps
from runner.execution.limits.footprint import held_memory
from runner.system.processes.process_tree import die_with_parent

SMALL_BYTES = 200_000
"""Outputs up to this size, without a table, are read in this process."""
LOOK_SECONDS = 0.02
_TABLE = f"{SCRAP_PREFIX}pandas+json"


class MadeFiles:
    """The files that readings of one run have made, also those in processes of their own.

    Keeps their names in memory that forks share, so that a reading that is given up, or is done
    once more, leaves no second file of a value.
    """

    def __init__(self) -> None:
        self._fd = os.memfd_create("made")

    def __del__(self) -> None:
        with suppress(OSError):
            os.close(self._fd)

    def note(self, name: str) -> None:
        """Note a file as soon as it is there."""
        os.write(self._fd, name.encode("utf-8", "surrogateescape") + b"\0")

    def remove(self, folder: Path) -> None:
        """Remove what was made so far, as far as it is still there."""
        raw = os.pread(self._fd, os.fstat(self._fd).st_size, 0)
        if not raw:
            return
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        with suppress(OSError):
            inside = _opened(folder)
            try:
                for name in raw.decode("utf-8", "surrogateescape").split("\0")[:-1]:
                    with suppress(OSError):
                        os.unlink(name, dir_fd=inside)
            finally:
                os.close(inside)


@dataclass(frozen=True)
class Sought:
    """The values to read, and the bounds for that. Each reading replaces the one before it."""

    tag: str
    scrapbook: bool
    result_bytes: int
    """Size of all results together, as JSON."""
    memory_bytes: int | None
    seconds: float
    folder: Path
    """Folder for the files of larger values."""
    made: MadeFiles = field(default_factory=MadeFiles)


@dataclass(frozen=True)
class Found:
    """Results as the text of a JSON object, the unreadable ones, and warnings."""

    results: str
    problems: tuple[Problem, ...]
    warnings: tuple[str, ...]


def read_results(executed: Mapping[str, Any], written: int, sought: Sought) -> Found:
    """Read the results of a notebook whose outputs have `written` bytes."""
    sought.made.remove(sought.folder)
    if written <= SMALL_BYTES and not _has_table(executed):
        return _read(executed, sought, decodes=True)
    end_at = time.monotonic() + sought.seconds
    for decodes, share in ((True, 0.6), (False, 1.0)):
        left = (end_at - time.monotonic()) * share
        apart = _read_apart(executed, sought, decodes=decodes, seconds=left)
        if apart is not None:
            return apart
        sought.made.remove(sought.folder)
    warning = (
        f"The results could not be read within {sought.seconds:g} s and the run's memory; they "
        "are in the executed notebook."
    )
    return Found("{}", (), (warning,))


def _has_table(executed: Mapping[str, Any]) -> bool:
    outputs = (one for cell in executed["cells"] for one in cell.get("outputs", ()))
    return any(_TABLE in (one.get("data") or {}) for one in outputs)


def _read(executed: Mapping[str, Any], sought: Sought, *, decodes: bool) -> Found:
    extraction = extract(
        executed,
        tag=sought.tag,
        scrapbook=sought.scrapbook,
        room=sought.result_bytes,
        decodes=decodes,
    )
    said = [*extraction.warnings, *_make_files(extraction, sought, decodes=decodes)]
    return Found(dumps(extraction.results).decode(), extraction.problems, tuple(said))


def _make_files(extraction: Extraction, sought: Sought, *, decodes: bool) -> Iterator[str]:
    """Write the values that are no results to files; return a warning for each."""
    room = f"{sought.result_bytes / (1 << 20):g} MB (limits.results_mb)"
    why = f"does not fit into the {room} of all results"
    if not decodes:
        why = "takes more memory or time to be read than a run may have"
    for large in extraction.large:
        try:
            made = _make_file(sought, large)
        except OSError as error:
            became = f"could not be made a file: {error.strerror}"
        else:
            became = f"is the file {made!r} instead"
        yield f"The result {large.name!r} {why}, and {became}."


def _opened(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _make_file(sought: Sought, large: Large) -> str:
    """Create a file in the run's own folder, which may be a link by now; return its name.

    Raises:
        OSError: it cannot be made.
    """
    plain = job_name(large.name.replace("/", "_"))
    inside = _opened(sought.folder)
    try:
        for number in range(100):
            name = f"{plain}{f'-{number}' if number else ''}{large.suffix}"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with suppress(FileExistsError):
                fd = os.open(name, flags, 0o644, dir_fd=inside)
                with open(fd, "wb") as file:
                    sought.made.note(name)
                    file.write(large.content)
                return name
    finally:
        os.close(inside)
    raise FileExistsError(17, "there are a hundred files of that name")


def _read_apart(
    executed: Mapping[str, Any], sought: Sought, *, decodes: bool, seconds: float
) -> Found | None:
    """Read in a process of its own; None if that takes too much, or ends without an answer."""
    inlet, outlet = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _tell(outlet, parent, executed, sought, decodes=decodes)
    os.close(outlet)
    try:
        with open(inlet, "rb", buffering=0, closefd=True) as pipe:
            chunks = list(_heard(pipe.fileno(), pid, sought.memory_bytes, seconds))
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)
    return _understood(b"".join(chunks))


def _tell(
    outlet: int, parent: int, executed: Mapping[str, Any], sought: Sought, *, decodes: bool
) -> NoReturn:
    """In the child, read the results and write them; the size of the head comes first."""
    try:
        die_with_parent(parent)
        gc.disable()
        results = _read(executed, sought, decodes=decodes)
        head = json.dumps(
            {"problems": list(map(asdict, results.problems)), "said": results.warnings}
        )
        with open(outlet, "wb") as pipe:
            pipe.write(f"{len(head)}\n{head}".encode())
            pipe.write(results.results.encode())
            pipe.write(b"\n")
    finally:
        os._exit(0)


def _heard(fd: int, pid: int, most: int | None, seconds: float) -> Iterator[bytes]:
    """Read the child's answer until it ends, runs out of time, or holds too much."""
    end_at = time.monotonic() + seconds
    before = held_memory(pid)
    while time.monotonic() < end_at:
        if select.select([fd], [], [], LOOK_SECONDS)[0]:
            chunk = os.read(fd, 1 << 20)
            if not chunk:
                return
            yield chunk
        elif most is not None and held_memory(pid) - before > most:
            return


def _understood(answer: bytes) -> Found | None:
    size, line, rest = answer.partition(b"\n")
    if not line or not answer.endswith(b"\n"):
        return None
    head, results = rest[: int(size)], rest[int(size) : -1]
    about = json.loads(head)
    problems = tuple(Problem(**one) for one in about["problems"])
    return Found(results.decode(), problems, tuple(about["said"]))
