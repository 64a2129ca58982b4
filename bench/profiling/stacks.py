"""Reads what was sampled, as stacks with the milliseconds that each took."""

import re
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

SAMPLE_MS = 4.0
"""As `processes/injected/sitecustomize.py` has it."""
Stack = tuple[str, ...]
"""Names of frames, the outermost first."""
Stacks = dict[Stack, float]
"""Milliseconds of each."""

_FRAME = re.compile(r'  File "(?P<path>[^"]*)", line \d+ in (?P<name>.+)')
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
        for one in text.split("Stack (most recent call first):\n")[1:]:
            frames = [_frame(match) for match in map(_FRAME.match, one.splitlines()) if match]
            found[tuple(reversed(frames)) or ("a thread without Python",)] += SAMPLE_MS
        yield int(path.name), found


def _frame(match: "re.Match[str]") -> str:
    place = _PLACES.sub("", match["path"]).removesuffix(".py")
    return f"{place}:{match['name']}"


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
