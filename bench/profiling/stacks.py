"""Reads what was sampled, as stacks with the milliseconds that each took."""

import re
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

Stack = tuple[str, ...]
"""Names of frames, the outermost first."""
Stacks = dict[Stack, float]
"""Milliseconds of each."""

_PLACES = re.compile(r".*/(?:site-packages|lib/python3\.\d+|(?=runner/|bench/))/?")
_SCRIPTED = re.compile(r"\s+[0-9a-f]+ (?P<name>.+?)(?:\+0x[0-9a-f]+)? \((?P<where>.+)\)")
_IN_KERNEL = ("[kernel", "[guest")


def python_stacks(samples: Path, sizes: Mapping[str, int]) -> Iterator[tuple[int, Stacks]]:
    """Those of each process, from the size on that its file had when the burst began."""
    for path in samples.iterdir():
        with path.open("rb") as file:
            file.seek(sizes.get(path.name, 0))
            text = file.read().decode(errors="replace")
        found: Stacks = defaultdict(float)
        for line in text.splitlines():
            took, *frames = line.split("\t")
            found[tuple(map(_short, frames))] += float(took)
        yield int(path.name), found


def _short(frame: str) -> str:
    place, _, name = frame.rpartition(":")
    return f"{_PLACES.sub('', place).removesuffix('.py')}:{name}"


def native_stacks(data: Path, hertz: int) -> Iterator[tuple[int, Stacks]]:
    """Those that perf recorded: the system's own frames, and above them the one that called.

    Frames of Python and C below that one are left out: without frame pointers they are guesses.
    """
    command = ["perf", "script", "-i", str(data), "-F", "pid,ip,sym,dso"]
    text = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    by_pid: dict[int, Stacks] = defaultdict(lambda: defaultdict(float))
    for block in text.split("\n\n"):
        lines = block.strip("\n").splitlines()
        if len(lines) > 1 and lines[0].strip().isdigit():
            frames = list(_native(lines[1:]))
            by_pid[int(lines[0])][tuple(reversed(frames))] += 1000 / hertz
    yield from by_pid.items()


def _native(lines: Iterable[str]) -> Iterator[str]:
    """The frames of one sample, the innermost first, up to the first that is not the system's."""
    for match in filter(None, map(_SCRIPTED.fullmatch, lines)):
        where = match["where"]
        if where.startswith(_IN_KERNEL):
            yield f"{match['name']} [system]"
            continue
        yield f"{match['name']} ({Path(where).name})"
        return


def inclusive(stacks: Stacks) -> dict[str, float]:
    """Milliseconds of each frame with all that it called."""
    found: dict[str, float] = defaultdict(float)
    for stack, took in stacks.items():
        for name in set(stack):
            found[name] += took
    return found


def exclusive(stacks: Stacks) -> dict[str, float]:
    """Milliseconds of each frame alone."""
    found: dict[str, float] = defaultdict(float)
    for stack, took in stacks.items():
        found[stack[-1]] += took
    return found
